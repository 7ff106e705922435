//! The list of rules that a node keeps.

use alloc::vec::Vec;

use abi::codec::{Decode, Encode, Malformed, Reader, Writer};
use abi::{Errno, NodeName, Uid};

use crate::client_rights::{ClientRights, Line};
use crate::limits::{RULES_BYTES_MAX, RULES_MAX};
use crate::operation::Operations;
use crate::path::is_within;
use crate::rule::{Rule, Verdict};

/// Who asks, as the node daemons vouch for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The client's node, by the name it has here.
    pub node: NodeName,
    /// It is the node that has the rules.
    pub is_own: bool,
    /// The user, in the numbers of the client's node.
    pub user: Uid,
}

/// Rules in the order in which they are tried: the first one that fits client, operation and path decides.
///
/// Where none fits, everything is allowed but to own paths and to link them, which takes a rule or somebody who manages
/// the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    list: Vec<Rule>,
}

impl Rules {
    /// These rules, in this order.
    ///
    /// # Errors
    /// E2BIG for more than [`RULES_MAX`] rules or [`RULES_BYTES_MAX`] bytes of them; EINVAL for a rule that says nothing
    /// ([`Rule::is_sound`]).
    pub fn new(list: Vec<Rule>) -> abi::Result<Self> {
        if !list.iter().all(Rule::is_sound) {
            return Err(Errno::EINVAL);
        }
        let rules = Self { list };
        if rules.list.len() > RULES_MAX || rules.encoded_len() > RULES_BYTES_MAX {
            return Err(Errno::E2BIG);
        }
        Ok(rules)
    }

    /// The rules, the first one first.
    #[must_use]
    pub fn list(&self) -> &[Rule] {
        &self.list
    }

    /// These rules, and behind them others.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn followed_by(&self, others: &Self) -> abi::Result<Self> {
        let mut list = self.list.clone();
        list.extend_from_slice(&others.list);
        Self::new(list)
    }

    /// What concerns one client. What earlier rules have decided wholly is left out, so the work is that of comparing
    /// each of the client's rules with those before it.
    #[must_use]
    pub fn for_client(&self, client: &Client) -> ClientRights {
        let mut lines: Vec<Line> = Vec::new();
        for (number, rule) in (0..).zip(&self.list) {
            if !rule.node.fits(&client.node, client.is_own) || !rule.user.fits(client.user) {
                continue;
            }
            let decided = lines
                .iter()
                .filter(|line| is_within(&rule.prefix, &line.prefix))
                .fold(Operations::NONE, |decided, line| {
                    decided.or(line.operations)
                });
            let operations = rule.operations.without(decided);
            if operations.is_empty() {
                continue;
            }
            lines.push(Line {
                number,
                is_allowed: rule.verdict == Verdict::Allow,
                operations,
                prefix: rule.prefix.clone(),
                identity: rule.identity.clone(),
            });
        }
        ClientRights::of(lines)
    }

    fn encoded_len(&self) -> usize {
        self.to_bytes().map_or(usize::MAX, |bytes| bytes.len())
    }
}

impl Encode for Rules {
    fn encode(&self, w: &mut Writer<'_>) {
        w.list16(&self.list);
    }
}

impl Decode<'_> for Rules {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        if r.remaining() > RULES_BYTES_MAX {
            return Err(Malformed::TooMany);
        }
        Ok(Self {
            list: r.list16(RULES_MAX)?,
        })
    }
}
