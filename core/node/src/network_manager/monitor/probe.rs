//! The packet by which nodes watch the ways between them. `docs/protocol/probes.md` has its layout.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use abi::{Malformed, Reader, Writer};
use transport::cipher::HEADER_LEN;
use transport::keys::{self, Secret};

use crate::crypto::{Crypto, same};

const FIRST: u8 = 1 << 5 | 6;
const BODY_LEN: usize = 16;
const MAC_LEN: usize = 16;
/// Numbers that may overtake each other before the later one is taken for lost.
const REORDERED: u64 = 4;
/// Length of a probe that is not padded.
pub(crate) const PROBE_LEN: usize = HEADER_LEN + BODY_LEN + MAC_LEN;

const ASKS: u8 = 1;
const ECHOES: u8 = 2;
const SIZED: u8 = 4;
const WATCHES: u8 = 8;
const BUSY: u8 = 16;

/// What a probe says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Probe {
    /// The sender's link, 0 to 15.
    pub(crate) from_link: u8,
    /// The link of the receiver that it is meant for, 0 to 15.
    pub(crate) to_link: u8,
    /// The sender's state of the way, as a number on the wire.
    pub(crate) state: u8,
    /// An answer is wanted.
    pub(crate) asks: bool,
    /// This is an answer, to the probe that was sent at `echo`.
    pub(crate) echo: Option<u32>,
    /// The sender has reasons of its own to watch.
    pub(crate) watches: bool,
    /// And they are urgent.
    pub(crate) busy: bool,
    /// When it was sent: microseconds of the sender's clock.
    pub(crate) sent: u32,
    /// The largest number that the sender has heard on this way, its low half.
    pub(crate) heard: u16,
    /// Which of the 32 numbers up to `heard` came: the lowest bit is `heard` itself.
    pub(crate) bitmap: u32,
    /// Length of the probe whose way is measured: of this one, or of the one it answers.
    pub(crate) size: Option<u16>,
}

/// Probes of one node channel: keys, numbers and what was heard. Another channel has others.
#[derive(Debug)]
pub(crate) struct Keyring {
    /// Packets to us carry it.
    pub(crate) ours: u32,
    /// Packets to the peer carry it.
    pub(crate) theirs: u32,
    /// The other end has the keys for sure, so this ring may be used for sending.
    pub(crate) confirmed: bool,
    seal: Secret,
    open: Secret,
    /// By our link and the peer's: the last number sent, and up to which it is known what has come of it.
    sent: BTreeMap<u8, (u64, u64)>,
    /// By the peer's link and ours.
    heard: BTreeMap<u8, Window>,
}

/// Numbers heard on one way.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    largest: u64,
    bitmap: u64,
    counted: u64,
}

/// Numbers of which it is known since this probe what has become of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) came: u32,
    pub(crate) lost: u32,
}

/// A probe that is authentic and new.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    pub(crate) probe: Probe,
    /// No later one was heard on its way.
    pub(crate) newest: bool,
    /// Of what we have sent.
    pub(crate) there: Tally,
    /// Of what the peer has sent.
    pub(crate) here: Tally,
}

impl Keyring {
    /// `initiator`: this end began the handshake.
    pub(crate) fn new(exporter: &Secret, ours: u32, theirs: u32, initiator: bool) -> Self {
        let of_initiator = keys::purpose(exporter, b"slashnet probe", b"initiator");
        let of_responder = keys::purpose(exporter, b"slashnet probe", b"responder");
        let (seal, open) = if initiator {
            (of_initiator, of_responder)
        } else {
            (of_responder, of_initiator)
        };
        Self {
            ours,
            theirs,
            confirmed: false,
            seal,
            open,
            sent: BTreeMap::new(),
            heard: BTreeMap::new(),
        }
    }

