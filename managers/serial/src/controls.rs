//! Controls of a port: settings, breaks, queues, wires.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use abi::devctl::{FlushQueue, LineStatus, SetTermios, Termios, When};
use abi::{Errno, Result};

use crate::device::Device;
use crate::port::Port;

impl Port {
    pub(crate) fn settings(&self, life: u64) -> Result<Termios> {
        self.device(life)?.settings()
    }

    pub(crate) fn set_settings(
        &self,
        life: u64,
        set: &SetTermios,
        gives_up: impl Fn() -> bool,
    ) -> Result {
        if set.when != When::Now {
            self.drain(life, gives_up)?;
        }
        let device = self.device(life)?;
        device.set_settings(&set.termios)?;
        self.line().kept = Some(set.termios);
        if set.when == When::Flush {
            self.flush(life, FlushQueue::Input)?;
        }
        Ok(())
    }

    /// Waits until all output has left.
    ///
    /// # Errors
    /// EINTR when the client gives up, EIO when the device is lost.
    pub(crate) fn drain(&self, life: u64, gives_up: impl Fn() -> bool) -> Result {
        resmgr::blocking(|| {
            loop {
                let device = self.device(life)?;
                let queued = !self.writers.is_empty() || device.output_count()? > 0;
                if !queued && device.is_transmitter_empty() {
                    return Ok(());
                }
                if gives_up() {
                    return Err(Errno::EINTR);
                }
                std::thread::sleep(DRAIN_LOOK);
            }
        })
    }

    /// Discards bytes that wait on either side.
    pub(crate) fn flush(&self, life: u64, queue: FlushQueue) -> Result {
        let device = self.device(life)?;
        device.flush(queue)?;
        if queue != FlushQueue::Output {
            self.line().input.clear();
            self.ring();
        }
        Ok(())
    }

    /// Sends a break of so many milliseconds.
    ///
    /// # Errors
    /// EINVAL for more than 10 s, EINTR when the client gives up: the break ends then, too.
    pub(crate) fn send_break(&self, life: u64, millis: u32, gives_up: impl Fn() -> bool) -> Result {
        if millis > BREAK_MAX_MS {
            return Err(Errno::EINVAL);
        }
        let length = Duration::from_millis(if millis == 0 { BREAK_MS } else { millis }.into());
        let device = self.device(life)?;
        let _output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        device.set_break(true)?;
        let end = Instant::now() + length;
        let waited = resmgr::blocking(|| {
            loop {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(());
                }
                if gives_up() {
                    return Err(Errno::EINTR);
                }
                std::thread::sleep(left.min(Duration::from_millis(50)));
            }
        });
        device.set_break(false)?;
        waited
    }

    pub(crate) fn line_status(&self, life: u64) -> Result<LineStatus> {
        let device = self.device(life)?;
        // A pty has no modem lines; its status is that it has none.
        let lines = device.modem_lines().unwrap_or_default();
        let now = device.error_counts();
        let mut line = self.line();
        let errors = now.since(line.errors_seen);
        line.errors_seen = now;
        Ok(LineStatus { lines, errors })
    }

    pub(crate) fn input_count(&self, life: u64) -> Result<u32> {
        let held = {
            let line = self.line();
            if line.input_life == life {
                line.input.len()
            } else {
                0
            }
        };
        Ok(u32::try_from(held).unwrap_or(u32::MAX) + self.device(life)?.input_count()?)
    }

    /// Does `ask` with the device itself.
    pub(crate) fn with_device<T>(
        &self,
        life: u64,
        ask: impl FnOnce(&dyn Device) -> Result<T>,
    ) -> Result<T> {
        ask(&*self.device(life)?)
    }
}

/// How often the driver's output queue is looked at while a client waits for it to be empty: the
/// kernel has no event for that.
const DRAIN_LOOK: Duration = Duration::from_millis(5);
/// The longest break that can be asked for.
const BREAK_MAX_MS: u32 = 10_000;
/// The length of a break of 0, as `tcsendbreak` has it.
const BREAK_MS: u32 = 300;
