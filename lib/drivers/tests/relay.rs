//! Links that go through the node.
#![expect(clippy::unwrap_used, reason = "tests report by panicking")]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, EventFlags};
use slashnet_drivers::relay::{Progress, Record};
use slashnet_drivers::{
    DriverError, LinkAddress, MemoryDriver, PacketDriver, Properties, ReceiveBatch, Relay,
    RelayDriver, RelayEnd, conformance,
};

const LINK: u8 = 3;

#[test]
fn a_link_through_the_node_conforms() {
    for ring in [8192, 65536, MemoryDriver::RING] {
        conformance::check(|| pair(ring));
    }
}

#[test]
fn each_link_gets_its_own_packets_whoever_reads() {
    let (relay, end) = relay(MemoryDriver::RING);
    let links: Vec<RelayDriver> = (0..4).map(|link| open(&relay, link)).collect();
    assert_eq!(
        relay.link(2, address(2), 1200).err(),
        Some(DriverError::Io(libc::EBUSY))
    );
    let mut expected = [0; 4];
    for round in 0..1000usize {
        let link = (round * 7 % 4) as u8;
        let packets = vec![link; 100 + round % 50];
        let taken = end.give(link, &address(9), &packets, 100);
        assert_eq!(taken, Ok(packets.len()));
        expected[usize::from(link)] += packets.len().div_ceil(100);
    }
    // To a link that nobody has opened.
    assert_eq!(end.give(77, &address(9), &[77], 1), Ok(1));
    let mut batch = ReceiveBatch::new();
    let mut counts = [0; 4];
    for round in 0..10_000 {
        let link = round % 4;
        let arrived = links[link].receive(&mut batch).unwrap();
        counts[link] += arrived;
        for index in 0..arrived {
            let (from, bytes) = batch.packet(index).unwrap();
            assert_eq!(*from, address(9));
            assert!(bytes.iter().all(|byte| usize::from(*byte) == link));
        }
    }
    assert_eq!(counts, expected);
    assert!(links.iter().all(|link| link.has_data() == Some(false)));
}

/// The node does not wait: whatever a program that sleeps for a moment has no room for is lost.
#[test]
fn a_program_that_has_read_everything_has_room_for_most_of_a_ring() {
    let (relay, end) = relay(MemoryDriver::RING);
    let program = open(&relay, LINK);
    let packet = [7; 1472];
    let mut batch = ReceiveBatch::new();
    for before in 0..1500 {
        let taken = end.give(LINK, &address(9), &packet, packet.len());
        assert_eq!(taken, Ok(packet.len()));
        assert_eq!(program.receive(&mut batch), Ok(1));
        if before % 10 == 0 {
            let fits = || end.give(LINK, &address(9), &packet, packet.len()) == Ok(packet.len());
            let given = (0..MemoryDriver::RING).take_while(|_| fits()).count();
            let room = given * packet.len();
            assert!(room > MemoryDriver::RING * 3 / 4, "{before}: {room} bytes");
            while program.receive(&mut batch) != Ok(0) {}
        }
    }
}

#[test]
fn an_idle_link_that_is_read_as_often_costs_a_busy_one_nothing() {
    let (relay, end) = relay(MemoryDriver::RING);
    let (idle, busy) = (open(&relay, 1), open(&relay, 2));
    let mut batch = ReceiveBatch::new();
    let packet = [7; 1472];
    let count = (0..1300)
        .take_while(|_| end.give(2, &address(9), &packet, packet.len()) == Ok(packet.len()))
        .count();
    let mut arrived = 0;
    for _ in 0..200 {
        assert_eq!(idle.receive(&mut batch), Ok(0));
        arrived += busy.receive(&mut batch).unwrap();
    }
    assert_eq!(arrived, count);
}

#[test]
fn a_sleeper_is_woken_when_another_link_is_read_first() {
    let (relay, end) = relay(MemoryDriver::RING);
    let (reader, sleeper) = (open(&relay, 1), open(&relay, 2));
    let mut batch = ReceiveBatch::new();
    let mut other = ReceiveBatch::new();
    for round in 0..100u8 {
        let watch = watch(&sleeper);
        assert!(!sleeper.arm());
        assert_eq!(end.give(2, &address(9), &[round], 1), Ok(1));
        // Without the ring's bell: only the reader can wake the sleeper.
        assert_eq!(reader.receive(&mut batch), Ok(0));
        assert!(wait(&watch), "round {round}");
        assert_eq!(sleeper.receive(&mut other), Ok(1));
        assert_eq!(other.packet(0).unwrap().1, [round]);
    }
}

