//! Rules of pathnames: what a path means, who owns it, and how a client finds that out.
//!
//! - [`Pathname`] is a normalised path.
//! - [`PrefixTree`] is a process manager's table of who owns which prefix; [`resolve()`] asks it.
//! - [`Walk`] is the client's way from a path to the server that opens it.
//! - [`NodeComponent`] is the first component below `/net`: a node's name and a link policy; [`NodeText`] is the
//!   way back from a node descriptor to text.
//!
//! Everything here is a pure function or a pure state machine: no input or output, no clock. Values
//! are thread safe in the way of plain data and fork safe.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod node_component;
pub mod node_text;
pub mod pathname;
pub mod prefix_tree;
pub mod resolve;
pub mod walk;

pub use node_component::{LinkPolicy, NodeComponent};
pub use node_text::NodeText;
pub use pathname::Pathname;
pub use prefix_tree::{AttachId, PrefixTree, Registrar, Server};
pub use resolve::{Asker, Resolution, resolve};
pub use walk::{Answer, Intent, Step, Walk, WalkOptions};
