//! Two programs of two nodes, with two links between them; a third link leads nowhere.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use abi::system::{
    self, Accept, Lane, LaneRow, LaneState, LaneTraffic, LaneWhy, LinkKind, Links, NodeLink,
    Notice, Offer, OpenSession, Policy, Protection, Refusal, Reply, Request, SessionSecret,
    SocketOnLink, Table, Ticket,
};
use abi::{
    ChannelFlags, ChannelId, Credentials, Errno, Gid, Incarnation, LinkAddress, Nd, Pid, SessionId,
    Uid,
};
use ipc::{Channel, Connection, Endpoint, Failure, Received};

use crate::node::{Daemon, Page};

pub(crate) const EXCLUSIVE_A: u16 = 1;
pub(crate) const EXCLUSIVE_B: u16 = 2;
pub(crate) const WAIT_A: u16 = 3;
pub(crate) const PREFERRED_A: u16 = 4;
pub(crate) const EXCLUSIVE_C: u16 = 5;
pub(crate) const WAIT_C: u16 = 6;
const POLICIES: [&str; 7] = [
    "loadbalance",
    "exclusive:a",
    "exclusive:b",
    "exclusive-wait:a",
    "preferred:a",
    "exclusive:c",
    "exclusive-wait:c",
];

/// A node and its one program.
pub(crate) struct Side {
    pub(crate) endpoint: Endpoint,
    daemon: Arc<Daemon>,
    page: Arc<Page>,
    /// Last byte of its addresses.
    host: u8,
    directory: tempfile::TempDir,
}

pub(crate) struct TwoNodes {
    pub(crate) client: Side,
    server: Side,
    channel: ChannelId,
    traffic: Arc<Mutex<Vec<Vec<LaneTraffic>>>>,
    generation: AtomicU64,
}

impl TwoNodes {
    pub(crate) fn start() -> Self {
        let (client, server) = (Side::start(1), Side::start(2));
        let channel = Channel::create(&server.endpoint, ChannelFlags::empty()).unwrap();
        let id = channel.id();
        thread::spawn(move || serve(&channel));
        let traffic = Arc::default();
        let (accepted, accepts) = mpsc::channel();
        let answering = Arc::clone(&server.daemon);
        thread::spawn(move || {
            while let Some((_, request)) = answering.next_or_end() {
                match request {
                    Request::Accept(accept) => accepted.send(accept).unwrap(),
                    Request::Refuse(refuse) => panic!("{refuse:?}"),
                    _ => {}
                }
            }
        });
        let introducer = Introducer {
            client: Arc::clone(&client.daemon),
            server: Arc::clone(&server.daemon),
            accepts,
            traffic: Arc::clone(&traffic),
        };
        thread::spawn(move || introducer.run());
        Self {
            client,
            server,
            channel: id,
            traffic,
            generation: AtomicU64::new(100),
        }
    }

    /// A connection with the link policy of this number.
    pub(crate) fn attach(&self, policy: u16) -> Connection {
        let nd = Nd::new(3, policy);
        Connection::attach(&self.client.endpoint, nd, Pid(9), self.channel).unwrap()
    }

    pub(crate) fn ask(&self, connection: &Connection) -> Result<(), Failure> {
        let mut reply = [0; 64];
        connection.send(&[7; 64], &mut reply)?;
        assert_eq!(reply, [7; 64]);
        Ok(())
    }

    pub(crate) fn until_answered(&self, connection: &Connection) {
        let end = Instant::now() + Duration::from_secs(5);
        while let Err(failure) = self.ask(connection) {
            assert_eq!(failure.errno, Errno::ENETDOWN);
            assert!(Instant::now() < end, "the lane is not used again");
            thread::yield_now();
        }
    }

