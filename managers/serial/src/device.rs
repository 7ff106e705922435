//! The device behind a port: a terminal of this machine, or a port that another program shares over TCP.

mod local;
mod remote;

use std::fmt::Debug;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use abi::Result;
use abi::devctl::{FlushQueue, LineErrors, ModemLines, Termios, WindowSize};

pub(crate) use self::local::errno;

use self::local::LocalDevice;
use self::remote::RemoteDevice;
use crate::options::LineOptions;

/// An open device that nobody else has. Its descriptor is ready when [`read`](Self::read) and [`write`](Self::write) are,
/// and hung up when the device is lost.
pub(crate) trait Device: AsFd + Debug + Send + Sync {
    /// Takes bytes that have arrived; EAGAIN if there are none.
    fn read(&self, into: &mut [u8]) -> Result<usize>;
    /// Gives bytes to the line; EAGAIN if it takes none now.
    fn write(&self, bytes: &[u8]) -> Result<usize>;
    /// How the line is set.
    fn settings(&self) -> Result<Termios>;
    /// Sets the line, for bytes that are written from now on.
    fn set_settings(&self, termios: &Termios) -> Result;
    /// Throws away bytes that wait in the driver.
    fn flush(&self, queue: FlushQueue) -> Result;
    /// Switches the break condition.
    fn set_break(&self, on: bool) -> Result;
    /// Bytes that have not left the driver.
    fn output_count(&self) -> Result<u32>;
    /// Whether the transmitter itself is empty; drivers that cannot tell are.
    fn is_transmitter_empty(&self) -> bool;
    /// Bytes that have arrived in the driver.
    fn input_count(&self) -> Result<u32>;
    /// The wires that are on.
    fn modem_lines(&self) -> Result<ModemLines>;
    /// Switches our lines; those of the other side cannot be switched.
    fn set_modem_lines(&self, on: ModemLines, off: ModemLines) -> Result;
    /// How often each kind of error has happened; zeros where the driver does not count.
    fn error_counts(&self) -> ErrorCounts;
    /// The window's size.
    fn window(&self) -> Result<WindowSize>;
    /// Sets the window's size.
    fn set_window(&self, size: WindowSize) -> Result;
}

/// Opens a device by its path, or by `rfc2217://HOST:PORT`, and sets its line.
///
/// # Errors
/// EBUSY if another program holds it, ENOTTY if it is no terminal, EINVAL for a speed it cannot do, and what `open` or
/// `connect` answers.
pub(crate) fn open(path: &Path, options: &LineOptions) -> Result<Arc<dyn Device>> {
    match path.to_str().and_then(|path| path.strip_prefix(REMOTE)) {
        Some(place) => Ok(Arc::new(RemoteDevice::open(place, options)?)),
        None => Ok(Arc::new(LocalDevice::open(path, options)?)),
    }
}

/// Whether it is a port that another program shares over TCP.
pub(crate) fn is_remote(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.starts_with(REMOTE))
}

/// What a port begins with that is not of this machine.
const REMOTE: &str = "rfc2217://";

/// Counts of errors, in the order of [`ErrorCounts::KINDS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ErrorCounts(pub(crate) [i32; 5]);

impl ErrorCounts {
    const KINDS: [LineErrors; 5] = [
        LineErrors::OVERRUN,
        LineErrors::PARITY,
        LineErrors::FRAMING,
        LineErrors::BREAK,
        LineErrors::QUEUE,
    ];

    /// What has happened since `before`.
    pub(crate) fn since(self, before: Self) -> LineErrors {
        let pairs = self.0.iter().zip(before.0).zip(Self::KINDS);
        pairs
            .filter(|((now, before), _)| **now != *before)
            .fold(LineErrors::empty(), |all, (_, kind)| all | kind)
    }
}
