//! The text of a node descriptor, as people and other nodes can use it (N5 to N10).

use abi::flags::NodeTextFlags;
use abi::{Errno, NodeName, Result};
use alloc::vec::Vec;

use crate::node_component::LinkPolicy;

/// Where nodes are.
const DIRECTORY: &[u8] = b"/net/";

/// What is known of a node descriptor: its node's name, whether that is this node, and its link policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeText {
    /// The node.
    pub name: NodeName,
    /// It is this one.
    pub local: bool,
    /// How to reach it.
    pub policy: LinkPolicy,
}

impl NodeText {
    /// The text of a node descriptor. Parts that are neither shown nor hidden by `flags` are shown as QNX does: the name
    /// unless it is this node's, the policy unless it is the default; never the directory, because there is only one. Names
    /// have no domain, so what is said about it changes nothing.
    ///
    /// With the directory it is a path to the node's root that ends in a slash. Without a name, the tilde of a policy is
    /// there only if [`NodeTextFlags::SEPARATOR`] wants it.
    ///
    /// # Errors
    /// `EINVAL` if a part is to be shown and hidden.
    #[doc(alias = "netmgr_ndtostr")]
    pub fn text(&self, flags: NodeTextFlags) -> Result<Vec<u8>> {
        use NodeTextFlags as F;
        let part =
            |show: F, hide: F, default: bool| match (flags.contains(show), flags.contains(hide)) {
                (true, true) => Err(Errno::EINVAL),
                (true, false) => Ok(true),
                (false, true) => Ok(false),
                (false, false) => Ok(default),
            };
        let directory = part(F::SHOW_DIRECTORY, F::HIDE_DIRECTORY, false)?;
        let policy_matters = self.policy != LinkPolicy::LoadBalance;
        let policy = part(F::SHOW_POLICY, F::HIDE_POLICY, policy_matters)?;
        let name = part(F::SHOW_NAME, F::HIDE_NAME, !self.local)?;
        part(F::SHOW_DOMAIN, F::HIDE_DOMAIN, false)?;
        let mut text = Vec::new();
        if directory && !name && self.local {
            // The root of this node needs no name.
            return Ok(Vec::from(*b"/"));
        }
        if directory {
            text.extend_from_slice(DIRECTORY);
        }
        if name {
            text.extend_from_slice(self.name.as_bytes());
        }
        if policy {
            if name || flags.contains(F::SEPARATOR) {
                text.push(b'~');
            }
            text.extend_from_slice(alloc::format!("{}", self.policy).as_bytes());
        }
        if directory {
            text.push(b'/');
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NodeComponent;
    use NodeTextFlags as F;

    fn lab2(policy: LinkPolicy) -> NodeText {
        NodeText {
            name: NodeName::parse("lab2").unwrap(),
            local: false,
            policy,
        }
    }

    fn here() -> NodeText {
        NodeText {
            local: true,
            ..lab2(LinkPolicy::LoadBalance)
        }
    }

    fn exclusive() -> LinkPolicy {
        LinkPolicy::Exclusive(b"en1".to_vec())
    }

    // qnx: N5, N6, N7, N8, N9, N10
    #[test]
    fn every_part_is_shown_as_the_flags_say() {
        let rows: &[(NodeText, F, &[u8])] = &[
            (lab2(LinkPolicy::LoadBalance), F::empty(), b"lab2"),
            (lab2(exclusive()), F::empty(), b"lab2~exclusive:en1"),
            (lab2(exclusive()), F::HIDE_POLICY, b"lab2"),
            (
                lab2(LinkPolicy::LoadBalance),
                F::SHOW_POLICY,
                b"lab2~loadbalance",
            ),
            (lab2(exclusive()), F::HIDE_NAME, b"exclusive:en1"),
            (
                lab2(exclusive()),
                F::HIDE_NAME | F::SEPARATOR,
                b"~exclusive:en1",
            ),
            (
                lab2(LinkPolicy::LoadBalance),
                F::SHOW_DIRECTORY,
                b"/net/lab2/",
            ),
            (
                lab2(exclusive()),
                F::SHOW_DIRECTORY,
                b"/net/lab2~exclusive:en1/",
            ),
            (
                lab2(exclusive()),
                F::SHORT | F::SHOW_DOMAIN,
                b"lab2~exclusive:en1",
            ),
            (here(), F::empty(), b""),
            (here(), F::SHOW_NAME, b"lab2"),
            (here(), F::SHOW_DIRECTORY, b"/"),
            (here(), F::SHOW_DIRECTORY | F::SHOW_NAME, b"/net/lab2/"),
            (
                here(),
                F::HIDE_DIRECTORY | F::HIDE_NAME | F::HIDE_DOMAIN | F::SHOW_POLICY | F::SEPARATOR,
                b"~loadbalance",
            ),
        ];
        for (node, flags, expected) in rows {
            assert_eq!(node.text(*flags).as_deref(), Ok(*expected), "{flags:?}");
        }
        for both in [
            F::SHOW_DIRECTORY | F::HIDE_DIRECTORY,
            F::SHOW_POLICY | F::HIDE_POLICY,
            F::SHOW_NAME | F::HIDE_NAME,
            F::SHOW_DOMAIN | F::HIDE_DOMAIN,
        ] {
            assert_eq!(here().text(both), Err(Errno::EINVAL));
        }
    }

    // qnx: N7
    #[test]
    fn another_node_reads_the_usual_text_as_the_same_node_and_policy() {
        for policy in [
            LinkPolicy::LoadBalance,
            exclusive(),
            LinkPolicy::ExclusiveWait(b"en0".to_vec()),
            LinkPolicy::Preferred(b"en0".to_vec()),
        ] {
            let text = lab2(policy.clone()).text(F::empty()).unwrap();
            let read = NodeComponent::parse(&text).unwrap();
            assert_eq!((read.name.as_str(), read.policy), ("lab2", policy));
        }
    }
}