    pub(crate) fn until_refused(&self, connection: &Connection) {
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            match self.ask(connection) {
                Ok(()) => assert!(Instant::now() < end, "the lane is still used"),
                Err(failure) => return assert_eq!(failure.errno, Errno::ENETDOWN),
            }
        }
    }

    /// Bytes sent and received by the client over both links.
    pub(crate) fn carried(&self) -> [u64; 2] {
        let stats = self.client.endpoint.session_stats();
        [0, 1].map(|link| {
            let lane = stats[0]
                .lanes
                .iter()
                .find(|lane| lane.link == link)
                .unwrap();
            lane.bytes_sent + lane.bytes_received
        })
    }

    /// Both nodes say how the lanes over links a and b are.
    pub(crate) fn report(&self, states: [LaneState; 2]) {
        let generation = self.next_generation();
        for (side, peer) in [(&self.client, &self.server), (&self.server, &self.client)] {
            let rows =
                [0, 1].map(|link| row(link, peer.host, states[usize::from(link)], generation));
            side.page.set_rows(generation, &rows);
            side.daemon.say(system::UNSOLICITED, &Notice::Lanes, &[]);
        }
    }

    /// The client's link a has another address now.
    pub(crate) fn move_link_a(&self, epoch: u32, host: u8) {
        let mut links = links(self.client.host);
        links[0].address = address(0, host);
        links[0].epoch = epoch;
        self.say_links(links);
        // As the other node's monitor finds out.
        let generation = self.next_generation();
        let rows = [(0, host), (1, self.client.host)]
            .map(|(link, host)| row(link, host, LaneState::Up, generation));
        self.server.page.set_rows(generation, &rows);
        self.server
            .daemon
            .say(system::UNSOLICITED, &Notice::Lanes, &[]);
    }

    pub(crate) fn lose_link_a(&self, epoch: u32) {
        let mut links = links(self.client.host);
        (links[0].epoch, links[0].up) = (epoch, false);
        self.say_links(links);
    }

    pub(crate) fn traffic(&self) -> Vec<Vec<LaneTraffic>> {
        self.traffic.lock().unwrap().clone()
    }

    /// Both nodes have stood still for long.
    pub(crate) fn stand_still(&self) {
        for side in [&self.client, &self.server] {
            side.page.beat(Duration::from_secs(1));
        }
    }

    /// Both nodes die as by SIGKILL.
    pub(crate) fn kill_daemons(&self) {
        for side in [&self.client, &self.server] {
            std::fs::remove_file(side.directory.path().join(system::SOCKET_NAME)).unwrap();
            side.daemon.hang_up();
        }
    }

    fn say_links(&self, links: Vec<NodeLink>) {
        let notice = Notice::Links(Links { links });
        self.client.daemon.say(system::UNSOLICITED, &notice, &[]);
    }

    fn next_generation(&self) -> u64 {
        self.generation.fetch_add(1, Ordering::Relaxed)
    }
}

impl Side {
    fn start(host: u8) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = Daemon::listen(directory.path());
        let page = Arc::new(Page::new(7));
        let shown = Arc::clone(&page);
        let daemon = thread::spawn(move || Daemon::welcome_to(listener, 7, links(host), &shown).0);
        let endpoint = Endpoint::connect(directory.path()).unwrap();
        Self {
            endpoint,
            daemon: Arc::new(daemon.join().unwrap()),
            page,
            host,
            directory,
        }
    }
}

/// The client's node, which introduces its program to that of the other node.
struct Introducer {
    client: Arc<Daemon>,
    server: Arc<Daemon>,
    accepts: mpsc::Receiver<Accept>,
    traffic: Arc<Mutex<Vec<Vec<LaneTraffic>>>>,
}

