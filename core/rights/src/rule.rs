//! One rule.

use alloc::vec::Vec;

use abi::codec::{Decode, Encode, Malformed, Reader, Writer};
use abi::limits::GROUPS_MAX;
use abi::{Gid, NodeName, Uid};

use crate::limits::PREFIX_MAX;
use crate::operation::Operations;
use crate::path;

/// What a rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It may be done.
    Allow,
    /// It may not.
    Deny,
}

/// On which node the client is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NodePattern {
    /// `*`: on any node but the one that has the rule.
    Others,
    /// `lab*`: on a node other than the one that has the rule, whose name begins like this.
    Beginning(NodeName),
    /// On this node. The own one may be named, too.
    Named(NodeName),
}

impl NodePattern {
    /// Whether every client that `other` means is meant, as far as can be said without the name of the own node.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Others, Self::Beginning(_)) => true,
            (Self::Beginning(start), Self::Beginning(other)) => {
                other.as_bytes().starts_with(start.as_bytes())
            }
            (mine, other) => mine == other,
        }
    }

    /// Whether a client there is meant.
    #[must_use]
    pub fn fits(&self, node: &NodeName, is_own: bool) -> bool {
        match self {
            Self::Others => !is_own,
            Self::Beginning(start) => !is_own && node.as_bytes().starts_with(start.as_bytes()),
            Self::Named(name) => name == node,
        }
    }
}

/// As whom the client runs, in the numbers of its own node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UserPattern {
    /// `*`.
    Anybody,
    /// This user.
    User(Uid),
}

impl UserPattern {
    /// Whether this user is meant.
    #[must_use]
    pub fn fits(self, user: Uid) -> bool {
        match self {
            Self::Anybody => true,
            Self::User(uid) => uid == user,
        }
    }
}

/// Who a client is to file permissions, in the numbers of the node that has the rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// User.
    pub uid: Uid,
    /// Group.
    pub gid: Gid,
    /// Further groups, at most [`GROUPS_MAX`].
    pub groups: Vec<Gid>,
}

impl Identity {
    /// Whether it is somebody. The all-ones number means "no change" to the kernel's calls and must never get there.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let mut gids = self.groups.iter().chain([&self.gid]);
        self.uid.0 != u32::MAX
            && gids.all(|gid| gid.0 != u32::MAX)
            && self.groups.len() <= GROUPS_MAX
    }
}

/// Who, what, where, and whether.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whether it may be done.
    pub verdict: Verdict,
    /// On which node.
    pub node: NodePattern,
    /// As whom.
    pub user: UserPattern,
    /// What; never none.
    pub operations: Operations,
    /// Where: this path and everything below it. Normal, at most [`PREFIX_MAX`] bytes.
    pub prefix: Vec<u8>,
    /// Who the client is there instead of whom it would be. Only of a rule that allows.
    pub identity: Option<Identity>,
}

impl Rule {
    /// Whether everything that `later` is about is decided by this rule, if it is tried first.
    #[must_use]
    pub fn covers(&self, later: &Self) -> bool {
        self.node.covers(&later.node)
            && (self.user == UserPattern::Anybody || self.user == later.user)
            && later.operations.without(self.operations).is_empty()
            && path::is_within(&later.prefix, &self.prefix)
    }

    /// Whether the rule keeps its own invariants.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        !self.operations.is_empty()
            && path::is_prefix(&self.prefix)
            && (self.identity.is_none() || self.verdict == Verdict::Allow)
            && self.identity.as_ref().is_none_or(Identity::is_sound)
    }
}

impl Encode for Verdict {
    fn encode(&self, w: &mut Writer<'_>) {
        w.u8(match self {
            Self::Allow => 1,
            Self::Deny => 0,
        });
    }
}

impl Decode<'_> for Verdict {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        match r.u8()? {
            0 => Ok(Self::Deny),
            1 => Ok(Self::Allow),
            _ => Err(Malformed::Unknown),
        }
    }
}

impl Encode for NodePattern {
    fn encode(&self, w: &mut Writer<'_>) {
        match self {
            Self::Others => w.u8(0),
            Self::Beginning(start) => {
                w.u8(1);
                start.encode(w);
            }
            Self::Named(name) => {
                w.u8(2);
                name.encode(w);
            }
        }
    }
}

impl Decode<'_> for NodePattern {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        match r.u8()? {
            0 => Ok(Self::Others),
            1 => NodeName::decode(r).map(Self::Beginning),
            2 => NodeName::decode(r).map(Self::Named),
            _ => Err(Malformed::Unknown),
        }
    }
}

impl Encode for UserPattern {
    fn encode(&self, w: &mut Writer<'_>) {
        match self {
            Self::Anybody => w.bool(false),
            Self::User(uid) => {
                w.bool(true);
                uid.encode(w);
            }
        }
    }
}

impl Decode<'_> for UserPattern {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match r.bool()? {
            false => Self::Anybody,
            true => Self::User(Uid::decode(r)?),
        })
    }
}

impl Encode for Identity {
    fn encode(&self, w: &mut Writer<'_>) {
        self.uid.encode(w);
        self.gid.encode(w);
        w.list16(&self.groups);
    }
}

impl Decode<'_> for Identity {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let identity = Self {
            uid: Uid::decode(r)?,
            gid: Gid::decode(r)?,
            groups: r.list16(GROUPS_MAX)?,
        };
        if identity.is_sound() {
            Ok(identity)
        } else {
            Err(Malformed::Invalid)
        }
    }
}

impl Encode for Rule {
    fn encode(&self, w: &mut Writer<'_>) {
        self.verdict.encode(w);
        self.node.encode(w);
        self.user.encode(w);
        self.operations.encode(w);
        w.str16(&self.prefix);
        w.option(self.identity.as_ref());
    }
}

impl Decode<'_> for Rule {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let rule = Self {
            verdict: Verdict::decode(r)?,
            node: NodePattern::decode(r)?,
            user: UserPattern::decode(r)?,
            operations: Operations::decode(r)?,
            prefix: r.str16(PREFIX_MAX)?.to_vec(),
            identity: r.option()?,
        };
        if rule.is_sound() {
            Ok(rule)
        } else {
            Err(Malformed::Invalid)
        }
    }
}
