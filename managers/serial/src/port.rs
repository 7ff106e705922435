//! One serial port: the device, the bytes between it and the clients, and who waits for what.
//!
//! One thread per port moves bytes in and wakes those who wait. When the device disappears the
//! port stays, new opens get ENXIO, and the device is opened again when it is back. Whoever waits gets EIO, and files
//! that were open stay dead, because the device may be another one; unless the options say that they outlive it.

mod presence;

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use abi::devctl::{PortUser, PortUsers, Termios};
use abi::io::{Events, NotifyAction};
use abi::{Errno, Result};
use client::Namespace;
use resmgr::{Answer, NotifyRequest, ReadRequest, WaitQueue, WriteRequest};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use self::presence::is_loss;
use crate::device::{self, Device, ErrorCounts, errno};
use crate::options::PortOptions;
use crate::resource::is_hung_up;
use crate::users::{User, Users, Whose};

/// A port; shared by its thread and the handlers.
#[derive(Debug)]
pub(crate) struct Port {
    options: PortOptions,
    line: Mutex<Line>,
    /// Held while bytes go out, so that writes leave one after the other. Taken before `line`.
    pub(crate) output: Mutex<()>,
    readers: WaitQueue<ReadRequest>,
    pub(crate) writers: WaitQueue<WriteRequest>,
    watchers: WaitQueue<NotifyRequest>,
    pub(crate) users: Users,
    /// Where names of nodes are found.
    names: Option<Namespace>,
    /// Wakes the port's thread.
    doorbell: OwnedFd,
    /// Held while a lost device is opened again.
    reopening: Mutex<()>,
    stopping: AtomicBool,
}

/// What changes when the device comes and goes.
#[derive(Debug)]
pub(crate) struct Line {
    device: Option<Arc<dyn Device>>,
    /// Which device it is: another number after each loss.
    life: u64,
    /// Arrived and not read.
    pub(crate) input: VecDeque<u8>,
    /// The device that the input came from.
    pub(crate) input_life: u64,
    pub(crate) errors_seen: ErrorCounts,
    /// Settings that a device that comes back gets, if files outlive it.
    pub(crate) kept: Option<Termios>,
    /// It was given up because it took no bytes, and may be there all the same.
    doubtful: bool,
}

/// Arrived bytes kept for readers; when it is full the line's own flow control takes over.
const INPUT_MAX: usize = 64 * 1024;
/// Bytes answered at once; more would only delay the next reader.
const READ_MAX: usize = 16 * 1024;
impl Port {
    /// Opens the device.
    ///
    /// # Errors
    /// See [`device::open`].
    pub(crate) fn open(options: PortOptions, names: Option<Namespace>) -> Result<Arc<Self>> {
        let device = device::open(&options.device, &options.line)?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let doorbell = eventfd(0, flags).map_err(errno)?;
        let line = Line {
            errors_seen: device.error_counts(),
            device: Some(device),
            life: 1,
            input: VecDeque::new(),
            input_life: 1,
            kept: None,
            doubtful: false,
        };
        Ok(Arc::new(Self {
            users: Users::new(options.sharing),
            names,
            options,
            line: Mutex::new(line),
            output: Mutex::new(()),
            readers: WaitQueue::new(),
            writers: WaitQueue::new(),
            watchers: WaitQueue::new(),
            doorbell,
            reopening: Mutex::new(()),
            stopping: AtomicBool::new(false),
        }))
    }

    pub(crate) fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The device, for a file that was opened in `life`.
    pub(crate) fn device(&self, life: u64) -> Result<Arc<dyn Device>> {
        let line = self.line();
        if line.life != life {
            return Err(Errno::EIO);
        }
        line.device.clone().ok_or(Errno::EIO)
    }

    /// Answers with what has arrived, or leaves the request waiting.
    pub(crate) fn read(&self, life: u64, read: ReadRequest) -> Answer {
        if read.is_empty() {
            return read.data(&[]);
        }
        let line = self.line();
        if line.input_life == life && !line.input.is_empty() {
            return self.answer_reader(line, read);
        }
        if line.life != life || line.device.is_none() && !self.outlives() {
            return read.fail(Errno::EIO);
        }
        // Parked under the lock: bytes that arrive now find it.
        let answer = self.readers.park(read);
        drop(line);
        answer
    }

