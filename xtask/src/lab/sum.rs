//! How much of the sum of its lanes a balanced load reaches.

use super::bed::{Bed, Load};
use super::cuts::exactly_once;
use super::record::Record;
use super::report::{Judge, Report, megabits, real};
use super::wire::Rate;
use crate::Outcome;
use std::time::Duration;

/// Rates of the two cables, in Mbit/s.
const CABLES: [[u32; 2]; 2] = [[200, 200], [1000, 100]];
/// Not counted: the lanes are being learnt.
const WARM: Duration = Duration::from_millis(700);
const SHARE_MIN: f64 = 0.9;
/// Of what the slower cable carries alone, the least that it must carry beside the other: the sum of unequal cables
/// hardly shows whether it does.
const ADDED_MIN: f64 = 0.7;

/// Measures each lane alone and both together, `rounds` times, each for `time`.
pub(crate) fn run(rounds: u32, time: Duration, judge: Judge) -> Outcome {
    let bed = Bed::ready(2)?;
    bed.lab().without_offload(2)?;
    let mut report = Report::new(judge);
    for rates in CABLES {
        for (cable, rate) in (0..).zip(rates) {
            bed.lab().shape(cable, Rate::megabits(rate))?;
        }
        let [first, second] = rates;
        report.title(format!(
            "sum: cables of {first} and {second} Mbit/s, {rounds} rounds of {time:?}"
        ));
        one_pair(&bed, &mut report, rounds, time)?;
    }
    report.end()
}

/// A way to send, and what it reached in each round.
struct Subject {
    name: &'static str,
    policy: &'static str,
    rates: Vec<f64>,
    /// Bytes per second that left by the second cable, headers and all.
    second: Vec<f64>,
    records: Vec<Record>,
}

impl Subject {
    fn measure(&mut self, bed: &Bed, time: Duration) -> Outcome {
        let sent = || -> Outcome<u64> { Ok(bed.client().counters("eth1")?.sent_bytes) };
        let before = sent()?;
        let record = bed.call_for(self.policy, Load::BULK, time)?;
        self.second
            .push(real(sent()? - before) / time.as_secs_f64());
        self.rates.push(record.rate_after(WARM));
        self.records.push(record);
        Ok(())
    }
}

fn one_pair(bed: &Bed, report: &mut Report, rounds: u32, time: Duration) -> Outcome {
    let mut subjects = [
        ("eth0 alone", "~exclusive:eth0"),
        ("eth1 alone", "~exclusive:eth1"),
        ("both", "~loadbalance"),
    ]
    .map(|(name, policy)| Subject {
        name,
        policy,
        rates: Vec::new(),
        second: Vec::new(),
        records: Vec::new(),
    });
    let mut tcp = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (cable, rates) in (0..).zip(&mut tcp) {
            rates.push(bed.tcp(cable, time)?.rate_after(WARM));
        }
        for subject in &mut subjects {
            subject.measure(bed, time)?;
        }
    }
    for (cable, rates) in tcp.iter().enumerate() {
        report.note(format!("TCP, eth{cable} alone"), megabits(median(rates)));
    }
    for subject in &subjects {
        report.note(subject.name, megabits(median(&subject.rates)));
    }
    let [first, second, both] = &subjects;
    let shares: Vec<f64> = (0..both.rates.len())
        .map(|round| both.rates[round] / (first.rates[round] + second.rates[round]))
        .collect();
    let share = median(&shares);
    report.at_least("share of the sum", share, SHARE_MIN);
    let added = median(&both.second) / median(&second.second);
    report.at_least("of eth1 alone, eth1 beside eth0", added, ADDED_MIN);
    for subject in &subjects {
        for record in &subject.records {
            if record.failed + record.lost() + record.doubled > 0 {
                report.title(subject.name);
                exactly_once(report, record);
            }
        }
    }
    Ok(())
}

/// The middle of the sorted values; zero of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
