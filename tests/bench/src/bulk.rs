//! One way, as fast as it goes: over one cable with and without offload, and over two.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::Outcome;
use crate::awaited;
use crate::figures::Figures;
use crate::files::inside;
use crate::group::{Group, Subject, Target};
use crate::namespaces::ADDRESSES;
use crate::network::{Lab, Way};
use crate::nodes::Nodes;
use crate::pair::{Guarded, Kind};
use crate::place::Placement;

const SIZE: usize = 1 << 20;

pub(crate) fn groups(lab: &Lab, nodes: &Nodes) -> Vec<Group> {
    let mut groups = Vec::new();
    for offload in [true, false] {
        for placement in [Placement::Same, Placement::Split] {
            groups.push(one_cable(lab, nodes, offload, placement));
        }
    }
    let two = Lab::new(2);
    let on_both = Nodes::new(&two);
    groups.push(two_cables(&two, &on_both, Placement::Split));
    groups
}

fn one_cable(lab: &Lab, nodes: &Nodes, offload: bool, placement: Placement) -> Group {
    let stream = |name, kind| {
        let way = Way {
            offload,
            ..Way::new(kind, SIZE, placement)
        };
        lab.subject(nodes, name, way, Figures::stream)
    };
    let with = if offload { "with" } else { "without" };
    Group::new(format!("bulk {with} offload"), "Gbit/s")
        .placed(placement)
        .subject(stream("one TCP stream", Kind::TcpStream))
        .subject(iperf(lab, placement, offload))
        .subject(stream("quinn", Kind::QuinnStream))
        .subject(stream("slashnet, no daemon", Kind::DirectBulk))
        .subject(
            stream("slashnet", Kind::SlashnetBulk)
                .target(Target::RatioAtLeast(0.8))
                .target(Target::AtLeastTimes("quinn", 1.7)),
        )
}

/// Each of 1 Gbit/s, in both directions.
fn two_cables(lab: &Lab, nodes: &Nodes, placement: Placement) -> Group {
    let stream = |name, kind, policy| {
        let way = Way {
            policy,
            ..Way::new(kind, SIZE, placement)
        };
        lab.subject(nodes, name, way, Figures::stream)
    };
    Group::new("bulk over cables of 1 Gbit/s", "Gbit/s")
        .placed(placement)
        .subject(stream("TCP, one cable", Kind::TcpStream, ""))
        .subject(stream("MPTCP, two cables", Kind::MptcpStream, ""))
        .subject(stream(ONE, Kind::SlashnetBulk, "~exclusive:veth0"))
        .subject(
            stream("slashnet, two cables", Kind::SlashnetBulk, "~loadbalance")
                .target(Target::AtLeastTimes(ONE, 1.95)),
        )
}

/// The program that others measure TCP with, where it is installed. It knows only whole seconds.
fn iperf(lab: &Lab, placement: Placement, offload: bool) -> Subject {
    let lab = lab.clone();
    Subject::new("iperf3, one TCP stream", move |time| {
        lab.set_offload(offload)?;
        let [client, server] = lab.pids()?;
        let (client_cpu, server_cpu) = placement.cpus()?;
        let program = "/usr/bin/iperf3";
        if !std::path::Path::new(program).exists() {
            return Err("iperf3 is not installed: apt-get install iperf3".into());
        }
        let port = IPERF_PORT.to_string();
        let _server = inside(server, Some(server_cpu), program)?
            .args(["--server", "--one-off", "--port", &port])
            .args(["--bind", ADDRESSES[1]])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map(Guarded)?;
        awaited::port(server, IPERF_PORT)?;
        let seconds = time.max(Duration::from_secs(1)).as_secs();
        let output = inside(client, Some(client_cpu), program)?
            .args(["--client", ADDRESSES[1], "--port", &port, "--json"])
            .args(["--length", "1M", "--time", &seconds.to_string()])
            .output()?;
        gigabits(&output.stdout)
    })
}

fn gigabits(json: &[u8]) -> Outcome<f64> {
    let report: Value = serde_json::from_slice(json)?;
    let rate = &report["end"]["sum_received"]["bits_per_second"];
    let rate = rate.as_f64();
    Ok(rate.ok_or_else(|| format!("iperf3: {}", report["error"]))? / 1e9)
}

const ONE: &str = "slashnet, one cable";
const IPERF_PORT: u16 = 7720;
