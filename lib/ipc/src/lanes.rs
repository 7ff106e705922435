//! The lanes of sessions: what the node's monitor says of them, and what the node is told of them.

use std::collections::HashMap;
use std::net::SocketAddr;

use abi::system::{
    Lane, LaneRow, LaneState as RowState, LaneTraffic, Protection as Sealing, Request, Traffic,
    UNSOLICITED,
};
use abi::{Duration, Instant, LinkAddress, Nd};
use transport::{LaneParams, LaneReport, LaneState, LaneWord, LinkIndex, Protection, SessionKey};

use crate::session::Session;
use crate::shared::State;

/// One lane of a session.
pub(crate) struct SessionLane {
    pub(crate) id: u8,
    /// The link, as the node numbers it.
    pub(crate) node_link: u8,
    pub(crate) link: LinkIndex,
    pub(crate) peer: LinkAddress,
    pub(crate) state: LaneState,
    /// The peer may be at another address: it must be heard from there.
    may_have_moved: bool,
    mtu: u16,
    protection: Protection,
    /// What the node said last.
    row: Option<LaneRow>,
    /// What the node has been told of.
    told: Counts,
}

#[derive(Clone, Copy, Default)]
struct Counts {
    sent: u64,
    received: u64,
    switches: u64,
}

/// What has been reported and read of lanes.
#[derive(Default)]
pub(crate) struct LaneBook {
    /// Generation of the lane rows that were read last.
    generation: u64,
    reported_at: Instant,
    /// When to look whether the node that calls lanes down still lives; `None` if it calls none down.
    check_at: Option<Instant>,
    /// Of sessions that have ended since.
    ended: Vec<LaneTraffic>,
}

impl SessionLane {
    pub(crate) fn new(params: &LaneParams, node_link: u8) -> Self {
        Self {
            id: params.id,
            node_link,
            link: params.link,
            peer: params.peer,
            state: LaneState::Active,
            may_have_moved: false,
            mtu: u16::try_from(params.mtu).unwrap_or(u16::MAX),
            protection: params.protection,
            row: None,
            told: Counts::default(),
        }
    }
}

impl SessionLane {
    /// Takes the node's word; answers what to report.
    fn see(&mut self, row: Option<&LaneRow>) -> Option<LaneReport> {
        let Some(row) = row else {
            self.may_have_moved |= self.row.is_some();
            return self.unwatched();
        };
        let last = self.row.replace(*row);
        if row.state == RowState::Init {
            // The node knows nothing: the session finds out by itself.
            let was_down = last.is_some_and(|last| last.state == RowState::Down);
            return was_down.then_some(TRY);
        }
        (last != Some(*row)).then(|| report(row))
    }

    fn is_called_down(&self) -> bool {
        self.row.is_some_and(|row| row.state == RowState::Down)
    }

    /// Nobody watches the lane any more: what to report if it was said to be down, so that its session tries it.
    fn unwatched(&mut self) -> Option<LaneReport> {
        let row = self.row.take()?;
        (row.state == RowState::Down).then_some(TRY)
    }
}

impl LaneBook {
    /// When to look after the node.
    pub(crate) const fn check_at(&self) -> Option<Instant> {
        self.check_at
    }

    /// There are lanes that the rows have not been held against.
    pub(crate) const fn look_again(&mut self) {
        self.generation = NEVER;
    }
}

impl State {
    /// Tells the drivers of links whether they have one peer or several. Packets from other addresses are not heard
    /// then, so a peer must be known to be where it was.
    pub(crate) fn focus_links(&self, links: &[LinkIndex]) {
        for link in links {
            let all = || self.sessions.iter().flat_map(|session| &session.lanes);
            let lanes = || all().filter(|lane| lane.link == *link);
            let first = lanes().next().map(|lane| lane.peer);
            let is_only = |lane: &SessionLane| Some(lane.peer) == first && !lane.may_have_moved;
            self.links
                .focus(*link, first.as_ref().filter(|_| lanes().all(is_only)));
        }
    }

    /// The node's word on the way from a link of it to a peer's socket.
    pub(crate) fn row_of(&self, node_link: u8, peer: &LinkAddress) -> Option<LaneRow> {
        let rows = self.page.lane_rows().1;
        let host = host(peer);
        rows.into_iter()
            .find(|row| row.link == node_link && self::host(&row.peer) == host)
    }

    /// Gives the transport what the node's monitor has found out since the last look. Costs one load if nothing.
    #[inline]
    pub(crate) fn look_at_rows(&mut self, now: Instant) {
        if self.page.lanes_generation() != self.lane_book.generation {
            self.read_rows(now);
        }
    }

