//! What a lane that is cut costs the load that uses it, and how soon it is used again.

use super::bed::{Bed, Load, wait_until};
use super::host::{CableState, Host};
use super::record::{Moment, Record};
use super::report::{Judge, Report, median_and_worst};
use super::wire::Rate;
use crate::Outcome;
use std::thread::sleep;
use std::time::Duration;

/// Of both cables, in Mbit/s.
const RATE: u32 = 200;
/// How long a cable stays cut: longer than any detection.
const CUT: Duration = Duration::from_millis(450);
/// Between two cuts, so that each cable is whole for two seconds: one that fails sooner is taken for flapping, and
/// bulk has its cables cut in turn.
const WHOLE: Duration = Duration::from_millis(2100);
const WHOLE_IN_TURN: Duration = Duration::from_millis(900);
/// After the return of a cable, what it still does to the load counts as done by the cut.
const AFTER: Duration = Duration::from_millis(500);
const MEDIAN_MAX: Duration = Duration::from_millis(20);
const WORST_MAX: Duration = Duration::from_millis(100);
const RETURN_MAX: Duration = Duration::from_millis(500);
/// Stands for a cable that is not used again at all.
const UNUSED_MAX: Duration = Duration::from_secs(5);
/// This much through an interface is load and not the daemons' probes.
const IN_USE: u64 = 100_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Packets vanish in the middle; nobody is told.
    Silent,
    /// `ip link set down` on one of the hosts, which is told; the other is not.
    Down,
}

/// Cuts `count` times in each way under each load, and asserts the bounds.
pub(crate) fn run(count: u32, judge: Judge) -> Outcome {
    let bed = Bed::ready(2)?;
    for cable in 0..2 {
        bed.lab().shape(cable, Rate::megabits(RATE))?;
    }
    let mut report = Report::new(judge);
    report.title(format!(
        "cuts: two cables of {RATE} Mbit/s, {count} cuts each, load balance"
    ));
    for kind in [Kind::Silent, Kind::Down] {
        for (load, what) in [
            (Load::PING_PONG, "64 B ping-pong"),
            (Load::BULK, "bulk, 8 x 64 KiB"),
        ] {
            let bulk = !load.echo;
            let title = format!("{}, {what}", kind.name());
            let running = bed.call("", load)?;
            let cuts = cut_repeatedly(&bed, kind, bulk, count);
            let record = running.end()?;
            judge_cuts(&mut report, &title, &cuts?, &record);
        }
    }
    report.end()
}

/// One cut: from when to when, and how long after that the cable was in use again.
struct Cut {
    from: Moment,
    to: Moment,
    unused: Option<Duration>,
}

fn cut_repeatedly(bed: &Bed, kind: Kind, bulk: bool, count: u32) -> Outcome<Vec<Cut>> {
    (0..count)
        .map(|number| {
            sleep(if bulk { WHOLE_IN_TURN } else { WHOLE });
            let cable = if bulk {
                u8::from(number % 2 == 1)
            } else {
                busiest(bed)?
            };
            // A link goes down on either side in turn.
            let host = match number / 2 % 2 {
                0 => bed.client(),
                _ => bed.server(),
            };
            let from = Moment::now();
            kind.set(host, cable, CableState::Cut)?;
            sleep(CUT);
            kind.set(host, cable, CableState::Whole)?;
            let to = Moment::now();
            let unused = if bulk {
                Some(until_in_use(bed, cable).unwrap_or(UNUSED_MAX))
            } else {
                None
            };
            Ok(Cut { from, to, unused })
        })
        .collect()
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Down => "link down",
        }
    }

    fn set(self, host: &Host, cable: u8, state: CableState) -> Outcome {
        let interface = format!("eth{cable}");
        let link = |word| host.ip(&["link", "set", &interface, word]);
        match (self, state) {
            (Self::Silent, state) => host.cable(cable, state),
            (Self::Down, CableState::Cut) => link("down"),
            (Self::Down, CableState::Whole) => link("up"),
        }
    }
}

/// The cable that the load goes over.
fn busiest(bed: &Bed) -> Outcome<u8> {
    let packets = |cable: u8| -> Outcome<u64> {
        let counters = bed.client().counters(&format!("eth{cable}"))?;
        Ok(counters.packets())
    };
    let before = [packets(0)?, packets(1)?];
    sleep(Duration::from_millis(50));
    let more = [packets(0)? - before[0], packets(1)? - before[1]];
    Ok(u8::from(more[1] > more[0]))
}

/// How long until more than probes pass through the cable again.
fn until_in_use(bed: &Bed, cable: u8) -> Outcome<Duration> {
    let interface = format!("eth{cable}");
    let bytes = || -> Outcome<u64> { Ok(bed.client().counters(&interface)?.bytes()) };
    let before = bytes()?;
    let what = format!("{interface} in use after its return");
    wait_until(&what, UNUSED_MAX, || Ok(bytes()? > before + IN_USE))
}

fn judge_cuts(report: &mut Report, title: &str, cuts: &[Cut], record: &Record) {
    report.title(title);
    let gaps: Vec<_> = cuts
        .iter()
        .map(|cut| record.longest_gap(cut.from, cut.to.after(AFTER)))
        .collect();
    let (median, worst) = median_and_worst(&gaps);
    report.at_most("gap, median", median, MEDIAN_MAX);
    report.at_most("gap, worst", worst, WORST_MAX);
    let unused: Vec<_> = cuts.iter().filter_map(|cut| cut.unused).collect();
    if !unused.is_empty() {
        let (median, worst) = median_and_worst(&unused);
        report.at_most("in use again, median", median, RETURN_MAX);
        report.at_most("in use again, worst", worst, RETURN_MAX);
    }
    exactly_once(report, record);
}

/// Nothing lost, nothing doubled, nothing failed.
pub(crate) fn exactly_once(report: &mut Report, record: &Record) {
    report.none("lost", record.lost(), format!("of {}", record.done));
    report.none("doubled", record.doubled, "");
    let why = record.failures.join(", ");
    report.none("failed", record.failed, why);
}
