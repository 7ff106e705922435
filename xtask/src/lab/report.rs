//! The table that a verb of the lab prints, and whether all of it is as it must be.

use crate::Outcome;
use std::fmt::Display;
use std::time::Duration;

/// How a run is judged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judge {
    /// Every bound counts: a run by hand, on a machine that does nothing else.
    Strict,
    /// The few samples of the landing gate, on a machine that may do something else: times and rates are printed with
    /// their verdict, and fail it only when missed by far. What is lost, doubled, failed or astray counts in full.
    Gate,
}

impl Judge {
    /// By how much a time may miss its bound: few samples, and other work may keep a process from running meanwhile.
    const fn slack(self) -> u32 {
        match self {
            Self::Strict => 1,
            Self::Gate => 5,
        }
    }

    /// The least share of what is asked that a rate must reach: of two equal cables, more than one carries.
    pub(crate) const fn share(self) -> f64 {
        match self {
            Self::Strict => 1.0,
            Self::Gate => 0.7,
        }
    }
}

/// Rows as they come; the bounds that are missed are gathered for the end.
pub(crate) struct Report {
    missed: Vec<String>,
    judge: Judge,
}

impl Report {
    pub(crate) const fn new(judge: Judge) -> Self {
        Self {
            missed: Vec::new(),
            judge,
        }
    }

    pub(crate) fn title(&self, text: impl Display) {
        println!("\n{text}");
    }

    /// A figure that nothing is asked of.
    pub(crate) fn note(&self, name: impl Display, figure: impl Display) {
        println!("  {name:<44} {figure:>14}");
    }

    /// A figure and what is asked of it.
    pub(crate) fn bound(
        &mut self,
        name: impl Display,
        figure: impl Display,
        asked: impl Display,
        holds: bool,
    ) {
        self.verdict(name, figure, asked, (holds, holds));
    }

    /// As [`Self::bound`], for a figure that may miss its bound by a little in the gate.
    fn verdict(
        &mut self,
        name: impl Display,
        figure: impl Display,
        asked: impl Display,
        (holds, nearly): (bool, bool),
    ) {
        let verdict = if holds { "pass" } else { "MISS" };
        let row = format!("  {name:<44} {figure:>14}   {asked}: {verdict}");
        println!("{row}");
        if !nearly {
            self.missed.push(row);
        }
    }

    pub(crate) fn at_most(&mut self, name: impl Display, time: Duration, most: Duration) {
        let asked = format!("<= {}", milliseconds(most));
        let verdict = (time <= most, time <= most * self.judge.slack());
        self.verdict(name, milliseconds(time), asked, verdict);
    }

    /// A share, and the least that is asked.
    pub(crate) fn at_least(&mut self, name: impl Display, share: f64, least: f64) {
        let verdict = (share >= least, share >= least * self.judge.share());
        let asked = format!(">= {least:.2}");
        self.verdict(name, format!("{share:.3}"), asked, verdict);
    }

    pub(crate) fn none(&mut self, name: impl Display, count: u64, what: impl Display) {
        self.bound(name, format!("{count} {what}"), "0", count == 0);
    }

    /// An error if anything was missed.
    pub(crate) fn end(self) -> Outcome {
        if self.missed.is_empty() {
            return Ok(());
        }
        let missed = self.missed.join("\n");
        Err(format!(
            "{} bounds are missed:\n{missed}",
            self.missed.len()
        ))
    }
}

pub(crate) fn milliseconds(time: Duration) -> String {
    if time == Duration::MAX {
        return "never".into();
    }
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// Bytes per second, as people say it.
pub(crate) fn megabits(rate: f64) -> String {
    format!("{:.1} Mbit/s", rate * 8.0 / 1e6)
}

/// The median and the greatest; zero of nothing.
pub(crate) fn median_and_worst(times: &[Duration]) -> (Duration, Duration) {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
    (at(sorted.len() / 2), at(sorted.len().saturating_sub(1)))
}

/// A count as a figure to divide.
#[expect(clippy::cast_precision_loss, reason = "three digits are printed")]
pub(crate) fn real(count: u64) -> f64 {
    count as f64
}
