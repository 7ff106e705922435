//! The daemon's only loop: one input into the node, everything the node wants done, and again.

mod accepting;
mod outputs;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use abi::Instant;
use abi::system::PACKET_MAX;
use drivers::ReceiveBatch;
use node::{Config, Input, Node, ProgramKey};
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};

use crate::builder::KILL;
use crate::descriptors::Held;
use crate::doors::Doors;
use crate::held_back::HeldBack;
use crate::interface_watch::InterfaceWatch;
use crate::interfaces::Interfaces;
use crate::links::Links;
use crate::node_page::NodePage;
use crate::program_socket::{ProgramSocket, Received};
use crate::relays::Relays;
use crate::trust_keeper::TrustKeeper;
use crate::unsent::Unsent;
use crate::{StartError, clock, event_number};

/// What an event is about, in the top byte of its number; the rest is a program's key or a link's index.
const LISTENER: u64 = 0;
const STOP: u64 = 1;
const LINK: u64 = 2;
const PROGRAM: u64 = 3;
const PROCESS: u64 = 4;
const INTERFACES: u64 = 5;
const RELAY: u64 = 6;
const TRUST: u64 = 7;
const DOOR: u64 = 8;
const KIND_SHIFT: u32 = 56;

/// Events taken at once.
const EVENTS_MAX: usize = 64;
/// Packets and connections taken from one socket before the others have their turn.
const BURST: usize = 32;
/// Reads of one link before the others have their turn.
const BATCHES: usize = 4;
/// How often the node page shows that the node lives, while somebody may look.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long no connections are taken after descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Before ordinary programs, behind what a machine cannot do without.
const PROMPT: i32 = -10;
/// After a link could not be opened, before the next try; and between looks at directories.
const LINKS_PAUSE: Duration = Duration::from_secs(1);

/// Everything the loop needs.
pub(crate) struct EventLoop {
    node: Node,
    epoll: OwnedFd,
    listener: OwnedFd,
    links: Links,
    batch: ReceiveBatch,
    watch: InterfaceWatch,
    interfaces: Interfaces,
    programs: BTreeMap<ProgramKey, ProgramSocket>,
    watched_max: usize,
    doors: Doors,
    held: Held,
    relays: Relays,
    unsent: Unsent,
    page: NodePage,
    trust: TrustKeeper,
    /// What programs are told once what it promises is kept.
    held_back: HeldBack,
    /// Removed at an orderly end, while the directory is still ours.
    socket_path: PathBuf,
    /// Kept open and locked for as long as the node runs.
    _lock: std::fs::File,
    stop: OwnedFd,
    last_program: u64,
    next_beat: Option<Instant>,
    accept_again: Option<Instant>,
    links_again: Option<Instant>,
    wait: Option<Instant>,
    stopped: bool,
    killed: bool,
}

/// What [`EventLoop::new`] is made of.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) crypto: Box<dyn node::Crypto>,
    pub(crate) links: Links,
    pub(crate) watch: InterfaceWatch,
    /// What the links were opened by.
    pub(crate) interfaces: Interfaces,
    pub(crate) listener: OwnedFd,
    pub(crate) socket_path: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) lock: std::fs::File,
    /// Becomes readable when the node shall stop.
    pub(crate) stop: OwnedFd,
    /// Programs up to which their processes are watched.
    pub(crate) watched_max: usize,
}

