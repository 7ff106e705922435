//! The other side of the demo's measurements: it answers, and does nothing else.

use std::net::UdpSocket;

use abi::{AttachFlags, ChannelFlags, FileType, Handle};
use ipc::{Channel, Received};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::command::{GlobalOptions, PeerOptions};
use crate::failure::{During, Failure, Outcome};
use crate::{daemon, directory, logging, supervised};

/// Answers messages at a path, or datagrams at an address, until it is killed.
pub(crate) fn run(global: &GlobalOptions, options: &PeerOptions) -> Outcome {
    logging::begin(global.log.as_deref(), "warn")?;
    if let Some(cpu) = options.cpu {
        pin_to(cpu)?;
    }
    match (&options.path, options.udp) {
        (Some(path), None) => answer_messages(global, path),
        (None, Some(address)) => {
            let socket = UdpSocket::bind(address).during(address)?;
            supervised::announce_ready()?;
            answer_datagrams(&socket)
        }
        _ => Err(Failure::usage("peer", "give either --path or --udp")),
    }
}

/// Lets this thread, and threads it begins later, run on one CPU only.
pub(crate) fn pin_to(cpu: usize) -> Outcome {
    let mut only = CpuSet::new();
    only.set(cpu);
    sched_setaffinity(None, &only).during(format!("CPU {cpu}"))
}

fn answer_messages(global: &GlobalOptions, path: &str) -> Outcome {
    let endpoint = daemon::endpoint(&directory::of(global.dir.as_deref()))?;
    let channel = Channel::create(&endpoint, ChannelFlags::empty()).during("channel")?;
    let _owned = endpoint
        .attach_prefix(
            path.as_bytes(),
            AttachFlags::empty(),
            FileType::ANY,
            channel.id(),
            Handle(0),
        )
        .during(path)?;
    supervised::announce_ready()?;
    let mut buffer = [0; 256];
    loop {
        if let Received::Message(message) = channel.receive(&mut buffer).during(path)? {
            let received = message.bytes().min(buffer.len());
            // A client that went away meanwhile needs no answer.
            let _ = message.reply(0, &buffer[..received]);
        }
    }
}

fn answer_datagrams(socket: &UdpSocket) -> Outcome {
    let mut buffer = [0; 256];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).during("datagram")?;
        socket.send_to(&buffer[..length], from).during("datagram")?;
    }
}
