//! Bytes that are more than a buffer, and state that each open has for itself.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::sync::Mutex;

use abi::OpenFlags;
use abi::io::{Read, Request};
use resmgr::testing::{TestFile, TestManager};
use resmgr::{
    Answer, Attributes, OpenFile, OpenRequest, Opening, ReadRequest, Resource, WriteRequest,
};

const READ: OpenFlags = OpenFlags::READ;
const WRITE: OpenFlags = OpenFlags::WRITE;

fn read_at(file: &TestFile, nbytes: u32, offset: u64) -> abi::Result<Vec<u8>> {
    file.ask(&Request::Read(Read {
        nbytes,
        offset: Some(offset),
    }))
    .map(|(_, bytes)| bytes)
}

/// Keeps what is written per open, and reads it back.
struct Scratchpad;

impl Resource for Scratchpad {
    fn open(&self, open: OpenRequest) -> Answer {
        open.accept_as(Opening::new().state(Mutex::new(Vec::<u8>::new())))
    }

    fn read(&self, file: &OpenFile, read: ReadRequest) -> Answer {
        let content = file.state::<Mutex<Vec<u8>>>().unwrap().lock().unwrap();
        let start = read.offset().unwrap_or(0) as usize;
        read.fill(|space| {
            let rest = &content[content.len().min(start)..];
            let count = rest.len().min(space.len());
            space[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        })
    }

    fn write(&self, file: &OpenFile, write: WriteRequest) -> Answer {
        let mut content = file.state::<Mutex<Vec<u8>>>().unwrap().lock().unwrap();
        write.pour(|_, bytes| {
            content.extend_from_slice(bytes);
            Ok(bytes.len())
        })
    }
}

#[test]
fn a_megabyte_passes_through_small_buffers_unharmed() {
    let manager = TestManager::with_message_bytes(Attributes::file(0o666), Scratchpad, 1000);
    let file = manager.client(5, 5).open("", READ | WRITE).unwrap();
    let bytes: Vec<u8> = (0..1_000_000u32).map(|index| (index % 251) as u8).collect();
    assert_eq!(file.write(&bytes), Ok(1_000_000));
    assert_eq!(file.read(1 << 20).unwrap(), bytes);
    assert_eq!(read_at(&file, 1500, 999_000).unwrap(), bytes[999_000..]);
    let more = file
        .ask(&Request::Read(Read {
            nbytes: u32::MAX,
            offset: Some(0),
        }))
        .unwrap();
    assert_eq!(more.0, 1_000_000);
}

// qnx: R46
#[test]
fn opens_of_one_client_do_not_share_their_state() {
    let client = TestManager::new(Attributes::file(0o666), Scratchpad).client(5, 5);
    let (one, two) = (
        client.open("", READ | WRITE).unwrap(),
        client.open("", READ | WRITE).unwrap(),
    );
    one.write(b"one").unwrap();
    two.write(b"two!").unwrap();
    assert_eq!(
        (one.read(9).unwrap(), two.read(9).unwrap()),
        (b"one".to_vec(), b"two!".to_vec())
    );
}
