//! What this node keeps about a node that it trusts.

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
