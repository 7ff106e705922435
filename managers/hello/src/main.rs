//! `/dev/hello`: the smallest resource manager, and the one to copy for a new one.
use resmgr::{Answer, Attributes, OpenFile, ReadRequest, Resource, ServeError};

struct Hello;

impl Resource for Hello {
    fn read(&self, _file: &OpenFile, read: ReadRequest) -> Answer {
        read.slice(b"hello, world\n")
    }
}

fn main() -> Result<(), ServeError> {
    resmgr::serve("/dev/hello", Attributes::device(0o444), Hello)
}
