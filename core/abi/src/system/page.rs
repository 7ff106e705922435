//! The node page: memory that a node writes and every program of it reads.
//!
//! A lane row is 32 words in host order, each read and written as a whole. Word 0 is the row's sequence number: odd
//! while the row is being written, other than before when it has been. A `u64` is two words, the low half first.
//!
//! | word | |
//! |---|---|
//! | 0 | sequence number |
//! | 1 | state (0 for a row not in use), link << 8, mtu << 16 |
//! | 2, 3 | since, ns of `CLOCK_MONOTONIC` |
//! | 4, 5 | smoothed round-trip time, ns; 0 if not measured |
//! | 6, 7 | smallest round-trip time, ns |
//! | 8 | loss, millionths |
//! | 9 | why |
//! | 10, 11 | rate, bytes per second; 0 if not known |
//! | 12 to 18 | the peer's address: length and 27 bytes, four to a word, the first lowest |
//! | 19 | the peer's node descriptor |

use core::time::Duration;

use super::link::{LaneState, LaneWhy};
use crate::codec::{Decode, Encode};
use crate::ids::Nd;
use crate::link_address::LinkAddress;

/// The node page is a sealed memfd of this many bytes, mapped read-only by programs.
pub const NODE_PAGE_LEN: usize = LANE_ROWS_OFFSET + LANE_ROWS * LANE_ROW_LEN;
/// Where in the node page the namespace generation is: an aligned `u64` in host order, changed whenever a name may
/// have come to mean something else. It never repeats, also over restarts of the node.
pub const GENERATION_OFFSET: usize = 64;
/// Where in the node page the heartbeat is: an aligned `u64` in host order, nanoseconds of `CLOCK_MONOTONIC`.
/// Older than two seconds means that the node daemon is gone or stuck.
pub const HEARTBEAT_OFFSET: usize = 128;
/// Where the generation of the lane rows is: an aligned `u64` in host order, changed after a row has changed its
/// state, its lane, its mtu or its rate. Round-trip times and losses change without it.
pub const LINKS_GENERATION_OFFSET: usize = 192;
/// Where the lane rows are.
pub const LANE_ROWS_OFFSET: usize = 4096;
/// How many lane rows there are. Lanes beyond have none: their sessions find out for themselves.
pub const LANE_ROWS: usize = 256;
/// Bytes of a lane row.
pub const LANE_ROW_LEN: usize = 4 * LANE_ROW_WORDS;
/// Words of a lane row.
pub const LANE_ROW_WORDS: usize = 32;

const ADDRESS_WORD: usize = 12;
const ADDRESS_BYTES: usize = 28;

/// What the node's monitor knows of the way from one of our links to one address of a peer. A program finds the row
/// of a lane by link and host: it is good for every port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneRow {
    /// Whether packets get through.
    pub state: LaneState,
    /// Why not.
    pub why: LaneWhy,
    /// Our link.
    pub link: u8,
    /// The peer's address; its port is that of its node.
    pub peer: LinkAddress,
    /// The peer's node.
    pub node: Nd,
    /// Largest packet that was found to pass, in bytes.
    pub mtu: u16,
    /// Since when, in nanoseconds of `CLOCK_MONOTONIC`.
    pub since: u64,
    /// Smoothed round-trip time.
    pub rtt: Option<Duration>,
    /// Smallest round-trip time.
    pub min_rtt: Option<Duration>,
    /// Lost packets of a million, both directions together.
    pub loss: u32,
    /// Bytes per second that it is believed to carry, if known.
    pub rate: Option<u64>,
}

