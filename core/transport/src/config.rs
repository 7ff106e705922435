//! What can be set, and the fixed limits with their reasons.

use alloc::boxed::Box;
use alloc::vec::Vec;

use abi::LinkAddress;
use abi::ids::SessionId;
use abi::time::Duration;

use crate::cipher::PacketCipher;
use crate::event::LinkIndex;
use crate::keys::Secret;

/// Most operations outstanding in one session, so that a table of them is bounded.
pub const SLOTS_MAX: u16 = 4096;
/// Most lanes of a session: the packet header has four bits for the lane.
pub const LANES_MAX: usize = 16;
/// Smallest allowed "largest packet" of a lane, in bytes: header, tag and a useful fragment.
pub const MTU_MIN: u32 = 256;
/// Largest packet of any lane, in bytes: what one shared-memory slot or GSO batch can hold.
pub const MTU_MAX: u32 = 65_536 - 64;
/// Longest one-way request in bytes.
pub const ONE_WAY_MAX: u64 = 1024;
/// Bytes of any request that may come without credit, so that small ones never wait for it.
pub const CREDIT_FREE: u32 = 1024;
/// Reason of the cancellation that a deadline causes.
pub const REASON_DEADLINE: u8 = 0xff;
/// Reason of the cancellation of an operation that has ended at the client, because the only lane
/// that it could use was down: its bytes are gone, so pulls of them fail.
pub const REASON_LOST: u8 = 0xfe;
/// How long a receiver may hold an acknowledgement back, waiting for a reply to carry it.
pub const ACK_HOLD: Duration = Duration::from_micros(500);
/// Most bytes of single-packet replies, per session, that wait for their slot's reuse; beyond it
/// replies ask for an acknowledgement.
pub const REPLY_CACHE_MAX: u64 = 1 << 20;
/// How long an acknowledgement of part of a long message may be held back.
pub const ACK_HOLD_LONG: Duration = Duration::from_millis(1);

/// Settings of a [`crate::Transport`].
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Most sessions open at once.
    pub sessions_max: u32,
    /// Largest congestion window in bytes, per session and lane.
    pub window_max: u64,
    /// Most bytes in one batch of equal packets (GSO); at most 65 535.
    pub batch_max: usize,
    /// Most packets in one batch.
    pub batch_packets_max: usize,
    /// Bounds of the probe timeout.
    pub pto_min: Duration,
    /// Bounds of the probe timeout before backoff.
    pub pto_max: Duration,
    /// How long a preferred lane must have worked again before it is used again.
    pub prefer_after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sessions_max: 65_536,
            // Twice what 10 Gbit/s carry in 10 ms, and some.
            window_max: 32 << 20,
            batch_max: 65_000,
            batch_packets_max: 64,
            pto_min: Duration::from_millis(2),
            pto_max: Duration::from_millis(200),
            prefer_after: Duration::from_secs(2),
        }
    }
}

/// Which end of a session this process is. Only the client asks for operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Asks.
    Client,
    /// Answers.
    Server,
}

/// How the packets of a lane are protected. Both ends must agree on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protection {
    /// Encrypted and authenticated by the session's cipher.
    #[default]
    Sealed,
    /// In the clear, with a CRC32C against bit errors. Packets are taken only from the lane's link
    /// and address: both must be trusted.
    Checksum,
    /// In the clear and unchecked; as [`Protection::Checksum`] otherwise.
    Plain,
}

/// One lane: a way to the peer over one link.
#[derive(Clone, Debug)]
pub struct LaneParams {
    /// Number of the lane, 0 to 15, the same on both ends.
    pub id: u8,
    /// The link it uses here.
    pub link: LinkIndex,
    /// The peer's address on it.
    pub peer: LinkAddress,
    /// Largest packet in bytes, header and tag included; [`MTU_MIN`] to [`MTU_MAX`].
    pub mtu: u32,
    /// The driver delivers everything once and in order: no acknowledgements.
    pub reliable: bool,
    /// How its packets are protected.
    pub protection: Protection,
    /// Round-trip time known from earlier.
    pub rtt: Option<Duration>,
    /// Rate known from earlier, bytes per second.
    pub rate: Option<u64>,
}

impl LaneParams {
    /// A lane that may lose packets, of which nothing is known yet.
    #[must_use]
    pub const fn new(id: u8, link: LinkIndex, peer: LinkAddress, mtu: u32) -> Self {
        Self {
            id,
            link,
            peer,
            mtu,
            reliable: false,
            protection: Protection::Sealed,
            rtt: None,
            rate: None,
        }
    }

    /// A lane over a perfect and trusted link, such as shared memory.
    #[must_use]
    pub const fn reliable(id: u8, link: LinkIndex, peer: LinkAddress, mtu: u32) -> Self {
        Self {
            id,
            link,
            peer,
            mtu,
            reliable: true,
            protection: Protection::Plain,
            rtt: None,
            rate: None,
        }
    }
}

/// What both ends of a session agree on before its first packet; they hold mirrored copies.
pub struct SessionParams {
    /// Id the peer puts into packets for us; unique in this process, not 0.
    pub local: SessionId,
    /// Id we put into packets for the peer.
    pub peer: SessionId,
    /// Which end we are.
    pub role: Role,
    /// In order of preference; 1 to [`LANES_MAX`].
    pub lanes: Vec<LaneParams>,
    /// Protects the packets of sealed lanes. `None` only if there is no such lane.
    pub cipher: Option<Box<dyn PacketCipher>>,
    /// Most operations outstanding, granted by the server; 1 to [`SLOTS_MAX`].
    pub slots: u16,
    /// Most bytes of one request that come without being pulled.
    pub unscheduled: u32,
    /// Most unscheduled bytes of all requests together that the server holds.
    pub credit: u64,
    /// How long an unanswered peer counts as alive.
    pub op_dead: Duration,
    /// 32 random bytes that the peer does not know, for the questions that a new address of the peer must
    /// answer. `None`: lanes stay with the addresses they have.
    pub challenge: Option<Secret>,
}

impl SessionParams {
    /// The usual values: 64 slots, 64 KiB unscheduled, 1 MiB of credit, dead after 15 s.
    #[must_use]
    pub const fn new(local: SessionId, peer: SessionId, role: Role) -> Self {
        Self {
            local,
            peer,
            role,
            lanes: Vec::new(),
            cipher: None,
            slots: 64,
            unscheduled: 65_536,
            credit: 1 << 20,
            op_dead: Duration::from_secs(15),
            challenge: None,
        }
    }
}

impl core::fmt::Debug for SessionParams {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SessionParams")
            .field("local", &self.local)
            .field("peer", &self.peer)
            .field("role", &self.role)
            .field("lanes", &self.lanes)
            .finish_non_exhaustive()
    }
}
