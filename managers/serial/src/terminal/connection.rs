//! One use of a port through a pseudo terminal: bytes both ways, settings before the bytes they are for.
//!
//! One thread waits for both, the terminal and the port: a byte wakes it and no other. Whatever has to be waited for on
//! the way to the port, because the line is slow or settings change, it leaves to a second, patient thread.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use abi::devctl::{CHR_TCGETATTR, When};
use abi::io::{Read, Request};
use abi::{Errno, Result};
use client::{File, First, Interrupt, Readable, SendOptions};
use preload_messages::Settings;
use resmgr::Endpoint;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::termios::ControlModes;

use super::asked;
use super::outward::Outward;
use super::pty::Pty;
use crate::device::errno;
use crate::line_settings;

/// Bytes moved at once.
pub(super) const CHUNK: usize = 16 * 1024;
/// How often settings are looked at while the program has switched off that they are told. Bytes that it writes never
/// overtake its settings; only a change that no byte follows is seen that late.
const SETTINGS_LOOK: Duration = Duration::from_millis(20);
/// How often a write that the line does not take is looked after.
pub(super) const WRITE_LOOK: Duration = Duration::from_millis(500);

/// How a use of the port ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The last program has closed the terminal.
    Closed,
    /// It was asked to.
    Stopped,
    /// The port failed.
    Failed(Errno),
}

/// Bytes that have passed.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// From the programs to the port.
    pub(crate) out: AtomicU64,
    /// From the port to the programs.
    pub(crate) r#in: AtomicU64,
}

/// A pseudo terminal and an open port that are one line. Dropping it ends that.
#[derive(Debug)]
pub(crate) struct Connection {
    line: Arc<Joined>,
    threads: Vec<JoinHandle<()>>,
}

/// What both threads and those who control the line share.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) pty: Arc<Pty>,
    pub(super) port: File,
    outward: Mutex<Outward>,
    /// Ends every wait for the port.
    stop: Interrupt,
    /// Ends every wait for the terminal.
    wake: OwnedFd,
    /// Has the patient thread look at the terminal.
    call: OwnedFd,
    /// The other thread waits for the program to read, and does not look at the terminal.
    stuck: AtomicBool,
    end: Mutex<Option<End>>,
    /// Grows whenever the program throws away what has arrived.
    pub(super) flushes: AtomicU64,
    pub(super) passed: Arc<Passed>,
}

/// The bits of `c_cflag` that a pseudo terminal does not keep, and one that means nothing without them.
pub(crate) const FRAME: ControlModes = ControlModes::CSIZE
    .union(ControlModes::PARENB)
    .union(ControlModes::PARODD);

impl Connection {
    /// Joins them. `frame` says size and parity of a frame; without it they stay as the port has them.
    ///
    /// # Errors
    /// ENOTTY for a port that has no line settings; EAGAIN if no thread can be started.
    pub(crate) fn start(
        pty: Arc<Pty>,
        (endpoint, port): (&Endpoint, File),
        frame: Option<ControlModes>,
        passed: Arc<Passed>,
    ) -> Result<Self> {
        let settings = port.devctl(CHR_TCGETATTR, ())?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let opened = Readable::new(endpoint, &*pty)?;
        let line = Arc::new(Joined {
            pty,
            port,
            outward: Mutex::new(Outward::new(settings, frame)),
            stop: Interrupt::new(),
            wake: eventfd(0, flags).map_err(errno)?,
            call: eventfd(0, flags).map_err(errno)?,
            stuck: AtomicBool::new(false),
            end: Mutex::new(None),
            flushes: AtomicU64::new(0),
            passed,
        });
        let mut connection = Self {
            line,
            threads: Vec::new(),
        };
        connection.spawn("tty out", Joined::move_out)?;
        connection.spawn("tty", move |line| line.move_both(&opened))?;
        Ok(connection)
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce(&Joined) -> End + Send + 'static) -> Result {
        let line = Arc::clone(&self.line);
        let body = move || {
            let end = work(&line);
            line.finish(end);
        };
        let thread = std::thread::Builder::new().name(name.into()).spawn(body);
        self.threads.push(thread.map_err(|_| Errno::EAGAIN)?);
        Ok(())
    }