#[test]
fn what_nobody_reads_is_kept_up_to_a_bound() {
    let (relay, end) = relay(MemoryDriver::RING);
    let (reader, idle) = (open(&relay, 1), open(&relay, 2));
    let mut batch = ReceiveBatch::new();
    let train = vec![1; 60_000];
    for _ in 0..50 {
        assert_eq!(end.give(2, &address(9), &train, 1000), Ok(train.len()));
        assert_eq!(reader.receive(&mut batch), Ok(0));
    }
    let mut kept = 0;
    loop {
        let count = idle.receive(&mut batch).unwrap();
        if count == 0 {
            break;
        }
        kept += count;
    }
    // Eight trains fit into 512 KiB.
    assert_eq!(kept, 8 * 60);
}

#[test]
fn a_train_that_was_taken_in_part_is_offered_again_from_there() {
    let (relay, mut end) = relay(MemoryDriver::RING);
    let link = open(&relay, LINK);
    let train: Vec<u8> = (0..100).collect();
    assert_eq!(link.send(&address(5), &train, 30), Ok(100));
    assert_eq!(link.send(&address(6), &[1], 30), Ok(1));
    let mut offered = Vec::new();
    let mut room = 60;
    let mut forward = |end: &mut RelayEnd, room: &mut usize| {
        end.forward(9, &mut |train| {
            let taken = train.bytes.len().min(*room);
            offered.push((train.link, train.to, train.bytes.to_vec(), train.segment));
            *room -= taken;
            taken
        })
    };
    assert_eq!(forward(&mut end, &mut room), Ok(Progress::Blocked));
    assert!(end.arm());
    room = 100;
    assert_eq!(forward(&mut end, &mut room), Ok(Progress::Empty));
    assert!(!end.arm());
    let expected = [
        (LINK, address(5), train.clone(), 30),
        (LINK, address(5), train[60..].to_vec(), 30),
        (LINK, address(6), vec![1], 1),
    ];
    assert_eq!(offered, expected);
}

#[test]
fn garbage_in_the_rings_goes_nowhere() {
    let (near, parts) = MemoryDriver::create_with(65536).unwrap();
    let mut end = RelayEnd::new(MemoryDriver::attach(parts).unwrap());
    let good = Record {
        link: 1,
        address: address(1),
        segment: 10,
    };
    let mut packets = vec![vec![], vec![0; 31], good.encode().to_vec(), vec![0xff; 99]];
    packets.push([&good.encode()[..], &[5; 641]].concat());
    packets.push([&good.encode()[..], &[5; 15]].concat());
    for packet in &packets {
        let len = packet.len();
        let put = near.send_in_place(len, &mut |room| assert!(room.fill(0, packet)));
        assert_eq!(put, Ok(true));
    }
    let mut offered = 0;
    let progress = end.forward(100, &mut |train| {
        assert_eq!((train.bytes.len(), train.segment), (15, 10));
        offered += 1;
        15
    });
    assert_eq!((progress, offered), (Ok(Progress::Empty), 1));
}

#[test]
fn two_programs_exchange_packets_through_their_nodes_while_all_three_run() {
    const PACKETS: u32 = 5_000;
    let (relay_a, mut end_a) = relay(65536);
    let (relay_b, mut end_b) = relay(65536);
    let (a, b) = (open(&relay_a, 1), open(&relay_b, 2));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                pass(&mut end_a, &end_b, 2);
                pass(&mut end_b, &end_a, 1);
            }
        });
        let _ended = Ended(&done);
        // A window of unanswered packets, as everybody keeps one; it fits into the rings.
        let mut next = 0;
        let mut answered = 0;
        let (mut at_a, mut at_b) = (ReceiveBatch::new(), ReceiveBatch::new());
        let deadline = Instant::now() + Duration::from_secs(120);
        while answered < PACKETS {
            assert!(Instant::now() < deadline, "{answered} of {next} came back");
            while next < PACKETS.min(answered + 16) {
                let packet = numbered(next);
                if a.send(&address(2), &packet, packet.len()).unwrap() == 0 {
                    break;
                }
                next += 1;
            }
            for index in 0..b.receive(&mut at_b).unwrap() {
                let (_, bytes) = at_b.packet(index).unwrap();
                while b.send(&address(1), bytes, bytes.len()).unwrap() == 0 {
                    assert!(Instant::now() < deadline, "no room after {answered}");
                    std::thread::yield_now();
                }
            }
            for index in 0..a.receive(&mut at_a).unwrap() {
                assert_eq!(at_a.packet(index).unwrap().1, numbered(answered));
                answered += 1;
            }
        }
    });
}

