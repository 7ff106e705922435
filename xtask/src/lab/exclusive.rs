//! A connection that was told its link keeps to it, on the wire and in what it does when the link is cut.

use super::bed::{Bed, Load, wait_until};
use super::cuts::exactly_once;
use super::host::{CableState, Host, SWITCH};
use super::record::Moment;
use super::report::{Judge, Report, milliseconds, real};
use super::wire::Rate;
use crate::Outcome;
use std::thread::sleep;
use std::time::Duration;

/// UDP packets of programs are told from the daemons' probes by the daemon's port.
const DAEMON_PORT: &str = "41000";
/// More than a session needs to keep a lane alive that it may not use.
const KEPT_ALIVE: u64 = 50;
/// A preferred link is used again after two seconds up.
const PREFERRED_AGAIN: Duration = Duration::from_millis(3000);
const FAILS_WITHIN: Duration = Duration::from_millis(500);

pub(crate) fn run(judge: Judge) -> Outcome {
    let bed = Bed::ready(2)?;
    for cable in 0..2 {
        bed.lab().shape(cable, Rate::megabits(200))?;
        count_on(&bed, cable)?;
    }
    let mut report = Report::new(judge);
    keeps_to_its_link(&bed, &mut report)?;
    fails_when_cut(&bed, &mut report)?;
    waits_when_cut(&bed, &mut report)?;
    prefers(&bed, &mut report)?;
    report.end()
}

/// Counts, in the middle, what programs send over a cable: content, and small packets.
fn count_on(bed: &Bed, cable: u8) -> Outcome {
    let port = bed.client().port(cable);
    let programs = format!("udp sport != {DAEMON_PORT} udp dport != {DAEMON_PORT} meta length");
    let chain = |hook: &str| {
        format!(
            "chain {hook} {{
                type filter hook {hook} device \"{port}\" priority 1
                {programs} > 300 counter name content
                {programs} <= 300 counter name small
            }}"
        )
    };
    let rules = format!(
        "table netdev count-{port} {{
            counter content {{ }}
            counter small {{ }}
            {}
            {}
        }}",
        chain("ingress"),
        chain("egress"),
    );
    Host::find(SWITCH)?.output(&["nft", &rules]).map(drop)
}

/// Packets with content and small ones on a cable, so far.
fn counted(bed: &Bed, cable: u8) -> Outcome<[u64; 2]> {
    let table = format!("count-{}", bed.client().port(cable));
    let text =
        Host::find(SWITCH)?.output(&["nft", "list", "counters", "table", "netdev", &table])?;
    let packets = |name: &str| -> Outcome<u64> {
        text.split(&format!("counter {name} {{"))
            .nth(1)
            .and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok())
            .ok_or_else(|| format!("no counter {name} in {text:?}"))
    };
    Ok([packets("content")?, packets("small")?])
}

/// What passed over a cable while `run` ran.
fn counted_during<T>(
    bed: &Bed,
    cable: u8,
    run: impl FnOnce() -> Outcome<T>,
) -> Outcome<(T, [u64; 2])> {
    let before = counted(bed, cable)?;
    let result = run()?;
    let after = counted(bed, cable)?;
    Ok((result, [after[0] - before[0], after[1] - before[1]]))
}

fn stays_away(report: &mut Report, [content, small]: [u64; 2]) {
    report.none("packets with content on the other link", content, "");
    let asked = format!("<= {KEPT_ALIVE}");
    let figure = format!("{small}");
    report.bound(
        "small packets on the other link",
        figure,
        asked,
        small <= KEPT_ALIVE,
    );
}

fn keeps_to_its_link(bed: &Bed, report: &mut Report) -> Outcome {
    for (policy, other) in [("~exclusive:eth1", 0), ("~exclusive:eth0", 1)] {
        report.title(format!("{policy}, bulk and ping-pong for 1.5 s each"));
        for load in [Load::BULK, Load::PING_PONG] {
            let time = Duration::from_millis(1500);
            let (record, packets) =
                counted_during(bed, other, || bed.call_for(policy, load, time))?;
            stays_away(report, packets);
            exactly_once(report, &record);
        }
    }
    Ok(())
}

