//! Plays another process in a story: `slashnet-actor ROLE ARGUMENTS..`. Speaks in lines on standard output.
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::io::stdin;
use std::path::Path;

use abi::system::{Identity, Lookup, Reply, Request};
use abi::{AttachFlags, ChannelFlags, ChannelId, Errno, FileType, Handle, Nd, NodeName, OpenFlags};
use abi::{Gid, Pid, Pulse, Uid};
use client::Namespace;
use host::Builder;
use ipc::direct::{self, Introduction};
use ipc::{Channel, Connection, Endpoint, Message, Received};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["node", ..] => node(&words[1..]),
        ["count", directory] => count(&serve(directory)),
        ["count", directory, path] => {
            let server = serve(directory);
            let (flags, kind, channel) = (AttachFlags::empty(), FileType::ANY, server.channel.id());
            let path = path.as_bytes();
            let registration = server
                .endpoint
                .attach_prefix(path, flags, kind, channel, Handle(0));
            println!("attached");
            count(&server);
            drop(registration);
        }
        ["count-behind", peer] => count_behind(peer),
        ["hold", directory, messages] => hold(&serve(directory), messages.parse().unwrap()),
        ["swallow", directory] => swallow(&serve(directory)),
        ["pour", directory] => pour(&serve(directory)),
        ["send", directory, node, pid, channel, len] => {
            send(directory, node, pid, channel, len.parse().unwrap());
        }
        ["open", directory, path] => open(&Namespace::of(&endpoint(directory)), path),
        ["open", directory, path, uid] => {
            let identity = Identity {
                uid: Uid(uid.parse().unwrap()),
                gid: Gid(0),
                groups: Vec::new(),
            };
            open(&Namespace::of(&endpoint(directory)).as_user(identity), path);
        }
        ["read", directory, path] => read(directory, path),
        _ => panic!("unknown role: {words:?}"),
    }
}

/// A node daemon, with the options of `slashnet node`, until it is killed.
fn node(options: &[&str]) {
    let option = |name: &str| {
        let found = options.chunks_exact(2).find(|pair| pair[0] == name);
        found.unwrap_or_else(|| panic!("{name} is missing"))[1]
    };
    let directory = Path::new(option("--dir"));
    let mut builder = Builder::new(option("--name"))
        .directory(directory)
        .state(directory.join("state"))
        .port(option("--port").parse().unwrap())
        .one_port(options.contains(&"--one-port"));
    for pair in options.chunks_exact(2).filter(|pair| pair[0] == "--link") {
        builder = builder.link(pair[1]);
    }
    let host = builder.start().unwrap();
    while host.is_running() {
        std::thread::park();
    }
}

fn endpoint(directory: &str) -> Endpoint {
    Endpoint::connect(Path::new(directory)).unwrap()
}

fn serve(directory: &str) -> Server {
    let server = Server::new(endpoint(directory));
    println!(
        "ready {} {}",
        server.endpoint.pid().0,
        server.channel.id().0
    );
    server
}

struct Server {
    endpoint: Endpoint,
    channel: Channel,
}

impl Server {
    fn new(endpoint: Endpoint) -> Self {
        let flags = ChannelFlags::DISCONNECT;
        let channel = Channel::create(&endpoint, flags).unwrap();
        Self { endpoint, channel }
    }
}

/// Executes numbered messages: remembers the number, answers with the bytes complemented. Number `u64::MAX` asks how
/// many were executed (status) and how often one was executed again (body). Tells when a client is gone.
fn count(server: &Server) {
    let mut executed = BTreeSet::new();
    let mut again = 0_u64;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let message = match server.channel.receive(&mut buffer).unwrap() {
            Received::Message(message) => message,
            Received::Pulse(pulse) => {
                if pulse.code == Pulse::DISCONNECT {
                    println!("gone");
                }
                continue;
            }
        };
        let bytes = &mut buffer[..message.bytes()];
        let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        if number == u64::MAX {
            message
                .reply(executed.len() as i64, &again.to_le_bytes())
                .unwrap();
            continue;
        }
        again += u64::from(!executed.insert(number));
        for byte in bytes.iter_mut() {
            *byte = !*byte;
        }
        // Who asked may be dead by now.
        let _ = message.reply(0, bytes);
    }
}

