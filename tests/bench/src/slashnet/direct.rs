//! Sessions that the two children introduce to each other themselves, so that no daemon is needed.
//!
//! With addresses they go over UDP, encrypted; without over shared memory.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use abi::{Nd, Pid};
use drivers::udp::link_address;
use drivers::{MemoryDriver, MemoryParts, UdpDriver};
use ipc::Endpoint;
use ipc::direct::{self, Introduction};

use crate::Outcome;
use crate::pair::{ChildOptions, Kind};
use crate::wire::{hear, tell};

/// The client's endpoint and the node of the server, if the children introduce each other.
pub(super) fn client(
    options: &ChildOptions,
    socket: BorrowedFd<'_>,
) -> Outcome<Option<(Endpoint, Nd)>> {
    if !is_direct(options) {
        return Ok(None);
    }
    let endpoint = direct::endpoint(Pid(1001))?;
    if let Some((driver, introduction)) = over_udp(options)? {
        let to = options.to.as_deref().ok_or("a peer address")?;
        let peer = link_address(to.parse()?);
        direct::client_over_udp(&endpoint, &introduction, driver, peer)?;
        return Ok(Some((endpoint, introduction.nd)));
    }
    let (_, fds) = hear(socket)?;
    let [memfd, rings, hears] =
        <[OwnedFd; 3]>::try_from(fds).map_err(|_few| "three descriptors")?;
    let driver = direct::attach_memory(MemoryParts {
        memfd,
        rings,
        hears,
    })?;
    let introduction = Introduction::new(1);
    direct::client_over_memory(&endpoint, &introduction, driver, None)?;
    Ok(Some((endpoint, introduction.nd)))
}

/// The server's endpoint, if the children introduce each other.
pub(super) fn server(options: &ChildOptions, socket: BorrowedFd<'_>) -> Outcome<Option<Endpoint>> {
    if !is_direct(options) {
        return Ok(None);
    }
    let endpoint = direct::endpoint(Pid(2))?;
    if let Some((driver, introduction)) = over_udp(options)? {
        let to = options.to.as_deref().ok_or("a peer address")?;
        let peer = link_address(to.parse()?);
        direct::server_over_udp(&endpoint, &introduction, driver, peer)?;
        return Ok(Some(endpoint));
    }
    let (driver, parts) = MemoryDriver::create()?;
    tell(
        socket,
        "parts",
        &[
            parts.memfd.as_fd(),
            parts.rings.as_fd(),
            parts.hears.as_fd(),
        ],
    )?;
    direct::server_over_memory(&endpoint, &Introduction::new(1), driver, None)?;
    Ok(Some(endpoint))
}

fn over_udp(options: &ChildOptions) -> Outcome<Option<(UdpDriver, Introduction)>> {
    let Some(at) = &options.at else {
        return Ok(None);
    };
    let driver = UdpDriver::bind(at.parse()?, None)?;
    Ok(Some((
        driver,
        Introduction {
            nd: Nd(1),
            ..Introduction::new(1)
        },
    )))
}

fn is_direct(options: &ChildOptions) -> bool {
    matches!(options.kind, Kind::DirectEcho | Kind::DirectBulk)
}
