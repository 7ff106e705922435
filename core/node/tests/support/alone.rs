//! What programs of one node say in nearly every test of it.

use abi::system::{Attach, OpenSession, Request};
use abi::{AttachFlags, ChannelId, FileType, Handle, Nd, Pid};
use slashnet_node::Descriptors;

use super::Lab;

/// A user who does not own the node.
pub const GUEST: u32 = 2000;

/// A node that knows no other.
pub fn node() -> Lab {
    let mut lab = Lab::strangers(1);
    lab.start_all();
    lab
}

pub fn attach_as(path: &[u8], file_type: FileType, flags: AttachFlags) -> Request {
    Request::Attach(Attach {
        path: path.to_vec(),
        flags,
        file_type,
        channel: ChannelId(1),
        handle: Handle(0),
    })
}

pub fn attach(path: &[u8]) -> Request {
    attach_as(path, FileType::ANY, AttachFlags::empty())
}

pub fn open(pid: Pid) -> Request {
    Request::OpenSession(OpenSession {
        nd: Nd::LOCAL,
        pid,
        identity: None,
        sockets: vec![],
    })
}

/// The memory of a session, which goes to the node with the request.
pub fn memory(key: u64) -> Option<Descriptors> {
    Some(Descriptors { key, count: 1 })
}