/// Tells the node that its programs are done, also when they fail.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn pass(from: &mut RelayEnd, to: &RelayEnd, link: u8) {
    let progress = from.forward(16, &mut |train| {
        let sender = address(train.link);
        to.give(link, &sender, train.bytes, train.segment).unwrap()
    });
    progress.unwrap();
    to.ring_if_asked();
}

fn numbered(number: u32) -> Vec<u8> {
    let len = 4 + number as usize * 37 % 1400;
    let mut packet = vec![number as u8; len];
    packet[..4].copy_from_slice(&number.to_le_bytes());
    packet
}

fn address(host: u8) -> LinkAddress {
    LinkAddress::ipv4([10, 0, 0, host], 8192)
}

fn open(relay: &Relay, link: u8) -> RelayDriver {
    relay.link(link, address(link), 1472).unwrap()
}

fn relay(ring: usize) -> (Relay, RelayEnd) {
    let (near, far) = MemoryDriver::pair(ring).unwrap();
    (Relay::new(near), RelayEnd::new(far))
}

fn pair(ring: usize) -> (RelayDriver, Node) {
    let (relay, end) = relay(ring);
    let driver = open(&relay, LINK);
    let node = Node {
        properties: *driver.properties(),
        readable: end.readable().try_clone_to_owned().unwrap(),
        end: Mutex::new(end),
    };
    (driver, node)
}

/// The node's end, dressed as a driver whose only peer is the program.
struct Node {
    properties: Properties,
    readable: OwnedFd,
    end: Mutex<RelayEnd>,
}

impl PacketDriver for Node {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn send(&self, to: &LinkAddress, bytes: &[u8], segment: usize) -> Result<usize, DriverError> {
        if segment.min(bytes.len()) > self.properties.max_frame {
            return Err(DriverError::TooBig(self.properties.max_frame));
        }
        if *to != address(LINK) {
            return Err(DriverError::NoPeer);
        }
        let end = self.end.lock().unwrap();
        let taken = end.give(LINK, &self.local_address(), bytes, segment);
        end.ring_if_asked();
        taken
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> Result<usize, DriverError> {
        batch.clear();
        let mut end = self.end.lock().unwrap();
        end.forward(8, &mut |train| {
            assert_eq!(train.link, LINK);
            let fits = batch.reserve(train.bytes.len()).is_some();
            if !fits || batch.len() + 64 > 256 {
                return 0;
            }
            for packet in train.bytes.chunks(train.segment) {
                batch.reserve(packet.len()).unwrap().copy_from_slice(packet);
                batch.commit(address(LINK), packet.len());
            }
            train.bytes.len()
        })?;
        Ok(batch.len())
    }

    fn readable(&self) -> BorrowedFd<'_> {
        self.readable.as_fd()
    }

    fn events(&self, _blocked: bool) -> EventFlags {
        self.end.lock().unwrap().events()
    }

    fn arm(&self) -> bool {
        self.end.lock().unwrap().arm()
    }

    fn has_data(&self) -> Option<bool> {
        self.end.lock().unwrap().memory().has_data()
    }

    fn writable(&self) -> bool {
        self.end.lock().unwrap().memory().writable()
    }

    fn local_address(&self) -> LinkAddress {
        address(9)
    }

    fn backlog(&self) -> Option<usize> {
        self.end.lock().unwrap().memory().backlog()
    }
}

fn watch(driver: &dyn PacketDriver) -> OwnedFd {
    let watch = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let data = epoll::EventData::new_u64(0);
    epoll::add(&watch, driver.readable(), data, driver.events(false)).unwrap();
    // A new watch starts with what was there before.
    let now = Timespec::default();
    let mut events = Vec::with_capacity(1);
    epoll::wait(
        &watch,
        rustix::buffer::spare_capacity(&mut events),
        Some(&now),
    )
    .unwrap();
    watch
}

fn wait(watch: &OwnedFd) -> bool {
    let patience = Timespec {
        tv_sec: 10,
        tv_nsec: 0,
    };
    let mut events = Vec::with_capacity(1);
    let space = rustix::buffer::spare_capacity(&mut events);
    epoll::wait(watch, space, Some(&patience)).unwrap() > 0
}
