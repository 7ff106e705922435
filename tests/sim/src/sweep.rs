//! Many seeds, on all processors.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::options::Options;
use crate::report;
use testkit::{Finding, Kind, Outcome, World};

/// How often progress is shown on long runs.
const PROGRESS: Duration = Duration::from_secs(5);
/// Findings of one kind that are named in the list.
const NAMED: usize = 8;

/// Plays a seed; a panic is a finding like others.
pub(crate) fn play(seed: u64, (trace, packets): (bool, bool)) -> Outcome {
    let run = AssertUnwindSafe(|| {
        let mut world = World::new(seed);
        world.trace = trace;
        world.packets_too = packets;
        world.run()
    });
    catch_unwind(run).unwrap_or_else(|_| Outcome {
        finding: Some(Finding::new(Kind::Crash, "the program panicked".into())),
        strip: Vec::new(),
        seen: Default::default(),
        packets: 0,
        operations: 0,
        time: Duration::ZERO,
    })
}

/// What all threads share.
struct Sweep<'a> {
    options: &'a Options,
    next: AtomicU64,
    done: AtomicU64,
    packets: AtomicU64,
    operations: AtomicU64,
    stop: AtomicBool,
    found: Mutex<BTreeMap<u64, Outcome>>,
    start: Instant,
    shown: Mutex<Instant>,
}

/// Plays all seeds; shows the first finding, or with `--all` a list of them.
pub(crate) fn run(options: &Options) -> ExitCode {
    let sweep = Sweep {
        options,
        next: AtomicU64::new(0),
        done: AtomicU64::new(0),
        packets: AtomicU64::new(0),
        operations: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        found: Mutex::default(),
        start: Instant::now(),
        shown: Mutex::new(Instant::now()),
    };
    std::thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(|| sweep.work());
        }
    });
    let found = sweep.found.into_inner().unwrap_or_default();
    println!(
        "{} seeds from {}: {} operations, {} packets, {} findings, {:.1} s",
        sweep.done.into_inner(),
        options.from,
        sweep.operations.into_inner(),
        sweep.packets.into_inner(),
        found.len(),
        sweep.start.elapsed().as_secs_f64()
    );
    let Some((seed, outcome)) = found.first_key_value() else {
        return ExitCode::SUCCESS;
    };
    if options.all {
        list(&found);
    }
    report(*seed, outcome)
}

impl Sweep<'_> {
    fn work(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.options.seeds {
                return;
            }
            let seed = self.options.from.saturating_add(number);
            let outcome = play(seed, (false, false));
            self.packets.fetch_add(outcome.packets, Ordering::Relaxed);
            self.operations
                .fetch_add(outcome.operations, Ordering::Relaxed);
            self.done.fetch_add(1, Ordering::Relaxed);
            if let Some(Finding { kind, text }) = &outcome.finding {
                eprintln!("seed {seed}: {kind:?}: {text}");
                self.stop.fetch_or(!self.options.all, Ordering::Relaxed);
                if let Ok(mut found) = self.found.lock() {
                    found.insert(seed, outcome);
                }
            }
            self.show(seed);
        }
    }

    fn show(&self, seed: u64) {
        let Ok(mut shown) = self.shown.lock() else {
            return;
        };
        if shown.elapsed() > PROGRESS {
            *shown = Instant::now();
            let found = self.found.lock().map_or(0, |found| found.len());
            let (done, packets) = (&self.done, &self.packets);
            eprintln!(
                "seed {seed}: {} of {} done, {} packets, {found} findings, {:.0} s",
                done.load(Ordering::Relaxed),
                self.options.seeds,
                packets.load(Ordering::Relaxed),
                self.start.elapsed().as_secs_f64()
            );
        }
    }
}

/// Findings that differ only in their numbers belong together.
fn list(found: &BTreeMap<u64, Outcome>) {
    let mut kinds: BTreeMap<String, Vec<(u64, &str)>> = BTreeMap::new();
    for (seed, outcome) in found {
        if let Some(Finding { kind, text }) = &outcome.finding {
            let words = text.chars().filter(|c| !c.is_ascii_hexdigit());
            let shape: String = format!("{kind:?}: ")
                .chars()
                .chain(words)
                .take(60)
                .collect();
            kinds.entry(shape).or_default().push((*seed, text));
        }
    }
    for seeds in kinds.values() {
        let named: Vec<u64> = seeds.iter().map(|(seed, _)| *seed).take(NAMED).collect();
        println!("{} x {named:?}: {}", seeds.len(), seeds[0].1);
    }
}
