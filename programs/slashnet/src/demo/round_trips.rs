//! Chapter (e): what a round trip of 64 bytes takes on one node, between nodes, and by bare UDP.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use abi::Nd;
use abi::system::{Reply, Request, Resolve};
use ipc::{Connection, Endpoint};
use rustix::thread::{sched_getaffinity, sched_setaffinity};

use super::lab::{Lab, Node};
use super::peer::pin_to;
use super::report::Report;
use crate::daemon;
use crate::failure::{During, Failure, Outcome};
use crate::notation::duration;

const BYTES: usize = 64;
/// Round trips in one turn, and turns: enough for a steady median, little enough for a demo.
const TRIPS: usize = 1_000;
const TURNS: usize = 7;
/// The first trips of a turn warm caches and are not counted.
const WARM_UP: usize = 100;
/// A datagram on the loopback interface that did not come back by then is lost.
const UDP_PATIENCE: Duration = Duration::from_secs(5);
const PATH: &str = "/dev/round-trip";

/// Measures the three in turn and prints them side by side.
pub(crate) fn run(lab: &Lab, report: &Report) -> Outcome {
    let cpu = 0;
    let before = sched_getaffinity(None).during("CPU affinity")?;
    pin_to(cpu)?;
    let measured = measure(lab, cpu);
    let _ = sched_setaffinity(None, &before);
    let [local, remote, udp] = measured?;
    let relative = |time: Duration| time.as_secs_f64() / udp.as_secs_f64();
    report.show(format!(
        "send, receive, reply of {BYTES} bytes; median of {TURNS} turns of"
    ));
    report.show(format!(
        "{TRIPS} trips taken in turn; all processes on CPU {cpu}"
    ));
    for (name, time) in [
        ("local, lab1 to lab1", local),
        ("remote, lab1 to lab2, encrypted", remote),
        ("raw UDP, same addresses", udp),
    ] {
        report.show(format!(
            "{name:<34}{:>9}  {:>5.2} x UDP",
            duration(time),
            relative(time)
        ));
    }
    let text = format!(
        "local_ns={} remote_ns={} udp_ns={}",
        local.as_nanos(),
        remote.as_nanos(),
        udp.as_nanos()
    );
    report.ok("e.times", text);
    Ok(())
}

fn measure(lab: &Lab, cpu: usize) -> Outcome<[Duration; 3]> {
    let cpu = cpu.to_string();
    for node in Node::BOTH {
        let title = format!("round trips on {}", node.name());
        let verb = ["peer", "--path", PATH, "--cpu", &cpu];
        lab.start(node, &title, &verb.map(AsRef::as_ref))?;
    }
    let [near, far] = Node::BOTH.map(|node| lab.addresses(node)[0]);
    let far = SocketAddr::from((far, free_port(far)?));
    let verb = ["peer", "--udp", &far.to_string(), "--cpu", &cpu].map(str::to_owned);
    lab.start(Node::Lab2, "datagrams", &verb.each_ref().map(AsRef::as_ref))?;

    let endpoint = daemon::endpoint(&lab.dir(Node::Lab1))?;
    let local = connect(&endpoint, Node::Lab1)?;
    let remote = connect(&endpoint, Node::Lab2)?;
    let socket = UdpSocket::bind((near, 0)).during(near)?;
    socket.connect(far).during(far)?;
    socket.set_read_timeout(Some(UDP_PATIENCE)).during(far)?;

    let mut medians: [Vec<Duration>; 3] = Default::default();
    for _ in 0..TURNS {
        medians[0].push(turn(|buffer| message(&local, buffer))?);
        medians[1].push(turn(|buffer| message(&remote, buffer))?);
        medians[2].push(turn(|buffer| datagram(&socket, buffer))?);
    }
    Ok(medians.map(median))
}

fn connect(endpoint: &Endpoint, node: Node) -> Outcome<Connection> {
    let name = node.name();
    let nd = match node {
        Node::Lab1 => Nd::LOCAL,
        Node::Lab2 | Node::Stranger => daemon::lookup(endpoint, name)?,
    };
    let question = Resolve::any(nd, PATH.as_bytes());
    let what = format!("{PATH} on {name}");
    let answer = daemon::ask(endpoint, &what, &Request::Resolve(question))?;
    let Reply::Resolved(resolved) = answer else {
        return Err(daemon::unexpected(PATH));
    };
    let Some(server) = resolved.candidates.first() else {
        return Err(Failure::new(what, "nobody serves it"));
    };
    Connection::attach(endpoint, server.nd, server.pid, server.chid).during(what)
}

fn turn(mut trip: impl FnMut(&mut [u8; BYTES]) -> Outcome) -> Outcome<Duration> {
    let mut times = Vec::with_capacity(TRIPS);
    let mut buffer = [0x55; BYTES];
    for number in 0..WARM_UP + TRIPS {
        let begun = Instant::now();
        trip(&mut buffer)?;
        if number >= WARM_UP {
            times.push(begun.elapsed());
        }
    }
    Ok(median(times))
}

fn message(connection: &Connection, buffer: &mut [u8; BYTES]) -> Outcome {
    let request = *buffer;
    let reply = connection
        .send(&request, buffer)
        .map_err(|failure| failure.errno)
        .during(PATH)?;
    if reply.len == BYTES && *buffer == request {
        Ok(())
    } else {
        Err(Failure::new(PATH, "another answer than expected"))
    }
}

fn datagram(socket: &UdpSocket, buffer: &mut [u8; BYTES]) -> Outcome {
    socket.send(buffer).during("datagram")?;
    let length = socket.recv(buffer).during("datagram")?;
    if length == BYTES {
        Ok(())
    } else {
        Err(Failure::new("datagram", "another answer"))
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// A port nobody uses. Another process may take it before the peer does; then the peer says so.
fn free_port(address: Ipv4Addr) -> Outcome<u16> {
    let socket = UdpSocket::bind((address, 0)).during(address)?;
    Ok(socket.local_addr().during(address)?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        let times = [5, 1, 9].map(Duration::from_millis).to_vec();
        assert_eq!(median(times), Duration::from_millis(5));
    }
}
