//! A terminal device of this machine, held by nobody else.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use abi::devctl::{FlushQueue, ModemLines, Termios as WireTermios, WindowSize};
use abi::{Errno, Result};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::termios::{OptionalActions, QueueSelector, Termios, Winsize};

use super::{Device, ErrorCounts};
use crate::line_settings;
use crate::options::LineOptions;

/// An open terminal device. Dropping it restores the settings it had.
#[derive(Debug)]
pub(crate) struct LocalDevice {
    fd: OwnedFd,
    before: Termios,
}

impl LocalDevice {
    /// Opens and locks the device and makes it raw.
    ///
    /// # Errors
    /// EBUSY if another program holds it, ENOTTY if it is no terminal, EINVAL for a speed it
    /// cannot do, and what `open` answers.
    pub(crate) fn open(path: &Path, options: &LineOptions) -> Result<Self> {
        // NONBLOCK: without a carrier the open itself would wait.
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(errno)?;
        if !rustix::termios::isatty(&fd) {
            return Err(Errno::ENOTTY);
        }
        // The lock is for programs that look at it, the exclusive mode for those that do not.
        rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            if error == rustix::io::Errno::WOULDBLOCK {
                Errno::EBUSY
            } else {
                errno(error)
            }
        })?;
        if !is_pseudo_terminal(&fd)? {
            rustix::termios::ioctl_tiocexcl(&fd).map_err(errno)?;
        }
        let before = rustix::termios::tcgetattr(&fd).map_err(errno)?;
        let mut raw = before.clone();
        line_settings::apply_options(options, &mut raw)?;
        rustix::termios::tcsetattr(&fd, OptionalActions::Now, &raw).map_err(errno)?;
        Ok(Self { fd, before })
    }

    fn ask(&self, request: libc::Ioctl) -> Result<libc::c_int> {
        let mut answer: libc::c_int = 0;
        // SAFETY: all requests given here fill one int, which is live and writable.
        check(unsafe { libc::ioctl(self.fd.as_raw_fd(), request, &raw mut answer) })?;
        Ok(answer)
    }
}

impl Device for LocalDevice {
    fn read(&self, into: &mut [u8]) -> Result<usize> {
        retry(|| rustix::io::read(&self.fd, &mut *into))
    }

    fn write(&self, bytes: &[u8]) -> Result<usize> {
        retry(|| rustix::io::write(&self.fd, bytes))
    }

    fn settings(&self) -> Result<WireTermios> {
        let termios = rustix::termios::tcgetattr(&self.fd).map_err(errno)?;
        Ok(line_settings::to_wire(&termios))
    }

    fn set_settings(&self, wire: &WireTermios) -> Result {
        let mut termios = rustix::termios::tcgetattr(&self.fd).map_err(errno)?;
        line_settings::apply_wire(wire, &mut termios)?;
        rustix::termios::tcsetattr(&self.fd, OptionalActions::Now, &termios).map_err(errno)
    }

    fn flush(&self, queue: FlushQueue) -> Result {
        let queue = match queue {
            FlushQueue::Input => QueueSelector::IFlush,
            FlushQueue::Output => QueueSelector::OFlush,
            FlushQueue::Both => QueueSelector::IOFlush,
        };
        rustix::termios::tcflush(&self.fd, queue).map_err(errno)
    }

    fn set_break(&self, on: bool) -> Result {
        let request = if on { libc::TIOCSBRK } else { libc::TIOCCBRK };
        // SAFETY: these requests take no argument.
        check(unsafe { libc::ioctl(self.fd.as_raw_fd(), request) })
    }

    fn output_count(&self) -> Result<u32> {
        output_count(&self.fd)
    }

    fn is_transmitter_empty(&self) -> bool {
        /// The one bit of the answer, TIOCSER_TEMT.
        const EMPTY: libc::c_int = 1;
        self.ask(libc::TIOCSERGETLSR)
            .map_or(true, |status| status & EMPTY != 0)
    }

