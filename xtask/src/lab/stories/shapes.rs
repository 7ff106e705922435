//! Networks of unusual shape.

use super::{GAP_MAX, under_load, works};
use crate::Outcome;
use crate::lab::bed::{Bed, Load, start_node};
use crate::lab::cuts::exactly_once;
use crate::lab::host::{CableState, Host, SWITCH, interface};
use crate::lab::record::Moment;
use crate::lab::report::{Report, megabits};
use crate::lab::wire::Rate;
use std::thread::sleep;
use std::time::Duration;

const TIME: Duration = Duration::from_millis(1000);

/// Slow enough that a load needs both cables.
fn shape(bed: &Bed) -> Outcome {
    (0..2).try_for_each(|cable| bed.lab().shape(cable, Rate::megabits(200)))
}

/// Sets the MTU of a cable for the hosts, and in the middle.
fn set_mtu(bed: &Bed, cable: u8, hosts: u32, middle: u32) -> Outcome {
    let switch = Host::find(SWITCH)?;
    for host in bed.lab().hosts() {
        let device = interface(cable);
        host.ip(&["link", "set", &device, "mtu", &hosts.to_string()])?;
        switch.ip(&["link", "set", &host.port(cable), "mtu", &middle.to_string()])?;
    }
    Ok(())
}

/// One cable of 9000 bytes beside one of 1500: both are used, each with packets of its size, to which the counters
/// add 14 bytes of Ethernet.
pub(super) fn different_mtus(report: &mut Report) -> Outcome {
    let mut bed = Bed::new(2)?;
    bed.lab().without_offload(2)?;
    set_mtu(&bed, 0, 9000, 9000)?;
    bed.start(&["eth0", "eth1"], &[])?;
    sleep(SETTLED);
    let record = bed.call_for("", Load::BULK, TIME)?;
    exactly_once(report, &record);
    for (cable, asked) in [(0, 4000..9015), (1, 1000..1515)] {
        let device = interface(cable);
        let before = bed.client().counters(&device)?;
        works(&bed, report, &format!("~exclusive:{device}"))?;
        let after = bed.client().counters(&device)?;
        let packets = (after.sent_packets - before.sent_packets).max(1);
        let mean = (after.sent_bytes - before.sent_bytes) / packets;
        let name = format!("mean packet sent over {device}");
        let figure = format!("{mean} bytes");
        report.bound(name, figure, format!("{asked:?}"), asked.contains(&mean));
    }
    Ok(())
}

/// The hosts say 1500 and 9000, the middle passes 1300 and 1500, and tells nobody.
pub(super) fn hole(report: &mut Report) -> Outcome {
    let mut bed = Bed::new(2)?;
    bed.lab().without_offload(2)?;
    set_mtu(&bed, 0, 1500, 1300)?;
    set_mtu(&bed, 1, 9000, 1500)?;
    bed.start(&["eth0", "eth1"], &[])?;
    for policy in ["~exclusive:eth0", "~exclusive:eth1", ""] {
        let record = works(&bed, report, policy)?;
        let rate = record.rate(record.start, record.end);
        let figure = megabits(rate);
        report.bound("throughput", figure, ">= 20 Mbit/s", rate * 8.0 >= 20e6);
    }
    // It opens while a session runs over it, with calls that do not give the link up.
    let running = bed.call("~exclusive-wait:eth0", Load::BULK.with_patience(TIME * 5))?;
    sleep(TIME);
    set_mtu(&bed, 0, 1500, 1200)?;
    sleep(TIME * 2);
    let now = Moment::now();
    let record = running.end()?;
    let late = record.rate(now.before(TIME / 2), now);
    let figure = megabits(late);
    report.bound(
        "after it has shrunk to 1200",
        figure,
        ">= 20 Mbit/s",
        late * 8.0 >= 20e6,
    );
    exactly_once(report, &record);
    Ok(())
}

