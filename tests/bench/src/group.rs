//! Subjects that are measured in turn.

use std::time::Duration;

use serde::Serialize;

use crate::Outcome;
use crate::figures::Measured;
use crate::place::Placement;
use crate::samples::median;

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) rounds: u32,
    pub(crate) time: Duration,
}

/// Subjects with one unit; the first is the reference of the ratios.
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) placement: Option<Placement>,
    pub(crate) subjects: Vec<Subject>,
}

/// One thing to measure.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) targets: Vec<Target>,
    pub(crate) measure: Measure,
}

/// Measures once, for about the time given, and returns the value in the unit of the group.
pub(crate) type Measure = Box<dyn FnMut(Duration) -> Outcome<Measured>>;

/// What a subject has to reach.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// Ratio to the reference of the group.
    RatioAtMost(f64),
    RatioAtLeast(f64),
    /// The value itself.
    ValueAtMost(f64),
    /// Ratio to another subject of the group.
    AtLeastTimes(&'static str, f64),
    AtMostTimes(&'static str, f64),
    /// As much as whichever of these was measured and reached most.
    AtLeastBestOf(&'static [&'static str]),
}

#[derive(Debug, Serialize)]
pub(crate) struct GroupResult {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) placement: Option<&'static str>,
    pub(crate) rounds: u32,
    pub(crate) subjects: Vec<SubjectResult>,
}

#[derive(Debug, Serialize)]
pub(crate) struct SubjectResult {
    pub(crate) name: &'static str,
    pub(crate) median: Option<f64>,
    pub(crate) ratio: Option<f64>,
    /// Processor time of both sides, median: microseconds for a call, seconds for a gigabyte of a stream.
    pub(crate) cpu: Option<f64>,
    pub(crate) targets: Vec<Verdict>,
    /// Why there is no figure.
    pub(crate) skipped: Option<String>,
    #[serde(skip)]
    values: Vec<f64>,
    #[serde(skip)]
    cpus: Vec<f64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) target: String,
    pub(crate) reached: f64,
    pub(crate) pass: bool,
}

impl Subject {
    pub(crate) fn new<M: Into<Measured>>(
        name: &'static str,
        mut measure: impl FnMut(Duration) -> Outcome<M> + 'static,
    ) -> Self {
        Self {
            name,
            targets: Vec::new(),
            measure: Box::new(move |time| measure(time).map(Into::into)),
        }
    }

    pub(crate) fn target(mut self, target: Target) -> Self {
        self.targets.push(target);
        self
    }
}

impl Group {
    pub(crate) fn new(name: impl Into<String>, unit: &'static str) -> Self {
        Self {
            name: name.into(),
            unit,
            placement: None,
            subjects: Vec::new(),
        }
    }

    pub(crate) fn placed(mut self, placement: Placement) -> Self {
        self.name = format!("{}, {}", self.name, placement.name());
        self.placement = Some(placement);
        self
    }

    pub(crate) fn subject(mut self, subject: Subject) -> Self {
        self.subjects.push(subject);
        self
    }

    /// Every subject once in each round. One that fails is left out from then on, with its reason.
    pub(crate) fn measure(mut self, settings: Settings) -> GroupResult {
        let mut results: Vec<_> = self.subjects.iter().map(SubjectResult::empty).collect();
        for _ in 0..settings.rounds {
            for (subject, result) in self.subjects.iter_mut().zip(&mut results) {
                if result.skipped.is_some() {
                    continue;
                }
                match (subject.measure)(settings.time) {
                    Ok(measured) => {
                        result.values.push(measured.value);
                        result.cpus.extend(measured.cpu);
                    }
                    Err(reason) => result.skipped = Some(reason.to_string()),
                }
            }
        }
        let values: Vec<_> = results.iter().map(|result| result.values.clone()).collect();
        for result in &mut results {
            result.median = median(&result.values);
            result.cpu = median(&result.cpus);
            result.ratio = values
                .first()
                .and_then(|first| ratio(&result.values, first));
        }
        for (index, subject) in self.subjects.iter().enumerate() {
            let verdicts = subject
                .targets
                .iter()
                .filter_map(|target| target.judge(&results[index], &results))
                .collect();
            results[index].targets = verdicts;
        }
        GroupResult {
            name: self.name,
            unit: self.unit,
            placement: self.placement.map(Placement::name),
            rounds: settings.rounds,
            subjects: results,
        }
    }
}