impl LaneRow {
    /// The words of a row, or of an empty one. Word 0 is 0: the sequence number belongs to whoever writes the page.
    #[must_use]
    pub fn encode(row: Option<&Self>) -> [u32; LANE_ROW_WORDS] {
        let mut words = [0; LANE_ROW_WORDS];
        let Some(row) = row else { return words };
        words[1] =
            u32::from(row.state.number()) | u32::from(row.link) << 8 | u32::from(row.mtu) << 16;
        put_long(&mut words, 2, row.since);
        put_long(&mut words, 4, nanos(row.rtt));
        put_long(&mut words, 6, nanos(row.min_rtt));
        words[8] = row.loss;
        words[9] = row.why.number().into();
        put_long(&mut words, 10, row.rate.unwrap_or(0));
        let mut address = row.peer.to_bytes().unwrap_or_default();
        address.resize(ADDRESS_BYTES, 0);
        for (word, bytes) in words[ADDRESS_WORD..]
            .iter_mut()
            .zip(address.chunks_exact(4))
        {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        words[19] = row.node.0;
        words
    }

    /// The row in the words, or `None` if the row is empty or makes no sense.
    #[must_use]
    pub fn decode(words: &[u32; LANE_ROW_WORDS]) -> Option<Self> {
        let state = LaneState::from_number(words[1] as u8)?;
        let mut address = [0; ADDRESS_BYTES];
        for (bytes, word) in address.chunks_exact_mut(4).zip(&words[ADDRESS_WORD..]) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        let len = 1 + usize::from(address[0]);
        Some(Self {
            state,
            why: LaneWhy::from_number(u8::try_from(words[9]).ok()?)?,
            link: (words[1] >> 8) as u8,
            peer: LinkAddress::from_bytes(address.get(..len)?).ok()?,
            node: Nd(words[19]),
            mtu: (words[1] >> 16) as u16,
            since: long(words, 2),
            rtt: duration(long(words, 4)),
            min_rtt: duration(long(words, 6)),
            loss: words[8],
            rate: Some(long(words, 10)).filter(|rate| *rate > 0),
        })
    }
}

fn put_long(words: &mut [u32], at: usize, value: u64) {
    words[at] = value as u32;
    words[at + 1] = (value >> 32) as u32;
}

const fn long(words: &[u32; LANE_ROW_WORDS], at: usize) -> u64 {
    words[at] as u64 | (words[at + 1] as u64) << 32
}

fn nanos(time: Option<Duration>) -> u64 {
    time.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

fn duration(nanos: u64) -> Option<Duration> {
    (nanos > 0).then(|| Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> LaneRow {
        LaneRow {
            state: LaneState::Up,
            why: LaneWhy::Nothing,
            link: 1,
            peer: LinkAddress::ipv4([10, 0, 0, 2], 41_000),
            node: Nd(3),
            mtu: 1472,
            since: 0x1_0000_0002,
            rtt: Some(Duration::from_nanos(5_000)),
            min_rtt: None,
            loss: 10_000,
            rate: Some(125_000_000),
        }
    }

    #[test]
    fn a_row_has_fixed_words() {
        let words = LaneRow::encode(Some(&row()));
        let golden = [
            0,
            0x05c0_0103,
            2,
            1,
            5_000,
            0,
            0,
            0,
            10_000,
            0,
            125_000_000,
            0,
        ];
        assert_eq!(words[..12], golden);
        assert_eq!(words[12], u32::from_le_bytes([7, 4, 10, 0]));
        assert_eq!(words[13], u32::from_le_bytes([0, 2, 0x28, 0xa0]));
        assert_eq!(words[14..19], [0; 5]);
        assert_eq!(words[19], 3);
        assert_eq!(words[20..], [0; 12]);
    }

    #[test]
    fn a_row_comes_back_and_an_empty_or_senseless_one_does_not() {
        assert_eq!(LaneRow::decode(&LaneRow::encode(Some(&row()))), Some(row()));
        assert_eq!(LaneRow::decode(&LaneRow::encode(None)), None);
        let mut words = LaneRow::encode(Some(&row()));
        words[ADDRESS_WORD] |= 0xff;
        assert_eq!(
            LaneRow::decode(&words),
            None,
            "an address longer than its place"
        );
        let mut words = LaneRow::encode(Some(&row()));
        words[9] = 200;
        assert_eq!(LaneRow::decode(&words), None, "a reason that there is not");
    }

    #[test]
    fn the_longest_address_fits() {
        let peer = LinkAddress::from_raw(&[9; LinkAddress::LEN_MAX]).unwrap();
        let row = LaneRow { peer, ..row() };
        assert_eq!(LaneRow::decode(&LaneRow::encode(Some(&row))), Some(row));
    }
}