    fn input_count(&self) -> Result<u32> {
        let count = rustix::io::ioctl_fionread(&self.fd).map_err(errno)?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    fn modem_lines(&self) -> Result<ModemLines> {
        let bits = self.ask(libc::TIOCMGET)?;
        let set = LINES.iter().filter(|(_, bit)| bits & bit != 0);
        Ok(set.fold(ModemLines::empty(), |all, (line, _)| all | *line))
    }

    fn set_modem_lines(&self, on: ModemLines, off: ModemLines) -> Result {
        if (on | off).intersects(!(ModemLines::DTR | ModemLines::RTS)) {
            return Err(Errno::EINVAL);
        }
        for (lines, request) in [(off - on, libc::TIOCMBIC), (on, libc::TIOCMBIS)] {
            let set = LINES.iter().filter(|(line, _)| lines.contains(*line));
            let bits: libc::c_int = set.fold(0, |bits, (_, bit)| bits | bit);
            if bits != 0 {
                // SAFETY: the request reads one int, which lives until the call returns.
                check(unsafe { libc::ioctl(self.fd.as_raw_fd(), request, &raw const bits) })?;
            }
        }
        Ok(())
    }

    fn error_counts(&self) -> ErrorCounts {
        let mut counts = SerialCounters::default();
        // SAFETY: the request fills one `serial_icounter_struct`, whose layout is that of the
        // type.
        let status = unsafe { libc::ioctl(self.fd.as_raw_fd(), TIOCGICOUNT, &raw mut counts) };
        if status != 0 {
            return ErrorCounts::default();
        }
        ErrorCounts([
            counts.overrun,
            counts.parity,
            counts.frame,
            counts.brk,
            counts.buf_overrun,
        ])
    }

    fn window(&self) -> Result<WindowSize> {
        let size = rustix::termios::tcgetwinsize(&self.fd).map_err(errno)?;
        Ok(WindowSize {
            rows: size.ws_row,
            columns: size.ws_col,
            width: size.ws_xpixel,
            height: size.ws_ypixel,
        })
    }

    fn set_window(&self, size: WindowSize) -> Result {
        let size = Winsize {
            ws_row: size.rows,
            ws_col: size.columns,
            ws_xpixel: size.width,
            ws_ypixel: size.height,
        };
        rustix::termios::tcsetwinsize(&self.fd, size).map_err(errno)
    }
}

impl AsFd for LocalDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for LocalDevice {
    fn drop(&mut self) {
        // Fails if the device is gone, and then there is nothing to restore.
        let _ = rustix::termios::tcsetattr(&self.fd, OptionalActions::Now, &self.before);
        let _ = rustix::termios::ioctl_tiocnxcl(&self.fd);
    }
}

const LINES: [(ModemLines, libc::c_int); 6] = [
    (ModemLines::DTR, libc::TIOCM_DTR),
    (ModemLines::RTS, libc::TIOCM_RTS),
    (ModemLines::CTS, libc::TIOCM_CTS),
    (ModemLines::DSR, libc::TIOCM_DSR),
    (ModemLines::CD, libc::TIOCM_CD),
    (ModemLines::RI, libc::TIOCM_RI),
];

/// Not in libc's list; the number is the same on all architectures with asm-generic ioctls.
const TIOCGICOUNT: libc::Ioctl = 0x545D;

/// `struct serial_icounter_struct`.
#[derive(Default)]
#[repr(C)]
struct SerialCounters {
    lines: [libc::c_int; 6],
    frame: libc::c_int,
    overrun: libc::c_int,
    parity: libc::c_int,
    brk: libc::c_int,
    buf_overrun: libc::c_int,
    reserved: [libc::c_int; 9],
}

/// Whether this is the terminal side of a pseudo terminal. There the exclusive mode stays while the other side is open,
/// also when its owner is killed, and nobody but the superuser could open the terminal again.
fn is_pseudo_terminal(fd: &OwnedFd) -> Result<bool> {
    /// UNIX98_PTY_SLAVE_MAJOR and the seven after it.
    const MAJORS: std::ops::RangeInclusive<u32> = 136..=143;
    let stat = rustix::fs::fstat(fd).map_err(errno)?;
    Ok(MAJORS.contains(&rustix::fs::major(stat.st_rdev)))
}

fn check(status: libc::c_int) -> Result {
    if status < 0 {
        Err(std::io::Error::last_os_error().into())
    } else {
        Ok(())
    }
}

/// Bytes that a terminal or socket has not sent.
pub(crate) fn output_count(fd: impl AsFd) -> Result<u32> {
    let mut count: libc::c_int = 0;
    // SAFETY: the request fills one int, which is live and writable.
    check(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut count) })?;
    Ok(u32::try_from(count).unwrap_or(0))
}

pub(crate) fn errno(errno: rustix::io::Errno) -> Errno {
    std::io::Error::from(errno).into()
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            result => return result.map_err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn a_pseudo_terminal_whose_holder_is_killed_can_be_held_again() {
        let other_side = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        unlockpt(&other_side).unwrap();
        let name = ptsname(&other_side, Vec::new()).unwrap();
        let path = Path::new(OsStr::from_bytes(name.to_bytes()));
        let device = LocalDevice::open(path, &LineOptions::default()).unwrap();
        assert!(LocalDevice::open(path, &LineOptions::default()).is_err());
        // The superuser may open what is exclusive, so the mode itself is looked at.
        assert_eq!(device.ask(libc::TIOCGEXCL), Ok(0));
    }
}
