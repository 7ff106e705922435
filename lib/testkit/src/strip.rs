//! The last events of a run, for showing with a finding.

use abi::time::Instant;
use transport::{Cause, Delivery, Event, Failure, LaneState};

use crate::tap::Tapped;
use crate::world::World;

/// Lines that are shown.
const STRIP: usize = 10;

/// What is shown of a moment.
#[derive(Clone, Debug)]
pub(crate) enum Note {
    Text(String),
    Event(usize, Event),
}

pub(crate) fn line(at: Instant, note: &Note) -> String {
    let seconds = at.as_nanos() as f64 / 1e9 - 1.0;
    match note {
        Note::Text(text) => format!("{seconds:10.6}s {text}"),
        Note::Event(process, event) => format!("{seconds:10.6}s {process}: {event:?}"),
    }
}

pub(crate) const fn name_of(event: &Event) -> &'static str {
    match event {
        Event::Request { one_way: false, .. } => "request",
        Event::Request { one_way: true, .. } => "one-way request",
        Event::Replied { .. } => "reply",
        Event::Refused { .. } => "refusal",
        Event::Failed {
            failure:
                Failure {
                    delivery: Delivery::NotDone,
                    ..
                },
            ..
        } => "not done",
        Event::Failed { .. } => "unknown",
        Event::Transferred { .. } => "transfer",
        Event::TransferFailed { .. } => "failed transfer",
        Event::Unblock { .. } => "unblock",
        Event::Withdrawn { .. } => "withdrawal",
        Event::Released { .. } => "release",
        Event::Closed {
            cause: Cause::Server,
            ..
        } => "end by the peer",
        Event::Closed {
            cause: Cause::Link, ..
        } => "end by silence",
        Event::Closed { .. } => "end",
        Event::LaneChanged {
            state: LaneState::Active,
            ..
        } => "lane back",
        Event::LaneChanged {
            state: LaneState::Suspect,
            ..
        } => "suspicion",
        Event::LaneChanged { .. } => "lane down",
    }
}

impl World {
    pub(crate) fn note(&mut self, text: String) {
        self.write_down(Note::Text(text));
    }

    pub(crate) fn show(&self, packet: &Tapped) {
        eprintln!("{}", line(self.now, &Note::Text(packet.to_string())));
    }

    pub(crate) fn write_down(&mut self, note: Note) {
        if self.trace {
            eprintln!("{}", line(self.now, &note));
        }
        if self.strip.len() == STRIP {
            self.strip.pop_front();
        }
        self.strip.push_back((self.now, note));
    }
}