    fn answer_reader(&self, mut line: MutexGuard<'_, Line>, read: ReadRequest) -> Answer {
        let was_full = line.input.len() >= INPUT_MAX;
        let count = read.len().min(line.input.len()).min(READ_MAX);
        let bytes: Vec<u8> = line.input.drain(..count).collect();
        let life = line.input_life;
        drop(line);
        let (answer, delivered) = read.deliver(&bytes);
        if delivered.is_err() {
            self.put_back(life, &bytes);
        }
        if was_full {
            self.ring();
        }
        answer
    }

    /// The reader died before it got these bytes; the next one gets them.
    fn put_back(&self, life: u64, bytes: &[u8]) {
        let mut line = self.line();
        if line.input_life == life {
            for &byte in bytes.iter().rev() {
                line.input.push_front(byte);
            }
            self.ring();
        }
    }

    /// Gives the bytes to the line; what it does not take at once waits its turn.
    pub(crate) fn write(&self, life: u64, mut write: WriteRequest) -> Answer {
        let device = match self.device(life) {
            Ok(device) => device,
            // It leaves when the device is back.
            Err(_) if self.outlives() => return self.writers.park(write),
            Err(errno) => return write.fail(errno),
        };
        let output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        if self.writers.is_empty() {
            match push(&*device, &mut write) {
                Ok(true) => return write.accept(),
                Ok(false) => {}
                Err(errno) if self.outlives() && is_loss(errno) => self.doubt(&device),
                Err(errno) => return write.fail(errno),
            }
        }
        let answer = self.writers.park(write);
        drop(output);
        self.ring();
        answer
    }

    /// Goes on with those who wait for the line.
    fn pump(&self, device: &Arc<dyn Device>) {
        let _output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(mut write) = self.writers.take() {
            let _ = match push(&**device, &mut write) {
                Ok(true) => write.accept(),
                Ok(false) => {
                    let _ = self.writers.park_first(write);
                    return;
                }
                Err(errno) if self.outlives() && is_loss(errno) => {
                    self.doubt(device);
                    let _ = self.writers.park_first(write);
                    return;
                }
                Err(errno) => write.fail(errno),
            };
        }
    }

    /// What is true now of the states that one can wait for.
    fn events(&self, life: u64) -> Events {
        let line = self.line();
        let mut events = Events::empty();
        events.set(
            Events::INPUT,
            line.input_life == life && !line.input.is_empty(),
        );
        match &line.device {
            Some(device) if line.life == life => {
                let idle = self.writers.is_empty() && is_ready(&**device, PollFlags::OUT);
                events.set(Events::OUTPUT, idle);
            }
            None if line.life == life && self.outlives() => {}
            _ => events |= Events::ERROR | Events::HANGUP,
        }
        events
    }

    /// Answers which of the wanted states are true, or waits until one is.
    pub(crate) fn notify(&self, life: u64, notify: NotifyRequest) -> Answer {
        let asked = notify.arguments();
        let now = self.events(life) & (asked.events | Events::ALWAYS);
        let answered = match asked.action {
            NotifyAction::Report => true,
            NotifyAction::Arm => !now.is_empty(),
            NotifyAction::Transition => now.intersects(Events::ALWAYS),
        };
        if answered {
            return notify.reply(&now);
        }
        let answer = self.watchers.park(notify);
        // The thread looks at all watchers again, this one included.
        self.ring();
        answer
    }

    fn wake_watchers(&self, life: u64) {
        if self.watchers.is_empty() {
            return;
        }
        let now = self.events(life);
        let always = Events::ERROR | Events::HANGUP;
        while let Some(notify) = self
            .watchers
            .take_if(|notify| now.intersects(notify.arguments().events | always))
        {
            let wanted = notify.arguments().events | always;
            let _ = notify.reply(&(now & wanted));
        }
    }

