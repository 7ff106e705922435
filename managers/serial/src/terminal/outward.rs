//! What goes from a pseudo terminal to its port: bytes, and settings before the bytes that they are for.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use abi::devctl::{
    CHR_DRAIN, CHR_FLUSH, CHR_MODEM_SET, CHR_TCSETATTR, FlushQueue, ModemLines, ModemSet,
    SetTermios, Termios as WireTermios, When,
};
use abi::{Errno, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{ControlModes, LocalModes, Termios};

use super::connection::{CHUNK, Joined, WRITE_LOOK};
use super::posted::Posted;
use super::pty::{Arrived, Pty};
use crate::line_settings;

/// How long a change of settings, or throwing output away, waits for earlier bytes to leave. A line that is held by flow
/// control never lets them leave, and the change may be what frees it.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);
/// How long bytes wait for the line after the program has closed it, as the kernel's own serial drivers have it.
const CLOSING_LIMIT: Duration = Duration::from_secs(30);

/// What goes from the terminal to the port, one after the other.
#[derive(Debug)]
pub(super) struct Outward {
    space: Vec<u8>,
    /// Taken from the terminal and not done yet.
    arrived: Option<Arrived>,
    /// What the port was given last.
    posted: Option<Posted>,
    /// What it did not take of that.
    rest: Vec<u8>,
    /// Whether changes of settings are told.
    told: bool,
    /// The settings of the port.
    pub(super) port: WireTermios,
    /// Size and parity of a frame: the kernel keeps neither for a pseudo terminal.
    pub(super) frame: Option<ControlModes>,
    /// Speed 0 has dropped our modem lines.
    hung_up: bool,
}

impl Outward {
    pub(super) fn new(port: WireTermios, frame: Option<ControlModes>) -> Self {
        Self {
            space: vec![0; CHUNK + 1],
            arrived: None,
            posted: None,
            rest: Vec::new(),
            told: false,
            port,
            frame,
            hung_up: false,
        }
    }

    /// Whether changes of settings are told. Otherwise somebody has to look.
    pub(super) const fn is_told(&self) -> bool {
        self.told
    }

    /// Whether the port has said what it took of what it was given last.
    fn is_free(&self) -> bool {
        self.posted.as_ref().is_none_or(Posted::is_ended)
    }

    /// Whether the port is set already as the terminal is.
    fn is_set_to(&self, now: &Termios) -> bool {
        Pty::tells_changes(now) == self.told
            && !must_let_lines_be_edited(now)
            && !self.hung_up
            && now.output_speed() != 0
            && line_settings::with_line_of(now, self.frame, &self.port) == self.port
    }
}

/// A program that wants its lines edited by the terminal gets that from the kernel, which does it only where changes are
/// not told.
fn must_let_lines_be_edited(now: &Termios) -> bool {
    let edited = LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
    Pty::tells_changes(now) && now.local_modes.intersects(edited)
}

impl Joined {
    /// Gives the port all that is there; false if no program has the terminal open.
    pub(super) fn forward(&self, outward: &mut Outward) -> Result<bool> {
        loop {
            let arrived = match outward.arrived.take() {
                Some(arrived) => arrived,
                None => self.pty.read(&mut outward.space)?,
            };
            let mut now = self.pty.settings()?;
            if must_let_lines_be_edited(&now) {
                self.pty.set_settings(&now)?;
                now = self.pty.settings()?;
            }
            outward.told = Pty::tells_changes(&now);
            match self.carry(outward, &now, When::Drain) {
                // A program cannot be told through a pseudo terminal.
                Err(Errno::EINVAL) => tracing::warn!("the port refuses the program's settings"),
                other => other?,
            }
            match arrived {
                Arrived::Nothing if outward.rest.is_empty() => return Ok(true),
                Arrived::Nothing => self.settle(outward)?,
                Arrived::Closed => return self.settle(outward).map(|()| false),
                Arrived::Changed => {}
                Arrived::InputFlushed => self.flush_input()?,
                Arrived::OutputFlushed => self.flush_output(outward)?,
                Arrived::BothFlushed => {
                    self.flush_input()?;
                    self.flush_output(outward)?;
                }
                Arrived::Bytes(count) => self.post(outward, count)?,
            }
        }
    }

    /// As [`forward`](Self::forward), as far as nothing has to be waited for; false if it has, and then the rest is the
    /// patient thread's.
    ///
    /// # Errors
    /// What the way to the port answers.
    pub(super) fn forward_quickly(&self, outward: &mut Outward) -> Result<bool> {
        loop {
            if outward.arrived.is_some() || !outward.rest.is_empty() {
                return Ok(false);
            }
            let arrived = self.pty.read(&mut outward.space)?;
            let Arrived::Bytes(count) = arrived else {
                let nothing = arrived == Arrived::Nothing;
                outward.arrived = (!nothing).then_some(arrived);
                return Ok(nothing);
            };
            if !outward.is_free() || !outward.is_set_to(&self.pty.settings()?) {
                outward.arrived = Some(arrived);
                return Ok(false);
            }
            self.collect(outward)?;
            if !outward.rest.is_empty() {
                outward.arrived = Some(arrived);
                return Ok(false);
            }
            self.post(outward, count)?;
        }
    }

    /// Makes the port's line what the terminal says.
    pub(super) fn carry(&self, outward: &mut Outward, now: &Termios, when: When) -> Result {
        let wanted = line_settings::with_line_of(now, outward.frame, &outward.port);
        if now.output_speed() == 0 {
            // POSIX: speed 0 drops the line.
            return self.switch_lines(outward, true);
        }
        self.switch_lines(outward, false)?;
        if wanted == outward.port {
            return Ok(());
        }
        self.settle(outward)?;
        // Refused settings are not asked for again with every byte.
        outward.port = wanted;
        let set = |when| {
            let set = SetTermios {
                when,
                termios: wanted,
            };
            let limit = (when != When::Now).then(|| Instant::now() + DRAIN_LIMIT);
            let options = self.options(limit);
            self.port.devctl_with(CHR_TCSETATTR, set, &options)
        };
        match set(when) {
            Err(Errno::ETIMEDOUT) => set(When::Now),
            result => result,
        }
    }

    fn switch_lines(&self, outward: &mut Outward, hang_up: bool) -> Result {
        if outward.hung_up == hang_up {
            return Ok(());
        }
        self.settle(outward)?;
        outward.hung_up = hang_up;
        let both = ModemLines::DTR | ModemLines::RTS;
        let (on, off) = if hang_up {
            (ModemLines::empty(), both)
        } else {
            (both, ModemLines::empty())
        };
        match self.port.devctl(CHR_MODEM_SET, ModemSet { on, off }) {
            // A port without modem lines has nothing to drop.
            Err(Errno::ENOTTY | Errno::EINVAL) => Ok(()),
            result => result,
        }
    }

    fn flush_input(&self) -> Result {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        self.port.devctl(CHR_FLUSH, FlushQueue::Input)
    }

    /// Throws away what the line does not take soon. A program that waits before it flushes until its bytes have left means
    /// none to be lost, but the kernel ends its wait at once, and nobody is told of it.
    fn flush_output(&self, outward: &mut Outward) -> Result {
        let limit = Instant::now() + DRAIN_LIMIT;
        self.collect(outward)?;
        outward.rest.clear();
        match self
            .port
            .devctl_with(CHR_DRAIN, (), &self.options(Some(limit)))
        {
            Err(Errno::ETIMEDOUT) => self.port.devctl(CHR_FLUSH, FlushQueue::Output),
            drained => drained,
        }
    }

    /// Gives the port what the terminal gave, and does not wait for its word: the thread that waits for the port's bytes
    /// is the only one that its packets wake.
    fn post(&self, outward: &mut Outward, count: usize) -> Result {
        self.settle(outward)?;
        let options = self.options(Some(Instant::now() + WRITE_LOOK));
        let posted = Posted::send(&self.port, &outward.space[1..=count], &options)?;
        outward.posted = Some(posted);
        Ok(())
    }

    /// Waits until the port has taken what it was given last.
    pub(super) fn settle(&self, outward: &mut Outward) -> Result {
        self.collect(outward)?;
        self.write(&std::mem::take(&mut outward.rest))
    }

    /// Waits for the port's word on what it was given last.
    fn collect(&self, outward: &mut Outward) -> Result {
        if let Some(posted) = outward.posted.take() {
            let (taken, rest) = posted.finish()?;
            self.passed.out.fetch_add(taken as u64, Ordering::Relaxed);
            outward.rest = rest;
        }
        Ok(())
    }

    fn write(&self, mut bytes: &[u8]) -> Result {
        let mut closed_since = None;
        while !bytes.is_empty() {
            let now = Instant::now();
            match self
                .port
                .write_with(bytes, &self.options(Some(now + WRITE_LOOK)))
            {
                Ok(count) => {
                    self.passed.out.fetch_add(count as u64, Ordering::Relaxed);
                    bytes = bytes.get(count..).unwrap_or_default();
                }
                Err(Errno::ETIMEDOUT) if !self.is_closed() => closed_since = None,
                Err(Errno::ETIMEDOUT) if now - *closed_since.get_or_insert(now) < CLOSING_LIMIT => {
                }
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn is_closed(&self) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(
            self.pty.as_fd(),
            PollFlags::empty(),
        )];
        poll(&mut fds, Some(&Timespec::default())).is_ok()
            && fds[0].revents().contains(PollFlags::HUP)
    }
}