impl SubjectResult {
    fn empty(subject: &Subject) -> Self {
        Self {
            name: subject.name,
            median: None,
            ratio: None,
            cpu: None,
            targets: Vec::new(),
            skipped: None,
            values: Vec::new(),
            cpus: Vec::new(),
        }
    }
}

impl Target {
    fn judge(self, own: &SubjectResult, all: &[SubjectResult]) -> Option<Verdict> {
        let times = |name: &str| {
            let other = all.iter().find(|result| result.name == name)?;
            ratio(&own.values, &other.values)
        };
        let (target, reached, pass) = match self {
            Self::RatioAtMost(limit) => {
                let reached = own.ratio?;
                (format!("<= {limit} x"), reached, reached <= limit)
            }
            Self::RatioAtLeast(limit) => {
                let reached = own.ratio?;
                (format!(">= {limit} x"), reached, reached >= limit)
            }
            Self::ValueAtMost(limit) => {
                let reached = own.median?;
                (format!("<= {limit}"), reached, reached <= limit)
            }
            Self::AtLeastTimes(name, limit) => {
                let reached = times(name)?;
                (format!(">= {limit} x {name}"), reached, reached >= limit)
            }
            Self::AtMostTimes(name, limit) => {
                let reached = times(name)?;
                (format!("<= {limit} x {name}"), reached, reached <= limit)
            }
            Self::AtLeastBestOf(names) => {
                let others = names.iter().filter_map(|name| Some((times(name)?, name)));
                let (reached, best) = others.min_by(|a, b| a.0.total_cmp(&b.0))?;
                (format!(">= 1 x {best}"), reached, reached >= 1.0)
            }
        };
        Some(Verdict {
            target,
            reached,
            pass,
        })
    }
}

/// The median of the ratios of each round, which a slow second of the machine does not move.
fn ratio(own: &[f64], reference: &[f64]) -> Option<f64> {
    let ratios: Vec<_> = own
        .iter()
        .zip(reference)
        .map(|(own, other)| own / other)
        .collect();
    median(&ratios)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONCE: Settings = Settings {
        rounds: 3,
        time: Duration::ZERO,
    };

    #[test]
    fn ratios_are_taken_round_by_round_and_judged() {
        let mut slow = [10.0, 100.0, 10.0].into_iter();
        let mut fast = [5.0, 50.0, 6.0].into_iter();
        let result = Group::new("g", "us")
            .subject(Subject::new("reference", move |_| {
                slow.next().ok_or_else(|| "end".into())
            }))
            .subject(
                Subject::new("own", move |_| fast.next().ok_or_else(|| "end".into()))
                    .target(Target::RatioAtMost(0.5))
                    .target(Target::ValueAtMost(5.5)),
            )
            .measure(ONCE);
        let own = &result.subjects[1];
        assert_eq!((own.median, own.ratio), (Some(6.0), Some(0.5)));
        assert_eq!(
            own.targets
                .iter()
                .map(|verdict| verdict.pass)
                .collect::<Vec<_>>(),
            [true, false]
        );
    }

    #[test]
    fn the_best_of_others_is_what_counts() {
        let result = Group::new("g", "kcalls/s")
            .subject(Subject::new("slow", |_| Ok(1.0)))
            .subject(Subject::new("fast", |_| Ok(4.0)))
            .subject(
                Subject::new("own", |_| Ok(2.0))
                    .target(Target::AtLeastBestOf(&["slow", "fast", "absent"]))
                    .target(Target::AtMostTimes("slow", 2.0)),
            )
            .measure(ONCE);
        let own: Vec<_> = result.subjects[2]
            .targets
            .iter()
            .map(|verdict| (verdict.target.as_str(), verdict.pass))
            .collect();
        assert_eq!(own, [(">= 1 x fast", false), ("<= 2 x slow", true)]);
    }

    #[test]
    fn a_subject_that_fails_says_why_and_the_others_go_on() {
        let result = Group::new("g", "us")
            .subject(Subject::new("reference", |_| Ok(1.0)))
            .subject(Subject::new("own", |_| {
                Outcome::<f64>::Err("no such thing".into())
            }))
            .measure(ONCE);
        assert_eq!(result.subjects[0].median, Some(1.0));
        assert_eq!(result.subjects[1].skipped.as_deref(), Some("no such thing"));
        assert_eq!(result.subjects[1].median, None);
    }
}
