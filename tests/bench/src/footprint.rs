//! Memory that is taken for nothing yet.

use crate::group::{Group, Subject, Target};
use crate::network::{self, Way};
use crate::nodes::Nodes;
use crate::pair::{Kind, Pair, Place};
use crate::place::Placement;
use crate::slashnet::resident_bytes;

const SESSIONS: usize = 32;

pub(crate) fn groups(nodes: &Nodes) -> Vec<Group> {
    let (idle, local, remote) = (nodes.clone(), nodes.clone(), nodes.clone());
    vec![
        Group::new("resident memory of an idle daemon", "MiB").subject(
            Subject::new("slashnet node", move |_time| {
                let pid = idle.pair()?.nodes[0].pid();
                Ok(mebibytes(resident_bytes(&pid.to_string())?))
            })
            .target(Target::ValueAtMost(20.0)),
        ),
        Group::new("memory of a session at its server", "KiB")
            .subject(
                Subject::new("slashnet, local", move |time| {
                    let at = Some(local.single()?.node.directory());
                    let place = Place {
                        at,
                        ..Place::default()
                    };
                    let pair = Pair {
                        kind: Kind::SlashnetSessions,
                        size: SESSIONS,
                        depth: 1,
                        cpus: Placement::Same.cpus()?,
                        client: place.clone(),
                        server: place,
                    };
                    Ok(mebibytes(pair.run(time)?.rate) * 1024.0)
                })
                .target(Target::ValueAtMost(300.0)),
            )
            .subject(
                Subject::new("slashnet, remote", move |time| {
                    let kind = Kind::SlashnetSessions;
                    let pair = network::remote(&remote, Way::new(kind, SESSIONS, Placement::Same))?;
                    Ok(mebibytes(pair.run(time)?.rate) * 1024.0)
                })
                .target(Target::ValueAtMost(300.0)),
            ),
    ]
}

fn mebibytes(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "three digits are printed")]
    let bytes = bytes as f64;
    bytes / 1024.0 / 1024.0
}
