//! Node descriptors and the names of nodes (N4 to N11).

use abi::flags::NodeTextFlags;
use abi::system::{NETWORK_PREFIX, Network, Policy, RemoteNd, Reply, Request};
use abi::{Errno, Nd, Result};
use paths::{LinkPolicy, NodeText};

use crate::Namespace;

impl Namespace {
    /// The node descriptor of a node's name, perhaps with a link policy (`lab2~preferred:eth1`), or of a path
    /// below `/net`; and what follows it in a path, with its slash (N4). Descriptors count on this node only.
    ///
    /// # Errors
    /// `ENOENT` no such node or link, `EINVAL` the policy makes no sense, `EISDIR` for `/net` itself.
    #[doc(alias = "netmgr_strtond")]
    pub fn nd_of<'a>(&self, name: &'a (impl AsRef<[u8]> + ?Sized)) -> Result<(Nd, &'a [u8])> {
        let name = name.as_ref();
        let start = match name.strip_prefix(NETWORK_PREFIX.as_bytes()) {
            Some(below) if name.starts_with(b"/") => {
                let slashes = below.iter().take_while(|&&byte| byte == b'/').count();
                if slashes == 0 && !below.is_empty() {
                    return Err(Errno::ENOENT);
                }
                name.len() - below.len() + slashes
            }
            _ if name.starts_with(b"/") => return Err(Errno::ENOENT),
            _ => 0,
        };
        let (_, component) = name.split_at(start);
        let end = component.iter().position(|&byte| byte == b'/');
        let (component, rest) = component.split_at(end.unwrap_or(component.len()));
        if component.is_empty() && start == 0 {
            return Err(Errno::ENOENT);
        }
        let network = Network {
            nd: Nd::LOCAL,
            path: component.to_vec(),
        };
        match self.ask(&Request::Network(network))? {
            Reply::Redirect(redirect) => Ok((redirect.nd, rest)),
            _ => Err(Errno::EBADMSG),
        }
    }

    /// What a node descriptor is called, as `flags` say. Without flags it is what every node of the network
    /// understands as its own descriptor of that node and policy (N7), and empty for the own node (N8).
    ///
    /// # Errors
    /// `EINVAL` a part both to be shown and hidden, `ENOENT` no such node, `EBADF` no such policy.
    #[doc(alias = "netmgr_ndtostr")]
    pub fn name_of_nd(&self, nd: Nd, flags: NodeTextFlags) -> Result<Vec<u8>> {
        let nodes = self.nodes()?;
        let node = nodes.iter().find(|node| node.nd.same_node(nd));
        let text = NodeText {
            name: node.ok_or(Errno::ENOENT)?.name,
            local: nd.is_local(),
            policy: self.policy_of_nd(nd)?,
        };
        text.text(flags)
    }

    /// What another node calls a node that this one calls `nd` (N11). The policy is not translated.
    ///
    /// # Errors
    /// `ENOENT` the other node does not know it; those of a node that does not answer.
    #[doc(alias = "netmgr_remote_nd")]
    pub fn remote_nd(&self, other: Nd, nd: Nd) -> Result<Nd> {
        let ask = RemoteNd {
            remote: other,
            local: nd,
        };
        match self.ask(&Request::RemoteNd(ask))? {
            Reply::Nd(nd) => Ok(nd),
            _ => Err(Errno::EBADMSG),
        }
    }

    fn policy_of_nd(&self, nd: Nd) -> Result<LinkPolicy> {
        if nd.qos() == 0 {
            return Ok(LinkPolicy::LoadBalance);
        }
        match self.ask(&Request::Policy(nd))? {
            Reply::Policy(Policy { text }) => LinkPolicy::parse(&text),
            _ => Err(Errno::EBADMSG),
        }
    }
}
