//! A process of the world: a transport, the program's memory, and packets it has not read.

use std::collections::{BTreeMap, VecDeque};

use abi::time::Instant;
use transport::{Buffer, Config, Memory, Transport};

use crate::clock::Clock;
use crate::lanes::Packet;

/// The program's buffers.
#[derive(Debug, Default)]
pub struct Buffers {
    buffers: BTreeMap<Buffer, Vec<u8>>,
    /// Longest unscheduled part that may come.
    incoming_max: u64,
    /// The first access outside of what the program has given.
    pub stray: Option<String>,
}

impl Buffers {
    /// No buffers; at most `incoming_max` bytes of a request may come unasked.
    #[must_use]
    pub fn new(incoming_max: u64) -> Self {
        Self {
            incoming_max,
            ..Self::default()
        }
    }

    /// Gives a buffer.
    pub fn give(&mut self, buffer: Buffer, bytes: Vec<u8>) {
        self.buffers.insert(buffer, bytes);
    }

    /// Takes a buffer back.
    pub fn take(&mut self, buffer: Buffer) -> Option<Vec<u8>> {
        self.buffers.remove(&buffer)
    }

    /// All buffers given.
    pub fn keys(&self) -> impl Iterator<Item = &Buffer> {
        self.buffers.keys()
    }

    fn note(&mut self, what: String) {
        self.stray.get_or_insert(what);
    }
}

impl Memory for Buffers {
    fn load(&mut self, from: Buffer, offset: u64, into: &mut [u8]) {
        let at = offset as usize;
        let bytes = self
            .buffers
            .get(&from)
            .and_then(|buffer| buffer.get(at..at + into.len()));
        if let Some(bytes) = bytes {
            into.copy_from_slice(bytes);
        } else {
            self.note(format!(
                "load of {} bytes at {offset} from {from:?}",
                into.len()
            ));
        }
    }

    fn store(&mut self, to: Buffer, offset: u64, bytes: &[u8]) {
        let at = offset as usize;
        let end = at + bytes.len();
        if let Buffer::Incoming(_) = to
            && end as u64 <= self.incoming_max
        {
            let buffer = self.buffers.entry(to).or_default();
            buffer.resize(buffer.len().max(end), 0);
        }
        match self
            .buffers
            .get_mut(&to)
            .and_then(|buffer| buffer.get_mut(at..end))
        {
            Some(place) => place.copy_from_slice(bytes),
            None => self.note(format!(
                "store of {} bytes at {offset} to {to:?}",
                bytes.len()
            )),
        }
    }
}

/// One process.
pub struct Process {
    /// Its transport.
    pub transport: Transport,
    /// Its buffers.
    pub memory: Buffers,
    /// Packets that wait while it is stalled.
    pub inbox: VecDeque<Packet>,
    /// It does nothing before.
    pub stalled_until: Option<Instant>,
    /// It lives.
    pub alive: bool,
    /// Packets sent.
    pub sent: u64,
    /// What it takes for the time.
    pub clock: Clock,
}

impl Process {
    /// A process with no session yet.
    #[must_use]
    pub fn new(incoming_max: u64) -> Self {
        Self {
            transport: Transport::new(Config::default()),
            memory: Buffers::new(incoming_max),
            inbox: VecDeque::new(),
            stalled_until: None,
            alive: true,
            sent: 0,
            clock: Clock::default(),
        }
    }

    /// When its timer is due, in the world's time.
    #[must_use]
    pub fn timeout(&self) -> Option<Instant> {
        let due = self.transport.timeout()?;
        Some(self.clock.when(due))
    }

    /// Whether it does anything now.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        self.alive && self.stalled_until.is_none()
    }
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process")
            .field("alive", &self.alive)
            .finish_non_exhaustive()
    }
}
