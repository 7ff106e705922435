//! `/dev/counter`: every open reads the next number; a number that is written is the next one.

use std::sync::atomic::{AtomicU64, Ordering};

use resmgr::{
    Answer, Attributes, Errno, OpenFile, OpenRequest, Opening, ReadRequest, Resource, ServeError,
    WriteRequest, posix,
};

#[derive(Default)]
struct Counter {
    next: AtomicU64,
}

/// What one open has counted, as text.
struct Counted(String);

impl Resource for Counter {
    fn open(&self, open: OpenRequest) -> Answer {
        if let Err(errno) = posix::open::verify(&open) {
            return open.fail(errno);
        }
        let text = if open.is_for_reading() {
            format!("{}\n", self.next.fetch_add(1, Ordering::Relaxed))
        } else {
            String::new()
        };
        open.accept_as(Opening::new().state(Counted(text)))
    }

    fn read(&self, file: &OpenFile, read: ReadRequest) -> Answer {
        match file.state::<Counted>() {
            Some(counted) => read.slice(counted.0.as_bytes()),
            None => read.fail(Errno::EBADF),
        }
    }

    fn write(&self, file: &OpenFile, mut write: WriteRequest) -> Answer {
        if let Err(errno) = posix::write::verify(file, &write) {
            return write.fail(errno);
        }
        let number = write.unwritten().map(|text| {
            let text = std::str::from_utf8(text).unwrap_or_default();
            text.trim().parse()
        });
        match number {
            Ok(Ok(number)) => self.next.store(number, Ordering::Relaxed),
            Ok(Err(_)) => return write.fail(Errno::EINVAL),
            Err(errno) => return write.fail(errno),
        }
        write.accept_all()
    }
}

fn main() -> Result<(), ServeError> {
    let path = std::env::args().nth(1);
    let path = path.as_deref().unwrap_or("/dev/counter");
    resmgr::serve(path, Attributes::device(0o666), Counter::default())
}
