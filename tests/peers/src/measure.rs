//! The clocks, and the line that the bench reads.

use std::future::Future;
use std::time::Instant;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::{Outcome, Task};

/// Processor time of this process and its peer, from the begin of a measurement.
pub struct Meter {
    clocks: [libc::clockid_t; 2],
    used: u64,
    start: Instant,
}

impl Meter {
    pub fn start(task: &Task) -> Outcome<Self> {
        let mut peer = 0;
        // SAFETY: the number of the clock is written into a valid integer during the call.
        let error = unsafe { libc::clock_getcpuclockid(task.peer, &raw mut peer) };
        if error != 0 {
            return Err(std::io::Error::from_raw_os_error(error).into());
        }
        let clocks = [libc::CLOCK_PROCESS_CPUTIME_ID, peer];
        Ok(Self {
            clocks,
            used: used(clocks)?,
            start: Instant::now(),
        })
    }

    pub fn nanoseconds(&self) -> u128 {
        self.start.elapsed().as_nanos()
    }

    pub fn used(&self) -> Outcome<u64> {
        Ok(used(self.clocks)? - self.used)
    }
}

fn used(clocks: [libc::clockid_t; 2]) -> Outcome<u64> {
    let mut sum = 0;
    for clock in clocks {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the time is written into a valid structure during the call.
        if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        sum += u64::try_from(time.tv_sec)? * 1_000_000_000 + u64::try_from(time.tv_nsec)?;
    }
    Ok(sum)
}

/// Makes calls for the time of the task, as many at once as it says, and prints what the bench reads.
pub async fn calls<F, R>(task: &Task, call: F) -> Outcome<()>
where
    F: Fn() -> R,
    R: Future<Output = Outcome<usize>>,
{
    let checked = || async {
        match call().await? {
            len if len == task.size => Ok(()),
            len => Outcome::Err(format!("{len} of {} bytes came back", task.size).into()),
        }
    };
    let warm = Instant::now();
    while warm.elapsed() < task.time / 10 {
        checked().await?;
    }
    if task.depth == 1 {
        return one_by_one(task, checked).await;
    }
    let mut under_way: FuturesUnordered<_> = (0..task.depth).map(|_| checked()).collect();
    let meter = Meter::start(task)?;
    let mut count = 0;
    while meter.nanoseconds() < task.time.as_nanos() {
        under_way.next().await.ok_or("no call is under way")??;
        count += 1;
        under_way.push(checked());
    }
    println!("0 0 0 {count} {} {}", meter.nanoseconds(), meter.used()?);
    Ok(())
}

async fn one_by_one<F, R>(task: &Task, call: F) -> Outcome<()>
where
    F: Fn() -> R,
    R: Future<Output = Outcome<()>>,
{
    let mut samples = Vec::with_capacity(1 << 20);
    let meter = Meter::start(task)?;
    let mut before = Instant::now();
    while meter.nanoseconds() < task.time.as_nanos() {
        call().await?;
        let after = Instant::now();
        samples.push((after - before).as_nanos());
        before = after;
    }
    let (elapsed, used) = (meter.nanoseconds(), meter.used()?);
    samples.sort_unstable();
    let at = |share: usize| {
        samples
            .get(samples.len() * share / 100)
            .copied()
            .unwrap_or(0)
    };
    let count = samples.len();
    println!("{} {} 0 {count} {elapsed} {used}", at(50), at(99));
    Ok(())
}
