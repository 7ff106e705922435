//! Programs of two nodes without a common network, which share a directory as containers of one machine may.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::Duration;

use abi::system::LinkKind;
use abi::{ChannelFlags, Nd, Pid};
use ipc::{Channel, Connection, Endpoint, Received};
use slashnet_host::Builder;
use support::Program;
use support::network::{Network, in_own_network};
use support::pair::{invite, join, name, nd};

const BULK: usize = 1 << 20;

#[test]
fn programs_of_nodes_that_only_share_a_directory_talk() {
    let test = "programs_of_nodes_that_only_share_a_directory_talk";
    in_own_network(test, || talk(false));
}

#[test]
fn they_also_talk_when_their_nodes_pass_all_packets_on() {
    let test = "they_also_talk_when_their_nodes_pass_all_packets_on";
    in_own_network(test, || talk(true));
}

fn talk(one_port: bool) {
    let directory = tempfile::tempdir().unwrap();
    let shared = directory.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::set_permissions(&shared, PermissionsExt::from_mode(0o700)).unwrap();
    let networks = [Network::new(), Network::new()];
    let [near, far] = [0, 1].map(|at: usize| {
        let node = ["lab1", "lab2"][at];
        let builder = Builder::new(node)
            .directory(directory.path().join(node))
            .link(format!("memory:{}", shared.display()))
            .one_port(one_port);
        networks[at].run(|| builder.start().unwrap())
    });
    assert_eq!(near.links()[0].kind, LinkKind::Memory);
    let code = invite(&near, Duration::from_secs(60));
    assert_eq!(join(&far, &code), Ok(name("lab1")));

    let server = networks[1].run(|| Endpoint::connect(far.directory()).unwrap());
    let channel = Channel::create(&server, ChannelFlags::empty()).unwrap();
    let (place, id) = (server.pid(), channel.id());
    let serving = thread::spawn(move || serve(&channel));
    let client = networks[0].run(|| Endpoint::connect(near.directory()).unwrap());
    let far_nd = far_nd(&near);
    let connection = Connection::attach(&client, far_nd, place, id).unwrap();
    let mut answer = [0; 5];
    for _ in 0..1000 {
        connection.send(b"hello", &mut answer).unwrap();
        assert_eq!(&answer, b"hello");
    }
    let bulk: Vec<u8> = (0..BULK).map(|at| (at % 251) as u8).collect();
    let mut back = vec![0; BULK];
    for _ in 0..8 {
        back.fill(0);
        connection.send(&bulk, &mut back).unwrap();
        assert!(back == bulk);
    }
    // What is in the directory while they talk: the nodes, and the programs unless their nodes pass packets on.
    let places = std::fs::read_dir(&shared).unwrap().count();
    assert_eq!(places, if one_port { 2 } else { 4 });
    connection.send(b"stop", &mut []).unwrap();
    serving.join().unwrap();
}

fn far_nd(near: &slashnet_host::Host) -> Nd {
    let (mut program, welcome) = Program::connect(near.directory());
    assert_ne!(welcome.pid, Pid(0));
    nd(&mut program, "lab2")
}

fn serve(channel: &Channel) {
    let mut buffer = vec![0; BULK];
    loop {
        let Received::Message(message) = channel.receive(&mut buffer).unwrap() else {
            continue;
        };
        let len = message.info().len as usize;
        let mut rest = vec![0; len];
        let have = message.read_at(0, &mut rest).unwrap();
        assert_eq!(have, len);
        if rest == b"stop" {
            message.reply(0, &[]).unwrap();
            return;
        }
        message.reply(0, &rest).unwrap();
    }
}
