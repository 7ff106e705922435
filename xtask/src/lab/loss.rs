//! Random loss on one of two lanes, and on a lane alone, beside TCP.

use super::bed::{Bed, Load};
use super::cuts::exactly_once;
use super::report::{Judge, Report, megabits};
use super::sum::median;
use super::wire::Rate;
use crate::Outcome;
use std::time::Duration;

/// Of both cables, in Mbit/s.
const RATE: u32 = 200;
/// Of the packets of the first cable, in each direction.
const PERCENT: u32 = 5;
const WARM: Duration = Duration::from_millis(500);

/// Sends over what loses for `time`, `rounds` times.
pub(crate) fn run(rounds: u32, time: Duration, judge: Judge) -> Outcome {
    let bed = Bed::ready(2)?;
    bed.lab().without_offload(2)?;
    for cable in 0..2 {
        bed.lab().shape(cable, Rate::megabits(RATE))?;
    }
    bed.lab().lose(0, PERCENT)?;
    let mut report = Report::new(judge);
    report.title(format!(
        "loss: two cables of {RATE} Mbit/s, eth0 loses {PERCENT} % in each direction, {rounds} rounds of {time:?}"
    ));
    let policies = [
        ("slashnet, eth0 alone", "~exclusive:eth0"),
        ("slashnet, eth1 alone", "~exclusive:eth1"),
        ("slashnet, both", "~loadbalance"),
    ];
    let mut tcp = [Vec::new(), Vec::new()];
    let mut records = policies.map(|_| Vec::new());
    for _ in 0..rounds {
        for (cable, rates) in (0..).zip(&mut tcp) {
            rates.push(bed.tcp(cable, time)?.rate_after(WARM));
        }
        for ((_, policy), records) in policies.iter().zip(&mut records) {
            records.push(bed.call_for(policy, Load::BULK, time)?);
        }
    }
    for (cable, rates) in tcp.iter().enumerate() {
        report.note(format!("TCP, eth{cable} alone"), megabits(median(rates)));
    }
    for ((name, _), records) in policies.iter().zip(&records) {
        let rates: Vec<f64> = records.iter().map(|r| r.rate_after(WARM)).collect();
        report.note(name, megabits(median(&rates)));
        for record in records {
            exactly_once(&mut report, record);
        }
    }
    small_calls(&bed, &mut report, time)?;
    report.end()
}

/// Small calls over the lane that loses: each must be answered, if late.
fn small_calls(bed: &Bed, report: &mut Report, time: Duration) -> Outcome {
    for policy in ["~exclusive:eth0", "~loadbalance"] {
        let record = bed.call_for(policy, Load::PING_PONG, time)?;
        report.title(format!("64 B ping-pong, {policy}"));
        let calls = f64::from(u32::try_from(record.done).unwrap_or(u32::MAX));
        let rate = calls / record.end.since(record.start).as_secs_f64();
        report.note("calls per second", format!("{rate:.0}"));
        let longest = record.longest_gap(record.start, record.end);
        report.note("longest wait", super::report::milliseconds(longest));
        exactly_once(report, &record);
    }
    Ok(())
}
