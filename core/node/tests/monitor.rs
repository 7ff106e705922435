//! The link monitor in virtual time: cut, lossy, one-way and stalled worlds.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use abi::LinkAddress;
use abi::system::{Detect, LaneRow, LaneState, LaneTraffic, LaneWhy, Request, Traffic};
use support::cables::{Cable, Cables};
use support::talk::*;
use support::{Lab, Program, address, ms};

/// Two nodes with a session between programs, and two cables with 1 ms each way.
struct World {
    lab: Lab,
    cables: Cables,
    client: Program,
    server: Program,
}

fn world(detect: Detect) -> World {
    let mut lab = Lab::strangers(2);
    for at in 0..2 {
        let links = lab.links(at).to_vec();
        lab.configure(at, detect, false, links);
        *lab.trust(at) = vec![support::record(1 - at)];
    }
    let cables = Cables::default();
    lab.wire(cables.fate());
    lab.start_all();
    let (server, welcome) = lab.program(LAB2);
    let (client, _) = lab.program(LAB1);
    introduce(&mut lab, client, server, welcome.pid);
    lab.run(ms(1000));
    World {
        lab,
        cables,
        client,
        server,
    }
}

impl World {
    fn row(&self, at: usize, link: u8) -> LaneRow {
        let rows = self.lab.rows(at);
        let mut own = rows.iter().filter(|row| row.link == link);
        let row = *own.next().unwrap();
        assert_eq!(own.next(), None, "one row for each link: {rows:?}");
        row
    }

    fn state(&self, at: usize, link: u8) -> LaneState {
        self.row(at, link).state
    }

    /// How long until a link's row has a state, stepping by half a millisecond.
    fn until(&mut self, at: usize, link: u8, state: LaneState, bound: Duration) -> Duration {
        let began = self.lab.now;
        while self.state(at, link) != state {
            let waited = self.lab.now.saturating_since(began);
            assert!(waited <= bound, "{:?} after {waited:?}", self.row(at, link));
            self.lab.run(Duration::from_micros(500));
        }
        self.lab.now.saturating_since(began)
    }

    fn downs(&self) -> u32 {
        let rows = (0..2).flat_map(|at| self.lab.rows(at));
        rows.filter(|row| row.state == LaneState::Down).count() as u32
    }
}

#[test]
fn ways_are_measured_before_the_first_session_needs_them() {
    let world = world(Detect::Default);
    for at in 0..2 {
        for link in 0..2 {
            let row = world.row(at, link);
            assert_eq!((row.state, row.why), (LaneState::Up, LaneWhy::Nothing));
            assert_eq!(row.peer, address(1 - at, link.into()));
            assert_eq!(row.mtu, 1472);
            assert_eq!(row.rtt, Some(ms(2)));
            assert_eq!(row.min_rtt, Some(ms(2)));
            assert_eq!(row.loss, 0);
        }
    }
    assert_eq!(
        world.lab.rows(LAB1).len(),
        2,
        "ways that never worked are not shown"
    );
}

#[test]
fn a_cut_is_found_and_a_mended_way_is_used_again_in_time_by_both_ends() {
    let speeds = [
        (Detect::Default, 101, 500),
        (Detect::Fast, 31, 500),
        (Detect::Relaxed, 501, 1500),
    ];
    for (detect, found, back) in speeds {
        let mut world = world(detect);
        for round in 0..24_u64 {
            world.lab.run(ms(2500 + round * 37));
            let link = (round % 2) as usize;
            let cable = match round % 3 {
                0 => Cable::Cut,
                1 => Cable::CutTo(LAB1),
                _ => Cable::CutTo(LAB2),
            };
            world.cables.set(link, cable);
            let began = world.lab.now;
            for at in 0..2 {
                // A cut in one direction is found by one end, which tells the other: one way more.
                world.until(at, link as u8, LaneState::Down, ms(found + 2));
            }
            let took = world.lab.now.saturating_since(began);
            assert!(took <= ms(found + 1), "{detect:?} {cable:?}: {took:?}");
            assert_eq!(world.downs(), 2, "and nothing else");
            world.lab.run(ms(500 + round * 211));
            world.cables.set(link, Cable::Whole);
            let began = world.lab.now;
            for at in 0..2 {
                world.until(at, link as u8, LaneState::Up, ms(back));
            }
            let took = world.lab.now.saturating_since(began);
            assert!(
                took <= ms(back),
                "{detect:?} {cable:?}: back after {took:?}"
            );
        }
    }
}

