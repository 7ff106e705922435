//! The framework behind real channels: shared memory and encrypted UDP, without a daemon.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use abi::connect::{Connect, ConnectStatus};
use abi::io::{Read, Request};
use abi::{ChannelId, Decode, Encode, Errno, Handle, Nd, OpenFlags, Pid};
use ipc::{Connection, Endpoint, Interrupt, SendOptions, direct};
use resmgr::{
    Answer, Attributes, OpenFile, ReadRequest, Resource, Running, Server, WaitQueue, WriteRequest,
};
use testkit::until;

/// A mailbox: reads wait for a write; counts its closes.
#[derive(Clone, Default)]
struct Mailbox {
    content: Arc<Mutex<Vec<u8>>>,
    readers: Arc<WaitQueue<ReadRequest>>,
    closed: Arc<AtomicUsize>,
}

impl Resource for Mailbox {
    fn read(&self, _file: &OpenFile, read: ReadRequest) -> Answer {
        let content = self.content.lock().unwrap();
        if content.is_empty() {
            return self.readers.park(read);
        }
        read.fill(|space| {
            let count = content.len().min(space.len());
            space[..count].copy_from_slice(&content[..count]);
            Ok(count)
        })
    }

    fn write(&self, _file: &OpenFile, write: WriteRequest) -> Answer {
        let mut content = self.content.lock().unwrap();
        content.clear();
        let answer = write.pour(|_, bytes| {
            content.extend_from_slice(bytes);
            Ok(bytes.len())
        });
        while let Some(reader) = self.readers.take() {
            let _ = reader.data(&content);
        }
        answer
    }

    fn close(&self, _file: &OpenFile) {
        self.closed.fetch_add(1, Ordering::SeqCst);
    }
}

/// A served mailbox and the endpoint of a client.
struct Bench {
    mailbox: Mailbox,
    client: Endpoint,
    nd: Nd,
    channel: ChannelId,
    handle: Handle,
    running: Running,
}

impl Bench {
    fn new((client, server): (Endpoint, Endpoint), nd: Nd) -> Self {
        let mailbox = Mailbox::default();
        let server = Server::new(&server).unwrap().threads(1..=3);
        let (server, handle) = server.attach_local(Attributes::device(0o666), mailbox.clone());
        let channel = server.channel();
        Self {
            mailbox,
            client,
            nd,
            channel,
            handle,
            running: server.start().unwrap(),
        }
    }

    fn connect(&self) -> Connection {
        Connection::attach(&self.client, self.nd, Pid(2), self.channel).unwrap()
    }

    fn open(&self) -> Connection {
        let connection = self.connect();
        let connect = Connect::open(self.handle, b"", OpenFlags::READ_WRITE);
        let mut reply = [0; 256];
        let answer = connection
            .send(&connect.to_bytes().unwrap(), &mut reply)
            .unwrap();
        assert_eq!(answer.status, ConnectStatus::Ok.status());
        let opened = abi::connect::Opened::from_bytes(&reply[..answer.len]).unwrap();
        assert!(opened.direct);
        connection
    }
}

fn benches() -> [Bench; 2] {
    [
        Bench::new(direct::pair().unwrap(), Nd::LOCAL),
        Bench::new(direct::udp_pair().unwrap(), Nd(1)),
    ]
}

fn write(connection: &Connection, data: &[u8]) -> i64 {
    let message = Request::Write { offset: None, data }.to_bytes().unwrap();
    connection.send(&message, &mut []).unwrap().status
}

fn read(connection: &Connection, nbytes: u32) -> Result<Vec<u8>, Errno> {
    let message = Request::Read(Read {
        nbytes,
        offset: None,
    })
    .to_bytes()
    .unwrap();
    let mut reply = vec![0; nbytes as usize];
    let answer = connection.send(&message, &mut reply).map_err(Errno::from)?;
    assert_eq!(answer.len, answer.status as usize, "all bytes are counted");
    reply.truncate(answer.len);
    Ok(reply)
}

#[test]
fn small_and_large_messages_reach_the_resource_and_come_back() {
    for bench in benches() {
        let file = bench.open();
        assert_eq!(write(&file, b"hello"), 5);
        assert_eq!(read(&file, 100).unwrap(), b"hello");
        assert_eq!(read(&file, 2).unwrap(), b"he");
        // Room for more than the server's buffer, and less to say.
        assert_eq!(read(&file, 1 << 20).unwrap(), b"hello");
        // More than the server's buffer: fetched and brought back in pieces.
        let big: Vec<u8> = (0..1_000_000u32).map(|index| (index % 251) as u8).collect();
        assert_eq!(write(&file, &big), 1_000_000);
        assert!(read(&file, 1 << 20).unwrap() == big);
    }
}

