//! Chapters (a) and (b): an open, step by step, and bytes through what was opened.

use std::io::{Read, Write};

use abi::OpenFlags;
use client::{Answered, Namespace};

use super::digest;
use super::lab::{Lab, Node};
use super::report::Report;
use crate::failure::{During, Failure, Outcome};
use crate::notation::bytes;
use crate::verbs::trace;

/// What lab1 opens.
pub(crate) const PORT: &str = "/net/lab2/dev/ser1";

/// Bytes through the port, in pieces that every terminal takes at once.
const BYTES: usize = 64 << 10;
const PIECE: usize = 1 << 10;

/// Shows the steps of the open.
pub(crate) fn trace(lab: &Lab, report: &Report) -> Outcome {
    let namespace = Namespace::at(&lab.dir(Node::Lab1)).during("lab1")?;
    let steps = namespace.trace(PORT, OpenFlags::READ).during(PORT)?;
    report.show(trace::table(&steps).text());
    let seen: Vec<String> = steps.iter().map(trace::path_of).collect();
    // qnx: P50
    let expected = ["/net/lab2/dev/ser1", "lab2/dev/ser1", "dev/ser1", ""];
    let opened = steps
        .last()
        .is_some_and(|step| step.answer == Answered::Opened);
    if seen == expected && opened {
        report.ok("a.open", "four steps, each saw the rest of the path");
        Ok(())
    } else {
        let why = format!("the steps saw {seen:?}, expected {expected:?}");
        Err(Failure::new("trace", why))
    }
}

/// Writes to the port and reads back what the device echoes.
pub(crate) fn echo(lab: &Lab, report: &Report) -> Outcome {
    let namespace = Namespace::at(&lab.dir(Node::Lab1)).during("lab1")?;
    let mut port = namespace
        .open(PORT, OpenFlags::READ | OpenFlags::WRITE)
        .during(PORT)?;
    let sent = digest::noise(1, BYTES);
    let mut received = Vec::with_capacity(BYTES);
    for piece in sent.chunks(PIECE) {
        port.write_all(piece).during(PORT)?;
        let mut echo = vec![0; piece.len()];
        port.read_exact(&mut echo).during(PORT)?;
        received.extend(echo);
    }
    let (sent, received) = (digest::of(&sent), digest::of(&received));
    if sent != received {
        return Err(Failure::new(PORT, "what came back is not what was sent"));
    }
    let text = format!(
        "{} written to and read back from {PORT}, sha256 {}",
        bytes(BYTES as u64),
        digest::short(&sent)
    );
    report.ok("b.echo", text);
    Ok(())
}