fn fails_when_cut(bed: &Bed, report: &mut Report) -> Outcome {
    report.title("~exclusive:eth1 while eth1 is cut: calls fail");
    let load = Load::PING_PONG
        .with_patience(Duration::from_secs(10))
        .with_rest(Duration::from_millis(1));
    let ((record, from, to), packets) = counted_during(bed, 0, || {
        let running = bed.call("~exclusive:eth1", load)?;
        sleep(Duration::from_millis(500));
        let from = Moment::now();
        bed.client().cable(1, CableState::Cut)?;
        sleep(Duration::from_millis(1500));
        bed.client().cable(1, CableState::Whole)?;
        sleep(Duration::from_millis(1000));
        let to = Moment::now();
        Ok((running.end()?, from, to))
    })?;
    stays_away(report, packets);
    let figure = record.failed.to_string();
    report.bound("failed calls", figure, "> 0", record.failed > 0);
    let strange = record.failures.iter().filter(|why| !why.contains("Link"));
    report.none("failures for another reason", strange.count() as u64, "");
    let first = record.first_failure.map(|at| at.since(from));
    let first = first.unwrap_or(Duration::MAX);
    report.at_most("first failure after the cut", first, FAILS_WITHIN);
    report.none("lost", record.lost(), "");
    report.none("doubled", record.doubled, "");
    let back = record.rate(to.before(Duration::from_millis(300)), to);
    report.bound(
        "in use again at the end",
        format!("{back:.0} B/s"),
        "> 0",
        back > 0.0,
    );
    Ok(())
}

fn waits_when_cut(bed: &Bed, report: &mut Report) -> Outcome {
    report.title("~exclusive-wait:eth1 while eth1 is cut: calls wait");
    let ((record, from, to), packets) = counted_during(bed, 0, || {
        let running = bed.call("~exclusive-wait:eth1", Load::PING_PONG)?;
        sleep(Duration::from_millis(500));
        let from = Moment::now();
        bed.client().cable(1, CableState::Cut)?;
        sleep(Duration::from_millis(1500));
        bed.client().cable(1, CableState::Whole)?;
        let to = Moment::now();
        sleep(Duration::from_millis(1500));
        Ok((running.end()?, from, to))
    })?;
    stays_away(report, packets);
    let waited = record.longest_gap(from, to);
    let figure = milliseconds(waited);
    report.bound("waited", figure, ">= 1400 ms", waited.as_millis() >= 1400);
    exactly_once(report, &record);
    Ok(())
}

fn prefers(bed: &Bed, report: &mut Report) -> Outcome {
    report.title("~preferred:eth1 while eth1 is cut: goes on over eth0, and back");
    let bytes =
        |cable: u8| -> Outcome<u64> { Ok(bed.client().counters(&format!("eth{cable}"))?.bytes()) };
    // A link is preferred when it has been up for a while.
    sleep(PREFERRED_AGAIN);
    let running = bed.call("~preferred:eth1", Load::BULK)?;
    sleep(Duration::from_millis(300));
    let before = [bytes(0)?, bytes(1)?];
    sleep(Duration::from_millis(700));
    let more = [bytes(0)? - before[0], bytes(1)? - before[1]];
    // A burst of losses makes a lane suspect until it answers, and content goes elsewhere for that moment.
    let share = share(more[0], more[1]);
    report.bound(
        "share of the other link",
        format!("{share:.4}"),
        "<= 0.05",
        share <= 0.05,
    );
    let from = Moment::now();
    bed.client().cable(1, CableState::Cut)?;
    sleep(Duration::from_millis(1000));
    bed.client().cable(1, CableState::Whole)?;
    let to = Moment::now();
    let back = wait_until(
        "back on the preferred link",
        Duration::from_secs(10),
        || {
            let before = bytes(1)?;
            sleep(Duration::from_millis(20));
            Ok(bytes(1)? > before + 100_000)
        },
    )?;
    sleep(Duration::from_millis(300));
    let record = running.end()?;
    let gap = record.longest_gap(from, to);
    report.at_most("gap after the cut", gap, Duration::from_millis(100));
    report.at_most("back on the preferred link", back, PREFERRED_AGAIN);
    exactly_once(report, &record);
    Ok(())
}

fn share(part: u64, rest: u64) -> f64 {
    real(part) / real((part + rest).max(1))
}
