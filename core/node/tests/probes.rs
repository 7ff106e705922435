//! Probes on the wire: what they are, and what comes of forged and repeated ones.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use abi::LinkAddress;
use abi::system::{Detect, LaneRow, LaneState};
use support::cables::Cable;
use support::talk::*;
use support::world::world;
use support::{Lab, address, ms};

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
fn copies_from_another_address_move_no_lane_and_bring_no_flood() {
    let mut world = world(Detect::Default);
    let (victim, bystander) = (LinkAddress::ipv4([10, 0, 7, 7], 666), address(LAB1, 0));
    let (spoofed, flood) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let (copied, hit) = (Rc::clone(&spoofed), Rc::clone(&flood));
    let mut cables = world.cables.fate();
    let forged = Rc::new(RefCell::new(Vec::new()));
    let copies = Rc::clone(&forged);
    world.lab.wire(move |datagram| {
        if datagram.to == victim {
            hit.set(hit.get() + datagram.bytes.len());
            return vec![];
        }
        let is_probe = datagram.bytes[0] & 31 == 6;
        if is_probe && datagram.from == bystander {
            // The copy overtakes the original, which is lost.
            copied.set(copied.get() + datagram.bytes.len());
            copies.borrow_mut().push(datagram.clone());
            return vec![];
        }
        cables(datagram)
    });
    for _ in 0..1000 {
        world.lab.run(ms(1));
        for copy in forged.borrow_mut().drain(..) {
            world.lab.throw(victim, copy.to, copy.bytes);
        }
    }
    assert!(spoofed.get() > 48 * 40, "{}", spoofed.get());
    let rows = world.lab.rows(LAB2);
    assert!(rows.iter().all(|row| row.peer != victim), "{rows:?}");
    assert!(
        flood.get() <= 3 * spoofed.get(),
        "{} {}",
        flood.get(),
        spoofed.get()
    );
}

#[test]
fn a_peer_behind_an_address_translator_is_followed() {
    let mut world = world(Detect::Default);
    let (inside, outside) = (address(LAB1, 0), LinkAddress::ipv4([10, 0, 7, 7], 5555));
    let mut cables = world.cables.fate();
    let queue = Rc::new(RefCell::new(Vec::new()));
    let translated = Rc::clone(&queue);
    world.lab.wire(move |datagram| {
        if datagram.from == inside {
            let out = (outside, datagram.to, datagram.bytes.clone());
            translated.borrow_mut().push(out);
            return vec![];
        }
        if datagram.to == outside {
            let back = (datagram.from, inside, datagram.bytes.clone());
            translated.borrow_mut().push(back);
            return vec![];
        }
        cables(datagram)
    });
    let lane = |lab: &Lab| {
        lab.rows(LAB2)
            .into_iter()
            .find(|row| row.link == 0)
            .unwrap()
    };
    for _ in 0..500 {
        world.lab.run(ms(1));
        for (from, to, bytes) in queue.borrow_mut().drain(..) {
            world.lab.throw(from, to, bytes);
        }
    }
    assert_eq!(lane(&world.lab).peer, outside);
    assert_eq!(lane(&world.lab).state, LaneState::Up);
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
