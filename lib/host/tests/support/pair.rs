//! Two nodes that trust each other, and what their programs say in nearly every test.

use std::net::UdpSocket;
use std::time::Duration;

use super::{Program, node};
use abi::system::{
    Accept, Attach, Code, Invite, Join, Lookup, Notice, Offer, OpenSession, Reply, Request,
    Resolve, SocketOnLink, Ticket,
};
use abi::{AttachFlags, ChannelId, Errno, FileType, Handle, LinkAddress, Nd, NodeName, Pid};
use slashnet_host::Host;

/// What a request to another node may take in the worst case, with room for a busy machine.
pub const BOUND: Duration = Duration::from_secs(6);

pub struct Pair {
    pub lab1: Host,
    pub lab2: Host,
    pub _directory: tempfile::TempDir,
}

/// Two nodes that trust each other.
pub fn pair(network: u8) -> Pair {
    let directory = tempfile::tempdir().unwrap();
    let lab1 = node(
        directory.path(),
        "lab1",
        &[
            &format!("127.0.{network}.1"),
            &format!("127.0.{network}.129"),
        ],
    );
    let lab2 = node(
        directory.path(),
        "lab2",
        &[
            &format!("127.0.{network}.2"),
            &format!("127.0.{network}.130"),
        ],
    );
    let code = invite(&lab1, Duration::from_secs(60));
    join(&lab2, &code).unwrap();
    Pair {
        lab1,
        lab2,
        _directory: directory,
    }
}

pub fn invite(host: &Host, ttl: Duration) -> Vec<u8> {
    let (mut program, _) = Program::connect(host.directory());
    match program.ask(&Request::Invite(Invite { ttl })) {
        Reply::Code(Code { code }) => code,
        other => panic!("{other:?}"),
    }
}

pub fn join(host: &Host, code: &[u8]) -> Result<NodeName, (Errno, String)> {
    let (mut program, _) = Program::connect(host.directory());
    match program.ask(&Request::Join(Join {
        code: code.to_vec(),
    })) {
        Reply::Joined(joined) => Ok(joined.node),
        Reply::Error(refusal) => Err((refusal.errno, String::from_utf8(refusal.text).unwrap())),
        other => panic!("{other:?}"),
    }
}

pub fn name(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

pub fn nd(program: &mut Program, node: &str) -> Nd {
    match program.ask(&Request::Lookup(Lookup { node: name(node) })) {
        Reply::Redirect(redirect) => redirect.nd,
        other => panic!("{other:?}"),
    }
}

pub fn attach(program: &mut Program, path: &[u8]) {
    let attach = Attach {
        path: path.to_vec(),
        flags: AttachFlags::empty(),
        file_type: FileType::ANY,
        channel: ChannelId(3),
        handle: Handle(9),
    };
    assert!(matches!(
        program.ask(&Request::Attach(attach)),
        Reply::Attached(_)
    ));
}

pub fn resolve(nd: Nd, path: &[u8]) -> Request {
    Request::Resolve(Resolve::any(nd, path))
}

/// The program's sockets on all links; the kernel chose the ports.
pub fn sockets(host: &Host) -> (Vec<UdpSocket>, Vec<SocketOnLink>) {
    let open = |(link, index): (&node::LinkConfig, u8)| {
        let ip = link.address.socket_address().unwrap().ip();
        let socket = UdpSocket::bind((ip, 0)).unwrap();
        let address = LinkAddress::from(socket.local_addr().unwrap());
        (
            socket,
            SocketOnLink {
                link: index,
                address,
            },
        )
    };
    host.links().iter().zip(0..).map(open).unzip()
}

pub fn open(nd: Nd, pid: Pid, sockets: &[SocketOnLink]) -> Request {
    Request::OpenSession(OpenSession {
        nd,
        pid,
        identity: None,
        sockets: sockets.to_vec(),
    })
}

/// A session from a client on lab1 to a server on lab2, as both see it.
pub fn introduce(
    labs: &Pair,
    client: &mut Program,
    server: &mut Program,
    pid: Pid,
) -> (Ticket, Offer) {
    let nd = nd(client, "lab2");
    let (_, ours) = sockets(&labs.lab1);
    let (_, theirs) = sockets(&labs.lab2);
    client.send(500, &open(nd, pid, &ours), &[]);
    let (serial, Notice::Offer(offer), _) = server.notice() else {
        panic!()
    };
    let accept = Accept {
        sockets: theirs.clone(),
        slots: 64,
        unscheduled: 1024,
    };
    server.send(serial, &Request::Accept(accept), &[]);
    let Reply::Ticket(ticket) = client.answer(500) else {
        panic!("no ticket")
    };
    let mut lanes: Vec<LinkAddress> = ticket.lanes.iter().map(|lane| lane.peer).collect();
    lanes.sort_unstable();
    let mut expected: Vec<LinkAddress> = theirs.iter().map(|socket| socket.address).collect();
    expected.sort_unstable();
    assert_eq!(lanes, expected);
    (ticket, offer)
}