    /// Waits until it ends, and tells how.
    pub(crate) fn wait(mut self) -> End {
        for thread in std::mem::take(&mut self.threads) {
            let _ = thread.join();
        }
        self.line.ended().unwrap_or(End::Stopped)
    }

    /// What ends it from another thread.
    pub(crate) fn control(&self) -> Control {
        Control(Arc::clone(&self.line))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.line.finish(End::Stopped);
        for thread in std::mem::take(&mut self.threads) {
            let _ = thread.join();
        }
    }
}

/// Controls a connection from other threads. It keeps the port open.
#[derive(Clone, Debug)]
pub(crate) struct Control(Arc<Joined>);

impl Control {
    pub(crate) fn stop(&self) {
        self.0.finish(End::Stopped);
    }

    /// The port itself, for controls that need no order.
    pub(crate) fn port(&self) -> &File {
        &self.0.port
    }

    /// Whether the connection ends within this time. Blocks until it does, or for that long.
    pub(crate) fn ends_within(&self, limit: Duration) -> bool {
        let mut fds = [PollFd::new(&self.0.wake, PollFlags::IN)];
        let limit = Timespec::try_from(limit).ok();
        let _ = poll(&mut fds, limit.as_ref());
        self.0.ended().is_some()
    }

    /// What ends waits for the port when the connection ends.
    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.0.stop
    }

    /// Does `work` after the port has taken everything that was written, and before what is written later.
    ///
    /// # Errors
    /// What the port answers, and what `work` answers.
    pub(crate) fn in_order<T>(&self, work: impl FnOnce(&File) -> Result<T>) -> Result<T> {
        let mut outward = self.0.outward();
        self.0.forward_between(&mut outward)?;
        self.0.settle(&mut outward)?;
        work(&self.0.port)
    }

    /// Sets line and terminal, the line first: what it refuses changes nothing.
    ///
    /// # Errors
    /// EINVAL for what the port cannot do, and what it answers.
    pub(crate) fn set(&self, asked: &Settings, when: When) -> Result {
        let mut outward = self.0.outward();
        self.0.forward_between(&mut outward)?;
        let mut termios = self.0.pty.settings()?;
        asked::apply(asked, &mut termios)?;
        let frame = outward.frame.replace(termios.control_modes & FRAME);
        if let Err(errno) = self.0.carry(&mut outward, &termios, when) {
            outward.frame = frame;
            return Err(errno);
        }
        self.0.pty.set_asked(asked)
    }

    /// Size and parity of a frame as programs see them.
    pub(crate) fn frame(&self) -> ControlModes {
        let outward = self.0.outward();
        outward
            .frame
            .unwrap_or_else(|| line_settings::control_from(&outward.port) & FRAME)
    }
}

