//! One node: its process manager (programs, prefixes, sessions) and its network manager (trusted nodes, `/net`,
//! handshakes, introductions).
//!
//! [`Node`] is a pure machine. **One input, then drain to [`Output::Wait`].** It does no input or output, reads no
//! clock and makes no random numbers: time comes with every call, keys and randomness through [`Crypto`]. `lib/host`
//! drives it with sockets; tests drive it with a wire made of vectors.
//!
//! The node names, authenticates and introduces. It is never in the way of a message between two programs.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod allowance;
pub mod crypto;
pub mod interface;
pub mod limits;
mod network_manager;
mod node;
mod process_manager;
mod share;

pub use crypto::{Crypto, PublicKey, Secret};
pub use interface::{
    Attached, Caller, Config, Descriptors, Input, Kept, Level, LinkConfig, Output, ProgramKey,
};
pub use network_manager::identity_map::{IdentityMap, MayAssert, NOBODY, Range};
pub use network_manager::trust::{InviteRecord, TrustRecord};
pub use node::Node;