#[test]
fn loss_and_stalls_bring_down_nothing_in_hours() {
    for seed in 0..4_u64 {
        let mut world = world(Detect::Default);
        world.cables.lose(seed, 10_000);
        let seen = Rc::new(Cell::new(0_u32));
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        for _ in 0..360 {
            random = random.rotate_left(17).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            world.lab.stall((random >> 60 & 1) as usize, ms(50));
            for _ in 0..20 {
                world.lab.run(ms(250));
                seen.set(seen.get() + world.downs());
            }
        }
        assert_eq!(seen.get(), 0, "seed {seed}: downs in half an hour");
        let loss = world.row(LAB1, 0).loss;
        assert!(
            (1_000..60_000).contains(&loss),
            "loss of a round trip: {loss}"
        );
    }
}

#[test]
fn a_daemon_that_does_not_run_brings_down_nothing() {
    for (at, time) in [
        (LAB1, 90),
        (LAB2, 90),
        (LAB1, 900),
        (LAB2, 900),
        (LAB1, 3000),
    ] {
        let mut world = world(Detect::Default);
        let notices = world.lab.lane_notices(LAB1);
        world.lab.stall(at, ms(time));
        for _ in 0..800 {
            world.lab.run(ms(5));
            assert_eq!(world.downs(), 0, "{at} stalled for {time} ms");
        }
        assert_eq!(
            world.lab.lane_notices(LAB1),
            notices,
            "programs hear nothing of it"
        );
    }
}

#[test]
fn a_busy_machine_finds_a_cut_in_bounded_time_and_nothing_else() {
    for seed in 0..4_u64 {
        let mut world = world(Detect::Default);
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        // Both daemons get the processor late, again and again.
        let mut busy = |world: &mut World| {
            random = random.rotate_left(17).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let late = ms(random >> 59);
            world.lab.stall((random >> 50 & 1) as usize, late);
            world.lab.run(late.max(ms(7)));
        };
        for _ in 0..5000 {
            busy(&mut world);
            assert_eq!(world.downs(), 0, "seed {seed}");
        }
        world.cables.set(1, Cable::Cut);
        let cut = world.lab.now;
        while world.downs() < 2 {
            busy(&mut world);
            let waited = world.lab.now.saturating_since(cut);
            assert!(waited < ms(400), "seed {seed}: {waited:?}");
        }
        assert_eq!(world.state(LAB1, 0), LaneState::Up);
    }
}

#[test]
fn a_daemon_that_dies_says_nothing_about_lanes() {
    let mut world = world(Detect::Default);
    world.lab.kill(LAB2);
    for _ in 0..1000 {
        world.lab.run(ms(10));
        assert_eq!(world.downs(), 0);
    }
    assert_eq!(world.row(LAB1, 0).why, LaneWhy::NodeSilent);
    world.lab.start(LAB2);
    world.lab.run(ms(1000));
    for at in 0..2 {
        assert_eq!(world.state(at, 0), LaneState::Up);
        assert_eq!(world.state(at, 1), LaneState::Up);
    }
}

#[test]
fn the_largest_packet_is_found_and_a_black_hole_is_noticed() {
    let mut lab = Lab::strangers(2);
    for at in 0..2 {
        let mut links = lab.links(at).to_vec();
        links[0].mtu = 8972;
        links[1].mtu = 8972;
        lab.configure(at, Detect::Default, false, links);
        *lab.trust(at) = vec![support::record(1 - at)];
    }
    let cables = Cables::default();
    cables.limit(1, 1400);
    lab.wire(cables.fate());
    lab.start_all();
    let (server, welcome) = lab.program(LAB2);
    let (client, _) = lab.program(LAB1);
    introduce(&mut lab, client, server, welcome.pid);
    lab.run(ms(5000));
    let mut world = World {
        lab,
        cables,
        client,
        server,
    };
    for at in 0..2 {
        assert_eq!(world.row(at, 0).mtu, 8972);
        let found = world.row(at, 1).mtu;
        assert!((1393..=1400).contains(&found), "{found}");
    }
    // A switch in between is replaced by one for small packets only.
    world.cables.limit(0, 1472);
    world.lab.run(ms(2000));
    assert!(world.row(LAB1, 0).mtu <= 1472);
    world.lab.run(ms(5000));
    let found = world.row(LAB1, 0).mtu;
    assert!((1465..=1472).contains(&found), "{found}");
    assert_eq!(world.downs(), 0, "small packets pass");
    // And back: noticed when larger sizes are tried again.
    world.cables.limit(0, 9000);
    world.lab.run(Duration::from_secs(660));
    assert_eq!(world.row(LAB1, 0).mtu, 8972);
}