    /// A packet with the probe, `probe.size` bytes long if that is given and this is no answer.
    pub(crate) fn seal(&mut self, crypto: &dyn Crypto, probe: &Probe) -> Vec<u8> {
        let (number, _) = self
            .sent
            .entry(links(probe.from_link, probe.to_link))
            .or_default();
        *number += 1;
        let back = self.heard.get(&links(probe.to_link, probe.from_link));
        let back = back.copied().unwrap_or_default();
        let said = Probe {
            heard: back.largest as u16,
            bitmap: back.bitmap as u32,
            ..*probe
        };
        let padded = probe.size.filter(|_| probe.echo.is_none());
        let shortest = PROBE_LEN + if probe.size.is_some() { 2 } else { 0 };
        let len = usize::from(padded.unwrap_or(0)).max(shortest);
        let mut packet = Vec::with_capacity(len);
        let mut w = Writer::growing(&mut packet);
        w.u8(FIRST);
        w.u8(said.flags());
        w.u16((len - HEADER_LEN) as u16);
        w.u32(self.theirs);
        w.u64(*number);
        w.u8(links(said.from_link, said.to_link));
        w.u8(said.state);
        w.u16(said.heard);
        w.u32(said.sent);
        w.u32(said.echo.unwrap_or(0));
        w.u32(said.bitmap);
        if let Some(size) = said.size {
            w.u16(size);
        }
        packet.resize(len - MAC_LEN, 0);
        let mac = crypto.mac(&self.seal.0, &packet);
        packet.extend(mac);
        packet
    }

    /// Reads a packet that carries our number. `None` if it is not authentic, was heard before, or is not a probe.
    pub(crate) fn open(&mut self, crypto: &dyn Crypto, packet: &[u8]) -> Option<Heard> {
        let (signed, mac) = packet.split_at_checked(packet.len().checked_sub(MAC_LEN)?)?;
        if packet.len() < PROBE_LEN || !same(&crypto.mac(&self.open.0, signed), mac) {
            return None;
        }
        let (number, probe) = read(signed).ok()?;
        let own_length =
            probe.echo.is_some() || probe.size.is_none_or(|n| usize::from(n) == packet.len());
        if !own_length {
            return None;
        }
        let window = self
            .heard
            .entry(links(probe.from_link, probe.to_link))
            .or_default();
        let newest = window.take(number)?;
        let here = window.tally();
        let sent = self.sent.get_mut(&links(probe.to_link, probe.from_link));
        let there = sent.filter(|_| newest).map(|sent| known(sent, &probe));
        Some(Heard {
            probe,
            newest,
            there: there.unwrap_or_default(),
            here,
        })
    }
}

const fn links(from: u8, to: u8) -> u8 {
    from << 4 | to & 15
}

/// What the peer says of our numbers. The newest few may still overtake each other.
fn known((last, known): &mut (u64, u64), probe: &Probe) -> Tally {
    let behind = (*last as u16).wrapping_sub(probe.heard);
    let Some(heard) = last.checked_sub(behind.into()) else {
        return Tally::default();
    };
    let tally = count(*known, heard, probe.bitmap.into(), 32);
    *known = (*known).max(heard.saturating_sub(REORDERED));
    tally
}

fn count(known: u64, largest: u64, bitmap: u64, bits: u64) -> Tally {
    let mut tally = Tally::default();
    let from = (known + 1).max(largest.saturating_sub(bits - 1));
    for number in from..=largest.saturating_sub(REORDERED) {
        if bitmap & 1 << (largest - number) == 0 {
            tally.lost += 1;
        } else {
            tally.came += 1;
        }
    }
    tally
}

/// The number of the receiver in a packet, if it looks like a probe.
pub(crate) fn receiver(packet: &[u8]) -> Option<u32> {
    let mut r = Reader::new(packet);
    if r.u8().ok()? != FIRST || packet.len() < PROBE_LEN {
        return None;
    }
    let _flags = r.u8().ok()?;
    let _len = r.u16().ok()?;
    r.u32().ok()
}

fn read(signed: &[u8]) -> Result<(u64, Probe), Malformed> {
    let mut r = Reader::new(signed);
    let (_first, flags) = (r.u8()?, r.u8()?);
    if usize::from(r.u16()?) != signed.len() + MAC_LEN - HEADER_LEN {
        return Err(Malformed::Invalid);
    }
    let _receiver = r.u32()?;
    let number = r.u64()?;
    let links = r.u8()?;
    let (state, heard, sent, echo, bitmap) = (r.u8()?, r.u16()?, r.u32()?, r.u32()?, r.u32()?);
    let size = if flags & SIZED == 0 {
        None
    } else {
        Some(r.u16()?)
    };
    let probe = Probe {
        from_link: links >> 4,
        to_link: links & 15,
        state,
        asks: flags & ASKS != 0,
        echo: (flags & ECHOES != 0).then_some(echo),
        watches: flags & WATCHES != 0,
        busy: flags & BUSY != 0,
        sent,
        heard,
        bitmap,
        size,
    };
    Ok((number, probe))
}

