//! The table that a verb of the lab prints, and whether all of it is as it must be.

use crate::Outcome;
use std::fmt::Display;
use std::time::Duration;

/// Rows as they come; the bounds that are missed are gathered for the end.
#[derive(Default)]
pub(crate) struct Report {
    missed: Vec<String>,
}

impl Report {
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
        let verdict = if holds { "pass" } else { "MISS" };
        let row = format!("  {name:<44} {figure:>14}   {asked}: {verdict}");
        println!("{row}");
        if !holds {
            self.missed.push(row);
        }
    }

    pub(crate) fn at_most(&mut self, name: impl Display, time: Duration, most: Duration) {
        let asked = format!("<= {}", milliseconds(most));
        self.bound(name, milliseconds(time), asked, time <= most);
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