impl Joined {
    fn outward(&self) -> MutexGuard<'_, Outward> {
        self.outward.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self) -> Option<End> {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first end counts.
    fn finish(&self, end: End) {
        self.end
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(end);
        self.stop.trigger();
        // Fails only when the counter is full, and then everybody is awake.
        let _ = rustix::io::write(&self.wake, &[1; 8]);
    }

    /// The patient thread.
    fn move_out(&self) -> End {
        loop {
            let mut outward = self.outward();
            match self.forward(&mut outward) {
                Ok(true) => {}
                Ok(false) => return End::Closed,
                Err(errno) => return End::Failed(errno),
            }
            let limit = (!outward.is_told()).then_some(SETTINGS_LOOK);
            drop(outward);
            if self.ended().is_some() {
                return End::Stopped;
            }
            self.wait_for_call(limit);
        }
    }

    /// Gives the port all that is there, on behalf of one who wants to set it. The patient thread looks at what that leaves.
    fn forward_between(&self, outward: &mut Outward) -> Result {
        self.call();
        self.forward(outward).map(drop)
    }

    fn call(&self) {
        // Fails only when the counter is full, and then the call is heard.
        let _ = rustix::io::write(&self.call, &[1; 8]);
    }

    /// Gives the port what is there, or has the patient thread do it.
    fn look_at_terminal(&self) -> Result {
        let done = match self.outward.try_lock() {
            Ok(mut outward) => self.forward_quickly(&mut outward)?,
            Err(TryLockError::Poisoned(mut lock)) => self.forward_quickly(lock.get_mut())?,
            Err(TryLockError::WouldBlock) => false,
        };
        if !done {
            self.call();
        }
        Ok(())
    }

    pub(super) fn options(&self, deadline: Option<Instant>) -> SendOptions<'_> {
        SendOptions {
            deadline,
            interrupt: Some(&self.stop),
            priority: None,
        }
    }

    /// The thread that waits for the terminal and the port.
    fn move_both(&self, terminal: &Readable) -> End {
        let mut room = vec![0; CHUNK];
        loop {
            let moved = self.move_piece(terminal, &mut room);
            match moved {
                Ok(()) => {}
                Err(_) if self.ended().is_some() => {}
                Err(Errno::EINTR) => {}
                Err(errno) => return End::Failed(errno),
            }
            if self.ended().is_some() {
                return End::Stopped;
            }
        }
    }

    /// Gives the program what the port says next, and the port what the program says until then.
    fn move_piece(&self, terminal: &Readable, room: &mut Vec<u8>) -> Result {
        room.resize(CHUNK, 0);
        let read = Request::Read(Read {
            nbytes: CHUNK as u32,
            offset: None,
        });
        let options = self.options(None);
        let reading = self
            .port
            .submit_soon(&read, std::mem::take(room), &options)?;
        // What the program has said meanwhile leaves in one packet with it.
        self.look_at_terminal()?;
        while reading.wait_beside(terminal) == First::Readable {
            self.look_at_terminal()?;
        }
        let read = reading.wait();
        // What has come until here is older than a flush that is asked for from here on.
        let flushes = self.flushes.load(Ordering::SeqCst);
        let read = read.map_err(Errno::from)?;
        let bytes = usize::try_from(read.answer.status).map_err(|_| Errno::EBADMSG)?;
        // A port has no end: nothing is the device's way to say that it hangs up.
        if bytes == 0 {
            return Err(Errno::EIO);
        }
        self.give(read.bytes().get(..bytes).ok_or(Errno::EBADMSG)?, flushes);
        *room = read.reply;
        Ok(())
    }

    /// Gives bytes to the programs, unless they throw away what has arrived.
    fn give(&self, mut bytes: &[u8], flushes: u64) {
        while !bytes.is_empty()
            && self.ended().is_none()
            && self.flushes.load(Ordering::SeqCst) == flushes
        {
            match self.pty.write(bytes) {
                Ok(count) => {
                    self.passed.r#in.fetch_add(count as u64, Ordering::Relaxed);
                    bytes = bytes.get(count..).unwrap_or_default();
                }
                Err(Errno::EAGAIN) => self.wait_for_reader(),
                // Nobody has it open; the other thread sees that too.
                Err(_) => return,
            }
        }
    }

    /// Waits until the program reads. What it writes meanwhile is the patient thread's.
    fn wait_for_reader(&self) {
        self.stuck.store(true, Ordering::SeqCst);
        self.call();
        let terminal = PollFd::from_borrowed_fd(self.pty.as_fd(), PollFlags::OUT);
        self.wait_for(
            [terminal, PollFd::new(&self.wake, PollFlags::IN)],
            Some(WRITE_LOOK),
        );
        self.stuck.store(false, Ordering::SeqCst);
    }

    /// Waits until there is something for the patient thread, or for so long.
    fn wait_for_call(&self, limit: Option<Duration>) {
        let mut terminal = PollFlags::empty();
        terminal.set(PollFlags::IN, self.stuck.load(Ordering::SeqCst));
        let fds = [
            PollFd::new(&self.call, PollFlags::IN),
            PollFd::new(&self.wake, PollFlags::IN),
            PollFd::from_borrowed_fd(self.pty.as_fd(), terminal),
        ];
        self.wait_for(fds, limit);
        let _ = rustix::io::read(&self.call, &mut [0; 8]);
    }

    fn wait_for<const N: usize>(&self, mut fds: [PollFd<'_>; N], limit: Option<Duration>) {
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        // Whatever ends it, everything is looked at again.
        let _ = poll(&mut fds, limit.as_ref());
    }
}
