//! Sessions without a node daemon, for tests and benchmarks: whoever calls vouches for both ends.
#![doc(hidden)]

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use abi::{Credentials, Errno, Incarnation, LinkAddress, Nd, NodeName, Pid, Result, SessionId};
use drivers::{MemoryDriver, MemoryParts, PacketDriver, UdpDriver};
use transport::{LaneParams, Role, SessionParams};

use crate::Endpoint;
use crate::cipher::AeadCipher;
use crate::clock;
use crate::introduce::{RING, SLOTS};
use crate::node_state::NodeState;
use crate::session::{NewSession, NewSide, Peer};
use crate::shared::{Shared, epoll_fd};

/// An endpoint that has no daemon.
pub fn endpoint(pid: Pid) -> Result<Endpoint> {
    let name = NodeName::parse("direct").map_err(Errno::from)?;
    Shared::start(NodeState::default(), pid, name).map(Endpoint::from_shared)
}

/// What both ends of a session are told.
#[derive(Clone, Debug)]
pub struct Introduction {
    /// The session's number at the client.
    pub client: SessionId,
    /// The session's number at the server.
    pub server: SessionId,
    /// The node under which the client knows the server.
    pub nd: Nd,
    /// The server.
    pub pid: Pid,
    /// The client, as the server is to see it.
    pub credentials: Credentials,
    /// Packet keys come from it; used by UDP only.
    pub secret: [u8; 32],
}

/// Two fresh endpoints, a client and a server (pid 2), joined by shared memory.
pub fn pair() -> Result<(Endpoint, Endpoint)> {
    let (client, server) = (endpoint(Pid(1001))?, endpoint(Pid(2))?);
    let (near, far) = MemoryDriver::pair(RING).map_err(|_| Errno::ENFILE)?;
    let introduction = Introduction::new(1);
    client_over_memory(&client, &introduction, near, None)?;
    server_over_memory(&server, &introduction, far, None)?;
    Ok((client, server))
}

/// Two fresh endpoints, a client and a server (pid 2), joined by encrypted UDP over loopback.
pub fn udp_pair() -> Result<(Endpoint, Endpoint)> {
    let (client, server) = (endpoint(Pid(1001))?, endpoint(Pid(2))?);
    let introduction = Introduction {
        nd: Nd(1),
        ..Introduction::new(1)
    };
    let (near, far) = (bind()?, bind()?);
    let (near_address, far_address) = (near.local_address(), far.local_address());
    client_over_udp(&client, &introduction, near, far_address)?;
    server_over_udp(&server, &introduction, far, near_address)?;
    Ok((client, server))
}

/// Ends an endpoint that others still hold, as the end of its process would.
pub fn shut_down(endpoint: &Endpoint) {
    endpoint.shared().close();
}

/// A UDP socket on a free port of the loopback address.
pub fn bind() -> Result<UdpDriver> {
    UdpDriver::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None).map_err(Errno::from)
}

impl Introduction {
    /// The usual one: session `number` to pid 2, from this very user.
    #[must_use]
    pub fn new(number: u32) -> Self {
        let uid = abi::Uid(rustix::process::geteuid().as_raw());
        let gid = abi::Gid(rustix::process::getegid().as_raw());
        Self {
            client: SessionId(number),
            server: SessionId(number + 10_000),
            nd: Nd::LOCAL,
            pid: Pid(2),
            credentials: Credentials::new(Nd::LOCAL, Pid(1001), uid, gid),
            secret: [5; 32],
        }
    }

    fn params(&self, role: Role) -> SessionParams {
        let (local, peer) = match role {
            Role::Client => (self.client, self.server),
            Role::Server => (self.server, self.client),
        };
        let mut params = SessionParams::new(local, peer, role);
        params.slots = SLOTS;
        params
    }

    fn new_session(&self, params: SessionParams) -> NewSession {
        let side = match params.role {
            Role::Client => NewSide::Client(Peer {
                node: self.nd.node(),
                pid: self.pid,
                identity: None,
            }),
            Role::Server => NewSide::Server {
                credentials: self.credentials.clone(),
                user: self.credentials.uid,
                rights: rights::ClientRights::default_rights(),
            },
        };
        let (nd, pid) = match params.role {
            Role::Client => (self.nd, self.pid),
            Role::Server => (self.credentials.node, self.credentials.pid),
        };
        NewSession {
            params,
            memory: None,
            lifeline: None,
            nd,
            pid,
            incarnation: Incarnation(1),
            proof: [0; 16],
            side,
        }
    }
}

/// The client's end over shared memory. `lifeline` is a socket whose other end the peer alone holds.
pub fn client_over_memory(
    endpoint: &Endpoint,
    introduction: &Introduction,
    driver: MemoryDriver,
    lifeline: Option<OwnedFd>,
) -> Result {
    over_memory(endpoint, introduction, Role::Client, driver, lifeline)
}

/// The server's end over shared memory.
pub fn server_over_memory(
    endpoint: &Endpoint,
    introduction: &Introduction,
    driver: MemoryDriver,
    lifeline: Option<OwnedFd>,
) -> Result {
    over_memory(endpoint, introduction, Role::Server, driver, lifeline)
}

/// The server's end over the parts that a client's process has passed on.
pub fn attach_memory(parts: MemoryParts) -> Result<MemoryDriver> {
    MemoryDriver::attach(parts).map_err(|_| Errno::EPROTO)
}

fn over_memory(
    endpoint: &Endpoint,
    introduction: &Introduction,
    role: Role,
    driver: MemoryDriver,
    lifeline: Option<OwnedFd>,
) -> Result {
    let shared = endpoint.shared();
    let mut new = introduction.new_session(introduction.params(role));
    new.memory = Some(Arc::new(driver));
    new.lifeline = lifeline;
    let mut state = shared.enter()?;
    state.install(clock::now(), new)?;
    shared.settle(state);
    Ok(())
}

/// The client's end over UDP.
pub fn client_over_udp(
    endpoint: &Endpoint,
    introduction: &Introduction,
    driver: UdpDriver,
    peer: LinkAddress,
) -> Result {
    over_udp(endpoint, introduction, Role::Client, driver, peer)
}

/// The server's end over UDP.
pub fn server_over_udp(
    endpoint: &Endpoint,
    introduction: &Introduction,
    driver: UdpDriver,
    peer: LinkAddress,
) -> Result {
    over_udp(endpoint, introduction, Role::Server, driver, peer)
}

fn over_udp(
    endpoint: &Endpoint,
    introduction: &Introduction,
    role: Role,
    driver: UdpDriver,
    peer: LinkAddress,
) -> Result {
    let shared = endpoint.shared();
    let mut params = introduction.params(role);
    let cipher = AeadCipher::new(&introduction.secret, role, Arc::clone(shared.guard()));
    params.cipher = Some(Box::new(cipher));
    let mut state = shared.enter()?;
    let epoll = Arc::clone(&state.epoll);
    let link = state.links.add(epoll_fd(&epoll), Arc::new(driver))?;
    params.lanes = vec![LaneParams::new(0, link, peer, LOOPBACK_PACKET)];
    state.install(clock::now(), introduction.new_session(params))?;
    shared.settle(state);
    Ok(())
}

/// What an Ethernet would carry, so that tests meet the usual fragments.
const LOOPBACK_PACKET: u32 = 1472;
