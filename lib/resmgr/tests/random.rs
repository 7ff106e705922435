//! Clients that open, lock, wait, watch, give up and die at random: nothing of them stays, every message is
//! answered, and nobody holds what another one has.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use abi::io::{
    Events, Lock, LockCommand, LockKind, LockRange, LockStyle, NotifyAction, Read, Request, Watch,
    Watches,
};
use abi::{Errno, OpenFlags};
use resmgr::testing::{Sent, TestClient, TestFile, TestManager};
use resmgr::{
    Answer, Attributes, Notices, NotifyRequest, OpenFile, OpenRequest, Opening, ReadRequest,
    Resource, WaitQueue, WriteRequest,
};

/// Reads and notices wait until something is written.
#[derive(Clone, Default)]
struct Pipe {
    readers: Arc<WaitQueue<ReadRequest>>,
    notices: Arc<Notices>,
    open: Arc<AtomicI64>,
}

impl Resource for Pipe {
    fn open(&self, open: OpenRequest) -> Answer {
        self.open.fetch_add(1, Ordering::SeqCst);
        let inode = u64::from(open.path()[0]);
        let attributes = Arc::new(Attributes::device(0o666));
        open.accept_as(Opening::new().attributes(attributes).identity(1, inode))
    }

    fn close(&self, _file: &OpenFile) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    fn read(&self, _file: &OpenFile, read: ReadRequest) -> Answer {
        self.readers.park(read)
    }

    fn write(&self, _file: &OpenFile, write: WriteRequest) -> Answer {
        if let Some(reader) = self.readers.take() {
            let _ = reader.data(b"x");
        }
        self.notices.trigger(Events::INPUT);
        write.accept_all()
    }

    fn notify(&self, _file: &OpenFile, notify: NotifyRequest) -> Answer {
        self.notices.watch(notify, Events::empty())
    }
}

/// Numbers that look random and are the same for the same seed (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % sides
    }
}

struct Client {
    process: TestClient,
    files: Vec<(u8, TestFile)>,
    /// Messages that may not be answered yet.
    waiting: Vec<Sent>,
}

struct Story {
    dice: Dice,
    pipe: Pipe,
    manager: TestManager,
    clients: Vec<Client>,
    /// Who has written locks on which file, as the answers said: by client and byte.
    model: BTreeMap<(u8, u64), usize>,
}

const BYTES: u64 = 8;

impl Story {
    fn new(seed: u64) -> Self {
        let pipe = Pipe::default();
        let manager = TestManager::new(Attributes::directory(0o777), pipe.clone());
        let mut story = Self {
            dice: Dice(seed * 2 + 0x9e37_79b9_7f4a_7c15),
            pipe,
            manager,
            clients: Vec::new(),
            model: BTreeMap::new(),
        };
        (0..4).for_each(|_| story.arrive());
        story
    }

    fn arrive(&mut self) {
        let process = self.manager.client(5, 5);
        self.clients.push(Client {
            process,
            files: Vec::new(),
            waiting: Vec::new(),
        });
    }

    fn turn(&mut self) {
        let who = self.dice.roll(self.clients.len());
        let number = self.dice.roll(100);
        let client = &mut self.clients[who];
        let chosen = match client.files.len() {
            0 => None,
            len => Some(self.dice.roll(len)),
        };
        match (number, chosen) {
            (0..20, _) | (_, None) => {
                let name = b'a' + self.dice.roll(3) as u8;
                let path = char::from(name).to_string();
                let file = client.process.open(&path, OpenFlags::READ_WRITE).unwrap();
                client.files.push((name, file));
            }
            (20..30, Some(at)) => {
                let (name, file) = client.files.swap_remove(at);
                file.close().unwrap();
                self.model
                    .retain(|(other, _), holder| (*other, *holder) != (name, who));
            }
            (30..35, Some(at)) => {
                let (name, file) = &client.files[at];
                let double = (*name, file.dup().unwrap());
                client.files.push(double);
            }
            (35..60, Some(at)) => self.lock(who, at),
            (60..68, Some(at)) => {
                let read = Read {
                    nbytes: 1,
                    offset: None,
                };
                let sent = client.files[at].1.start(&Request::Read(read));
                client.waiting.push(sent);
            }
            (68..76, Some(_)) => self.watch(who),
            (76..86, Some(at)) => {
                client.files[at].1.write(b"x").unwrap();
            }
            (86..96, Some(_)) => {
                if !client.waiting.is_empty() {
                    let at = self.dice.roll(client.waiting.len());
                    client.waiting[at].interrupt();
                }
            }
            (_, Some(_)) => self.die(who),
        }
    }

