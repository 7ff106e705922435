//! What programs of two nodes say in nearly every test.

use std::time::Duration;

use super::{Datagram, Lab, Program, name};
use abi::system::{
    Accept, Attach, LinkRow, LiveSession, Lookup, Notice, Offer, OpenSession, Query, QueryKind,
    Reply, Request, Resolve, Rows, SessionRole, SocketOnLink, Ticket,
};
use abi::{AttachFlags, ChannelId, FileType, Handle, LinkAddress, Nd, Pid, Uid};
use slashnet_node::LinkConfig;

pub const LAB1: usize = 0;
pub const LAB2: usize = 1;

pub fn attach(path: &[u8]) -> Request {
    Request::Attach(Attach {
        path: path.to_vec(),
        flags: AttachFlags::empty(),
        file_type: FileType::ANY,
        channel: ChannelId(3),
        handle: Handle(9),
    })
}

pub fn resolve(nd: Nd, path: &[u8]) -> Request {
    Request::Resolve(Resolve::any(nd, path))
}

pub fn nd(lab: &mut Lab, program: Program, node: &str) -> Nd {
    match lab.ask(program, &Request::Lookup(Lookup { node: name(node) })) {
        Reply::Redirect(redirect) => redirect.nd,
        other => panic!("{other:?}"),
    }
}

pub fn sockets(node: usize) -> Vec<SocketOnLink> {
    let socket = |link: usize| SocketOnLink {
        link: link as u8,
        address: LinkAddress::ipv4([10, 0, link as u8, node as u8 + 1], 5000 + link as u16),
    };
    vec![socket(0), socket(1)]
}

pub fn open(nd: Nd, pid: Pid, node: usize) -> Request {
    Request::OpenSession(OpenSession {
        nd,
        pid,
        identity: None,
        sockets: sockets(node),
    })
}

pub fn accept(node: usize) -> Request {
    accept_at(sockets(node))
}

fn accept_at(sockets: Vec<SocketOnLink>) -> Request {
    Request::Accept(Accept {
        sockets,
        slots: 64,
        unscheduled: 1024,
    })
}

pub fn socket(link: u8, host: [u8; 4], port: u16) -> SocketOnLink {
    SocketOnLink {
        link,
        address: LinkAddress::ipv4(host, port),
    }
}

/// A socket of a program on each of these links.
pub fn sockets_on(links: &[LinkConfig]) -> Vec<SocketOnLink> {
    let own = links.iter().zip(0_u8..);
    own.map(|(link, index)| SocketOnLink {
        link: index,
        address: link.address.with_port(5000 + u16::from(index)),
    })
    .collect()
}

/// A session from a client on lab1 to a server on lab2.
pub fn introduce(lab: &mut Lab, client: Program, server: Program, pid: Pid) -> (Ticket, Offer) {
    introduce_at(lab, (client, sockets(LAB1)), (server, sockets(LAB2)), pid)
}

/// The same with these sockets.
pub fn introduce_at(
    lab: &mut Lab,
    (client, ours): (Program, Vec<SocketOnLink>),
    (server, theirs): (Program, Vec<SocketOnLink>),
    pid: Pid,
) -> (Ticket, Offer) {
    let nd = nd(lab, client, "lab2");
    let open = Request::OpenSession(OpenSession {
        nd,
        pid,
        identity: None,
        sockets: ours,
    });
    lab.send(client, 900, &open, None);
    let (serial, Notice::Offer(offer)) = lab.notice(server) else {
        panic!()
    };
    lab.send(server, serial, &accept_at(theirs), None);
    match lab.answer(client, 900) {
        Reply::Ticket(ticket) => (ticket, offer),
        other => panic!("{other:?}"),
    }
}

/// A client's end of a session, as it is claimed from a restarted node.
pub fn asked_from(ticket: &Ticket, server_node: &str) -> LiveSession {
    LiveSession {
        local: ticket.local,
        peer: ticket.peer,
        role: SessionRole::Client,
        node: Some(name(server_node)),
        pid: ticket.pid,
        lanes: ticket.lanes.clone(),
        user: Uid(0),
        proof: ticket.proof,
    }
}

/// A server's end.
pub fn served_to(offer: &Offer, client_node: &str) -> LiveSession {
    LiveSession {
        local: offer.local,
        peer: offer.peer,
        role: SessionRole::Server,
        node: Some(name(client_node)),
        pid: offer.credentials.pid,
        lanes: offer.lanes.clone(),
        user: offer.user,
        proof: offer.proof,
    }
}

/// A wire with a seed that loses, doubles and delays.
pub fn bad_wire(seed: u64, loss_percent: u64) -> impl FnMut(&Datagram) -> Vec<Duration> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |_| {
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut arrivals = vec![];
        for _ in 0..if random() % 20 == 0 { 2 } else { 1 } {
            if random() % 100 >= loss_percent {
                arrivals.push(Duration::from_micros(200 + random() % 5000));
            }
        }
        arrivals
    }
}

/// What `slashnet links` prints.
pub fn link_rows(lab: &mut Lab, program: Program) -> Vec<LinkRow> {
    let query = Request::Query(Query {
        what: QueryKind::Links,
        nd: Nd::LOCAL,
        from: 0,
    });
    match lab.ask(program, &query) {
        Reply::Table(table) => match table.rows {
            Rows::Links(rows) => rows,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}