impl Probe {
    fn flags(&self) -> u8 {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        flag(self.asks, ASKS)
            | flag(self.echo.is_some(), ECHOES)
            | flag(self.size.is_some(), SIZED)
            | flag(self.watches, WATCHES)
            | flag(self.busy, BUSY)
    }
}

impl Window {
    /// Marks a number as heard; whether it is the newest, or `None` if it was heard before or is too old to tell.
    fn take(&mut self, number: u64) -> Option<bool> {
        if number > self.largest {
            let ahead = u32::try_from(number - self.largest).ok();
            let moved = ahead.and_then(|by| self.bitmap.checked_shl(by));
            self.bitmap = moved.unwrap_or(0) | 1;
            self.largest = number;
            return Some(true);
        }
        let age = self.largest - number;
        let mask = 1_u64.checked_shl(u32::try_from(age).ok()?)?;
        if number == 0 || self.bitmap & mask != 0 {
            return None;
        }
        self.bitmap |= mask;
        Some(false)
    }

    fn tally(&mut self) -> Tally {
        let tally = count(self.counted, self.largest, self.bitmap, 64);
        self.counted = self.counted.max(self.largest.saturating_sub(REORDERED));
        tally
    }
}

/// Whether a packet may be meant for the monitor.
pub(crate) fn is_probe(packet: &[u8]) -> bool {
    packet.first() == Some(&FIRST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_taken_once_and_an_old_one_not_at_all() {
        let mut window = Window::default();
        assert_eq!(window.take(0), None, "numbers begin at 1");
        assert_eq!(window.take(3), Some(true));
        assert_eq!(window.take(3), None);
        assert_eq!(window.take(1), Some(false));
        assert_eq!(window.take(1), None);
        assert_eq!(window.take(200), Some(true));
        assert_eq!(window.take(2), None, "too old to tell");
        assert_eq!(window.take(137), Some(false));
        assert_eq!(window.take(136), None);
        assert_eq!(window.take(u64::MAX), Some(true), "a hole of any width");
        assert_eq!(window.take(200), None);
    }

    #[test]
    fn lost_numbers_are_counted_once_and_late_ones_are_not_lost() {
        let mut window = Window::default();
        let mut sum = Tally::default();
        let mut add = |tally: Tally| {
            sum.came += tally.came;
            sum.lost += tally.lost;
        };
        for number in (1..=100_u64).filter(|number| number % 10 != 0) {
            // Every pair comes in reverse.
            let number = if number % 10 < 9 && number % 2 == 1 {
                number + 1
            } else if number % 10 < 9 {
                number - 1
            } else {
                number
            };
            window.take(number);
            add(window.tally());
        }
        assert_eq!((sum.came, sum.lost), (86, 9), "of 1 to 95");
    }

    #[test]
    fn a_leap_to_the_last_number_is_counted_in_a_few_steps() {
        let mut window = Window::default();
        assert_eq!(window.take(u64::MAX), Some(true));
        let tally = window.tally();
        assert_eq!((tally.came, tally.lost), (0, 60), "as far as is known");
        assert_eq!(window.tally(), Tally::default(), "counted before");
    }

    #[test]
    fn the_peer_says_what_has_come_also_over_the_end_of_sixteen_bits() {
        let mut sent = (0x1_0005_u64, 0xfff0_u64);
        let probe = Probe {
            heard: 0x0005,
            bitmap: 0xffff_fdff,
            ..Probe::default()
        };
        let tally = known(&mut sent, &probe);
        assert_eq!((tally.came, tally.lost), (16, 1));
        assert_eq!(sent.1, 0x1_0001);
        assert_eq!(known(&mut sent, &probe), Tally::default(), "told before");
        let nonsense = Probe { heard: 9, ..probe };
        assert_eq!(known(&mut (3, 0), &nonsense), Tally::default());
    }
}
