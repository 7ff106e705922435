//! What is known of sessions and lanes, and what others say of a lane.

use alloc::vec::Vec;

use abi::LinkAddress;
use abi::ids::SessionId;
use abi::time::{Duration, Instant};

use crate::config::Role;
use crate::event::{LinkIndex, SessionKey};

/// Whether a lane may carry data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LaneState {
    /// It works as far as known.
    Active,
    /// It does not answer; it is only probed.
    Suspect,
    /// Its link is down, or it has not answered for long; it is probed rarely.
    Down,
}

/// What has brought a lane into its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LaneReason {
    /// The session was opened with it.
    Opened,
    /// The peer did not acknowledge in time.
    Unanswered,
    /// The peer answered on it.
    Answered,
    /// The peer has left it.
    Left,
    /// The driver or the kernel says so.
    Link,
    /// The node daemon says so.
    Monitor,
    /// Large packets do not pass any more; the lane is used with small ones.
    BlackHole,
}

/// Whether a lane works, as the node daemon sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneWord {
    /// Probes come back.
    Up,
    /// Probes do not come back. A session that has heard the peer itself only asks on the lane; others leave it
    /// and ask.
    Silent,
    /// It has no carrier, is gone, or must not be used: it is left at once and not asked on until another word.
    Down,
}

/// What the node daemon has measured of a lane. What is `None` is left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneReport {
    /// Whether it works.
    pub word: LaneWord,
    /// Round-trip time.
    pub rtt: Option<Duration>,
    /// Rate of the slower of the links at both ends, bytes per second.
    pub rate: Option<u64>,
    /// Largest packet that passes, in bytes.
    pub mtu: Option<u32>,
}

/// What is known of a session, for `slashnet sessions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSummary {
    /// Key.
    pub session: SessionKey,
    /// Id here.
    pub local: SessionId,
    /// Id at the peer.
    pub peer: SessionId,
    /// Which end this is.
    pub role: Role,
    /// Operations outstanding: asked for, or in the program's hands.
    pub operations: usize,
    /// Unscheduled bytes of requests held here.
    pub held: u64,
    /// Its lanes, in the order in which they were given.
    pub lanes: Vec<LaneSummary>,
}

/// What is known of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneSummary {
    /// Number of the lane.
    pub id: u8,
    /// Its link.
    pub link: LinkIndex,
    /// Where the peer's packets come from, and ours go.
    pub peer: LinkAddress,
    /// Whether it may carry data.
    pub state: LaneState,
    /// Since when.
    pub since: Instant,
    /// What has shown it.
    pub why: LaneReason,
    /// Smoothed round-trip time.
    pub rtt: Option<Duration>,
    /// Least round-trip time of late.
    pub min_rtt: Option<Duration>,
    /// Estimated rate, bytes per second.
    pub rate: Option<u64>,
    /// Congestion window in bytes.
    pub window: u64,
    /// Bytes in flight.
    pub in_flight: u64,
    /// Bytes sent since the session began.
    pub bytes_sent: u64,
    /// Bytes received since the session began.
    pub bytes_received: u64,
    /// Packets sent since the session began.
    pub packets_sent: u64,
    /// Packets received since the session began.
    pub packets_received: u64,
    /// Times packets were found lost.
    pub losses: u64,
    /// Times the lane has stopped or begun to carry data.
    pub switches: u64,
    /// Times the lane was given up: its link or its node said so, or it had not answered for long.
    pub left: u64,
    /// Largest packet in bytes.
    pub mtu: u32,
}
