//! The device of a port goes and comes back.

use std::os::fd::AsFd;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use abi::{Errno, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Port;
use crate::arrival::Arrival;
use crate::device::{self, Device};
use crate::options::Replug;

/// How often a device that is gone is looked for where its coming cannot be watched; an open looks at once.
const RETRY: Duration = Duration::from_millis(500);
/// And where it can: for what is not seen, such as a right that is given to the manager.
const RETRY_WATCHED: Duration = Duration::from_secs(2);

impl Port {
    /// The number of the present device, for a new open; looks for a lost one.
    ///
    /// # Errors
    /// ENXIO while the device is gone, EBUSY if somebody else took it.
    pub(crate) fn life(&self) -> Result<u64> {
        if self.line().device.is_none() {
            resmgr::blocking(|| self.reopen())?;
            self.ring();
        }
        Ok(self.line().life)
    }

    fn reopen(&self) -> Result {
        let _one_at_a_time = self
            .reopening
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.line().device.is_some() {
            return Ok(());
        }
        // Not under the line's lock: a device of another machine takes its time.
        let device = match device::open(&self.options.device, &self.options.line) {
            Ok(device) => device,
            Err(Errno::EBUSY) => return Err(Errno::EBUSY),
            Err(_) => return Err(Errno::ENXIO),
        };
        let kept = self.line().kept;
        if let Some(kept) = kept
            && let Err(errno) = device.set_settings(&kept)
        {
            tracing::warn!(
                "the device that is back refuses its settings: {}",
                errno.text()
            );
        }
        tracing::info!(device = %self.options.device.display(), "serial device is back");
        let mut line = self.line();
        line.errors_seen = device.error_counts();
        line.device = Some(device);
        line.doubtful = false;
        if self.options.replug == Replug::Fail {
            line.input.clear();
            line.input_life = line.life;
        }
        Ok(())
    }

    /// Whether files outlive the device.
    pub(super) fn outlives(&self) -> bool {
        self.options.replug == Replug::Wait
    }

    /// A write sees the loss before the port's thread does, which then looks.
    pub(super) fn doubt(&self, device: &Arc<dyn Device>) {
        let mut line = self.line();
        let is_present = |now: &Arc<dyn Device>| Arc::ptr_eq(now, device);
        if line.device.as_ref().is_some_and(is_present) {
            line.doubtful = true;
        }
    }

    /// Waits until the device may be back, and opens it.
    pub(super) fn wait_for_device(&self) {
        // Watched before it is looked for: what comes in between is seen.
        let arrival = Arrival::watch(&self.options.device);
        // One that can be opened and takes no bytes is not tried without a pause.
        let doubtful = std::mem::take(&mut self.line().doubtful);
        if !doubtful && self.reopen().is_ok() {
            return;
        }
        let mut fds = vec![PollFd::new(&self.doorbell, PollFlags::IN)];
        let mut limit = RETRY;
        if let Some(arrival) = &arrival {
            fds.push(PollFd::from_borrowed_fd(arrival.as_fd(), PollFlags::IN));
            if !doubtful {
                limit = RETRY_WATCHED;
            }
        }
        let _ = poll(&mut fds, Timespec::try_from(limit).ok().as_ref());
        self.hush();
    }

    /// The device is gone, surely or by what a write says: nobody waits for it any longer, unless files outlive it.
    pub(super) fn lose(&self, life: u64, surely: bool) {
        let mut line = self.line();
        if line.life != life {
            return;
        }
        tracing::warn!(device = %self.options.device.display(), "serial device is gone");
        line.device = None;
        line.doubtful = !surely;
        if self.outlives() {
            return;
        }
        line.life += 1;
        drop(line);
        self.serve_readers(life);
        self.readers.refuse_all(Errno::EIO);
        self.writers.refuse_all(Errno::EIO);
        self.wake_watchers(life);
    }
}

/// Whether a write that failed so says that the device is gone. A driver says one of these from the moment it is unplugged
/// until the terminal is hung up; a connection to a shared port says the last two.
pub(super) const fn is_loss(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::EIO | Errno::ENODEV | Errno::ENXIO | Errno::EPIPE | Errno::ECONNRESET
    )
}
