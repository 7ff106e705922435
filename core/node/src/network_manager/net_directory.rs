//! `/net`: names of nodes, node descriptors, and what tables say of nodes.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use abi::system::peer::Whose;
use abi::system::{NodeRow, NodeState};
use abi::{Errno, Incarnation, LinkAddress, Nd, NodeName};
use paths::{LinkPolicy, NodeComponent};

use super::NetworkManager;
use super::peer::Standing;
use super::trust::TrustRecord;
use crate::crypto::PublicKey;
use crate::interface::Config;

/// Link policies that can be in use at once: the high 16 bits of a node descriptor, bounded further because every
/// one is a string that somebody outside has chosen.
const POLICIES_MAX: usize = 256;

fn policies_of(link: &[u8]) -> [LinkPolicy; 3] {
    [
        LinkPolicy::Preferred(link.to_vec()),
        LinkPolicy::Exclusive(link.to_vec()),
        LinkPolicy::ExclusiveWait(link.to_vec()),
    ]
}

impl NetworkManager {
    /// The node descriptor of a component below `/net`, such as `lab2` or `lab2~exclusive:eth0` (N4).
    pub(crate) fn nd_of(&self, component: &[u8], own: &NodeName) -> Result<Nd, (Errno, String)> {
        let node = NodeComponent::parse(component).map_err(|errno| {
            let text = String::from_utf8_lossy(component);
            (
                errno,
                format!("{text:?} is not the name of a node, nor one with a link policy"),
            )
        })?;
        let nd = self.nd_of_name(&node.name, own)?;
        self.with_policy(nd, &node.policy)
    }

    /// A node with another link policy. Nothing matters less than how to reach oneself.
    fn with_policy(&self, nd: Nd, wanted: &LinkPolicy) -> Result<Nd, (Errno, String)> {
        if nd.is_local() {
            return Ok(nd);
        }
        let index = self.policies.iter().position(|policy| policy == wanted);
        let index = index.and_then(|index| u16::try_from(index).ok());
        let index = index.ok_or_else(|| (Errno::ENOENT, format!("no link here fits {wanted}")))?;
        Ok(Nd::new(nd.node(), index))
    }

    /// A node that another one names, with the link policy in a path that led there: none keeps that of the way.
    pub(crate) fn translate_path(
        &self,
        whose: Whose,
        answering: Nd,
        policy: &[u8],
    ) -> Result<Nd, (Errno, String)> {
        let nd = self.translate(whose, answering).ok_or_else(|| {
            let text = "the way leads to a node that this one does not know";
            (Errno::ENOENT, String::from(text))
        })?;
        if policy.is_empty() {
            return Ok(nd);
        }
        let policy = LinkPolicy::parse(policy).map_err(|errno| (errno, String::new()))?;
        self.with_policy(nd, &policy)
    }

    pub(crate) fn nd_of_name(
        &self,
        name: &NodeName,
        own: &NodeName,
    ) -> Result<Nd, (Errno, String)> {
        if name == own {
            return Ok(Nd::LOCAL);
        }
        let number = self.by_name.get(name);
        let unknown = || {
            (
                Errno::ENOENT,
                format!("no node is called {name}; see `slashnet nodes`"),
            )
        };
        number.map(|&number| Nd::new(number, 0)).ok_or_else(unknown)
    }

    /// Gives every link policy that can be meant its index: those that name a link, for each link. It keeps it, until
    /// there is no room: then the policies of links that are gone make room, each in its turn.
    pub(super) fn index_policies(&mut self) {
        let names: Vec<Vec<u8>> = self.links.iter().map(|l| l.name.clone().into()).collect();
        for name in &names {
            for policy in policies_of(name) {
                if self.policies.contains(&policy) {
                    continue;
                }
                if self.policies.len() < POLICIES_MAX {
                    self.policies.push(policy);
                } else if let Some(index) = self.next_gone(&names) {
                    self.policies[index] = policy;
                    self.policy_reused = index;
                }
            }
        }
    }

