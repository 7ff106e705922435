//! Links on which this process has no socket: its packets go through the node, sealed.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use abi::system::{LinkKind, NodeLink, Reply, Request};
use abi::{Errno, Nd, Result};
use drivers::{MemoryDriver, PacketDriver, Relay, Silent};
use rustix::fs::Access;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::introduce::join;
use crate::node_state::{Asker, NodeState};
use crate::shared::{Shared, State};

/// The rings that this process shares with its node.
#[derive(Default)]
pub(crate) struct Relaying {
    relay: Option<Relay>,
    /// Rings whose doorbells the node has not sent yet.
    silent: Option<Silent>,
    /// The kernel does not let this process have raw Ethernet sockets.
    no_ethernet: bool,
}

impl Relaying {
    /// The driver for one link.
    pub(crate) fn driver(&self, link: &NodeLink) -> Result<Arc<dyn PacketDriver>> {
        let relay = self.relay.as_ref().ok_or(Errno::ENETDOWN)?;
        let driver = relay.link(link.index, link.address, usize::from(link.mtu));
        Ok(Arc::new(driver.map_err(|_| Errno::ENETDOWN)?))
    }
}

impl NodeState {
    /// Whether packets of a link go through the node.
    pub(crate) fn is_relayed(&self, link: &NodeLink) -> bool {
        link.relayed
            || match link.kind {
                LinkKind::Udp => false,
                LinkKind::Ethernet => self.relay.no_ethernet,
                LinkKind::Memory => !may_write(&link.device),
            }
    }

    /// Rings for the node, if there are links that need them and there are none yet.
    fn begin_relay(&mut self) -> Result<Option<Arc<OwnedFd>>> {
        let has_ethernet = self.links.iter().any(|l| l.kind == LinkKind::Ethernet);
        self.relay.no_ethernet = has_ethernet && !may_use_ethernet();
        let is_needed = self.links.iter().any(|link| self.is_relayed(link));
        if !is_needed || self.relay.relay.is_some() || self.relay.silent.is_some() {
            return Ok(None);
        }
        let (silent, memfd) = Silent::create(MemoryDriver::RING).map_err(|_| Errno::ENFILE)?;
        self.relay.silent = Some(silent);
        Ok(Some(Arc::new(memfd)))
    }

    /// The rings ended with the conversation in which they were made.
    pub(crate) fn end_relay(&mut self) {
        self.relay = Relaying::default();
    }
}

impl Shared {
    /// Opens the rings to the node if they are needed. Blocks for the node, also if somebody else has begun it.
    pub(crate) fn open_relay(&self) -> Result {
        let (begun, is_under_way) = {
            let mut state = self.enter()?;
            let is_under_way = state.node.relay.silent.is_some();
            (state.node.begin_relay()?, is_under_way)
        };
        if is_under_way {
            // The node answers in order: once it has answered this, the rings are there, or refused.
            self.request(&Request::Policy(Nd::LOCAL))?;
        }
        let Some(memfd) = begun else {
            return Ok(());
        };
        let (reply, doorbells) = self.request_with(&Request::Relay, vec![memfd])?;
        self.enter()?.relay_opened(&reply, doorbells)
    }
}

impl State {
    /// As [`Shared::open_relay`], without waiting for the node.
    pub(crate) fn ask_for_relay(&mut self) {
        let asked = match self.node.begin_relay() {
            Ok(None) => return,
            Ok(Some(memfd)) => self.node.ask(Asker::Relay, &Request::Relay, vec![memfd]),
            Err(errno) => Err(errno),
        };
        if let Err(errno) = asked {
            tracing::warn!(%errno, "the node cannot be asked to pass packets on");
            self.node.end_relay();
        }
    }

    pub(crate) fn relay_opened(&mut self, reply: &Reply, doorbells: Vec<OwnedFd>) -> Result {
        let silent = self.node.relay.silent.take().ok_or(Errno::EPROTO)?;
        if let Reply::Error(refusal) = reply {
            return Err(refusal.errno);
        }
        self.node.relay.relay = Some(Relay::new(join(silent, doorbells)?));
        Ok(())
    }
}

/// Whether this process may have a socket in the directory that nodes share.
fn may_write(directory: &[u8]) -> bool {
    rustix::fs::access(directory, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

/// Whether the kernel lets this process send frames by itself.
fn may_use_ethernet() -> bool {
    let flags = SocketFlags::CLOEXEC;
    socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, None).is_ok()
}
