//! Channels, connections, messages, pulses: message passing between processes, on one node or over the network.
//!
//! A server creates a [`Channel`] and receives [`Message`]s and pulses from it. A client attaches a
//! [`Connection`] and sends; it stays blocked until the server answers. Where the server runs makes no
//! difference to either. The [`Endpoint`] is the process's place on its node: it introduces both through the
//! node daemon, and afterwards the two processes exchange packets directly.
//!
//! Calls block; there is no async runtime. Everything is `Send + Sync` except where noted. A thread that waits does
//! the receiving, decrypting and sending itself and is not woken by another one, so a round trip costs two
//! context switches. When no thread waits, a quiet thread of the library keeps sessions alive.

pub mod direct;

mod channel;
mod channels;
mod cipher;
mod client;
mod client_rights;
mod clock;
mod connection;
mod deferred;
mod directory;
mod endpoint;
mod failed_links;
mod failure;
mod fork_guard;
mod held;
mod in_place;
mod interrupt;
mod introduce;
mod lanes;
mod links;
mod locked;
mod message;
mod meta;
mod node_links;
mod node_page;
mod node_socket;
mod node_state;
mod outcome;
mod patience;
mod pending;
mod policy;
mod poller;
mod pulses;
mod queue;
mod readable;
mod receive;
mod regions;
mod relaying;
mod reply;
mod server;
mod session;
mod shared;
mod signals;
mod socket_owner;
mod socket_peer;
mod sockets;
mod spin;
mod stats;
mod system_error;
mod wait;

pub use abi::system::Identity;
pub use channel::{Channel, Received};
pub use cipher::session_cipher;
pub use connection::{ClientKey, Connection, Reply, SendOptions};
pub use directory::{default_directory, own_directory};
pub use endpoint::{Endpoint, Registration};
pub use failure::{Cause, Delivery, Failure};
pub use interrupt::Interrupt;
pub use message::{Message, MessageId, MessageInfo};
pub use pending::{Answer, Pending};
pub use readable::{First, Readable};
pub use socket_peer::SocketPeer;
pub use stats::{LaneStats, SessionStats};