    fn read_rows(&mut self, now: Instant) {
        let (generation, rows) = self.page.lane_rows();
        // Rows that were being written are read again soon.
        self.lane_book.generation = generation.unwrap_or(NEVER);
        let rows: HashMap<_, _> = rows
            .into_iter()
            .map(|row| ((row.link, host(&row.peer)), row))
            .collect();
        let (mut reports, mut gone) = (Vec::new(), Vec::new());
        for session in self.sessions.iter_mut() {
            for lane in &mut session.lanes {
                let was_watched = lane.row.is_some();
                let report = lane.see(rows.get(&(lane.node_link, host(&lane.peer))));
                reports.extend(report.map(|report| (session.key, lane.id, report)));
                if was_watched && lane.row.is_none() {
                    gone.push((session.key, lane.link));
                }
            }
        }
        if reports
            .iter()
            .any(|(_, _, report)| report.word == LaneWord::Up)
        {
            self.links.failed.hurry(now);
        }
        if reports
            .iter()
            .any(|(_, _, report)| report.word != LaneWord::Up)
        {
            self.lane_book.check_at = Some(now + CHECK_EVERY);
        }
        for (session, lane, report) in reports {
            self.transport.report_lane(now, session, lane, report);
        }
        for (session, link) in gone {
            self.find_peers(session);
            self.focus_links(&[link]);
        }
    }

    /// Looks where the peer of a session is on each lane, as far as it has been heard.
    fn find_peers(&mut self, key: SessionKey) {
        let Some(summary) = self.transport.summary(key) else {
            return;
        };
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        for lane in &mut session.lanes {
            let known = summary.lanes.iter().find(|known| known.id == lane.id);
            if let Some(known) = known
                && known.peer != lane.peer
            {
                lane.peer = known.peer;
                lane.may_have_moved = false;
                self.lane_book.look_again();
            }
        }
    }

    /// A node that stands still may have called lanes down that work by now.
    pub(crate) fn check_node(&mut self, now: Instant) {
        if self.lane_book.check_at.is_none_or(|at| at > now) {
            return;
        }
        let all = self.sessions.iter().flat_map(|session| &session.lanes);
        let any_down = all.into_iter().any(SessionLane::is_called_down);
        self.lane_book.check_at = any_down.then(|| now + CHECK_EVERY);
        if any_down && now.saturating_since(self.page.heartbeat()) > SILENCE_MAX {
            self.rows_are_old(now);
        }
    }

    /// The node is gone: what it said does not hold for ever.
    pub(crate) fn rows_are_old(&mut self, now: Instant) {
        let mut reports = Vec::new();
        for session in self.sessions.iter_mut() {
            for lane in &mut session.lanes {
                let report = lane.unwatched();
                reports.extend(report.map(|report| (session.key, lane.id, report)));
            }
        }
        for (session, lane, report) in reports {
            self.transport.report_lane(now, session, lane, report);
        }
    }

    /// A lane of a session has changed its state.
    pub(crate) fn lane_changed(&mut self, key: SessionKey, id: u8, to: LaneState) {
        if to == LaneState::Active {
            self.find_peers(key);
        }
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        let nd = session.nd;
        let Some(lane) = session.lanes.iter_mut().find(|lane| lane.id == id) else {
            return;
        };
        lane.state = to;
        lane.may_have_moved = to != LaneState::Active;
        let (at, link, peer) = (lane.link, lane.node_link, lane.peer);
        self.focus_links(&[at]);
        if to == LaneState::Suspect {
            let row = LaneTraffic {
                suspect: true,
                ..no_traffic(nd, link, peer)
            };
            self.tell_traffic(vec![row]);
        }
    }

    /// When the node is to be told what has moved; `None` while nothing has.
    pub(crate) fn traffic_at(&self) -> Option<Instant> {
        let reported_at = self.lane_book.reported_at;
        (self.links.moved && self.node.socket.is_some()).then(|| reported_at + REPORT_EVERY)
    }

    /// Tells the node what has moved since it was told last, once a second at most.
    pub(crate) fn report_traffic(&mut self, now: Instant) {
        if self.traffic_at().is_some_and(|at| at <= now) {
            self.report_all_traffic(now);
        }
    }

    /// As [`report_traffic`](Self::report_traffic), at once: there may be no later.
    pub(crate) fn report_all_traffic(&mut self, now: Instant) {
        self.links.moved = false;
        self.lane_book.reported_at = now;
        let mut rows = std::mem::take(&mut self.lane_book.ended);
        for summary in self.transport.sessions() {
            if let Some(session) = self.sessions.get_mut(summary.session) {
                session.count(&summary.lanes, &mut rows);
            }
        }
        if !rows.is_empty() {
            self.tell_traffic(rows);
        }
    }

