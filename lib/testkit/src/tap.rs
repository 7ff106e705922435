//! Reads packets in the clear, by the protocol's page and not by the transport's own code.

/// What one frame tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Something of an operation: slot, sequence number, and the first bytes of the program's meta
    /// if the frame has the head of a request.
    Operation {
        /// The frame's name on the page.
        what: &'static str,
        /// Slot and sequence number.
        op: (u16, u32),
        /// The number that the client's program gave the operation.
        id: Option<u64>,
    },
    /// Packets of a lane have arrived.
    Ack {
        /// The lane.
        lane: u8,
        /// Their numbers.
        packets: Vec<u64>,
    },
    /// Something of the session or the lane: its name on the page.
    Other(&'static str),
}

impl std::fmt::Display for Sight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Operation { what, op, id } => {
                write!(f, "{what} {}.{}", op.0, op.1)?;
                id.map_or(Ok(()), |id| write!(f, " (begins operation {id})"))
            }
            Self::Ack { lane, packets } => {
                let least = packets.iter().min().copied().unwrap_or_default();
                write!(
                    f,
                    "ack of lane {lane}: {} packets {least}..={}",
                    packets.len(),
                    packets[0]
                )
            }
            Self::Other(name) => f.write_str(name),
        }
    }
}

impl std::fmt::Display for Tapped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (to, lane, number) = (self.session(), self.lane(), self.number());
        write!(f, "to {to:#x}: lane {lane} packet {number}")?;
        for sight in self.sights().unwrap_or_default() {
            write!(f, ", {sight}")?;
        }
        Ok(())
    }
}

/// A packet in the clear.
#[derive(Clone, Debug)]
pub struct Tapped {
    /// The 16 bytes that are not encrypted.
    pub header: [u8; 16],
    /// The frames.
    pub text: Vec<u8>,
}

impl Tapped {
    /// Session id of the receiver.
    #[must_use]
    pub fn session(&self) -> u32 {
        u32::from_le_bytes(self.header.as_chunks().0[1])
    }

    /// Lane it leaves on.
    #[must_use]
    pub const fn lane(&self) -> u8 {
        self.header[1] >> 4
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u64 {
        u64::from_le_bytes(self.header.as_chunks().0[1])
    }

    /// All its frames, or what the page does not know.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn sights(&self) -> Result<Vec<Sight>, String> {
        let mut bytes = Bytes(&self.text);
        let mut sights = Vec::new();
        while !bytes.0.is_empty() {
            let sight = bytes.frame();
            sights.push(sight.ok_or_else(|| format!("no frames: {:02x?}", self.text))?);
        }
        Ok(sights)
    }
}

struct Bytes<'a>(&'a [u8]);

const REPLY: u8 = 1;
const FIRST: u8 = 2;
const POLICY: u8 = 0x80;

impl<'a> Bytes<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, len: usize) -> Option<u64> {
        let bytes = self.take(len)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |n, byte| n << 8 | u64::from(*byte)),
        )
    }

    fn op(&mut self) -> Option<(u16, u32)> {
        Some((self.number(2)? as u16, self.number(4)? as u32))
    }

    fn frame(&mut self) -> Option<Sight> {
        let kind = self.number(1)?;
        let own = |what, op| Some(Sight::Operation { what, op, id: None });
        match kind {
            0 => {
                self.0 = &[];
                Some(Sight::Other("padding"))
            }
            1 => self.data(4),
            2 => self.data(8),
            3 | 4 => {
                self.take(1)?;
                let op = self.op()?;
                self.take(if kind == 3 { 12 } else { 28 })?;
                let len = self.number(2)?;
                self.take(len as usize)?;
                own(["pulled", "pushed"][kind as usize - 3], op)
            }
            5 => self.ack(),
            6..=7 | 9..=10 => {
                let op = self.op()?;
                let (what, len) = match kind {
                    6 => ("opstat", 1),
                    7 => ("query", 0),
                    9 => ("pull", 20),
                    _ => ("cancel", 5),
                };
                self.take(len)?;
                own(what, op)
            }
            8 => self.other("credit", 10),
            11 => self.other("ping", 12),
            12 => self.other("pong", 12),
            13 => self.other("lane left", 1),
            14 => self.other("close", 2),
            _ => None,
        }
    }

    fn other(&mut self, name: &'static str, len: usize) -> Option<Sight> {
        self.take(len)?;
        Some(Sight::Other(name))
    }

    fn data(&mut self, wide: usize) -> Option<Sight> {
        let flags = self.number(1)? as u8;
        let op = self.op()?;
        self.take(wide)?;
        let len = self.number(2)?;
        let mut id = None;
        if flags & REPLY == 0 {
            self.take(4)?;
        }
        if flags & FIRST != 0 && flags & REPLY != 0 {
            self.take(wide + 12)?;
        } else if flags & FIRST != 0 {
            self.take(2 * wide)?;
            self.take(usize::from(flags & POLICY != 0))?;
            let meta = self.number(1)?;
            let meta = self.take(meta as usize)?;
            id = meta.first_chunk().map(|id| u64::from_le_bytes(*id));
        }
        self.take(len as usize)?;
        let what = ["request", "reply"][usize::from(flags & REPLY)];
        Some(Sight::Operation { what, op, id })
    }

    fn ack(&mut self) -> Option<Sight> {
        let lane = self.number(1)? as u8;
        let largest = self.number(8)?;
        self.take(2)?;
        let words = self.number(1)?;
        let mut packets = vec![largest];
        for k in 0..words {
            let word = self.number(8)?;
            let set = (0..64).filter(|i| word >> i & 1 == 1);
            packets.extend(set.filter_map(|i| largest.checked_sub(1 + 64 * k + i)));
        }
        Some(Sight::Ack { lane, packets })
    }
}