impl Introducer {
    fn run(&self) {
        while let Some((serial, request)) = self.client.next_or_end() {
            let reply = match request {
                Request::OpenSession(open) => Reply::Ticket(self.introduce(&open)),
                Request::Policy(nd) => Reply::Policy(Policy {
                    text: POLICIES[usize::from(nd.qos())].into(),
                }),
                Request::Query(_) => Reply::Table(Table {
                    rows: system::Rows::Nodes(Vec::new()),
                    next: None,
                }),
                Request::Traffic(traffic) => {
                    self.traffic.lock().unwrap().push(traffic.rows);
                    continue;
                }
                Request::CloseSession(_) => continue,
                other => Reply::Error(Refusal::new(Errno::ENOSYS, &format!("{other:?}"))),
            };
            self.client.say(serial, &reply, &[]);
        }
    }

    fn introduce(&self, open: &OpenSession) -> Ticket {
        let secret = || Some(SessionSecret([9; 32]));
        let sockets = &open.sockets[..2];
        let offer = Offer {
            local: SessionId(2),
            peer: SessionId(1),
            credentials: Credentials::new(Nd(4), Pid(8), Uid(0), Gid(0)),
            user: Uid(0),
            rights: vec![0, 0],
            incarnation: Incarnation(1),
            secret: secret(),
            lanes: lanes(sockets),
            proof: [0; 16],
        };
        self.server.say(77, &Notice::Offer(offer), &[]);
        let accept = self.accepts.recv().unwrap();
        Ticket {
            local: SessionId(1),
            peer: SessionId(2),
            nd: open.nd,
            pid: open.pid,
            incarnation: Incarnation(1),
            secret: secret(),
            lanes: lanes(&accept.sockets),
            slots: accept.slots,
            unscheduled: accept.unscheduled,
            proof: [0; 16],
        }
    }
}

fn lanes(sockets: &[SocketOnLink]) -> Vec<Lane> {
    let lane = |socket: &SocketOnLink| Lane {
        id: socket.link,
        link: socket.link,
        peer: socket.address,
        mtu: 1472,
        protection: Protection::Sealed,
    };
    sockets.iter().map(lane).collect()
}

fn links(host: u8) -> Vec<NodeLink> {
    let link = |(index, name): (u8, &str)| NodeLink {
        index,
        name: name.into(),
        kind: LinkKind::Udp,
        address: address(index, host),
        mtu: 1472,
        device: Vec::new(),
        relayed: false,
        epoch: 0,
        up: true,
    };
    [(0, "a"), (1, "b"), (2, "c")].map(link).to_vec()
}

fn row(link: u8, host: u8, state: LaneState, since: u64) -> LaneRow {
    LaneRow {
        state,
        // Only answers that are missing would be for the session to judge.
        why: if state == LaneState::Down {
            LaneWhy::Carrier
        } else {
            LaneWhy::Nothing
        },
        link,
        peer: address(link, host),
        node: Nd(3),
        mtu: 1472,
        since,
        rtt: None,
        min_rtt: None,
        loss: 0,
        rate: None,
    }
}

fn address(link: u8, host: u8) -> LinkAddress {
    LinkAddress::ipv4([127, 7, link, host], 41_000)
}

/// Gives every message back.
fn serve(channel: &Channel) {
    let mut buffer = [0; 4096];
    while let Ok(received) = channel.receive(&mut buffer) {
        if let Received::Message(message) = received {
            let len = message.info().len.min(buffer.len() as u64) as usize;
            let _ = message.reply(0, &buffer[..len]);
        }
    }
}

impl Daemon {
    /// What the program says next; `None` when either side has hung up.
    fn next_or_end(&self) -> Option<(u32, Request)> {
        let mut buffer = vec![0; system::PACKET_MAX];
        let flags = rustix::net::RecvFlags::empty();
        loop {
            match rustix::net::recv(&self.program, &mut buffer[..], flags) {
                Ok((_, 0)) => return None,
                Ok((_, n)) => {
                    let (serial, request) = system::unpack::<Request>(&buffer[..n]).unwrap();
                    return Some((serial, request.unwrap()));
                }
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }

    fn hang_up(&self) {
        rustix::net::shutdown(self.program.as_fd(), rustix::net::Shutdown::Both).unwrap();
    }
}
