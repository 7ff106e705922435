//! The processor time that both processes of a measurement use.

use std::time::{Duration, Instant};

use crate::Outcome;

/// Runs from the begin of a measurement.
pub(crate) struct Meter {
    clocks: Vec<libc::clockid_t>,
    used: u64,
    start: Instant,
}

impl Meter {
    /// Of this process and, if it is known, of its peer.
    pub(crate) fn start(peer: Option<u32>) -> Outcome<Self> {
        let mut clocks = vec![libc::CLOCK_PROCESS_CPUTIME_ID];
        if let Some(peer) = peer {
            clocks.push(clock_of(peer)?);
        }
        Ok(Self {
            used: used(&clocks)?,
            clocks,
            start: Instant::now(),
        })
    }

    /// The time since the begin.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Nanoseconds used by both since the begin; 0 without a peer, for half of it is no figure.
    pub(crate) fn used(&self) -> Outcome<u64> {
        if self.clocks.len() < 2 {
            return Ok(0);
        }
        Ok(used(&self.clocks)?.saturating_sub(self.used))
    }
}

fn used(clocks: &[libc::clockid_t]) -> Outcome<u64> {
    clocks.iter().map(|clock| read(*clock)).sum()
}

#[expect(
    unsafe_code,
    reason = "no crate here carries the clocks of other processes"
)]
fn clock_of(process: u32) -> Outcome<libc::clockid_t> {
    let mut clock = 0;
    // SAFETY: the kernel-side number is written into a valid integer during the call.
    let result = unsafe { libc::clock_getcpuclockid(process.cast_signed(), &raw mut clock) };
    match result {
        0 => Ok(clock),
        error => Err(std::io::Error::from_raw_os_error(error).into()),
    }
}

#[expect(
    unsafe_code,
    reason = "no crate here carries the clocks of other processes"
)]
fn read(clock: libc::clockid_t) -> Outcome<u64> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the time is written into a valid structure during the call.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(u64::try_from(time.tv_sec)? * 1_000_000_000 + u64::try_from(time.tv_nsec)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_the_peer_is_counted_too() -> Outcome<()> {
        let own = Some(std::process::id());
        let meter = Meter::start(own)?;
        let mut sum = 0_u64;
        while meter.elapsed() < Duration::from_millis(20) {
            sum = std::hint::black_box(sum + 1);
        }
        // The peer is this process itself, so its time counts twice.
        assert!(meter.used()? > 10_000_000);
        assert_eq!(Meter::start(None)?.used()?, 0);
        Ok(())
    }
}