#[test]
fn replayed_and_forged_probes_are_met_with_silence() {
    let mut world = world(Detect::Default);
    let tape = world.cables.record();
    world.lab.run(ms(500));
    let mut probes = tape.take();
    // A copy that overtakes its original is the first to come.
    let old = world.lab.now.checked_sub(ms(5)).unwrap();
    probes.retain(|probe| probe.arrives < old);
    assert!(probes.len() > 50);
    let rows = world.lab.rows(LAB1);
    let before = world.cables.carried();
    world.cables.set(0, Cable::Cut);
    world.cables.set(1, Cable::Cut);
    for probe in probes {
        for at in 0..probe.bytes.len() {
            let mut forged = probe.bytes.clone();
            forged[at] ^= 1 << (at % 8);
            world.lab.throw(probe.from, probe.to, forged);
        }
        let elsewhere = LinkAddress::ipv4([10, 0, 7, 7], 666);
        world.lab.throw(elsewhere, probe.to, probe.bytes.clone());
        world.lab.throw(probe.from, probe.to, probe.bytes);
    }
    let offered = world.cables.offered();
    world.lab.run(Duration::from_micros(100));
    assert!(
        world.cables.offered() - offered <= 8,
        "only probes that were due"
    );
    assert_eq!(world.cables.carried(), before);
    let addresses = |rows: &[LaneRow]| rows.iter().map(|row| row.peer).collect::<Vec<_>>();
    assert_eq!(addresses(&world.lab.rows(LAB1)), addresses(&rows));
}

#[test]
fn a_flapping_way_has_to_wait_and_is_forgiven() {
    let mut world = world(Detect::Default);
    let mut waits = vec![];
    for _ in 0..6 {
        world.cables.set(0, Cable::Cut);
        world.until(LAB1, 0, LaneState::Down, ms(200));
        let down = world.lab.now;
        world.lab.run(ms(100));
        world.cables.set(0, Cable::Whole);
        world.until(LAB1, 0, LaneState::Up, ms(31_000));
        waits.push(world.lab.now.saturating_since(down));
        world.lab.run(ms(300));
    }
    assert!(waits[0] < ms(500), "{waits:?}");
    assert!(waits[5] > ms(5000), "{waits:?}");
    world.lab.run(ms(20_000));
    world.cables.set(0, Cable::Cut);
    world.until(LAB1, 0, LaneState::Down, ms(200));
    world.cables.set(0, Cable::Whole);
    world.until(LAB1, 0, LaneState::Up, ms(500));
}

#[test]
fn a_suspicion_is_looked_into_at_once_and_never_believed() {
    let mut world = world(Detect::Relaxed);
    let traffic = |suspect| {
        Request::Traffic(Traffic {
            rows: vec![LaneTraffic {
                node: abi::Nd(11),
                link: 0,
                peer: address(LAB2, 0).with_port(5000),
                bytes_sent: 1_000_000,
                bytes_received: 2000,
                rate: 1_000_000,
                switches: 1,
                suspect,
            }],
        })
    };
    world.lab.run(ms(10));
    let offered = world.cables.offered();
    world.lab.send(world.client, 0, &traffic(true), None);
    assert!(world.cables.offered() > offered, "a probe goes at once");
    world.lab.run(ms(1000));
    assert_eq!(world.downs(), 0);
    world.lab.send(world.client, 0, &traffic(false), None);
    assert_eq!(world.row(LAB1, 0).rate, Some(1_000_000));
    let rows = link_rows(&mut world.lab, world.client);
    let lane = rows
        .iter()
        .find(|row| row.index == 0 && row.peer.is_some())
        .unwrap();
    assert_eq!(
        (lane.sent, lane.received, lane.switches),
        (2_000_000, 4000, 2)
    );
    // Somebody without sessions there has nothing to say.
    let (stranger, _) = world.lab.program(LAB1);
    world.lab.send(stranger, 0, &traffic(false), None);
    let rows = link_rows(&mut world.lab, world.client);
    let lane = rows
        .iter()
        .find(|row| row.index == 0 && row.peer.is_some())
        .unwrap();
    assert_eq!(lane.sent, 2_000_000);
}

