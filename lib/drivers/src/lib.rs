//! Packet drivers: how packets leave one process and reach another.
//!
//! A driver moves whole packets between two addresses and promises nothing that its [`Properties`]
//! do not say. [`memory`] joins two processes of one machine, [`udp`] two machines; a fourth medium
//! is one more file that implements [`PacketDriver`] and passes [`conformance`].

#![warn(missing_docs)]

pub mod conformance;
pub mod memory;
pub mod udp;

mod batch;
mod driver;

pub use abi::LinkAddress;
pub use batch::ReceiveBatch;
pub use driver::{DriverError, PacketDriver, Properties};
pub use memory::{Doorbell, InPlace, MemoryDriver, MemoryParts, Room, Silent};
pub use udp::UdpDriver;
