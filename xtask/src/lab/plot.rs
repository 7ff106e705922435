//! Throughput over time while cables are cut and put back, as a picture for the documents.

use super::bed::{Bed, Load};
use super::host::CableState;
use super::record::Moment;
use super::report::{milliseconds, real};
use super::wire::Rate;
use crate::Outcome;
use crate::svg::{self, Chart, Event, Series};
use std::thread::sleep;
use std::time::Duration;

/// Of both cables, in Mbit/s.
const RATE: u32 = 200;
const STEP: Duration = Duration::from_millis(20);
const END: Duration = Duration::from_secs(9);
/// Relative to the repository.
const FILE: &str = "docs/figures/cut.svg";

/// What happens when.
const EVENTS: [(u64, &str, Deed); 4] = [
    (1500, "eth0 cut, silently", Deed::Cable(CableState::Cut)),
    (3500, "eth0 whole", Deed::Cable(CableState::Whole)),
    (5500, "eth1 link down", Deed::Link("down")),
    (7000, "eth1 link up", Deed::Link("up")),
];

#[derive(Clone, Copy)]
enum Deed {
    /// The first cable, in the middle.
    Cable(CableState),
    /// The second one, on the client's host.
    Link(&'static str),
}

impl Deed {
    fn perform(self, bed: &Bed) -> Outcome {
        match self {
            Self::Cable(state) => bed.client().cable(0, state),
            Self::Link(state) => bed.client().ip(&["link", "set", "eth1", state]),
        }
    }
}

/// Draws [`FILE`] from a run.
pub(crate) fn run() -> Outcome {
    let bed = Bed::ready(2)?;
    for cable in 0..2 {
        bed.lab().shape(cable, Rate::megabits(RATE))?;
    }
    let running = bed.call("", Load::BULK)?;
    // The lanes are learnt before the picture begins.
    sleep(Duration::from_secs(1));
    let begin = Moment::now();
    let mut sampler = Sampler::new(&bed, begin)?;
    let mut events = Vec::new();
    for (at, text, deed) in EVENTS {
        sampler.sample_until(Duration::from_millis(at))?;
        deed.perform(&bed)?;
        events.push(Event {
            at: Moment::now().since(begin).as_secs_f64(),
            text,
        });
    }
    sampler.sample_until(END)?;
    let record = running.end()?;
    let [eth0, eth1] = sampler.rates;
    let ticks = record.ticks.iter().filter(|(at, _)| *at >= begin);
    let answered = smooth(ticks.map(|(at, bytes)| {
        let at = at.since(begin).as_secs_f64();
        (at, real(*bytes) * 8.0 / 1e6 / 0.01)
    }));
    let chart = Chart {
        title: format!("Bulk over two cables of {RATE} Mbit/s, load balance"),
        end: END.as_secs_f64(),
        step: svg::seconds,
        unit: "Mbit/s",
        grid: 100.0,
        events,
        series: vec![
            Series::new("sent over eth0", "#2f7ed8", eth0),
            Series::new("sent over eth1", "#e8871e", eth1),
            Series::new("answered calls, both", "#222222", answered),
        ],
    };
    let file = chart.write(FILE)?;
    let gap = record.longest_gap(begin, begin.after(END));
    println!(
        "plot: {}, longest pause {}",
        file.display(),
        milliseconds(gap)
    );
    if record.failed + record.lost() + record.doubled > 0 {
        return Err(format!("the load did not go well: {:?}", record.failures));
    }
    Ok(())
}

/// Reads the counters of both interfaces again and again.
struct Sampler<'a> {
    bed: &'a Bed,
    begin: Moment,
    before: (Moment, [u64; 2]),
    /// Seconds from the begin, and Mbit/s.
    rates: [Vec<(f64, f64)>; 2],
}

impl<'a> Sampler<'a> {
    fn new(bed: &'a Bed, begin: Moment) -> Outcome<Self> {
        Ok(Self {
            bed,
            begin,
            before: sent(bed)?,
            rates: [Vec::new(), Vec::new()],
        })
    }

    fn sample_until(&mut self, end: Duration) -> Outcome {
        while Moment::now().since(self.begin) < end {
            sleep(STEP);
            let now = sent(self.bed)?;
            let time = now.0.since(self.before.0).as_secs_f64();
            let at = now.0.since(self.begin).as_secs_f64();
            for (cable, rates) in self.rates.iter_mut().enumerate() {
                let bytes = now.1[cable].saturating_sub(self.before.1[cable]);
                rates.push((at, real(bytes) * 8.0 / 1e6 / time));
            }
            self.before = now;
        }
        Ok(())
    }
}

fn sent(bed: &Bed) -> Outcome<(Moment, [u64; 2])> {
    let host = bed.client();
    let both = [host.counters("eth0")?, host.counters("eth1")?];
    Ok((Moment::now(), both.map(|counters| counters.sent_bytes)))
}

/// Means over 40 ms, in which there are some tens of answers.
fn smooth(points: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let points: Vec<_> = points.collect();
    points
        .chunks_exact(4)
        .map(|few| {
            (
                few[3].0,
                few.iter().map(|(_, value)| value).sum::<f64>() / 4.0,
            )
        })
        .collect()
}
