//! What a server listens to besides files, and what can be changed while it serves.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use abi::connect::Connect;
use abi::io::{Read, Request};
use abi::{Encode, Errno, Handle, Nd, OpenFlags, Pid};
use ipc::{Connection, direct};
use resmgr::{
    Answer, Attributes, Detach, OpenFile, RawRequest, ReadRequest, Resource, Server, ThreadPool,
    WaitQueue,
};
use testkit::until;

/// Reads wait for ever.
#[derive(Clone, Default)]
struct Silent {
    readers: Arc<WaitQueue<ReadRequest>>,
    closed: Arc<AtomicU64>,
}

impl Resource for Silent {
    fn read(&self, _file: &OpenFile, read: ReadRequest) -> Answer {
        self.readers.park(read)
    }

    fn close(&self, _file: &OpenFile) {
        self.closed.fetch_add(1, Ordering::SeqCst);
    }
}

fn send(connection: &Connection, message: &[u8]) -> Result<i64, Errno> {
    let sent = connection.send(message, &mut [0; 256]);
    sent.map(|reply| reply.status).map_err(Errno::from)
}

fn open(connection: &Connection, handle: Handle) -> Result<i64, Errno> {
    let connect = Connect::open(handle, b"", OpenFlags::READ);
    send(connection, &connect.to_bytes().unwrap())
}

fn read(connection: &Connection) -> Result<i64, Errno> {
    let read = Request::Read(Read {
        nbytes: 1,
        offset: None,
    });
    send(connection, &read.to_bytes().unwrap())
}

// qnx: R2
#[test]
fn handlers_of_pulses_and_messages_keep_to_numbers_that_are_free() {
    let (_client, endpoint) = direct::pair().unwrap();
    let server = || Server::new(&endpoint).unwrap();
    let twice = server()
        .on_pulse(5, |_| {})
        .and_then(|server| server.on_pulse(5, |_| {}));
    assert_eq!(twice.map(drop), Err(Errno::EBUSY));
    let of_the_system = server().on_pulse(-1, |_| {});
    assert_eq!(of_the_system.map(drop), Err(Errno::EINVAL));
    let answer = |request: RawRequest| request.reply(0, &[]);
    let low = server().on_message(0x1ff..=0x200, answer);
    assert_eq!(low.map(drop), Err(Errno::EINVAL));
    let twice = server()
        .on_message(0x200..=0x280, answer)
        .and_then(|server| server.on_message(0x280..=0x300, answer));
    assert_eq!(twice.map(drop), Err(Errno::EBUSY));
}

// qnx: R2
#[test]
fn a_message_of_ones_own_is_answered_and_one_that_nobody_knows_refused() {
    let (client, server) = direct::pair().unwrap();
    let (told, heard) = mpsc::channel();
    let server = Server::new(&server)
        .unwrap()
        .on_pulse(5, move |pulse| told.send(pulse.value).unwrap())
        .unwrap()
        .on_message(0x300..=0x3ff, |request| {
            let mut rest = [0; 8];
            let count = request.read_at(2, &mut rest).unwrap();
            request.reply(count as i64, &[])
        })
        .unwrap();
    let poster = server.poster();
    let channel = server.channel();
    let _running = server.start().unwrap();
    let connection = Connection::attach(&client, Nd::LOCAL, Pid(2), channel).unwrap();
    assert_eq!(send(&connection, &[0x42, 0x03, 1, 2, 3]), Ok(3));
    assert_eq!(send(&connection, &[0x00, 0x04]), Err(Errno::ENOSYS));
    assert_eq!(
        send(&connection, &[0x12, 0x01, 0, 0]),
        Err(Errno::ENOSYS),
        "mmap"
    );
    assert_eq!(send(&connection, &[1]), Err(Errno::EINVAL));
    poster.post(5, 77).unwrap();
    assert_eq!(heard.recv_timeout(Duration::from_secs(60)), Ok(77));
}

// qnx: R10, R16
#[test]
fn a_path_is_given_up_with_its_open_files_or_without() {
    let (client, server) = direct::pair().unwrap();
    let silent = Silent::default();
    let server = Server::new(&server).unwrap();
    let (server, kept) = server.attach_local(Attributes::device(0o666), silent.clone());
    let (server, ended) = server.attach_local(Attributes::device(0o666), silent.clone());
    let channel = server.channel();
    let running = server.start().unwrap();
    let connect = || Connection::attach(&client, Nd::LOCAL, Pid(2), channel).unwrap();
    let (one, two) = (connect(), connect());
    assert_eq!((open(&one, kept), open(&two, ended)), (Ok(0), Ok(0)));
    thread::scope(|scope| {
        let first = scope.spawn(|| read(&one));
        let second = scope.spawn(|| read(&two));
        until("both wait", || silent.readers.len() == 2);
        running.detach(kept, Detach::Path).unwrap();
        running.detach(ended, Detach::All).unwrap();
        assert_eq!(running.detach(ended, Detach::All), Err(Errno::ENOENT));
        assert_eq!(second.join().unwrap(), Err(Errno::EBADF));
        assert_eq!(read(&two), Err(Errno::EBADF));
        assert_eq!(silent.closed.load(Ordering::SeqCst), 1);
        assert_eq!(silent.readers.len(), 1, "the other still waits");
        let answer = silent.readers.take().unwrap();
        let _ = answer.data(b"x");
        assert_eq!(first.join().unwrap(), Ok(1));
    });
    assert_eq!(open(&connect(), kept), Err(Errno::ENXIO));
    assert_eq!(running.open_connections(), 1);
}

// qnx: R6
#[test]
fn the_marks_of_the_threads_change_while_they_serve() {
    struct Busy(Arc<AtomicU64>, Arc<AtomicU64>);
    impl Resource for Busy {
        fn read(&self, _file: &OpenFile, read: ReadRequest) -> Answer {
            let busy = self.0.fetch_add(1, Ordering::SeqCst) + 1;
            until("enough are busy", || {
                self.0.load(Ordering::SeqCst).max(busy) >= self.1.load(Ordering::SeqCst)
            });
            read.data(b"x")
        }
    }
    let (client, server) = direct::pair().unwrap();
    let (busy, enough) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(6)));
    let server = Server::new(&server).unwrap().threads(1..=1);
    let resource = Busy(Arc::clone(&busy), Arc::clone(&enough));
    let (server, handle) = server.attach_local(Attributes::device(0o666), resource);
    let channel = server.channel();
    let running = server.start().unwrap();
    running.set_thread_pool(ThreadPool {
        low: 2,
        increment: 4,
        high: 8,
        maximum: 8,
    });
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let file = Connection::attach(&client, Nd::LOCAL, Pid(2), channel).unwrap();
                open(&file, handle).unwrap();
                // Answered once six threads serve at the same time.
                assert_eq!(read(&file), Ok(1));
            });
        }
    });
    assert_eq!(busy.load(Ordering::SeqCst), 6);
}
