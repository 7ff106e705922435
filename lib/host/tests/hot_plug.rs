//! Sessions that go on over a cable which was plugged in after they began.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::thread;
use std::time::Duration;

use abi::system::{Query, QueryKind, Reply, Request, Rows};
use abi::{ChannelFlags, Nd};
use ipc::{Channel, Connection, Endpoint, Received};
use slashnet_host::{Builder, Host};
use support::network::{Cable, in_own_network};
use support::pair::{invite, join, name, nd};
use support::{Program, until};

/// Lanes of the session that programs of this node have with the other one, as tables tell.
fn lanes(host: &Host) -> u8 {
    let (mut program, _) = Program::connect(host.directory());
    let query = Request::Query(Query {
        what: QueryKind::Sessions,
        nd: Nd::LOCAL,
        from: 0,
    });
    let Reply::Table(table) = program.ask(&query) else {
        panic!()
    };
    let Rows::Sessions(rows) = table.rows else {
        panic!()
    };
    rows.iter().map(|row| row.lanes).max().unwrap_or(0)
}

/// One more cable, of which the nodes have heard only the name.
fn plug_second(cable: &Cable) {
    let place = cable.far.path();
    cable.near.ip(&format!(
        "link add near1 type veth peer name far1 netns {place}"
    ));
    for (network, name, host) in [(&cable.near, "near1", 1), (&cable.far, "far1", 2)] {
        network.ip(&format!("link set {name} addrgenmode none"));
        network.ip(&format!("link set {name} up"));
        network.ip(&format!("addr add 10.9.7.{host}/24 dev {name}"));
    }
}

fn serve(channel: &Channel) {
    let mut buffer = [0; 64];
    loop {
        let Received::Message(message) = channel.receive(&mut buffer).unwrap() else {
            continue;
        };
        let len = message.info().len as usize;
        message.reply(0, &buffer[..len]).unwrap();
        if &buffer[..len] == b"stop" {
            return;
        }
    }
}

fn goes_on(one_port: bool) {
    let cable = Cable::new();
    let directory = tempfile::tempdir().unwrap();
    let start = |node: &str, links: [&str; 2]| {
        let builder = Builder::new(node).directory(directory.path().join(node));
        let builder = builder.link(links[0]).link(links[1]).one_port(one_port);
        builder.start().unwrap()
    };
    let near = cable.near.run(|| start("lab1", ["near0", "near1"]));
    let far = cable.far.run(|| start("lab2", ["far0", "far1"]));
    let code = invite(&near, Duration::from_secs(60));
    assert_eq!(join(&far, &code), Ok(name("lab1")));
    let server = cable
        .far
        .run(|| Endpoint::connect(far.directory()).unwrap());
    let channel = Channel::create(&server, ChannelFlags::empty()).unwrap();
    let (pid, id) = (server.pid(), channel.id());
    thread::scope(|scope| {
        scope.spawn(|| cable.far.run(|| serve(&channel)));
        cable.near.run(|| {
            let client = Endpoint::connect(near.directory()).unwrap();
            let far_nd = nd(&mut Program::connect(near.directory()).0, "lab2");
            let connection = Connection::attach(&client, far_nd, pid, id).unwrap();
            talk_over_both(&cable, &connection, || (lanes(&near), lanes(&far)));
        });
    });
}

fn talk_over_both(cable: &Cable, connection: &Connection, lanes: impl Fn() -> (u8, u8)) {
    let talk = |words: &[u8]| {
        let mut answer = [0; 8];
        let reply = connection.send(words, &mut answer).unwrap();
        assert_eq!(&answer[..reply.len], words);
    };
    talk(b"early");
    assert_eq!(lanes(), (1, 1));
    plug_second(cable);
    until("a second lane at both ends", || {
        (lanes() == (2, 2)).then_some(())
    });
    talk(b"both");
    cable.near.ip("link del near0");
    for _ in 0..100 {
        talk(b"later");
    }
    talk(b"stop");
}

#[test]
fn a_session_goes_on_over_a_cable_that_came_after_it() {
    in_own_network("a_session_goes_on_over_a_cable_that_came_after_it", || {
        goes_on(false);
    });
}

#[test]
fn so_does_one_whose_packets_pass_through_the_nodes() {
    in_own_network("so_does_one_whose_packets_pass_through_the_nodes", || {
        goes_on(true);
    });
}
