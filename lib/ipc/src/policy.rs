//! Link policies of connections (Q1 to Q7): which links a node descriptor allows, and what that is for a session.

use std::collections::BTreeMap;

use abi::system::{NodeLink, Reply, Request};
use abi::{Errno, Nd, Result};
use transport::{Policy, SessionKey};

use crate::session::Session;
use crate::shared::{Shared, State};
use crate::{Cause, Failure};

/// Which of the node's links the operations of a connection use, both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LinkPolicy {
    #[default]
    LoadBalance,
    Preferred(u8),
    Exclusive {
        link: u8,
        /// Operations wait while the link does not work; else they fail.
        wait: bool,
    },
}

/// What this life of the node means by the upper halves of its node descriptors.
pub(crate) type KnownPolicies = BTreeMap<u16, LinkPolicy>;

impl LinkPolicy {
    /// The policy that a node's text names.
    fn parse(text: &[u8], links: &[NodeLink]) -> Result<Self> {
        let (kind, name) = match text.iter().position(|byte| *byte == b':') {
            Some(colon) => (&text[..colon], &text[colon + 1..]),
            None => (text, &[][..]),
        };
        let link = || {
            let link = links.iter().find(|link| link.name == name);
            link.map(|link| link.index).ok_or(Errno::ENETDOWN)
        };
        match kind {
            b"loadbalance" => Ok(Self::LoadBalance),
            b"preferred" => link().map(Self::Preferred),
            b"exclusive" => link().map(|link| Self::Exclusive { link, wait: false }),
            b"exclusive-wait" => link().map(|link| Self::Exclusive { link, wait: true }),
            _ => Err(Errno::EPROTO),
        }
    }

    /// What is down, where one link alone was to be used, is that link: the node may well be reached.
    pub(crate) fn in_terms_of(self, failure: Failure) -> Failure {
        let is_exclusive = matches!(self, Self::Exclusive { .. });
        if is_exclusive && failure.cause == Cause::Link {
            let errno = Errno::ENETDOWN;
            return Failure { errno, ..failure };
        }
        failure
    }

    /// Whether operations wait for a link that does not work.
    pub(crate) const fn waits(self) -> bool {
        matches!(self, Self::Exclusive { wait: true, .. })
    }
}

impl Shared {
    /// The policy of a node descriptor. Blocks for the node when it sees one for the first time.
    pub(crate) fn policy_of(&self, nd: Nd) -> Result<LinkPolicy> {
        if nd.qos() == 0 || nd.is_local() {
            return Ok(LinkPolicy::LoadBalance);
        }
        if let Some(policy) = self.enter()?.node.policies.get(&nd.qos()) {
            return Ok(*policy);
        }
        let Reply::Policy(policy) = self.request(&Request::Policy(nd))? else {
            return Err(Errno::EPROTO);
        };
        let mut state = self.enter()?;
        let policy = LinkPolicy::parse(&policy.text, &state.node.links)?;
        if state.node.policies.len() < POLICIES_MAX {
            state.node.policies.insert(nd.qos(), policy);
        }
        Ok(policy)
    }
}

impl State {
    /// What a connection's policy is for the lanes of its session.
    pub(crate) fn lane_policy(&self, session: SessionKey, policy: LinkPolicy) -> Policy {
        if policy == LinkPolicy::LoadBalance {
            return Policy::LoadBalance;
        }
        let Some(session) = self.sessions.get(session) else {
            return Policy::LoadBalance;
        };
        session.lane_policy(policy)
    }
}

impl Session {
    fn lane_policy(&self, policy: LinkPolicy) -> Policy {
        if self.is_memory() {
            return Policy::LoadBalance;
        }
        match policy {
            LinkPolicy::LoadBalance => Policy::LoadBalance,
            LinkPolicy::Preferred(link) => self
                .lane_over(link)
                .map_or(Policy::LoadBalance, Policy::Preferred),
            LinkPolicy::Exclusive { link, wait } => Policy::Exclusive {
                lane: self.lane_over(link).unwrap_or(NO_LANE),
                wait,
            },
        }
    }

    /// The lane over a link of the node; one that works, if there are several.
    fn lane_over(&self, link: u8) -> Option<u8> {
        let lanes = || self.lanes.iter().filter(|lane| lane.node_link == link);
        let working = lanes().find(|lane| lane.state == transport::LaneState::Active);
        working.or_else(|| lanes().next()).map(|lane| lane.id)
    }
}

/// The number of no lane: the transport says so.
const NO_LANE: u8 = u8::MAX;
/// Policies that are remembered: as many as a node hands out.
const POLICIES_MAX: usize = 256;