    /// Keeps what a session that ends has moved since the last report.
    pub(crate) fn session_counts(&mut self, key: SessionKey) {
        let lanes = self.transport.summary(key).map(|summary| summary.lanes);
        if let (Some(lanes), Some(session)) = (lanes, self.sessions.get_mut(key)) {
            session.count(&lanes, &mut self.lane_book.ended);
        }
    }

    fn tell_traffic(&mut self, mut rows: Vec<LaneTraffic>) {
        rows.truncate(ROWS_MAX);
        self.node
            .tell(UNSOLICITED, &Request::Traffic(Traffic { rows }));
    }
}

impl Session {
    /// Its lanes in the words of the node.
    pub(crate) fn known_lanes(&self) -> Vec<Lane> {
        let lanes = self.lanes.iter().filter(|_| !self.is_memory());
        let known = lanes.map(|lane| Lane {
            id: lane.id,
            link: lane.node_link,
            peer: lane.peer,
            mtu: lane.mtu,
            protection: match lane.protection {
                Protection::Sealed => Sealing::Sealed,
                Protection::Checksum => Sealing::Checksum,
                Protection::Plain => Sealing::Plain,
            },
        });
        known.collect()
    }

    /// Adds what has moved since the last time to the rows of a report.
    fn count(&mut self, lanes: &[transport::LaneSummary], rows: &mut Vec<LaneTraffic>) {
        for lane in &mut self.lanes {
            let Some(summary) = lanes.iter().find(|summary| summary.id == lane.id) else {
                continue;
            };
            let now = Counts {
                sent: summary.bytes_sent,
                received: summary.bytes_received,
                switches: summary.left,
            };
            let told = std::mem::replace(&mut lane.told, now);
            let (sent, received) = (
                now.sent.saturating_sub(told.sent),
                now.received.saturating_sub(told.received),
            );
            let switches = now.switches.saturating_sub(told.switches);
            if sent + received + switches == 0 {
                continue;
            }
            let new = no_traffic(self.nd, lane.node_link, lane.peer);
            let same = |row: &LaneTraffic| {
                let ways = [row, &new].map(|row| (row.node, row.link, host(&row.peer)));
                ways[0] == ways[1]
            };
            let at = rows.iter().position(same).unwrap_or(rows.len());
            if at == rows.len() {
                rows.push(new);
            }
            let row = &mut rows[at];
            row.bytes_sent += sent;
            row.bytes_received += received;
            row.rate = row.rate.max(summary.rate.unwrap_or(0));
            row.switches += u32::try_from(switches).unwrap_or(u32::MAX);
        }
    }
}

fn no_traffic(nd: Nd, link: u8, peer: LinkAddress) -> LaneTraffic {
    LaneTraffic {
        node: Nd::new(nd.node(), 0),
        link,
        peer,
        bytes_sent: 0,
        bytes_received: 0,
        rate: 0,
        switches: 0,
        suspect: false,
    }
}

/// A row in the words of the transport.
pub(crate) fn report(row: &LaneRow) -> LaneReport {
    LaneReport {
        word: match row.state {
            RowState::Up => LaneWord::Up,
            _ if row.why.is_silence() => LaneWord::Silent,
            _ => LaneWord::Down,
        },
        rtt: row.rtt,
        rate: row.rate,
        mtu: Some(u32::from(row.mtu)).filter(|mtu| *mtu >= transport::config::MTU_MIN),
    }
}

/// An address without its port, and without the scope that only one end knows.
fn host(address: &LinkAddress) -> LinkAddress {
    match address.socket_address() {
        Some(SocketAddr::V6(six)) => LinkAddress::ipv6(six.ip().octets(), 0, 0),
        _ => address.with_port(0),
    }
}

/// For a lane of which nothing is known.
const TRY: LaneReport = LaneReport {
    word: LaneWord::Up,
    rtt: None,
    rate: None,
    mtu: None,
};
/// A generation that no node page has: it starts above.
const NEVER: u64 = 0;
/// How often to look whether a node that calls lanes down still lives.
const CHECK_EVERY: Duration = Duration::from_millis(500);
/// Age of a heartbeat from which on the node does not count as alive, as the node page says.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// Shortest time between two reports of traffic.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Rows of one report: as many as the node has lane rows.
const ROWS_MAX: usize = abi::system::LANE_ROWS;
