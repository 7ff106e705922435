//! Gives a pure node what it needs of the machine: sockets, time, keys, and a place for what it must not forget.
//!
//! [`Builder::start`] runs a node in a thread of this process: `slashnet node` does, tests do, and a program that brings
//! its own node can. One thread, one epoll loop; nothing in it waits for anybody.
//!
//! In the node's directory are `node.sock`, which programs connect to, and `node.lock`, which keeps a second node out.
//! In its state directory (mode 0700) are `node.key`, the private key, `trust.toml`, the trusted nodes, `invites.toml`,
//! what tells whether a one-time code is good, and `rights`, the rules that were made while the node ran.

mod builder;
mod clock;
mod crypto;
mod descriptor_limit;
mod descriptors;
mod directories;
mod doors;
mod event_loop;
mod event_number;
mod held_back;
mod interface_watch;
mod interfaces;
mod invite_store;
mod kernel_settings;
mod key_file;
#[cfg(test)]
mod lane_rows;
mod link_place;
mod link_spec;
mod link_speed;
mod links;
mod neighbour_wait;
mod netlink;
mod node_page;
mod private_file;
mod program_socket;
mod relays;
mod rights_store;
mod setting_records;
mod shared_network;
mod trust_keeper;
mod trust_store;
mod unsent;

pub use builder::{Builder, Host};
pub use directories::{default_state, own_directory};
pub use link_spec::LinkSpec;

use std::fmt;
use std::path::Path;

/// Why a node did not start. The text says which file, link or address it is about, and what to do.
#[derive(Debug)]
pub struct StartError(String);

impl StartError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn at(path: &Path, what: impl fmt::Display) -> Self {
        Self(format!("{}: {what}", path.display()))
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}
