//! `/dev/time`: an open reads the time at once, and then again with every tick.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use resmgr::abi::io::Events;
use resmgr::{
    Answer, Attributes, DevctlRequest, Endpoint, Errno, Notices, NotifyRequest, OpenFile,
    OpenRequest, Opening, ReadRequest, Resource, Result, Server, WaitQueue, posix,
};
use slashnet_examples::{TIME_PERIOD_GET, TIME_PERIOD_SET};

#[derive(Clone, Default)]
struct Time {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    clock: Mutex<Clock>,
    changed: Condvar,
    readers: WaitQueue<ReadRequest>,
    notices: Notices,
}

struct Clock {
    /// Counts up from 1.
    tick: u64,
    period: Duration,
}

/// The last tick that this open has read.
#[derive(Default)]
struct Seen(AtomicU64);

impl Default for Clock {
    fn default() -> Self {
        Self {
            tick: 1,
            period: Duration::from_secs(1),
        }
    }
}

impl Resource for Time {
    fn open(&self, open: OpenRequest) -> Answer {
        match posix::open::verify(&open) {
            Ok(()) => open.accept_as(Opening::new().state(Seen::default())),
            Err(errno) => open.fail(errno),
        }
    }

    fn read(&self, file: &OpenFile, read: ReadRequest) -> Answer {
        if let Err(errno) = posix::read::verify(file, &read) {
            return read.fail(errno);
        }
        let clock = self.clock();
        if seen(file) < clock.tick {
            see(file, clock.tick);
            return read.data(now().as_bytes());
        }
        // Under the lock, so that no tick is missed.
        self.shared.readers.park(read)
    }

    fn notify(&self, file: &OpenFile, notify: NotifyRequest) -> Answer {
        let clock = self.clock();
        let now = if seen(file) < clock.tick {
            Events::INPUT
        } else {
            Events::empty()
        };
        self.shared.notices.watch(notify, now)
    }

    fn devctl(&self, file: &OpenFile, devctl: DevctlRequest) -> Answer {
        devctl
            .on(TIME_PERIOD_GET, |()| {
                Ok(self.clock().period.as_millis() as u32)
            })
            .on(TIME_PERIOD_SET, |millis| self.set_period(millis))
            .otherwise(|devctl| posix::devctl::default(file, devctl))
    }
}

impl Time {
    fn clock(&self) -> MutexGuard<'_, Clock> {
        let clock = self.shared.clock.lock();
        clock.unwrap_or_else(PoisonError::into_inner)
    }

    fn set_period(&self, millis: u32) -> Result {
        if !(1..=3_600_000).contains(&millis) {
            return Err(Errno::EINVAL);
        }
        self.clock().period = Duration::from_millis(millis.into());
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Ticks for ever.
    fn run(&self) {
        let mut clock = self.clock();
        loop {
            let period = clock.period;
            let waited = self
                .shared
                .changed
                .wait_timeout_while(clock, period, |clock| clock.period == period);
            let (next, wait) = waited.unwrap_or_else(PoisonError::into_inner);
            clock = next;
            if !wait.timed_out() {
                continue;
            }
            clock.tick += 1;
            for _ in 0..self.shared.readers.len() {
                let Some(reader) = self.shared.readers.take() else {
                    break;
                };
                if let Some(file) = reader.open_file() {
                    see(file, clock.tick);
                }
                let _ = reader.data(now().as_bytes());
            }
            self.shared.notices.trigger(Events::INPUT);
        }
    }
}

fn seen(file: &OpenFile) -> u64 {
    let seen = file.state::<Seen>();
    seen.map_or(0, |seen| seen.0.load(Ordering::Relaxed))
}

fn see(file: &OpenFile, tick: u64) {
    if let Some(seen) = file.state::<Seen>() {
        seen.0.store(tick, Ordering::Relaxed);
    }
}

/// Seconds since 1970, with three places.
fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.unwrap_or_default().as_millis();
    format!("{}.{:03}\n", millis / 1000, millis % 1000)
}

fn main() -> Result {
    let path = std::env::args().nth(1);
    let path = path.as_deref().unwrap_or("/dev/time");
    let time = Time::default();
    let attributes = Attributes::device(0o666);
    let server =
        Server::new(Endpoint::global()?)?
            .threads(1..=4)
            .attach(path, attributes, time.clone())?;
    let _running = server.start()?;
    time.run();
    Ok(())
}
