//! Sessions that get lanes over links that came after them.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use abi::Errno;
use abi::system::{
    Accept, CloseSession, Detect, MoreLanes, Notice, Offer, OwnSockets, Reply, Request, Ticket,
};
use slashnet_node::LinkConfig;
use support::cables::Cables;
use support::talk::*;
use support::{Lab, Program, address, link_config, ms};

struct World {
    lab: Lab,
    client: Program,
    server: Program,
    ticket: Ticket,
    offer: Offer,
}

/// A session over the one link that both nodes have, while lab2 may have a second one.
fn world(theirs: Vec<LinkConfig>) -> World {
    let mut lab = Lab::strangers(2);
    let links = [vec![link_config(0, 0)], theirs];
    for (at, links) in links.into_iter().enumerate() {
        lab.configure(at, Detect::Default, false, links);
        let mut known = support::record(1 - at);
        known.addresses = vec![address(1 - at, 0)];
        *lab.trust(at) = vec![known];
    }
    lab.wire(Cables::default().fate());
    lab.start_all();
    lab.run(ms(500));
    let (server, welcome) = lab.program(LAB2);
    let (client, _) = lab.program(LAB1);
    let [ours, theirs] = [LAB1, LAB2].map(|at| sockets_on(lab.links(at)));
    let (ticket, offer) = introduce_at(&mut lab, (client, ours), (server, theirs), welcome.pid);
    assert_eq!((ticket.lanes.len(), offer.lanes.len()), (1, 1));
    lab.run(ms(500));
    World {
        lab,
        client,
        server,
        ticket,
        offer,
    }
}

impl World {
    /// A program says where it is, as it does when links change.
    fn tell_sockets(&mut self, program: Program) {
        let sockets = sockets_on(self.lab.links(program.node));
        let own = Request::Sockets(OwnSockets { sockets });
        self.lab.send(program, 0, &own, None);
    }

    /// What has been said about more lanes.
    fn news(&mut self, program: Program) -> Vec<(u32, MoreLanes)> {
        let notices = self.lab.notices(program).into_iter();
        let more = notices.filter_map(|(serial, notice, _)| match notice {
            Notice::MoreLanes(more) => Some((serial, more)),
            _ => None,
        });
        more.collect()
    }

    fn take(&mut self, serial: u32) {
        let sockets = sockets_on(self.lab.links(LAB2));
        let took = Request::TookLanes(OwnSockets { sockets });
        self.lab.send(self.server, serial, &took, None);
        self.lab.run(ms(10));
    }

    fn plug_in(&mut self) {
        self.lab.add_link(LAB1, link_config(0, 1));
        self.tell_sockets(self.client);
        self.lab.run(ms(1000));
    }
}

#[test]
fn a_live_session_gets_a_lane_over_a_link_that_comes_later_at_both_ends() {
    for late in [false, true] {
        let mut world = world(if late {
            vec![link_config(1, 0)]
        } else {
            vec![link_config(1, 0), link_config(1, 1)]
        });
        if late {
            world.lab.add_link(LAB2, link_config(1, 1));
            world.lab.run(ms(300));
            assert_eq!(world.news(world.client), []);
        }
        world.plug_in();
        let asked = world.news(world.server);
        let [(serial, theirs)] = &asked[..] else {
            panic!("{asked:?}")
        };
        assert_eq!(theirs.session, world.offer.local);
        let [lane] = theirs.lanes[..] else { panic!() };
        assert_eq!((lane.id, lane.link), (1, 1));
        assert_eq!(lane.peer, address(LAB1, 1).with_port(5001));
        assert_eq!(world.news(world.client), [], "the server has it first");
        world.take(*serial);
        let told = world.news(world.client);
        let [(0, ours)] = &told[..] else {
            panic!("{told:?}")
        };
        assert_eq!(ours.session, world.ticket.local);
        let [lane] = ours.lanes[..] else { panic!() };
        assert_eq!((lane.id, lane.link), (1, 1));
        assert_eq!(lane.peer, address(LAB2, 1).with_port(5001));
        world.lab.run(ms(20_000));
        assert_eq!(world.news(world.server), [], "once is enough");
        assert_eq!(world.news(world.client), []);
    }
}

#[test]
fn a_server_that_does_not_take_lanes_is_asked_again_but_not_for_ever() {
    let mut world = world(vec![link_config(1, 0), link_config(1, 1)]);
    world.plug_in();
    let mut times = 0;
    for _ in 0..600 {
        for (serial, _) in world.news(world.server) {
            times += 1;
            let none = Request::TookLanes(OwnSockets { sockets: vec![] });
            world.lab.send(world.server, serial, &none, None);
        }
        world.lab.run(ms(500));
    }
    assert!((2..=10).contains(&times), "{times}");
    assert_eq!(world.news(world.client), []);
}

#[test]
fn a_session_that_ends_meanwhile_gets_nothing_and_another_one_is_not_disturbed() {
    let mut world = world(vec![link_config(1, 0), link_config(1, 1)]);
    world.plug_in();
    let asked = world.news(world.server);
    let close = Request::CloseSession(CloseSession {
        session: world.ticket.local,
    });
    assert_eq!(world.lab.ask(world.client, &close), Reply::Done);
    world.take(asked[0].0);
    assert_eq!(world.news(world.client), []);
    // Answers to questions that nobody asked change nothing.
    world.take(asked[0].0);
    world.take(77);
    let accept = Request::Accept(Accept {
        sockets: vec![],
        slots: 1,
        unscheduled: 0,
    });
    world.lab.send(world.server, asked[0].0, &accept, None);
    assert_eq!(
        world.lab.refusal(world.client, &close),
        Errno::EBADF,
        "the nodes go on"
    );
}

#[test]
fn a_program_cannot_lay_claim_to_the_socket_of_another_host() {
    let mut world = world(vec![link_config(1, 0), link_config(1, 1)]);
    world.lab.add_link(LAB1, link_config(0, 1));
    let mut sockets = sockets_on(world.lab.links(LAB1));
    sockets[1].address = address(LAB2, 1);
    let own = Request::Sockets(OwnSockets { sockets });
    world.lab.send(world.client, 0, &own, None);
    world.lab.run(ms(500));
    assert_eq!(world.news(world.server), []);
}

#[test]
fn after_a_restart_of_both_daemons_sessions_are_extended_as_before() {
    let mut world = world(vec![link_config(1, 0), link_config(1, 1)]);
    let (ticket, offer) = (world.ticket.clone(), world.offer.clone());
    for at in [LAB1, LAB2] {
        world.lab.kill(at);
        world.lab.start(at);
    }
    let (client, server) = (offer.credentials.pid, ticket.pid);
    let sessions = vec![asked_from(&ticket, "lab2")];
    world.client = world.lab.program_of(LAB1, 1000, client, sessions).0;
    let sessions = vec![served_to(&offer, "lab1")];
    world.server = world.lab.program_of(LAB2, 1000, server, sessions).0;
    world.lab.run(ms(4000));
    world.plug_in();
    let asked = world.news(world.server);
    assert_eq!(asked.len(), 1);
    world.take(asked[0].0);
    assert_eq!(world.news(world.client).len(), 1);
}
