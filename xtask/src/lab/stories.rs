//! What happens to networks: each story runs a load on two nodes while it happens, and asserts that the load is
//! answered exactly once and uses the links afterwards as it should.

mod changes;
mod shapes;

use super::bed::{Bed, Load, wait_until};
use super::cuts::exactly_once;
use super::host::interface;
use super::record::Record;
use super::report::{Judge, Report};
use crate::Outcome;
use std::thread::sleep;
use std::time::Duration;

struct Story {
    name: &'static str,
    play: fn(&mut Report) -> Outcome,
}

const STORIES: &[Story] = &[
    Story {
        name: "an interface is deleted and made again under the same name",
        play: changes::interface_made_again,
    },
    Story {
        name: "an address changes",
        play: changes::address_changes,
    },
    Story {
        name: "links of different MTU",
        play: shapes::different_mtus,
    },
    Story {
        name: "a hole for packets above 1300 bytes",
        play: shapes::hole,
    },
    Story {
        name: "two links in one broadcast domain",
        play: shapes::one_domain,
    },
    Story {
        name: "a link with no peer behind it",
        play: shapes::no_peer,
    },
    Story {
        name: "an Ethernet link without an address",
        play: shapes::ethernet,
    },
    Story {
        name: "a firewall that lets one UDP port through",
        play: shapes::one_port,
    },
];

/// Plays those whose name contains `only`.
pub(crate) fn run(only: Option<&str>) -> Outcome {
    play(Judge::Strict, |story| {
        only.is_none_or(|only| story.name.contains(only))
    })
}

/// Plays all of them with the gate's slack.
pub(crate) fn run_in_gate() -> Outcome {
    play(Judge::Gate, |_| true)
}

/// Plays all that are chosen even if one fails, and names those that failed.
fn play(judge: Judge, chosen: impl Fn(&Story) -> bool) -> Outcome {
    let chosen = STORIES.iter().filter(|story| chosen(story));
    let mut failed = Vec::new();
    for story in chosen {
        let mut report = Report::new(judge);
        report.title(story.name);
        let played = (story.play)(&mut report).and_then(|()| report.end());
        if let Err(error) = played {
            println!("  FAILED: {error}");
            failed.push(format!("{}: {error}", story.name));
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed.join("\n"))
    }
}

/// Longest pause of a load that another link could carry.
const GAP_MAX: Duration = Duration::from_millis(100);
/// A link that is back is noticed within this.
const BACK_MAX: Duration = Duration::from_secs(3);
const WHILE: Duration = Duration::from_millis(800);

/// A load over one link alone must work, within [`BACK_MAX`] from now.
fn works(bed: &Bed, report: &mut Report, policy: &str) -> Outcome<Record> {
    let what = format!("{policy} works");
    let mut answered = None;
    let load = Load::BULK.with_patience(Duration::from_secs(2));
    let waited = wait_until(&what, BACK_MAX, || {
        // Refused while the link is unknown or down.
        let record = bed.call_for(policy, load, Duration::from_millis(300));
        let works = record.as_ref().is_ok_and(|r| r.done > 0 && r.failed == 0);
        if works {
            answered = record.ok();
        }
        Ok(works)
    });
    let held = waited.is_ok();
    let figure = waited.map_or_else(|error| error, |time| format!("{} ms", time.as_millis()));
    report.bound(what, figure, "works", held);
    answered.ok_or_else(|| format!("{policy} does not work"))
}

/// How long until a load that runs already passes over `cable` again.
fn used_again(bed: &Bed, report: &mut Report, cable: u8) -> Outcome {
    let interface = interface(cable);
    let bytes = || -> Outcome<u64> { Ok(bed.client().counters(&interface)?.bytes()) };
    let before = bytes()?;
    let what = format!("the running load uses {interface}");
    let waited = wait_until(&what, BACK_MAX, || Ok(bytes()? > before + 500_000));
    report.at_most(what, waited.unwrap_or(Duration::MAX), BACK_MAX);
    Ok(())
}

/// Runs a bulk load over all links, does something to one of them, and has the load go on.
fn under_load(
    bed: &Bed,
    report: &mut Report,
    cable: u8,
    happens: impl FnOnce() -> Outcome,
) -> Outcome {
    let running = bed.call("", Load::BULK)?;
    sleep(WHILE);
    happens()?;
    used_again(bed, report, cable)?;
    let record = running.end()?;
    let gap = record.longest_gap(record.start, record.end);
    report.at_most("longest pause of the load", gap, GAP_MAX);
    exactly_once(report, &record);
    Ok(())
}
