//! The first component below `/net`: a node, and how to reach it.

use core::fmt;

use abi::{Errno, NodeName, Result};
use alloc::vec::Vec;

/// Longest name of a link in bytes: an IPv6 address with the name of its interface.
pub const LINK_NAME_MAX: usize = 39 + 1 + 15;

/// Which links a connection may use (Q1).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkPolicy {
    /// All of them, in proportion.
    #[default]
    LoadBalance,
    /// This one while it works, else the others (Q6).
    Preferred(Vec<u8>),
    /// This one or none: calls fail while it does not work (Q7).
    Exclusive(Vec<u8>),
    /// This one or none: calls wait while it does not work.
    ExclusiveWait(Vec<u8>),
}

/// A node's name with a link policy, such as `lab2~preferred:en1` (Q2).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeComponent {
    /// The node.
    pub name: NodeName,
    /// How to reach it.
    pub policy: LinkPolicy,
}

impl NodeComponent {
    /// Takes a component apart.
    ///
    /// # Errors
    /// `ENOENT` for what cannot be the name of a node, and `EINVAL` for a policy that is not
    /// `loadbalance`, `preferred:LINK`, `exclusive:LINK` or `exclusive-wait:LINK`.
    pub fn parse(component: &[u8]) -> Result<Self> {
        let mut parts = component.splitn(2, |&byte| byte == b'~');
        let name = parts.next().unwrap_or_default();
        let name = NodeName::from_name_bytes(name).map_err(|_| Errno::ENOENT)?;
        let policy = match parts.next() {
            None => LinkPolicy::LoadBalance,
            Some(policy) => LinkPolicy::parse(policy)?,
        };
        Ok(Self { name, policy })
    }

    /// Splits what follows `/net/` into the node and the rest, which has no leading slash.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn split(path: &[u8]) -> Result<(Self, &[u8])> {
        let end = path
            .iter()
            .position(|&byte| byte == b'/')
            .unwrap_or(path.len());
        let rest = path.get(end + 1..).unwrap_or_default();
        Ok((Self::parse(&path[..end])?, rest))
    }
}

impl LinkPolicy {
    /// The policy in the text after the `~`.
    ///
    /// # Errors
    /// `EINVAL` for anything but `loadbalance`, `preferred:LINK`, `exclusive:LINK` and `exclusive-wait:LINK`.
    pub fn parse(policy: &[u8]) -> Result<Self> {
        if let Some(link) = policy.strip_prefix(b"preferred:") {
            return link_name(link).map(Self::Preferred);
        }
        if let Some(link) = policy.strip_prefix(b"exclusive:") {
            return link_name(link).map(Self::Exclusive);
        }
        if let Some(link) = policy.strip_prefix(b"exclusive-wait:") {
            return link_name(link).map(Self::ExclusiveWait);
        }
        if policy == b"loadbalance" {
            Ok(Self::LoadBalance)
        } else {
            Err(Errno::EINVAL)
        }
    }
}

fn link_name(name: &[u8]) -> Result<Vec<u8>> {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'~');
    if (1..=LINK_NAME_MAX).contains(&name.len()) && name.iter().all(plain) {
        Ok(name.to_vec())
    } else {
        Err(Errno::EINVAL)
    }
}

impl fmt::Display for LinkPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (policy, link) = match self {
            Self::LoadBalance => return f.write_str("loadbalance"),
            Self::Preferred(link) => ("preferred", link),
            Self::Exclusive(link) => ("exclusive", link),
            Self::ExclusiveWait(link) => ("exclusive-wait", link),
        };
        write!(
            f,
            "{policy}:{}",
            alloc::string::String::from_utf8_lossy(link)
        )
    }
}

impl fmt::Display for NodeComponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.policy {
            LinkPolicy::LoadBalance => write!(f, "{}", self.name),
            _ => write!(f, "{}~{}", self.name, self.policy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    fn lab2(policy: LinkPolicy) -> Result<NodeComponent> {
        Ok(NodeComponent {
            name: NodeName::parse("lab2").unwrap(),
            policy,
        })
    }

    // qnx: Q2
    #[test]
    fn a_policy_follows_the_name_after_a_tilde() {
        let rows: &[(&[u8], Result<NodeComponent>)] = &[
            (b"lab2", lab2(LinkPolicy::LoadBalance)),
            (b"lab2~loadbalance", lab2(LinkPolicy::LoadBalance)),
            (
                b"lab2~exclusive:en0",
                lab2(LinkPolicy::Exclusive(b"en0".to_vec())),
            ),
            (
                b"lab2~exclusive-wait:en0",
                lab2(LinkPolicy::ExclusiveWait(b"en0".to_vec())),
            ),
            (b"lab2~exclusive-wait:", Err(Errno::EINVAL)),
            (
                b"lab2~preferred:en1",
                lab2(LinkPolicy::Preferred(b"en1".to_vec())),
            ),
            (
                b"lab2~exclusive:fe80::1%en0",
                lab2(LinkPolicy::Exclusive(b"fe80::1%en0".to_vec())),
            ),
            (
                b"lab2~preferred:too-long-for-the-longest-address-with-the-longest-interface",
                Err(Errno::EINVAL),
            ),
            (b"lab2~", Err(Errno::EINVAL)),
            (b"lab2~exclusive", Err(Errno::EINVAL)),
            (b"lab2~exclusive:", Err(Errno::EINVAL)),
            (b"lab2~exclusive:a b", Err(Errno::EINVAL)),
            (b"lab2~exclusive:en0~x", Err(Errno::EINVAL)),
            (b"lab2~sequential", Err(Errno::EINVAL)),
            (b"", Err(Errno::ENOENT)),
            (b"~exclusive:en0", Err(Errno::ENOENT)),
            (b"lab.2", Err(Errno::ENOENT)),
        ];
        for (component, expected) in rows {
            assert_eq!(NodeComponent::parse(component), *expected, "{component:?}");
        }
    }

    // qnx: Q2
    #[test]
    fn a_component_prints_as_it_is_written() {
        let rows = [
            "lab2",
            "lab2~exclusive:en0",
            "lab2~exclusive-wait:en0",
            "lab2~preferred:en1",
        ];
        for text in rows {
            assert_eq!(
                NodeComponent::parse(text.as_bytes()).unwrap().to_string(),
                text
            );
        }
    }

    // qnx: P50
    #[test]
    fn the_rest_of_the_path_belongs_to_the_node() {
        let (node, rest) = NodeComponent::split(b"lab2~exclusive:en0/dev/ser1").unwrap();
        assert_eq!(node, lab2(LinkPolicy::Exclusive(b"en0".to_vec())).unwrap());
        assert_eq!(rest, b"dev/ser1");
        assert_eq!(NodeComponent::split(b"lab2").unwrap().1, b"");
        assert_eq!(NodeComponent::split(b"lab2/").unwrap().1, b"");
    }
}
