//! Links of the node that change while sessions use them: addresses, carriers, interfaces that go and return.

use std::sync::Arc;

use abi::system::NodeLink;
use abi::{Instant, LinkAddress};

use crate::shared::{State, epoll_fd};
use crate::sockets::Socket;

impl State {
    /// The node's links are these from now on. Sockets on links that have changed are made anew, so that
    /// sessions go on over them.
    pub(crate) fn links_changed(&mut self, now: Instant, links: Vec<NodeLink>) {
        self.node.links = links;
        // A link may have another's number now.
        self.node.policies.clear();
        self.links.failed.hurry(now);
        self.ask_for_relay();
        for at in 0..self.node.sockets.sockets.len() {
            let socket = self.node.sockets.sockets[at];
            let number = socket.node_link;
            let link = self.node.links.iter().find(|link| link.index == number);
            let link = link.filter(|link| link.up).cloned();
            self.node.sockets.sockets[at] = self.follow(now, socket, link.as_ref());
        }
        self.tell_sockets();
        self.pump(now);
    }

    /// Tries links again whose drivers or sockets have failed.
    pub(crate) fn retry_links(&mut self, now: Instant) {
        for link in self.links.failed.take_due(now) {
            let sockets = &self.node.sockets.sockets;
            let at = sockets.iter().position(|socket| socket.link == link);
            let Some(at) = at.filter(|at| !sockets[*at].is_up) else {
                self.transport.link_up(now, link);
                continue;
            };
            let socket = self.node.sockets.sockets[at];
            let of_node = self.node.links.iter();
            let node_link = of_node.clone().find(|link| link.index == socket.node_link);
            // One that the node says is down is tried when the node says something else.
            if let Some(node_link) = node_link.filter(|link| link.up).cloned() {
                self.node.sockets.sockets[at] = self.follow(now, socket, Some(&node_link));
            }
        }
    }

    /// Brings a socket to where its link is now; `None` if that does not work at present.
    fn follow(&mut self, now: Instant, socket: Socket, link: Option<&NodeLink>) -> Socket {
        let Some(link) = link else {
            if socket.is_up {
                self.transport.link_down(now, socket.link);
            }
            return Socket {
                is_up: false,
                ..socket
            };
        };
        let mut followed = socket;
        if socket.epoch != link.epoch || socket.host != link.address.with_port(0) {
            if let Err(errno) = self.rebind(&mut followed, link) {
                tracing::debug!(link = link.index, %errno, "a socket cannot be made anew yet");
                self.links.failed.add(now, socket.link);
                self.transport.link_down(now, socket.link);
                return Socket {
                    is_up: false,
                    ..socket
                };
            }
            self.transport.link_ready(now, socket.link);
            self.transport.rebound(now, socket.link);
        }
        if !socket.is_up {
            self.transport.link_up(now, socket.link);
        }
        followed.is_up = true;
        followed
    }

    fn rebind(&mut self, socket: &mut Socket, link: &NodeLink) -> abi::Result {
        let epoll = Arc::clone(&self.epoll);
        // The old one first: its port is the one that peers know.
        self.links.unplug(epoll_fd(&epoll), socket.link);
        let driver = self.driver_on(link, socket.address.port())?;
        let address = driver.local_address();
        self.links.plug(epoll_fd(&epoll), socket.link, driver)?;
        socket.epoch = link.epoch;
        socket.host = link.address.with_port(0);
        socket.address = address;
        socket.is_relayed = self.node.is_relayed(link);
        self.focus_links(&[socket.link]);
        Ok(())
    }

    /// The daemon has been started anew: its links are the old ones if their addresses are, but rings to pass
    /// packets through have ended with it.
    pub(crate) fn links_of_new_daemon(&mut self, now: Instant, links: Vec<NodeLink>) {
        self.node.end_relay();
        for socket in &mut self.node.sockets.sockets {
            let link = links.iter().find(|link| link.index == socket.node_link);
            if socket.is_relayed {
                // To be made anew when there are rings again.
                socket.host = LinkAddress::NONE;
            } else if let Some(link) = link
                && link.address.with_port(0) == socket.host
            {
                socket.epoch = link.epoch;
            }
        }
        self.links_changed(now, links);
    }
}