    /// Makes the port's thread look around.
    pub(crate) fn ring(&self) {
        // Any number rings, and this one is the same in every byte order. It fails only when the
        // counter is full, and then it rings already.
        let _ = rustix::io::write(&self.doorbell, &[1; 8]);
    }

    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.ring();
    }

    /// The life of the port's thread.
    pub(crate) fn run(&self) {
        let mut space = vec![0; 4096];
        while !self.stopping.load(Ordering::SeqCst) {
            let (device, life) = {
                let line = self.line();
                (line.device.clone(), line.life)
            };
            match device {
                Some(device) => self.turn(&device, life, &mut space),
                None => self.wait_for_device(),
            }
        }
    }

    /// Waits for something to do, and does it.
    fn turn(&self, device: &Arc<dyn Device>, life: u64, space: &mut [u8]) {
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, self.line().input.len() < INPUT_MAX);
        let output = !self.writers.is_empty()
            || self
                .watchers
                .any(|notify| notify.arguments().events.contains(Events::OUTPUT));
        wanted.set(PollFlags::OUT, output);
        let ready = self.wait(&**device, wanted);
        let gone = ready.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL);
        if gone || self.line().doubtful {
            // What had arrived before the end is still to be had.
            while matches!(self.take_input(&**device, life, space), Ok(1..)) {}
            self.lose(life, gone);
            return;
        }
        if ready.contains(PollFlags::IN) && self.take_input(&**device, life, space).is_err() {
            self.lose(life, true);
            return;
        }
        self.serve_readers(life);
        if ready.contains(PollFlags::OUT) {
            self.pump(device);
        }
        self.wake_watchers(life);
    }

    /// Moves arrived bytes in; how many. None, though the terminal said it had something, is an
    /// end-of-file character.
    fn take_input(&self, device: &dyn Device, life: u64, space: &mut [u8]) -> Result<usize> {
        let count = match device.read(space) {
            Err(Errno::EAGAIN) => 0,
            count => count?,
        };
        let mut line = self.line();
        if line.life == life {
            line.input.extend(&space[..count]);
        }
        Ok(count)
    }

    fn serve_readers(&self, life: u64) {
        loop {
            let line = self.line();
            if line.input.is_empty() || line.input_life != life {
                return;
            }
            let Some(read) = self.readers.take() else {
                return;
            };
            let _ = self.answer_reader(line, read);
        }
    }

    /// Ends what waits for users whose port somebody has taken over.
    pub(crate) fn hang_up(&self, users: &[Arc<User>]) {
        while let Some(read) = self.readers.take_if(|read| is_hung_up(read.open_file())) {
            let _ = read.fail(Errno::EIO);
        }
        while let Some(write) = self.writers.take_if(|write| is_hung_up(write.open_file())) {
            let _ = write.fail(Errno::EIO);
        }
        let ended = Events::ERROR | Events::HANGUP;
        // A process that watches the port through another file too looks again, and waits again.
        let watches = |notify: &NotifyRequest| {
            let whose = Whose::of(notify.credentials());
            users.iter().any(|user| user.whose == whose)
        };
        while let Some(notify) = self.watchers.take_if(watches) {
            let _ = notify.reply(&ended);
        }
    }

    /// Who uses the port, with the names of their nodes.
    pub(crate) fn named_users(&self) -> PortUsers {
        let mut users = self.users.list();
        self.name_nodes(&mut users.0);
        users
    }

    /// Adds the names of the nodes, as far as they are known.
    pub(crate) fn name_nodes(&self, users: &mut [PortUser]) {
        let nodes = self
            .names
            .as_ref()
            .and_then(|names| resmgr::blocking(|| names.nodes()).ok());
        for user in users {
            let named = nodes.iter().flatten().find(|row| row.nd == user.node);
            user.node_name = named.map_or_else(Vec::new, |row| row.name.as_str().into());
        }
    }

    /// Waits until the device is ready or the bell rings; what the device is ready for.
    fn wait(&self, device: &dyn Device, wanted: PollFlags) -> PollFlags {
        let mut fds = [
            PollFd::new(&self.doorbell, PollFlags::IN),
            PollFd::from_borrowed_fd(device.as_fd(), wanted),
        ];
        if poll(&mut fds, None).is_err() {
            return PollFlags::empty();
        }
        let ready = fds[1].revents();
        if fds[0].revents().contains(PollFlags::IN) {
            self.hush();
        }
        ready
    }

    /// Stops the bell.
    fn hush(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.doorbell, &mut count);
    }
}

/// Whether the device is ready right now.
fn is_ready(device: &dyn Device, wanted: PollFlags) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(device.as_fd(), wanted)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(wanted)
}

/// Gives what is here of a write to the device; whether that was all. What is still with the client
/// comes with its next write: nobody waits for a slow client while the line is held.
fn push(device: &dyn Device, write: &mut WriteRequest) -> Result<bool> {
    loop {
        let bytes = write.received();
        if bytes.is_empty() {
            return Ok(true);
        }
        match device.write(bytes) {
            Ok(0) | Err(Errno::EAGAIN) => return Ok(false),
            Ok(count) => write.advance(count),
            Err(errno) => return Err(errno),
        }
    }
}
