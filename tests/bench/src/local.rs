//! Two processes of one machine.

use crate::group::{Group, Subject, Target};
use crate::pair::{Kind, Pair, Place};
use crate::place::Placement;

const KIB: usize = 1024;

pub(crate) fn groups() -> Vec<Group> {
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
            groups.push(group);
        }
    }
    groups
}

fn echo(name: &'static str, kind: Kind, size: usize, placement: Placement) -> Subject {
    Subject::new(name, move |time| {
        let pair = Pair {
            kind,
            size,
            cpus: placement.cpus()?,
            client: Place::default(),
            server: Place::default(),
        };
        Ok(pair.run(time)?.microseconds())
    })
}
