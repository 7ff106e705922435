//! The client.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use abi::system::{Network, Reply, Request};
use abi::{ChannelId, Nd, Pid};
use clap::Args;
use ipc::{Connection, Endpoint, Failure, SendOptions};

use crate::Outcome;
use crate::serve::{ECHO, REPORT, SIZE_MAX};
use crate::timeline::{Timeline, now};

#[derive(Args)]
pub(crate) struct CallOptions {
    /// The server's node with its policy, such as lab2~exclusive:eth1
    node: String,
    pid: u32,
    channel: u32,
    /// Bytes of a message
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// Messages under way at a time
    #[arg(long, default_value_t = 1)]
    depth: usize,
    /// Have each message sent back
    #[arg(long)]
    echo: bool,
    /// Longest time for the whole load
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Longest time for one message, in milliseconds
    #[arg(long, default_value_t = 20_000)]
    patience: u64,
    /// Rest between two messages of a thread, in milliseconds
    #[arg(long, default_value_t = 0)]
    rest: u64,
}

/// Sends until standard input ends, then says what came of it.
pub(crate) fn run(options: &CallOptions) -> Outcome<()> {
    if !(HEAD..=SIZE_MAX).contains(&options.size) {
        return Err(format!("the size must be {HEAD} to {SIZE_MAX}").into());
    }
    let endpoint = Endpoint::connect(&ipc::default_directory())?;
    let nd = node(&endpoint, &options.node)?;
    let (pid, channel) = (Pid(options.pid), ChannelId(options.channel));
    let load = Load {
        options,
        connection: Connection::attach(&endpoint, nd, pid, channel)?,
        client: std::process::id(),
        next: AtomicU32::new(0),
        done: AtomicU32::new(0),
        failures: Mutex::default(),
        failed_at: AtomicU64::new(u64::MAX),
        stop: AtomicBool::new(false),
    };
    let timeline = Timeline::new(options.seconds);
    println!("started {}", timeline.start());
    load.send_all(&timeline)?;
    timeline.print();
    load.print();
    // Asked over any lane: what is counted is what happened before.
    let any = node(
        &endpoint,
        options.node.split('~').next().unwrap_or_default(),
    )?;
    let (once, again) = load.executed(&Connection::attach(&endpoint, any, pid, channel)?)?;
    println!("executed {once}");
    println!("doubled {again}");
    Ok(())
}

/// The descriptor of a node, policy included.
fn node(endpoint: &Endpoint, name: &str) -> Outcome<Nd> {
    let question = Network {
        nd: Nd::LOCAL,
        path: name.as_bytes().to_vec(),
    };
    match endpoint.request(&Request::Network(question))? {
        Reply::Redirect(redirect) => Ok(redirect.nd),
        other => Err(format!("no redirect for {name}: {other:?}").into()),
    }
}

struct Load<'a> {
    options: &'a CallOptions,
    connection: Connection,
    client: u32,
    next: AtomicU32,
    done: AtomicU32,
    failures: Mutex<BTreeMap<String, u64>>,
    failed_at: AtomicU64,
    stop: AtomicBool,
}

impl Load<'_> {
    fn send_all(&self, timeline: &Timeline) -> Outcome<()> {
        let end = Instant::now() + Duration::from_secs(self.options.seconds);
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.options.depth)
                .map(|_| scope.spawn(|| self.work(timeline, end)))
                .collect();
            // Detached: it may wait for an end of input that comes only with the process's.
            std::thread::spawn(|| {
                let _ = std::io::stdin().read_to_end(&mut Vec::new());
                INPUT_ENDED.store(true, Ordering::Relaxed);
            });
            for worker in workers {
                worker.join().map_err(|_panic| "a worker ended")?;
            }
            Ok(())
        })
    }

    fn work(&self, timeline: &Timeline, end: Instant) {
        let mut message = vec![0; self.options.size];
        let mut reply = vec![0; if self.options.echo { message.len() } else { 0 }];
        message[..4].copy_from_slice(&self.client.to_le_bytes());
        message[8..HEAD].copy_from_slice(&u32::from(self.options.echo).to_le_bytes());
        debug_assert_eq!(ECHO, 1);
        while !self.stop.load(Ordering::Relaxed)
            && !INPUT_ENDED.load(Ordering::Relaxed)
            && Instant::now() < end
        {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            message[4..8].copy_from_slice(&number.to_le_bytes());
            match self.send(&message, &mut reply) {
                Ok(()) => {
                    self.done.fetch_add(1, Ordering::Relaxed);
                    timeline.progress(message.len());
                }
                Err(why) => self.failed(why),
            }
            std::thread::sleep(Duration::from_millis(self.options.rest));
        }
    }

    fn send(&self, message: &[u8], reply: &mut [u8]) -> Result<(), String> {
        let options = SendOptions {
            deadline: Some(Instant::now() + Duration::from_millis(self.options.patience)),
            ..SendOptions::default()
        };
        let answer = self
            .connection
            .send_vectored(
                &[std::io::IoSlice::new(message)],
                &mut [std::io::IoSliceMut::new(reply)],
                &options,
            )
            .map_err(|failure| describe(&failure))?;
        if usize::try_from(answer.status) != Ok(message.len()) {
            return Err("ANSWER of another length".into());
        }
        if self.options.echo && *reply != *message {
            return Err("ANSWER with other bytes".into());
        }
        Ok(())
    }

    /// Counts a failure by its text, and gives up where nothing else can come.
    fn failed(&self, why: String) {
        self.failed_at.fetch_min(now(), Ordering::Relaxed);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(why).or_default();
        *count += 1;
        if *count > FAILURES_MAX {
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    fn print(&self) {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        println!("sent {}", self.next.load(Ordering::Relaxed));
        println!("done {}", self.done.load(Ordering::Relaxed));
        println!("failed {}", failures.values().sum::<u64>());
        let failed_at = self.failed_at.load(Ordering::Relaxed);
        if failed_at != u64::MAX {
            println!("failed-at {failed_at}");
        }
        for (why, count) in failures.iter() {
            println!("failure {count} {why}");
        }
    }

    fn executed(&self, connection: &Connection) -> Outcome<(u64, u64)> {
        let mut question = [0; HEAD];
        question[..4].copy_from_slice(&self.client.to_le_bytes());
        question[4..8].copy_from_slice(&REPORT.to_le_bytes());
        let mut reply = [0; 16];
        connection.send(&question, &mut reply)?;
        let (once, again) = reply.split_at(8);
        Ok((
            u64::from_le_bytes(once.try_into()?),
            u64::from_le_bytes(again.try_into()?),
        ))
    }
}

fn describe(failure: &Failure) -> String {
    let (errno, cause, delivery) = (failure.errno, failure.cause, failure.delivery);
    format!("{errno:?} {cause:?} {delivery:?}")
}

static INPUT_ENDED: AtomicBool = AtomicBool::new(false);
/// Client, number, and whether to echo.
const HEAD: usize = 12;
/// Of one kind: a lane that is down fails at once, and a loop of such calls must end.
const FAILURES_MAX: u64 = 100_000;