    /// Sets or clears a lock at once, or waits for one of the other sort, which the model does not have.
    fn lock(&mut self, who: usize, at: usize) {
        let (name, file) = &self.clients[who].files[at];
        let name = *name;
        let start = self.dice.roll(BYTES as usize) as u64;
        let len = 1 + self.dice.roll((BYTES - start) as usize) as u64;
        let kind = if self.dice.roll(3) == 0 {
            LockKind::Unlock
        } else {
            LockKind::Write
        };
        let mut lock = Lock {
            command: LockCommand::Set,
            style: LockStyle::Process,
            range: LockRange {
                kind,
                start,
                len,
                ..LockRange::default()
            },
        };
        if self.dice.roll(3) == 0 {
            lock.command = LockCommand::SetWait;
            lock.style = LockStyle::Flock;
            let sent = file.start(&Request::Lock(lock));
            self.clients[who].waiting.push(sent);
            return;
        }
        let outcome = file.ask(&Request::Lock(lock)).map(drop);
        let range = start..start + len;
        let is_free = range.clone().all(|byte| {
            self.model
                .get(&(name, byte))
                .is_none_or(|holder| *holder == who)
        });
        if kind == LockKind::Unlock {
            assert_eq!(outcome, Ok(()));
            self.model.retain(|(other, byte), holder| {
                *other != name || *holder != who || !range.contains(byte)
            });
        } else if is_free {
            assert_eq!(outcome, Ok(()));
            self.model.extend(range.map(|byte| ((name, byte), who)));
        } else {
            assert_eq!(outcome, Err(Errno::EAGAIN));
        }
    }

    fn watch(&mut self, who: usize) {
        let client = &mut self.clients[who];
        let watch = |(_, file): &(u8, TestFile)| Watch {
            connection: file.id(),
            events: Events::INPUT,
        };
        let list: Vec<_> = client.files.iter().map(watch).collect();
        let bytes = Watches::encode_all(&list).unwrap();
        let watches = Watches::new(NotifyAction::Arm, &bytes).unwrap();
        let sent = client.files[0].1.start(&Request::NotifyMany(watches));
        client.waiting.push(sent);
    }

    fn die(&mut self, who: usize) {
        self.clients[who].process.die();
        self.clients[who] = Client {
            process: self.manager.client(5, 5),
            files: Vec::new(),
            waiting: Vec::new(),
        };
        self.model.retain(|_, holder| *holder != who);
    }

    fn check(&self) {
        let connections: usize = self.clients.iter().map(|client| client.files.len()).sum();
        assert_eq!(self.manager.open_connections(), connections);
        let waiting = self.clients.iter().flat_map(|client| &client.waiting);
        let open = waiting.filter(|sent| sent.answer().is_none()).count();
        let parked = self.pipe.readers.len() + self.pipe.notices.len();
        assert!(open > 0 || parked == 0, "{parked} wait for nobody");
    }

    fn end(mut self) {
        for who in 0..self.clients.len() {
            let waiting = std::mem::take(&mut self.clients[who].waiting);
            self.die(who);
            for sent in waiting {
                assert!(sent.answer().is_some(), "a client was never answered");
            }
        }
        assert_eq!(self.manager.open_connections(), 0);
        assert_eq!(self.manager.held_locks(), 0);
        assert_eq!(self.manager.waiting_requests(), 0);
        assert_eq!(self.pipe.open.load(Ordering::SeqCst), 0, "opens and closes");
        assert_eq!(self.pipe.readers.len() + self.pipe.notices.len(), 0);
    }
}

// qnx: R12, R13, R14, R15
#[test]
fn nothing_stays_of_clients_that_do_anything_and_die() {
    for seed in 1..=40 {
        let mut story = Story::new(seed);
        for _ in 0..500 {
            story.turn();
            story.check();
        }
        story.end();
    }
}