/// As `count`, over a UDP session without a daemon; says its port.
fn count_behind(peer: &str) {
    let server = Server::new(direct::endpoint(Pid(2)).unwrap());
    let driver = direct::bind().unwrap();
    let address = drivers::PacketDriver::local_address(&driver);
    println!("at {}", address.socket_address().unwrap().port());
    let peer: std::net::SocketAddr = peer.parse().unwrap();
    let introduction = Introduction {
        nd: Nd(1),
        ..Introduction::new(1)
    };
    let peer = drivers::udp::link_address(peer);
    direct::server_over_udp(&server.endpoint, &introduction, driver, peer).unwrap();
    count(&server);
}

/// Receives so many messages, tells each, and then neither answers nor receives.
fn hold(server: &Server, messages: usize) {
    let mut held: Vec<Message> = Vec::new();
    while held.len() < messages {
        if let Received::Message(message) = server.channel.receive(&mut [0; 16]).unwrap() {
            held.push(message);
            println!("holding");
        }
    }
    let _ = stdin().read_line(&mut String::new());
}

/// Reads one message over and over, and tells when it begins.
fn swallow(server: &Server) {
    let mut buffer = vec![0; 1 << 20];
    let Received::Message(message) = server.channel.receive(&mut buffer).unwrap() else {
        panic!("no message");
    };
    println!("busy");
    loop {
        let mut at = 0;
        while at < message.info().len {
            at += message.read_at(at, &mut buffer).unwrap() as u64;
        }
    }
}

/// Writes into the sender's reply buffer over and over, and tells when it begins.
fn pour(server: &Server) {
    let buffer = vec![3; 1 << 20];
    let Received::Message(message) = server.channel.receive(&mut []).unwrap() else {
        panic!("no message");
    };
    println!("busy");
    loop {
        let mut at = 0;
        while at < message.info().reply_max {
            at += message.write_at(at, &buffer).unwrap() as u64;
        }
    }
}

fn node_descriptor(endpoint: &Endpoint, node: &str) -> Nd {
    let node = NodeName::parse(node).unwrap();
    match endpoint.request(&Request::Lookup(Lookup { node })) {
        Ok(Reply::Redirect(redirect)) => redirect.nd,
        other => panic!("{other:?}"),
    }
}

/// Sends one message of so many bytes.
fn send(directory: &str, node: &str, pid: &str, channel: &str, len: usize) {
    let endpoint = endpoint(directory);
    let nd = node_descriptor(&endpoint, node);
    let (pid, channel) = (
        Pid(pid.parse().unwrap()),
        ChannelId(channel.parse().unwrap()),
    );
    let connection = Connection::attach(&endpoint, nd, pid, channel).unwrap();
    println!("sending");
    println!(
        "{}",
        answer(connection.send(&vec![7; len], &mut []).map_err(Errno::from))
    );
}

fn answer<T>(result: Result<T, Errno>) -> String {
    match result {
        Ok(_) => String::from("done"),
        Err(errno) => errno.name().to_string(),
    }
}

/// Opens a path for reading and writing and says how it went; does so again for every line of input.
fn open(namespace: &Namespace, path: &str) {
    println!("ready");
    let mut line = String::new();
    while stdin().read_line(&mut line).unwrap() > 0 {
        println!("{}", answer(namespace.open(path, OpenFlags::READ_WRITE)));
        line.clear();
    }
}

/// Opens a path and reads from it.
fn read(directory: &str, path: &str) {
    let namespace = Namespace::of(&endpoint(directory));
    let file = namespace.open(path, OpenFlags::READ).unwrap();
    println!("reading");
    println!("{}", answer(file.read(&mut [0; 64])));
}
