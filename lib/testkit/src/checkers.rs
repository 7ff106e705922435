//! What is checked from outside.

use transport::{Buffer, SessionSummary};

use crate::process::Process;

/// What kind of thing went wrong; also the exit status of the simulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An operation or a session did not end in time.
    Liveness,
    /// A promise was broken: twice, lost, other bytes, a nonce used twice.
    Wrong,
    /// Something was left behind, or grew beyond its bound.
    Leak,
    /// The program panicked.
    Crash,
}

impl Kind {
    /// The exit status.
    #[must_use]
    pub const fn exit_status(self) -> u8 {
        match self {
            Self::Liveness => 2,
            Self::Wrong => 3,
            Self::Leak => 4,
            Self::Crash => 5,
        }
    }
}

/// Something that went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The kind.
    pub kind: Kind,
    /// What exactly.
    pub text: String,
}

impl Finding {
    /// A finding.
    #[must_use]
    pub const fn new(kind: Kind, text: String) -> Self {
        Self { kind, text }
    }
}

/// Checks the bounds of a process's sessions.
///
/// # Errors
/// A finding if a session holds more than was granted.
pub fn bounded(process: &Process, name: &str, credit: u64, slots: u16) -> Result<(), Finding> {
    for SessionSummary {
        local,
        operations,
        held,
        ..
    } in process.transport.sessions()
    {
        if held > credit || operations > usize::from(slots) {
            let text =
                format!("{name} session {local} holds {held} bytes, {operations} operations");
            return Err(Finding::new(Kind::Leak, text));
        }
    }
    Ok(())
}

/// Checks that nothing is left when nothing is to be done.
///
/// # Errors
/// A finding for whatever is left.
pub fn at_rest(process: &Process, name: &str) -> Result<(), Finding> {
    for session in process.transport.sessions() {
        let in_flight = session.lanes.iter().map(|lane| lane.in_flight).sum::<u64>();
        if session.operations > 0 || session.held > 0 || in_flight > 0 {
            return Err(Finding::new(
                Kind::Leak,
                format!("{name} at rest: {session:?}"),
            ));
        }
    }
    // A reply that fits one packet is kept until its slot is used again.
    let mut buffers = process
        .memory
        .keys()
        .filter(|buffer| !matches!(buffer, Buffer::Outgoing(_)));
    if let Some(buffer) = buffers.next() {
        return Err(Finding::new(
            Kind::Leak,
            format!("{name} still has {buffer:?}"),
        ));
    }
    Ok(())
}

/// Checks that the transport has touched only memory it was given.
///
/// # Errors
/// A finding for the first stray access.
pub fn no_stray(process: &Process, name: &str) -> Result<(), Finding> {
    match &process.memory.stray {
        None => Ok(()),
        Some(what) => Err(Finding::new(Kind::Wrong, format!("{name}: {what}"))),
    }
}