impl EventLoop {
    pub(crate) fn new(parts: Parts) -> Result<Self, StartError> {
        let failed = |error: rustix::io::Errno| {
            StartError::new(format!("cannot set up the event loop: {error}"))
        };
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed)?;
        let add = |descriptor: rustix::fd::BorrowedFd<'_>, number: u64| {
            epoll::add(
                &epoll,
                descriptor,
                EventData::new_u64(number),
                EventFlags::IN,
            )
            .map_err(failed)
        };
        add(parts.listener.as_fd(), LISTENER << KIND_SHIFT)?;
        add(parts.stop.as_fd(), STOP << KIND_SHIFT)?;
        add(parts.watch.descriptor(), INTERFACES << KIND_SHIFT)?;
        let links = parts.links;
        links
            .watch(epoll.as_fd(), LINK << KIND_SHIFT)
            .map_err(failed)?;
        let trust = TrustKeeper::start(parts.state, parts.config.kept.clone())?;
        add(trust.descriptor(), TRUST << KIND_SHIFT)?;
        let page = NodePage::new().map_err(failed)?;
        Ok(Self {
            node: Node::new(clock::now(), parts.config, parts.crypto),
            epoll,
            listener: parts.listener,
            links,
            batch: ReceiveBatch::new(),
            watch: parts.watch,
            interfaces: parts.interfaces,
            programs: BTreeMap::new(),
            watched_max: parts.watched_max,
            doors: Doors::default(),
            held: Held::default(),
            relays: Relays::default(),
            unsent: Unsent::default(),
            page,
            trust,
            held_back: HeldBack::default(),
            socket_path: parts.socket_path,
            _lock: parts.lock,
            stop: parts.stop,
            last_program: 0,
            next_beat: None,
            accept_again: None,
            links_again: clock::now().checked_add(LINKS_PAUSE),
            wait: None,
            stopped: false,
            killed: false,
        })
    }

    /// Runs until the node is stopped.
    pub(crate) fn run(mut self) {
        be_prompt();
        let mut space = vec![0; PACKET_MAX + 1];
        let mut events = Vec::with_capacity(EVENTS_MAX);
        self.drain();
        while !self.stopped {
            events.clear();
            let timeout = self.timeout();
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                timeout.as_ref(),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::error!("the event loop cannot wait: {error}");
                    return;
                }
            }
            for event in &events {
                self.event(event.data.u64(), event.flags, &mut space);
            }
            self.on_time();
            self.serve_relays();
        }
        self.trust.finish();
        self.say_held_back(u64::MAX);
        if !self.killed {
            let _ = std::fs::remove_file(&self.socket_path);
        }
    }

    fn serve_relays(&mut self) {
        let mut relays = std::mem::take(&mut self.relays);
        relays.serve(&self.links, |link, flags| self.wait_for_link(link, flags));
        self.relays = relays;
    }

    fn timeout(&self) -> Option<Timespec> {
        if self.relays.has_work() {
            return Some(Timespec::default());
        }
        let next = [
            self.wait,
            self.next_beat,
            self.accept_again,
            self.links_again,
        ]
        .into_iter()
        .flatten()
        .min()?;
        let wait = next.saturating_since(clock::now());
        Some(Timespec {
            tv_sec: wait.as_secs().cast_signed(),
            tv_nsec: wait.subsec_nanos().into(),
        })
    }

    fn on_time(&mut self) {
        let now = clock::now();
        if self.wait.is_some_and(|at| at <= now) {
            self.input(Input::Timeout);
        }
        if self.next_beat.is_some_and(|at| at <= now) {
            self.page.beat();
            self.next_beat = if self.programs.is_empty() {
                None
            } else {
                now.checked_add(HEARTBEAT)
            };
        }
        if self.accept_again.is_some_and(|at| at <= now) {
            self.accept_again = None;
            self.listen(EventFlags::IN);
        }
        if self.links_again.is_some_and(|at| at <= now) {
            self.update_links();
        }
    }

    fn event(&mut self, number: u64, flags: EventFlags, space: &mut [u8]) {
        let rest = number & ((1 << KIND_SHIFT) - 1);
        let key = ProgramKey(rest);
        match number >> KIND_SHIFT {
            LISTENER => self.accept(None),
            DOOR => self.accept(Some(key)),
            STOP => self.stop(),
            LINK => self.link_event(rest as u8, flags),
            RELAY => self.relays.rang(key),
            TRUST => self.trust_kept(),
            INTERFACES => self.interfaces_changed(),
            PROGRAM => {
                if flags.contains(EventFlags::OUT) {
                    self.flush(key);
                }
                if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                    self.packets(key, space);
                }
            }
            PROCESS => self.lost(key),
            _ => {}
        }
    }

    fn stop(&mut self) {
        let word = event_number::take(&self.stop);
        if word == KILL {
            (self.stopped, self.killed) = (true, true);
        } else {
            self.input(Input::Stop);
        }
    }

    fn watch(&self, program: ProgramKey, socket: &ProgramSocket) -> rustix::io::Result<()> {
        let number = EventData::new_u64(PROGRAM << KIND_SHIFT | program.0);
        epoll::add(&self.epoll, socket.descriptor(), number, EventFlags::IN)?;
        if let Some(process) = &socket.process {
            let number = EventData::new_u64(PROCESS << KIND_SHIFT | program.0);
            epoll::add(&self.epoll, process, number, EventFlags::IN)?;
        }
        Ok(())
    }

    fn packets(&mut self, program: ProgramKey, space: &mut [u8]) {
        for _ in 0..BURST {
            let Some(socket) = self.programs.get(&program) else {
                return;
            };
            match socket.receive(space) {
                Received::Packet(bytes, descriptors) => {
                    let descriptors = self.held.keep(descriptors);
                    self.input(Input::Packet {
                        program,
                        bytes,
                        descriptors,
                    });
                }
                Received::Nothing => return,
                Received::End => return self.lost(program),
            }
        }
    }

    fn flush(&mut self, program: ProgramKey) {
        let Some(socket) = self.programs.get_mut(&program) else {
            return;
        };
        let alive = socket.flush();
        let behind = socket.is_behind();
        if !alive {
            self.lost(program);
        } else if !behind {
            self.wait_for(program, EventFlags::IN);
        }
    }

    fn wait_for(&self, program: ProgramKey, flags: EventFlags) {
        if let Some(socket) = self.programs.get(&program) {
            let number = EventData::new_u64(PROGRAM << KIND_SHIFT | program.0);
            if let Err(error) = epoll::modify(&self.epoll, socket.descriptor(), number, flags) {
                tracing::warn!("cannot change what is waited for: {error}");
            }
        }
    }

    /// A program is gone. Its descriptors leave the epoll set by being closed.
    fn lost(&mut self, program: ProgramKey) {
        if self.forget(program) {
            self.input(Input::Disconnected { program });
        }
    }

    fn forget(&mut self, program: ProgramKey) -> bool {
        self.relays.forget(program, self.epoll.as_fd());
        self.doors.gone(program);
        self.held_back.forget(program);
        let Some(socket) = self.programs.remove(&program) else {
            return false;
        };
        // A child of the process may still hold the socket: closing our end alone would leave it in the set.
        let _ = epoll::delete(&self.epoll, socket.descriptor());
        if let Some(process) = &socket.process {
            let _ = epoll::delete(&self.epoll, process);
        }
        true
    }

    fn link_event(&mut self, link: u8, flags: EventFlags) {
        // Before the programs fill the link again.
        let is_full = self.unsent.go_on(&self.links, link);
        if self.relays.happened(link, flags, &self.links) && !is_full {
            self.wait_for_link(link, EventFlags::IN);
        }
        if flags != EventFlags::OUT {
            self.datagrams(link);
        }
    }

    fn wait_for_link(&self, link: u8, flags: EventFlags) {
        let Some(driver) = self.links.driver(link) else {
            return;
        };
        let number = EventData::new_u64(LINK << KIND_SHIFT | u64::from(link));
        if let Err(error) = epoll::modify(&self.epoll, driver.readable(), number, flags) {
            tracing::warn!("cannot change what is waited for: {error}");
        }
    }

    fn datagrams(&mut self, link: u8) {
        for _ in 0..BATCHES {
            let Some(driver) = self.links.driver(link) else {
                return;
            };
            // Errors that other machines cause, such as "port unreachable", are no reason to stop reading.
            if driver.receive(&mut self.batch) == Ok(0) {
                return;
            }
            for at in 0..self.batch.len() {
                let Some((from, bytes)) = self.batch.packet(at) else {
                    break;
                };
                if self.relays.give(link, from, bytes) {
                    continue;
                }
                let (from, bytes) = (*from, bytes.to_vec());
                self.input(Input::Datagram { link, from, bytes });
            }
            // They copy what has come while more is read: their rings have room for little more than one turn.
            self.relays.wake();
        }
    }

    fn interfaces_changed(&mut self) {
        if let Some(interfaces) = self.watch.take() {
            self.interfaces = interfaces;
            self.update_links();
        }
    }

    fn update_links(&mut self) {
        let (epoll, base) = (self.epoll.as_fd(), LINK << KIND_SHIFT);
        let update = self.links.update(&self.interfaces, epoll, base);
        self.links_again = if update.again {
            clock::now().checked_add(LINKS_PAUSE)
        } else {
            None
        };
        for link in (0..).take(self.links.configs().len()) {
            // Whoever waited for a socket that is gone would wait for ever.
            self.relays.writable(link);
            self.unsent.go_on(&self.links, link);
        }
        if update.changed {
            self.input(Input::Links(self.links.configs()));
        }
    }

    fn input(&mut self, input: Input) {
        self.node.handle(clock::now(), input);
        self.drain();
    }
}

/// Lets this thread run before others: a probe that is answered late looks like a lost one. Whoever may not ask for that
/// goes on without; the monitor allows for its own delays.
fn be_prompt() {
    let priority =
        rustix::process::getpriority_process(Some(rustix::thread::gettid())).unwrap_or(0);
    let wanted = priority.min(PROMPT);
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), wanted)
    {
        tracing::debug!("the node runs at the priority of everybody: {error}");
    }
}
