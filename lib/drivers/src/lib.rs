//! Packet drivers: how packets leave one process and reach another.
//!
//! A driver moves whole packets between two addresses and promises nothing that its [`Properties`]
//! do not say. [`memory`] joins two processes of one machine, [`udp`] two machines, [`ethernet`] two machines on
//! one cable; another medium is one more file that implements [`PacketDriver`] and passes [`conformance`].

#![warn(missing_docs)]

pub mod capture;
pub mod conformance;
pub mod ethernet;
pub mod fault;
pub mod memory;
pub mod neighbour;
pub mod relay;
pub mod udp;

mod batch;
mod driver;
mod socket_option;

pub use abi::LinkAddress;
pub use batch::ReceiveBatch;
pub use driver::{DriverError, PacketDriver, Properties};
pub use ethernet::EthernetDriver;
pub use memory::{Doorbell, InPlace, MemoryDriver, MemoryParts, Room, Silent};
pub use neighbour::NeighbourDriver;
pub use relay::{Relay, RelayDriver, RelayEnd};
pub use udp::UdpDriver;
