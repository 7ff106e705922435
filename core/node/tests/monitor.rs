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

use abi::system::{CloseSession, Detect, LaneState, LaneTraffic, LaneWhy, Reply, Request, Traffic};
use support::cables::{Cable, Cables};
use support::talk::*;
use support::world::{World, world};
use support::{Lab, address, ms};

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

// qnx: Q5, Q12
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
fn a_cut_and_its_end_are_in_the_log_once() {
    let mut world = world(Detect::Default);
    world.lab.run(ms(2500));
    world.lab.log(0);
    world.cables.set(1, Cable::Cut);
    world.lab.run(ms(1000));
    let [line] = world.lab.log(0).try_into().unwrap();
    let (there, why) = line.split_once(": ").unwrap();
    assert!(there.starts_with("the way to lab2 over "), "{line}");
    assert!(there.ends_with(" is down"), "{line}");
    assert_eq!(why, "answers stopped");
    world.cables.set(1, Cable::Whole);
    world.lab.run(ms(1000));
    let [line] = world.lab.log(0).try_into().unwrap();
    assert_eq!(line, there.replace(" is down", " is up"));
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

#[test]
fn a_daemon_that_dies_on_a_busy_machine_says_nothing_about_lanes_either() {
    for seed in 1..=20_u64 {
        let mut world = world(Detect::Default);
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let cables = std::cell::RefCell::new(world.cables.fate());
        world.lab.wire(move |datagram| {
            random = random.rotate_left(17).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let late = Duration::from_micros(random >> 49);
            let fate = (cables.borrow_mut())(datagram);
            fate.into_iter().map(|delay| delay + late).collect()
        });
        world.lab.run(ms(2000 + seed * 7));
        for _ in 0..5 {
            world.lab.kill(LAB2);
            for _ in 0..40 + 60 * (seed % 4) {
                world.lab.run(ms(5));
                assert_eq!(world.downs(), 0, "seed {seed}");
            }
            world.lab.start(LAB2);
            for _ in 0..400 {
                world.lab.run(ms(5));
                assert_eq!(world.downs(), 0, "seed {seed}, started again");
            }
        }
        assert_eq!(world.state(LAB1, 0), LaneState::Up);
    }
}

#[test]
fn programs_that_claim_absurd_traffic_do_not_break_the_table() {
    let mut world = world(Detect::Relaxed);
    let rows = (0..2).map(|link| LaneTraffic {
        node: abi::Nd(11),
        link,
        peer: address(LAB2, link.into()).with_port(5000),
        bytes_sent: u64::MAX,
        bytes_received: u64::MAX,
        rate: u64::MAX,
        switches: u32::MAX,
        suspect: false,
    });
    let traffic = Request::Traffic(Traffic {
        rows: rows.collect(),
    });
    for _ in 0..2 {
        world.lab.send(world.client, 0, &traffic, None);
        world.lab.run(ms(1000));
    }
    let rows = link_rows(&mut world.lab, world.client);
    let own = rows.iter().find(|row| row.peer.is_none()).unwrap();
    assert_eq!((own.sent, own.received), (u64::MAX, u64::MAX));
}

#[test]
fn programs_that_suspect_a_way_without_end_do_not_make_a_flood() {
    let mut world = world(Detect::Relaxed);
    let row = LaneTraffic {
        node: abi::Nd(11),
        link: 0,
        peer: address(LAB2, 0).with_port(5000),
        bytes_sent: 0,
        bytes_received: 0,
        rate: 0,
        switches: 0,
        suspect: true,
    };
    let traffic = Request::Traffic(Traffic { rows: vec![row] });
    let offered = world.cables.offered();
    world.lab.run(ms(1000));
    let anyway = world.cables.offered() - offered;
    let offered = world.cables.offered();
    for _ in 0..10_000 {
        world.lab.send(world.client, 0, &traffic, None);
        world.lab.run(Duration::from_micros(10));
    }
    // 100 ms of that: 20 questions, as many answers, and what goes on anyway.
    let probes = world.cables.offered() - offered;
    assert!(probes <= 60, "{probes}");
    // It goes on: a program may make the node look 32 times a second, once it has used up its 256. Each look is two
    // probes, there and back.
    let offered = world.cables.offered();
    for _ in 0..500 {
        world.lab.send(world.client, 0, &traffic, None);
        world.lab.run(ms(2));
    }
    let probes = world.cables.offered() - offered;
    assert!(
        probes <= anyway + 4 * 32,
        "{probes} in a second, {anyway} anyway"
    );
}

#[test]
fn what_a_short_program_has_moved_counts_though_its_session_is_over() {
    let mut world = world(Detect::Default);
    let (server, welcome) = world.lab.program(LAB2);
    let (short, _) = world.lab.program(LAB1);
    let (ticket, _) = introduce(&mut world.lab, short, server, welcome.pid);
    let close = Request::CloseSession(CloseSession {
        session: ticket.local,
    });
    assert_eq!(world.lab.ask(short, &close), Reply::Done);
    world.lab.run(ms(100));
    // Each tells what it has moved when the session is over already.
    for (program, node, to) in [(short, 11, LAB2), (server, 10, LAB1)] {
        let row = LaneTraffic {
            node: abi::Nd(node),
            link: 0,
            peer: address(to, 0).with_port(5000),
            bytes_sent: 777,
            bytes_received: 888,
            rate: 0,
            switches: 0,
            suspect: false,
        };
        let traffic = Request::Traffic(Traffic { rows: vec![row] });
        world.lab.send(program, 0, &traffic, None);
        let rows = link_rows(&mut world.lab, program);
        let own = rows.iter().find(|row| row.index == 0 && row.peer.is_some());
        let own = own.unwrap();
        assert_eq!((own.sent, own.received), (777, 888));
    }
}
