//! Numbers and layouts both ends agree on: identities, error numbers, flags and message bodies.
//!
//! Nothing here does input or output, and nothing here keeps state. Every value is thread and fork
//! safe. All integers on the wire are little-endian and pass through [`codec`], nowhere else.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

pub mod codec;
pub mod connect;
pub mod credentials;
pub mod devctl;
pub mod errno;
pub mod flags;
pub mod ids;
pub mod io;
pub mod limits;
pub mod link_address;
pub mod message;
pub mod pulse;
pub mod system;
pub mod time;

pub use codec::{Decode, Encode, Malformed, Overflow, Reader, Writer};
pub use connect::{Candidate, Connect, ConnectStatus, ConnectType};
pub use credentials::Credentials;
pub use errno::{Errno, Result};
pub use flags::{AttachFlags, ChannelFlags, FileType, OpenFlags, PathFlags};
pub use ids::{
    ChannelId, ConnectionId, Gid, Handle, Incarnation, Nd, NodeName, Pid, SenderId, SessionId, Uid,
};
pub use link_address::LinkAddress;
pub use message::MessageKind;
pub use pulse::Pulse;
pub use time::{Duration, Instant};
