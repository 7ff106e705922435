//! Node descriptors and the names of nodes (N4 to N11).

use abi::system::{NETWORK_PREFIX, Network, Policy, RemoteNd, Reply, Request};
use abi::{Errno, Nd, Result};
use bitflags::bitflags;

use crate::Namespace;

bitflags! {
    /// Which parts of a node's name [`Namespace::name_of_nd`] gives (N6). Of each part either `SHOW` or `HIDE` may be
    /// asked for; with neither it is there if it is not what everybody would assume (N8). Nodes here have no domains,
    /// so those two flags change nothing.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct NdFlags: u32 {
        /// As a path to the root of the node, which ends in a slash (N9).
        #[doc(alias = "ND2S_DIR_SHOW")]
        const DIR_SHOW = 0x1;
        /// Not as a path.
        #[doc(alias = "ND2S_DIR_HIDE")]
        const DIR_HIDE = 0x2;
        /// With the link policy, also if it is the default.
        #[doc(alias = "ND2S_QOS_SHOW")]
        const QOS_SHOW = 0x4;
        /// Without the link policy.
        #[doc(alias = "ND2S_QOS_HIDE")]
        const QOS_HIDE = 0x8;
        /// With the name, also of the own node.
        #[doc(alias = "ND2S_NAME_SHOW")]
        const NAME_SHOW = 0x10;
        /// Without the name.
        #[doc(alias = "ND2S_NAME_HIDE")]
        const NAME_HIDE = 0x20;
        /// With the domain.
        #[doc(alias = "ND2S_DOMAIN_SHOW")]
        const DOMAIN_SHOW = 0x40;
        /// Without the domain.
        #[doc(alias = "ND2S_DOMAIN_HIDE")]
        const DOMAIN_HIDE = 0x80;
        /// The shortest form that this node understands.
        #[doc(alias = "ND2S_LOCAL_STR")]
        const LOCAL_STR = 0x1000;
        /// The `~` before a policy also where no name stands before it.
        #[doc(alias = "ND2S_SEP_FORCE")]
        const SEP_FORCE = 0x2000;
    }
}

impl NdFlags {
    /// Whether a part is shown; `assumed` says whether everybody would assume it.
    fn shows(self, show: Self, hide: Self, assumed: bool) -> bool {
        self.contains(show) || (!self.contains(hide) && !assumed)
    }
}

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
    pub fn name_of_nd(&self, nd: Nd, flags: NdFlags) -> Result<Vec<u8>> {
        let parts = [
            NdFlags::DIR_SHOW | NdFlags::DIR_HIDE,
            NdFlags::QOS_SHOW | NdFlags::QOS_HIDE,
            NdFlags::NAME_SHOW | NdFlags::NAME_HIDE,
            NdFlags::DOMAIN_SHOW | NdFlags::DOMAIN_HIDE,
        ];
        if parts.iter().any(|part| flags.contains(*part)) {
            return Err(Errno::EINVAL);
        }
        let as_path = flags.contains(NdFlags::DIR_SHOW);
        let with_name = flags.shows(
            NdFlags::NAME_SHOW,
            NdFlags::NAME_HIDE,
            nd.is_local() && !as_path,
        );
        let with_policy = flags.shows(NdFlags::QOS_SHOW, NdFlags::QOS_HIDE, nd.qos() == 0);
        let mut text = Vec::new();
        if as_path {
            text.extend_from_slice(NETWORK_PREFIX.as_bytes());
            text.push(b'/');
        }
        if with_name {
            let nodes = self.nodes()?;
            let node = nodes.iter().find(|node| node.nd.same_node(nd));
            let name = node.ok_or(Errno::ENOENT)?.name;
            text.extend_from_slice(name.as_str().as_bytes());
        }
        if with_policy {
            if with_name || flags.contains(NdFlags::SEP_FORCE) {
                text.push(b'~');
            }
            text.extend_from_slice(&self.policy_of_nd(nd)?);
        }
        if as_path {
            text.push(b'/');
        }
        Ok(text)
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

    /// The link policy of a node descriptor, as it stands after the `~` of a path.
    fn policy_of_nd(&self, nd: Nd) -> Result<Vec<u8>> {
        match self.ask(&Request::Policy(nd))? {
            Reply::Policy(Policy { text }) => Ok(text),
            _ => Err(Errno::EBADMSG),
        }
    }
}
