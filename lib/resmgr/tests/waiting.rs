//! Requests that wait, clients that give up or die, and handlers that misbehave.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use abi::devctl::ALL_SETFLAGS;
use abi::io::{Read, Request};
use abi::{Errno, OpenFlags};
use resmgr::testing::TestManager;
use resmgr::{Answer, Attributes, OpenFile, ReadRequest, Resource, WaitQueue, WriteRequest};

const READ: OpenFlags = OpenFlags::READ;
const WRITE: OpenFlags = OpenFlags::WRITE;

/// Answers a read only when a write comes; counts its closes.
#[derive(Clone, Default)]
struct Pipe {
    readers: Arc<WaitQueue<ReadRequest>>,
    closed: Arc<AtomicUsize>,
}

impl Resource for Pipe {
    fn read(&self, _file: &OpenFile, read: ReadRequest) -> Answer {
        self.readers.park(read)
    }

    fn write(&self, _file: &OpenFile, mut write: WriteRequest) -> Answer {
        let bytes = write.unwritten().unwrap_or_default().to_vec();
        match self.readers.take() {
            Some(reader) => drop(reader.data(&bytes)),
            None => return write.fail(Errno::EPIPE),
        }
        write.accept_all()
    }

    fn close(&self, _file: &OpenFile) {
        self.closed.fetch_add(1, Ordering::SeqCst);
    }
}

fn pipe() -> (Pipe, TestManager) {
    let pipe = Pipe::default();
    (
        pipe.clone(),
        TestManager::new(Attributes::device(0o666), pipe),
    )
}

const WANT: Request<'static> = Request::Read(Read {
    nbytes: 10,
    offset: None,
});

#[test]
fn parked_requests_are_woken_in_order() {
    let (_, manager) = pipe();
    let client = manager.client(5, 5);
    let files: Vec<_> = (0..3)
        .map(|_| client.open("", READ | WRITE).unwrap())
        .collect();
    let waiting: Vec<_> = files.iter().map(|file| file.start(&WANT)).collect();
    assert!(waiting.iter().all(|sent| sent.answer().is_none()));
    for (index, sent) in waiting.iter().enumerate() {
        files[2].write(&[b'a' + index as u8]).unwrap();
        assert_eq!(sent.wait(), Ok((1, vec![b'a' + index as u8])));
    }
    assert_eq!(files[2].write(b"x"), Err(Errno::EPIPE));
}

// qnx: I40, R15
#[test]
fn a_parked_request_that_is_unblocked_answers_eintr_and_is_forgotten() {
    let (pipe, manager) = pipe();
    let file = manager.client(5, 5).open("", READ | WRITE).unwrap();
    let (first, second) = (file.start(&WANT), file.start(&WANT));
    first.interrupt();
    assert_eq!(first.wait(), Err(Errno::EINTR));
    first.interrupt();
    assert_eq!(pipe.readers.len(), 1);
    file.write(b"x").unwrap();
    assert_eq!(second.wait(), Ok((1, b"x".to_vec())));
    second.interrupt();
}

// qnx: R14
#[test]
fn a_dead_client_is_closed_and_what_it_waited_for_is_forgotten() {
    let (pipe, manager) = pipe();
    let (dying, living) = (manager.client(5, 5), manager.client(5, 5));
    let gone = dying.open("", READ | WRITE).unwrap();
    let duplicate = gone.dup().unwrap();
    let stays = living.open("", READ | WRITE).unwrap();
    let lost = duplicate.start(&WANT);
    let kept = stays.start(&WANT);
    dying.die();
    assert_eq!(
        pipe.closed.load(Ordering::SeqCst),
        1,
        "two connections, one open file"
    );
    assert_eq!(manager.open_connections(), 1);
    assert!(lost.answer().is_some());
    stays.write(b"x").unwrap();
    assert_eq!(kept.wait(), Ok((1, b"x".to_vec())));
    assert_eq!(gone.read(1), Err(Errno::EBADF));
    stays.close().unwrap();
    assert_eq!(pipe.closed.load(Ordering::SeqCst), 2);
}

#[test]
fn a_nonblocking_file_is_never_parked() {
    let (pipe, manager) = pipe();
    let file = manager
        .client(5, 5)
        .open("", READ | OpenFlags::NONBLOCK)
        .unwrap();
    assert_eq!(file.read(1), Err(Errno::EAGAIN));
    file.devctl(ALL_SETFLAGS, &OpenFlags::empty()).unwrap();
    let sent = file.start(&WANT);
    assert_eq!(sent.answer(), None);
    pipe.readers.refuse_all(Errno::EIO);
    assert_eq!(sent.wait(), Err(Errno::EIO));
}

#[test]
fn a_full_wait_queue_refuses_with_eagain() {
    struct Narrow(WaitQueue<ReadRequest>);
    impl Resource for Narrow {
        fn read(&self, _file: &OpenFile, read: ReadRequest) -> Answer {
            self.0.park(read)
        }
    }
    let narrow = Narrow(WaitQueue::with_limit(1));
    let file = TestManager::new(Attributes::device(0o666), narrow);
    let file = file.client(5, 5).open("", READ).unwrap();
    let first = file.start(&WANT);
    assert_eq!(file.read(1), Err(Errno::EAGAIN));
    assert_eq!(first.answer(), None);
}

#[test]
fn a_request_that_is_dropped_or_whose_handler_panics_answers_eio() {
    struct Careless;
    impl Resource for Careless {
        fn read(&self, _file: &OpenFile, read: ReadRequest) -> Answer {
            assert!(!read.is_empty(), "a bug in a manager");
            drop(read);
            // An answer to something else is all that a careless author can get hold of.
            KEPT.lock().unwrap().take().expect("the test keeps one")
        }

        fn write(&self, _file: &OpenFile, write: WriteRequest) -> Answer {
            *KEPT.lock().unwrap() = Some(write.accept_all());
            panic!("a bug in a manager");
        }
    }
    static KEPT: Mutex<Option<Answer>> = Mutex::new(None);
    let file = TestManager::new(Attributes::device(0o666), Careless);
    let file = file.client(5, 5).open("", READ | WRITE).unwrap();
    assert_eq!(file.write(b"x"), Ok(1));
    assert_eq!(file.read(1), Err(Errno::EIO));
    assert_eq!(file.read(0), Err(Errno::EIO));
}
