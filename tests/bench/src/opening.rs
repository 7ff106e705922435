//! Opening a path of another machine that was opened before.

use std::fs;
use std::process::Stdio;

use crate::Outcome;
use crate::figures::Figures;
use crate::files::{inside, memory_directory};
use crate::group::{Group, Subject, Target};
use crate::network::Way;
use crate::nodes::{NAMES, Nodes, program};
use crate::pair::{Guarded, Kind, Task};
use crate::place::Placement;

pub(crate) fn groups(nodes: &Nodes) -> Vec<Group> {
    let placement = Placement::Same;
    let lab = nodes.lab();
    let nodes = nodes.clone();
    let mut export = None;
    vec![
        Group::new("repeated open of a remote path", "us")
            .placed(placement)
            .subject(lab.subject(
                &nodes,
                "raw UDP round trip",
                Way::new(Kind::UdpEcho, 64, placement),
                Figures::round_trip,
            ))
            .subject(
                Subject::new("slashnet", move |time| {
                    let (client, server) = placement.cpus()?;
                    if export.is_none() {
                        export = Some(offer(&nodes, server)?);
                    }
                    let task = Task {
                        kind: Kind::SlashnetOpen,
                        size: 0,
                        cpu: client,
                        at: nodes.pair()?.nodes[0].directory(),
                        to: Some(format!("/net/{}/bench-open/file", NAMES[1])),
                        network: Some(nodes.lab().pids()?[0]),
                    };
                    Ok(task.run(time)?.microseconds())
                })
                .target(Target::RatioAtMost(3.0)),
            ),
    ]
}

/// A directory with a file in it, offered by the second node.
fn offer(nodes: &Nodes, cpu: usize) -> Outcome<Box<dyn std::any::Any>> {
    let directory = memory_directory()?;
    let exported = directory.path().join("exported");
    fs::create_dir(&exported)?;
    fs::write(exported.join("file"), "hello")?;
    let program = program()?.display().to_string();
    let far = &nodes.pair()?.nodes[1];
    let server = inside(nodes.lab().pids()?[1], Some(cpu), &program)?
        .args(["--dir", &far.directory(), "serve", "export"])
        .arg(format!("{}=/bench-open", exported.display()))
        .stdin(Stdio::null())
        .spawn()
        .map(Guarded)?;
    nodes.pair()?.nodes[0].await_path(&format!("/net/{}/bench-open/file", NAMES[1]))?;
    Ok(Box::new((server, directory)))
}
