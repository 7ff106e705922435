//! The tables behind `slashnet nodes`, `links`, `sessions`, `ps` and `prefixes`.

use alloc::vec::Vec;
use core::time::Duration;

use super::field::{choice, messages, record};
use super::session::SessionRole;
use crate::codec::{Malformed, Reader, Writer};
use crate::flags::{AttachFlags, FileType};
use crate::ids::{ChannelId, Handle, Incarnation, Nd, NodeName, Pid, SessionId, Uid};
use crate::link_address::LinkAddress;

messages! {
    /// Rows of one kind.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Rows {
        0 => Nodes(rows: Vec<NodeRow>),
        1 => Links(rows: Vec<LinkRow>),
        2 => Sessions(rows: Vec<SessionRow>),
        3 => Processes(rows: Vec<ProcessRow>),
        4 => Prefixes(rows: Vec<PrefixRow>),
    }
}