#[test]
fn nobody_probes_a_peer_that_nobody_uses() {
    let mut world = world(Detect::Default);
    world.lab.leave(world.client);
    world.lab.leave(world.server);
    world.lab.run(ms(10_000));
    let offered = world.cables.offered();
    world.lab.run(ms(10_000));
    let slow = world.cables.offered() - offered;
    assert!(
        (60..=1200).contains(&slow),
        "{slow} probes in ten idle seconds"
    );
    world.lab.run(ms(70_000));
    let offered = world.cables.offered();
    world.lab.run(ms(100_000));
    assert_eq!(world.cables.offered(), offered);
    assert_eq!(
        world.row(LAB1, 0).state,
        LaneState::Up,
        "as it was last seen"
    );
}

#[test]
fn the_channel_itself_survives_a_cut_in_milliseconds() {
    let mut world = world(Detect::Default);
    let lab2 = nd(&mut world.lab, world.client, "lab2");
    for link in [0, 1, 0, 1] {
        world.lab.run(ms(3000));
        let hellos = world.cables.hellos();
        world.cables.set(link, Cable::Cut);
        for _ in 0..20 {
            let began = world.lab.now;
            world.lab.ask(world.client, &resolve(lab2, b"/"));
            let took = world.lab.now.saturating_since(began);
            assert!(took < ms(60), "link {link} cut: {took:?}");
            world.lab.run(ms(20));
        }
        assert_eq!(world.cables.hellos(), hellos, "without another handshake");
        world.cables.set(link, Cable::Whole);
    }
}

/// Little-endian, as `docs/protocol/probes.md` says; read without the code that wrote it.
fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[test]
fn probes_are_as_the_page_says() {
    let page = include_str!("../../../docs/protocol/probes.md");
    for row in [
        "| 0 | u8 | version << 5 \\| 6 |",
        "| 2 | u16 | length of what follows the header |",
        "| 8 | u64 | packet number,",
        "| 16 | u8 | sender's link << 4 \\| receiver's link |",
        "| 24 | u32 | in an answer: that of the probe it answers, else 0 |",
        "| 32 | u16 | only with a size:",
    ] {
        assert!(page.contains(row), "{row}");
    }
    let mut world = world(Detect::Default);
    let tape = world.cables.record();
    world.lab.run(ms(2000));
    let (mut asked, mut answered, mut padded) = (0, 0, 0);
    let mut last = std::collections::BTreeMap::new();
    let mut times = vec![];
    for probe in tape.take() {
        let bytes = &probe.bytes;
        assert_eq!(bytes[0], 1 << 5 | 6);
        let flags = bytes[1];
        assert_eq!(flags & !31, 0);
        assert_ne!(flags & 1 == 0, flags & 2 == 0, "it asks or it answers");
        assert_eq!(number(&bytes[2..4]) as usize, bytes.len() - 16);
        let sequence = number(&bytes[8..16]);
        let links = bytes[16];
        let before = last.insert((probe.from, number(&bytes[4..8]), links), sequence);
        assert!(
            before.is_none_or(|before| sequence == before + 1),
            "{before:?} {sequence}"
        );
        assert_eq!(
            links,
            [0x00, 0x11][usize::from(links & 15)],
            "a cable joins equal numbers"
        );
        assert_eq!(bytes[17], 3, "up");
        let sent = number(&bytes[20..24]);
        assert_eq!(sent, probe.arrives.as_nanos() / 1000 % (1 << 32));
        let echo = number(&bytes[24..28]);
        if flags & 1 != 0 {
            assert_eq!(echo, 0);
            times.push(sent);
            asked += 1;
        } else {
            assert!(
                times.contains(&echo) || answered < 10,
                "the time of a probe"
            );
            answered += 1;
        }
        let size = (flags & 4 != 0).then(|| number(&bytes[32..34]));
        match size {
            None => assert_eq!(bytes.len(), 48),
            Some(size) if flags & 1 != 0 => {
                assert_eq!(bytes.len() as u64, size);
                assert!(bytes[34..bytes.len() - 16].iter().all(|byte| *byte == 0));
                padded += 1;
            }
            Some(_) => assert_eq!(bytes.len(), 50),
        }
    }
    assert!(
        asked > 100 && answered > 100 && padded > 4,
        "{asked} {answered} {padded}"
    );
}
