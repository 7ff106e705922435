//! A device that echoes: the other end of a serial port, without a port.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use crate::signals::wait_for_any;

/// Room for what one read of a terminal gives at most.
const CHUNK: usize = 4096;

/// A pseudo terminal whose far end sends back every byte. Dropping it unplugs the device.
#[derive(Debug)]
pub(crate) struct EchoDevice {
    path: PathBuf,
    unplug: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl EchoDevice {
    /// Plugs a device in.
    pub(crate) fn plug_in() -> io::Result<Self> {
        let far_end = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&far_end)?;
        unlockpt(&far_end)?;
        let path = PathBuf::from(
            ptsname(&far_end, Vec::new())?
                .to_string_lossy()
                .into_owned(),
        );
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let near_end = rustix::fs::open(&path, flags, Mode::empty())?;
        // A terminal that echoes by itself would send the device's own bytes back to it, for ever.
        let mut attributes = tcgetattr(&near_end)?;
        attributes.make_raw();
        tcsetattr(&near_end, OptionalActions::Now, &attributes)?;
        let (unplug, unplugged) = UnixStream::pair()?;
        let thread = std::thread::Builder::new()
            .name("echo device".to_owned())
            .spawn(move || {
                // While the near end is held open here, the far end sees no hang-up between two users.
                let _near_end = near_end;
                if let Err(error) = echo(&File::from(far_end), &unplugged) {
                    tracing::warn!("echo device: {error}");
                }
            })?;
        Ok(Self {
            path,
            unplug,
            thread: Some(thread),
        })
    }

    /// The terminal device.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for EchoDevice {
    fn drop(&mut self) {
        let _ = self.unplug.shutdown(std::net::Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Sends back what comes until `unplugged` hangs up. Bytes wait here while the terminal is full,
/// and are not read faster than they can be sent back.
fn echo(mut far_end: &File, unplugged: &UnixStream) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(far_end)?;
    rustix::fs::fcntl_setfl(far_end, flags | OFlags::NONBLOCK)?;
    let mut chunk = [0; CHUNK];
    let mut waiting = 0..0;
    loop {
        let direction = if waiting.is_empty() {
            PollFlags::IN
        } else {
            PollFlags::OUT
        };
        let mut interests = [
            PollFd::from_borrowed_fd(unplugged.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(far_end.as_fd(), direction),
        ];
        wait_for_any(&mut interests, None);
        if !interests[0].revents().is_empty() {
            return Ok(());
        }
        let moved = if waiting.is_empty() {
            far_end.read(&mut chunk).map(|length| waiting = 0..length)
        } else {
            far_end
                .write(&chunk[waiting.clone()])
                .map(|length| waiting.start += length)
        };
        match moved {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => result?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(device: &EchoDevice) -> File {
        let mut how = File::options();
        how.read(true).write(true).open(device.path()).unwrap()
    }

    #[test]
    fn every_byte_comes_back_once_and_unchanged() {
        let device = EchoDevice::plug_in().unwrap();
        let mut port = open(&device);
        let sent: Vec<u8> = (0..=255).cycle().take(20_000).collect();
        let mut received = Vec::new();
        for chunk in sent.chunks(500) {
            port.write_all(chunk).unwrap();
            let mut echo = vec![0; chunk.len()];
            port.read_exact(&mut echo).unwrap();
            received.extend(echo);
        }
        assert_eq!(received, sent);
    }

    #[test]
    fn an_unplugged_device_is_gone() {
        let device = EchoDevice::plug_in().unwrap();
        let mut port = open(&device);
        drop(device);
        assert_eq!(port.read(&mut [0; 1]).unwrap_or(0), 0);
    }
}