    /// After the one that was reused last, the next policy of a link that is gone.
    fn next_gone(&self, names: &[Vec<u8>]) -> Option<usize> {
        let turns = (self.policy_reused + 1..POLICIES_MAX).chain(1..=self.policy_reused);
        let kept = |index: &usize| {
            names
                .iter()
                .flat_map(|n| policies_of(n))
                .any(|p| p == self.policies[*index])
        };
        turns.into_iter().find(|index| !kept(index))
    }

    /// The link policy of a node descriptor, as it is written in a path.
    pub(crate) fn policy_text(&self, nd: Nd) -> Result<Vec<u8>, (Errno, String)> {
        let policy = self.policies.get(usize::from(nd.qos())).ok_or_else(|| {
            let text = "the node descriptor has an unknown link policy";
            (Errno::EBADF, String::from(text))
        })?;
        Ok(policy.to_string().into_bytes())
    }

    /// Where this node can be reached: links that carry packets first.
    pub(super) fn own_addresses(&self) -> Vec<LinkAddress> {
        let there = |up: bool| self.links.iter().filter(move |link| link.up == up);
        let links = there(true).chain(there(false));
        let addresses = links.map(|link| link.address);
        addresses.filter(|address| !address.is_none()).collect()
    }

    pub(crate) fn number_of_name(&self, name: &NodeName) -> Option<u16> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn name_of(&self, number: u16) -> NodeName {
        self.peers
            .get(&number)
            .map_or(self.name, |peer| peer.record.name)
    }

    pub(crate) fn key_of(&self, number: u16) -> Option<PublicKey> {
        self.peers.get(&number).map(|peer| peer.record.key)
    }

    pub(crate) fn numbers(&self) -> impl Iterator<Item = u16> {
        self.peers.keys().copied()
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = (NodeName, u16)> {
        self.peers
            .iter()
            .map(|(&number, peer)| (peer.record.name, number))
    }

    /// A node as another one names it, as a node descriptor of ours; `answering` is who said it (P44).
    pub(crate) fn translate(&self, whose: Whose, answering: Nd) -> Option<Nd> {
        match whose {
            Whose::Mine => Some(answering),
            Whose::Yours => Some(Nd::LOCAL),
            Whose::Other(key) if key == self.me.0 => Some(Nd::LOCAL),
            Whose::Other(key) => self
                .by_key
                .get(&PublicKey(key))
                .map(|&number| Nd::new(number, answering.qos())),
        }
    }

    pub(crate) fn trust_records(&self) -> Vec<TrustRecord> {
        self.peers
            .values()
            .map(|peer| peer.record.clone())
            .collect()
    }

    pub(crate) fn node_rows(&self, config: &Config, sessions: impl Fn(u16) -> u32) -> Vec<NodeRow> {
        let own = NodeRow {
            nd: Nd::LOCAL,
            name: config.name,
            state: NodeState::Local,
            incarnation: config.incarnation,
            addresses: self.own_addresses(),
            round_trip: None,
            sessions: sessions(0),
            fingerprint: Self::fingerprint(&self.me),
        };
        let others = self.peers.iter().map(|(&number, peer)| NodeRow {
            nd: Nd::new(number, 0),
            name: peer.record.name,
            state: match (peer.standing, &peer.attempt) {
                (Standing::Up, _) => NodeState::Up,
                (_, Some(_)) => NodeState::Connecting,
                (Standing::Down, None) => NodeState::Down,
                (Standing::Idle, None) => NodeState::Idle,
            },
            incarnation: peer.known.map_or(Incarnation(0), |known| known.0),
            addresses: peer.record.addresses.clone(),
            round_trip: peer.round_trip,
            sessions: sessions(number),
            fingerprint: Self::fingerprint(&peer.record.key),
        });
        core::iter::once(own).chain(others).collect()
    }
}
