//! Two processes of one machine.

use crate::group::{Group, Subject, Target};
use crate::nodes::Nodes;
use crate::pair::{Kind, Pair, Place};
use crate::place::Placement;

const KIB: usize = 1024;

pub(crate) fn groups(nodes: &Nodes) -> Vec<Group> {
    let mut groups = Vec::new();
    for placement in [Placement::Same, Placement::Split] {
        for (name, size) in [("64 B", 64), ("64 KiB", 64 * KIB), ("1 MiB", KIB * KIB)] {
            let mut group = Group::new(format!("local {name} round trip"), "us")
                .placed(placement)
                .subject(echo("Unix SEQPACKET", Kind::SeqpacketEcho, size, placement));
            let mut driver = echo("memory driver, epoll", Kind::MemoryEcho, size, placement);
            if size == 64 && placement == Placement::Same {
                driver = driver.target(Target::RatioAtMost(0.65));
            }
            group = group.subject(driver);
            if placement == Placement::Split {
                let spin = echo(
                    "memory driver, spinning",
                    Kind::MemorySpinEcho,
                    size,
                    placement,
                );
                group = group.subject(spin);
            }
            group = group.subject(echo(
                "slashnet, no daemon",
                Kind::DirectEcho,
                size,
                placement,
            ));
            let slashnet = slashnet_echo(nodes, size, placement);
            groups.push(group.subject(match (size, placement) {
                (64, Placement::Same) => slashnet.target(Target::RatioAtMost(0.9)),
                (64, Placement::Split) => slashnet.target(Target::ValueAtMost(1.5)),
                _ => slashnet.target(Target::RatioAtMost(1.0)),
            }));
        }
    }
    groups
}

fn echo(name: &'static str, kind: Kind, size: usize, placement: Placement) -> Subject {
    Subject::new(name, move |time| {
        let pair = Pair {
            kind,
            size,
            depth: 1,
            cpus: placement.cpus()?,
            client: Place::default(),
            server: Place::default(),
        };
        Ok(pair.run(time)?.round_trip())
    })
}

fn slashnet_echo(nodes: &Nodes, size: usize, placement: Placement) -> Subject {
    let nodes = nodes.clone();
    Subject::new("slashnet", move |time| {
        let at = Some(nodes.single()?.node.directory());
        let place = Place {
            at,
            ..Place::default()
        };
        let pair = Pair {
            kind: Kind::SlashnetEcho,
            size,
            depth: 1,
            cpus: placement.cpus()?,
            client: place.clone(),
            server: place,
        };
        Ok(pair.run(time)?.round_trip())
    })
}
