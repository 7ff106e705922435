//! A pseudo terminal whose terminal side is given to programs.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use abi::{Errno, Result};
use preload_messages::Settings;
use rustix::fs::inotify;
use rustix::pty::OpenptFlags;
use rustix::termios::{LocalModes, OptionalActions, Termios};

use crate::device::errno;

/// The side of a pseudo terminal that is ours.
#[derive(Debug)]
pub(crate) struct Pty {
    ours: OwnedFd,
    name: PathBuf,
    /// Says when a program opens the terminal.
    opens: OwnedFd,
}

/// What comes out of a pseudo terminal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// Nothing at present.
    Nothing,
    /// So many bytes, behind the first one of the space.
    Bytes(usize),
    /// The program threw away what it had not read.
    InputFlushed,
    /// The program threw away what it had written and nobody had taken.
    OutputFlushed,
    /// Both.
    BothFlushed,
    /// Settings or flow control changed.
    Changed,
    /// No program has the terminal open any longer, and everything they wrote was taken.
    Closed,
}

/// Bits of the first byte that a pseudo terminal in packet mode gives.
const FLUSH_READ: u8 = 1;
const FLUSH_WRITE: u8 = 2;

impl Pty {
    /// A new raw one.
    ///
    /// # Errors
    /// ENOSPC or EMFILE when there are too many, ENOENT without /dev/pts.
    pub(crate) fn open() -> Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = rustix::pty::openpt(flags).map_err(errno)?;
        rustix::pty::grantpt(&ours).map_err(errno)?;
        rustix::pty::unlockpt(&ours).map_err(errno)?;
        let name = rustix::pty::ptsname(&ours, Vec::new()).map_err(errno)?;
        let name = PathBuf::from(std::ffi::OsStr::from_bytes(name.to_bytes()));
        rustix::io::ioctl_fionbio(&ours, true).map_err(errno)?;
        let on: libc::c_int = 1;
        // SAFETY: the request reads one int, which lives until the call returns.
        if unsafe { libc::ioctl(ours.as_raw_fd(), libc::TIOCPKT, &raw const on) } != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let opens = inotify::init(flags).map_err(errno)?;
        inotify::add_watch(&opens, &name, inotify::WatchFlags::OPEN).map_err(errno)?;
        Ok(Self { ours, name, opens })
    }

    /// The path by which programs open the terminal.
    pub(crate) fn name(&self) -> &Path {
        &self.name
    }

    pub(crate) fn settings(&self) -> Result<Termios> {
        rustix::termios::tcgetattr(&self.ours).map_err(errno)
    }

    /// Sets what the terminal's programs see, and that its changes are told.
    pub(crate) fn set_settings(&self, termios: &Termios) -> Result {
        let mut told = termios.clone();
        told.local_modes |= LocalModes::EXTPROC;
        // What processes lines must do so itself, and is not told of changes then.
        let cooked = LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
        if told.local_modes.intersects(cooked) {
            told.local_modes.remove(LocalModes::EXTPROC);
        }
        rustix::termios::tcsetattr(&self.ours, OptionalActions::Now, &told).map_err(errno)
    }

    /// Sets exactly what a program has asked for.
    pub(crate) fn set_asked(&self, asked: &Settings) -> Result {
        let [c_iflag, c_oflag, c_cflag, c_lflag] = asked.modes;
        let [c_ispeed, c_ospeed] = asked.speeds;
        let termios = libc::termios2 {
            c_iflag,
            c_oflag,
            c_cflag,
            c_lflag,
            c_line: asked.discipline,
            c_cc: asked.characters,
            c_ispeed,
            c_ospeed,
        };
        // SAFETY: the request reads one such structure, which lives until the call returns.
        let status =
            unsafe { libc::ioctl(self.ours.as_raw_fd(), libc::TCSETS2, &raw const termios) };
        if status == 0 {
            Ok(())
        } else {
            Err(std::io::Error::last_os_error().into())
        }
    }

    /// Whether a change of these settings will be told.
    pub(crate) fn tells_changes(termios: &Termios) -> bool {
        termios.local_modes.contains(LocalModes::EXTPROC)
    }

    /// Takes what programs have written or done. The first byte of `space` is used up.
    pub(crate) fn read(&self, space: &mut [u8]) -> Result<Arrived> {
        let count = loop {
            match rustix::io::read(&self.ours, &mut *space) {
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(Arrived::Nothing),
                // What the kernel says when the last program has closed the terminal.
                Err(rustix::io::Errno::IO) => return Ok(Arrived::Closed),
                result => break result.map_err(errno)?,
            }
        };
        Ok(match (count, space.first()) {
            (0, _) | (_, None) => Arrived::Closed,
            (count, Some(0)) => Arrived::Bytes(count - 1),
            (_, Some(bits)) => match bits & (FLUSH_READ | FLUSH_WRITE) {
                0 => Arrived::Changed,
                FLUSH_READ => Arrived::InputFlushed,
                FLUSH_WRITE => Arrived::OutputFlushed,
                _ => Arrived::BothFlushed,
            },
        })
    }

    /// Gives bytes to the programs; EAGAIN while they read too little.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<usize> {
        loop {
            match rustix::io::write(&self.ours, bytes) {
                Err(rustix::io::Errno::INTR) => {}
                result => return result.map_err(errno),
            }
        }
    }

    /// Readable when a program has opened the terminal; [`take_opens`](Self::take_opens) takes that.
    pub(crate) fn opens(&self) -> BorrowedFd<'_> {
        self.opens.as_fd()
    }

    /// Whether a program has opened the terminal since this was last asked.
    pub(crate) fn take_opens(&self) -> bool {
        let mut space = [std::mem::MaybeUninit::uninit(); 512];
        let mut any = false;
        let mut reader = inotify::Reader::new(&self.opens, &mut space);
        while reader.next().is_ok() {
            any = true;
        }
        any
    }
}

impl AsFd for Pty {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ours.as_fd()
    }
}

/// The number of a pseudo terminal by its path, as in `/dev/pts/5`.
pub(crate) fn number(name: &Path) -> Result<u32> {
    let digits = name.file_name().and_then(|name| name.to_str());
    digits
        .and_then(|digits| digits.parse().ok())
        .ok_or(Errno::ENOTTY)
}
