//! What this node keeps about nodes that it trusts, and about codes that it has made.

use alloc::vec::Vec;

use abi::{LinkAddress, NodeName};

use super::identity_map::IdentityMap;
use crate::crypto::{PublicKey, Secret};

/// A trusted node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustRecord {
    /// What it is called here.
    pub name: NodeName,
    /// The low 16 bits of its node descriptor, kept so that descriptors outlive a restart; not 0.
    pub number: u16,
    /// Who it is.
    pub key: PublicKey,
    /// A secret shared with it besides the keys: outsiders who break the key exchange some day still cannot read.
    pub secret: Option<Secret>,
    /// Where it may be reached, the best first.
    pub addresses: Vec<LinkAddress>,
    /// Who its users are here.
    pub identities: IdentityMap,
}

/// A code that this node has made. The code itself cannot be found out from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InviteRecord {
    /// What whoever holds the code names it by.
    pub id: [u8; 8],
    /// The secret of the joining handshake, a hash of the code's.
    pub joining: Secret,
    /// The secret that both nodes keep, another hash of it.
    pub kept: Secret,
    /// Nanoseconds since the Unix epoch.
    pub expires: u64,
    /// Who used it, and the time in the message that did, by the user's calendar.
    pub used_by: Option<(PublicKey, u64)>,
    /// The time in the newest message with this code.
    pub last_timestamp: u64,
}
