//! Rights: which users of which nodes may do what below which path.
//!
//! - [`Rules`] is the ordered list that a node keeps. The first rule that fits decides.
//! - [`ClientRights`] is the part of it that concerns one client; a server program knows no more.
//! - [`PathRights`] is what that client may do at one path, for as long as the rules stay the same.
//! - [`text`] is the form that people write: `allow pi@lab1 read,write /dev/ser1`.
//!
//! Rights only ever take away. What they allow, file permissions and managers still have to allow; only
//! [`Operation::Attach`] and [`Operation::Link`] can be given to users who would not have them.
//!
//! Everything here is a pure function of its arguments: no input or output, no clock. Values are thread safe and fork
//! safe in the way of plain data.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod client_rights;
pub mod limits;
pub mod operation;
pub mod path;
pub mod rule;
pub mod rules;
pub mod text;

pub use client_rights::{ClientRights, Decision, PathRights};
pub use operation::{Operation, Operations};
pub use rule::{Identity, NodePattern, Rule, UserPattern, Verdict};
pub use rules::{Client, Rules};