/// Two interfaces of each host on one switch and in one net.
pub(super) fn one_domain(report: &mut Report) -> Outcome {
    let mut bed = Bed::new(2)?;
    let switch = Host::find(SWITCH)?;
    for (host, second) in bed
        .lab()
        .hosts()
        .iter()
        .zip(["10.77.1.21/24", "10.77.1.22/24"])
    {
        host.ip(&["address", "flush", "dev", "eth1"])?;
        host.ip(&["address", "add", second, "dev", "eth1"])?;
        switch.ip(&["link", "set", &host.port(1), "master", "br0"])?;
    }
    bed.start(&["eth0", "eth1"], &[])?;
    works(&bed, report, "~exclusive:eth0")?;
    works(&bed, report, "~exclusive:eth1")?;
    let running = bed.call("", Load::BULK)?;
    for cable in [0, 1] {
        sleep(TIME);
        bed.client().cable(cable, CableState::Cut)?;
        sleep(TIME);
        bed.client().cable(cable, CableState::Whole)?;
    }
    sleep(TIME);
    let record = running.end()?;
    let gap = record.longest_gap(record.start, record.end);
    report.at_most("longest pause of the load", gap, GAP_MAX);
    exactly_once(report, &record);
    Ok(())
}

/// A third link that leads nowhere changes nothing for the others.
pub(super) fn no_peer(report: &mut Report) -> Outcome {
    let mut bed = Bed::new(3)?;
    bed.server().ip(&["link", "delete", "eth2"])?;
    start_node(bed.client(), &["eth2", "eth0", "eth1"], &[])?;
    start_node(bed.server(), &["eth0", "eth1"], &[])?;
    bed.join()?;
    bed.serve()?;
    for policy in ["", "~exclusive:eth0", "~exclusive:eth1"] {
        let record = works(&bed, report, policy)?;
        exactly_once(report, &record);
    }
    let load = Load::PING_PONG.with_patience(Duration::from_secs(2));
    let lonely = bed.call_for("~exclusive:eth2", load, TIME);
    let failed = lonely.map_or(true, |record| record.done == 0);
    report.bound("calls over the link to nowhere", "fail", "fail", failed);
    Ok(())
}

/// No address on the second cable: packets of a type of our own.
pub(super) fn ethernet(report: &mut Report) -> Outcome {
    let mut bed = Bed::new(2)?;
    for host in bed.lab().hosts() {
        host.ip(&["address", "flush", "dev", "eth1"])?;
    }
    shape(&bed)?;
    bed.start(&["eth0", "ethernet:eth1"], &[])?;
    let record = works(&bed, report, "~exclusive:eth1")?;
    exactly_once(report, &record);
    under_load(&bed, report, 0, || {
        bed.client().cable(0, CableState::Cut)?;
        sleep(TIME);
        bed.client().cable(0, CableState::Whole)
    })
}

/// Nothing passes between the hosts but ARP and UDP between the daemons' ports.
pub(super) fn one_port(report: &mut Report) -> Outcome {
    let mut bed = Bed::new(2)?;
    let rules = "table bridge wall {
        chain through {
            type filter hook forward priority 0; policy drop
            ether type arp accept
            udp sport 41000 udp dport 41000 accept
        }
    }";
    Host::find(SWITCH)?.output(&["nft", rules])?;
    shape(&bed)?;
    bed.start(&["eth0", "eth1"], &["--one-port"])?;
    for policy in ["~exclusive:eth0", "~exclusive:eth1", ""] {
        let record = works(&bed, report, policy)?;
        exactly_once(report, &record);
    }
    under_load(&bed, report, 1, || {
        bed.client().cable(1, CableState::Cut)?;
        sleep(TIME);
        bed.client().cable(1, CableState::Whole)
    })
}

/// Long enough for the first search for the MTU of each link.
const SETTLED: Duration = Duration::from_secs(2);