#[test]
fn a_parked_read_is_answered_by_another_clients_write() {
    for bench in benches() {
        let (reader, writer) = (bench.open(), bench.open());
        thread::scope(|scope| {
            let waiting = scope.spawn(|| read(&reader, 10));
            until("the read waits", || bench.mailbox.readers.len() == 1);
            assert_eq!(write(&writer, b"news"), 4);
            assert_eq!(waiting.join().unwrap(), Ok(b"news".to_vec()));
        });
    }
}

// qnx: I40
#[test]
fn an_interrupted_read_leaves_the_queue_and_answers_eintr() {
    for bench in benches() {
        let file = bench.open();
        let interrupt = Interrupt::new();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let message = Request::Read(Read {
                    nbytes: 10,
                    offset: None,
                })
                .to_bytes()
                .unwrap();
                let options = SendOptions {
                    interrupt: Some(&interrupt),
                    ..Default::default()
                };
                let mut reply = [0; 10];
                let parts = &mut [std::io::IoSliceMut::new(&mut reply)];
                let sent = file.send_vectored(&[std::io::IoSlice::new(&message)], parts, &options);
                sent.map(|reply| reply.status).map_err(Errno::from)
            });
            until("the read waits", || bench.mailbox.readers.len() == 1);
            interrupt.trigger();
            assert_eq!(waiting.join().unwrap(), Err(Errno::EINTR));
            assert!(bench.mailbox.readers.is_empty());
        });
        assert_eq!(write(&file, b"still works"), 11);
    }
}

// qnx: I43
#[test]
fn a_read_with_a_deadline_is_taken_back_from_the_server() {
    for bench in benches() {
        let file = bench.open();
        let message = Request::Read(Read {
            nbytes: 10,
            offset: None,
        })
        .to_bytes()
        .unwrap();
        let deadline = Some(Instant::now() + Duration::from_millis(50));
        let options = SendOptions {
            deadline,
            ..Default::default()
        };
        let sent = file.send_vectored(&[std::io::IoSlice::new(&message)], &mut [], &options);
        assert_eq!(sent.map(|_| ()).map_err(Errno::from), Err(Errno::ETIMEDOUT));
        assert!(bench.mailbox.readers.is_empty());
    }
}

// qnx: R14
#[test]
fn a_client_that_is_gone_is_closed_and_forgotten() {
    for bench in benches() {
        let (one, two) = (bench.open(), bench.open());
        thread::scope(|scope| {
            let waiting = scope.spawn(|| read(&one, 10));
            until("the read waits", || bench.mailbox.readers.len() == 1);
            direct::shut_down(&bench.client);
            assert!(waiting.join().unwrap().is_err());
        });
        if bench.nd.is_local() {
            until("both are closed", || {
                bench.mailbox.closed.load(Ordering::SeqCst) == 2
            });
            assert!(bench.mailbox.readers.is_empty());
            assert_eq!(bench.running.open_connections(), 0);
        }
        drop((one, two));
    }
}

// qnx: R14, I9
#[test]
fn the_last_connection_that_is_dropped_without_a_close_closes_all() {
    for bench in benches() {
        let (one, two) = (bench.open(), bench.open());
        drop(one);
        drop(two);
        until("both are closed", || {
            bench.mailbox.closed.load(Ordering::SeqCst) == 2
        });
        assert_eq!(bench.running.open_connections(), 0);
    }
}

// qnx: I3
#[test]
fn a_server_that_ends_fails_those_who_wait_and_ends_its_threads() {
    for bench in benches() {
        let file = bench.open();
        let (mailbox, running) = (bench.mailbox.clone(), bench.running);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| read(&file, 10));
            until("the read waits", || mailbox.readers.len() == 1);
            drop(running);
            let refused = waiting.join().unwrap();
            assert!(
                matches!(refused, Err(Errno::ESRCH | Errno::EINTR)),
                "{refused:?}"
            );
        });
        assert_eq!(mailbox.closed.load(Ordering::SeqCst), 1);
    }
}

// qnx: R6
#[test]
fn many_blocked_clients_do_not_keep_others_waiting() {
    for bench in benches() {
        let files: Vec<_> = (0..20).map(|_| bench.open()).collect();
        let writer = bench.open();
        thread::scope(|scope| {
            for file in &files {
                scope.spawn(move || assert_eq!(read(file, 10), Ok(b"all".to_vec())));
            }
            until("all wait", || bench.mailbox.readers.len() == 20);
            assert_eq!(write(&writer, b"all"), 3);
        });
    }
}
