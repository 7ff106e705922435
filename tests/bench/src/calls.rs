//! Calls between two machines: sizes, one and many under way, Slashnet beside the kernel's transports and beside
//! others who offer calls.

use crate::Outcome;
use crate::figures::{Figures, Measured};
use crate::group::{Group, Subject, Target};
use crate::network::{Lab, Way, remote};
use crate::nodes::Nodes;
use crate::pair::Kind;
use crate::place::Placement;

const KIB: usize = 1024;
const SIZES: [(&str, usize); 4] = [
    ("16 B", 16),
    ("1 KiB", KIB),
    ("64 KiB", 64 * KIB),
    ("1 MiB", KIB * KIB),
];
/// Calls under way at a time.
const MANY: usize = 16;
/// Who is built by `bench --peers`.
const PEERS: [(&str, Kind); 4] = [
    ("quinn", Kind::QuinnEcho),
    ("tarpc", Kind::TarpcEcho),
    ("tonic", Kind::TonicEcho),
    ("zenoh", Kind::ZenohEcho),
];
const PEER_NAMES: &[&str] = &["quinn", "tarpc", "tonic", "zenoh"];

pub(crate) fn groups(lab: &Lab, nodes: &Nodes) -> Vec<Group> {
    let mut groups = Vec::new();
    for placement in [Placement::Same, Placement::Split] {
        for depth in [1, MANY] {
            for (size_name, size) in SIZES {
                let table = Table {
                    lab,
                    nodes,
                    way: Way {
                        depth,
                        ..Way::new(Kind::UdpEcho, size, placement)
                    },
                };
                groups.push(table.group(size_name));
            }
        }
    }
    groups
}

struct Table<'a> {
    lab: &'a Lab,
    nodes: &'a Nodes,
    way: Way,
}

impl Table<'_> {
    fn group(&self, size_name: &str) -> Group {
        let Way { depth, size, .. } = self.way;
        let unit = if depth == 1 { "us" } else { "kcalls/s" };
        let mut group = Group::new(format!("call {size_name}, {depth} in flight"), unit)
            .placed(self.way.placement);
        // A larger message is no single datagram.
        if size <= KIB {
            group = group.subject(self.subject("raw UDP", Kind::UdpEcho));
        }
        group = group
            .subject(self.subject("UDP with GSO", Kind::GsoEcho))
            .subject(self.subject("TCP", Kind::TcpEcho));
        if depth == 1 {
            group = group.subject(self.subject("UDP with GSO, sealed", Kind::SealedEcho));
        }
        for (name, kind) in PEERS {
            group = group.subject(self.subject(name, kind));
        }
        let small = size == 16 && depth == 1 && self.way.placement == Placement::Same;
        if small {
            group = group
                .subject(self.subject("slashnet, no daemon", Kind::DirectEcho))
                .subject(self.stopped());
        }
        if depth > 1 {
            group = group
                .subject(self.subject("slashnet, no daemon", Kind::DirectEcho))
                .subject(self.subject("slashnet, a thread for each", Kind::SlashnetThreads));
        }
        group.subject(self.with_targets(self.subject("slashnet", Kind::SlashnetEcho)))
    }

    fn read(&self) -> fn(Figures) -> Measured {
        if self.way.depth == 1 {
            Figures::round_trip
        } else {
            Figures::kilocalls
        }
    }

    fn subject(&self, name: &'static str, kind: Kind) -> Subject {
        let way = Way { kind, ..self.way };
        self.lab.subject(self.nodes, name, way, self.read())
    }

    fn with_targets(&self, subject: Subject) -> Subject {
        match (self.way.size, self.way.depth, self.way.placement) {
            (_, MANY, _) => subject.target(Target::AtLeastBestOf(PEER_NAMES)),
            (16, 1, Placement::Same) => subject.target(Target::RatioAtMost(1.25)),
            (0x1_0000, 1, _) => subject.target(Target::RatioAtMost(2.5)),
            (0x10_0000, 1, _) => subject.target(Target::AtMostTimes("TCP", 1.0)),
            _ => subject,
        }
    }

    /// No daemon is needed for what two processes say to each other.
    fn stopped(&self) -> Subject {
        let (nodes, way) = (self.nodes.clone(), self.way);
        Subject::new("slashnet, both daemons stopped", move |time| {
            let kind = Kind::SlashnetEcho;
            let mut pair = remote(&nodes, Way { kind, ..way })?;
            pair.client.stop = nodes.pair()?.pids();
            Outcome::Ok(pair.run(time)?.round_trip())
        })
    }
}
