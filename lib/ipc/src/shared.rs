//! What all handles of one endpoint share.

use std::io::{IoSlice, IoSliceMut};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use abi::system::{Identity, Reply as NodeReply, Request};
use abi::{
    AttachFlags, ChannelFlags, ChannelId, ConnectionId, Errno, FileType, Handle, Incarnation, Nd, NodeName, Pid,
    Pulse, Result,
};

use crate::fork_guard::ForkGuard;
use crate::stats::SessionStats;
use crate::{Endpoint, Failure, MessageId, Received, Reply, SendOptions};

pub(crate) struct Shared {
    guard: ForkGuard,
}

#[allow(unused_variables, clippy::unused_self)]
impl Shared {
    pub(crate) fn connect(directory: &Path) -> Result<Arc<Self>> { Err(Errno::ENOSYS) }
    pub(crate) fn guard(&self) -> &ForkGuard { &self.guard }
    pub(crate) fn close(&self) {}
    pub(crate) fn request(&self, request: &Request) -> Result<NodeReply> { Err(Errno::ENOSYS) }
    pub(crate) fn pid(&self) -> Pid { Pid(0) }
    pub(crate) fn node_name(&self) -> NodeName { NodeName::parse("node").expect("a good name") }
    pub(crate) fn namespace_generation(&self) -> u64 { 0 }
    pub(crate) fn attach_prefix(&self, path: &[u8], flags: AttachFlags, file_type: FileType, channel: ChannelId, handle: Handle) -> Result<u64> { Err(Errno::ENOSYS) }
    pub(crate) fn detach_prefix(&self, id: u64) -> Result { Err(Errno::ENOSYS) }
    pub(crate) fn session_stats(&self) -> Vec<SessionStats> { Vec::new() }
    pub(crate) fn create_channel(&self, flags: ChannelFlags) -> Result<ChannelId> { Err(Errno::ENOSYS) }
    pub(crate) fn destroy_channel(&self, id: ChannelId) {}
    pub(crate) fn receive(&self, endpoint: &Endpoint, id: ChannelId, buffer: &mut [u8], deadline: Option<Instant>) -> Result<Received> { Err(Errno::ENOSYS) }
    pub(crate) fn receive_pulse(&self, id: ChannelId, deadline: Option<Instant>) -> Result<Pulse> { Err(Errno::ENOSYS) }
    pub(crate) fn post(&self, id: ChannelId, priority: u8, code: i8, value: u64) -> Result { Err(Errno::ENOSYS) }
    pub(crate) fn unblock_requested(&self, id: MessageId) -> bool { false }
    pub(crate) fn read_at(&self, id: MessageId, offset: u64, into: &mut [u8]) -> Result<usize> { Err(Errno::ENOSYS) }
    pub(crate) fn write_at(&self, id: MessageId, offset: u64, bytes: &[u8]) -> Result<usize> { Err(Errno::ENOSYS) }
    pub(crate) fn reply(&self, id: MessageId, status: i64, bytes: &[u8]) -> Result { Err(Errno::ENOSYS) }
    pub(crate) fn fail(&self, id: MessageId, errno: Errno) -> Result { Err(Errno::ENOSYS) }
    pub(crate) fn attach(&self, nd: Nd, pid: Pid, channel: ChannelId, identity: Option<&Identity>) -> Result<ConnectionId> { Err(Errno::ENOSYS) }
    pub(crate) fn duplicate(&self, id: ConnectionId) -> Result<ConnectionId> { Err(Errno::ENOSYS) }
    pub(crate) fn detach(&self, id: ConnectionId) {}
    pub(crate) fn peer(&self, id: ConnectionId) -> Incarnation { Incarnation(0) }
    pub(crate) fn is_dead(&self, id: ConnectionId) -> bool { false }
    pub(crate) fn send(&self, id: ConnectionId, request: &[IoSlice<'_>], reply: &mut [IoSliceMut<'_>], options: &SendOptions<'_>) -> core::result::Result<Reply, Failure> { Err(Failure::local(Errno::ENOSYS)) }
    pub(crate) fn pulse(&self, id: ConnectionId, priority: i16, code: i8, value: u64) -> Result { Err(Errno::ENOSYS) }
}
