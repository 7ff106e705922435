//! Serves `/dev/hello` until it is stopped: `cargo run -p slashnet --example hello`, then read it with
//! `slashnet cat /dev/hello`, or `/net/<this node>/dev/hello` from any other node.

use slashnet::resmgr::{self, Answer, Attributes, OpenFile, ReadRequest, Resource, ServeError};

struct Hello;

impl Resource for Hello {
    fn read(&self, _file: &OpenFile, read: ReadRequest) -> Answer {
        read.slice(b"hello, world\n")
    }
}

fn main() -> Result<(), ServeError> {
    resmgr::serve("/dev/hello", Attributes::device(0o444), Hello)
}
