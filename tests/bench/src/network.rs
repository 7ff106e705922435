//! Two machines: network namespaces with a veth pair between them.

use std::cell::OnceCell;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::rc::Rc;

use crate::Outcome;
use crate::group::{Group, Subject, Target};
use crate::namespaces::{ADDRESSES, Namespaces};
use crate::nodes::{NAMES, Nodes};
use crate::pair::{Kind, Pair, Place};
use crate::place::Placement;

pub(crate) fn groups(lab: &Lab, nodes: &Nodes) -> Vec<Group> {
    let mut groups = Vec::new();
    for placement in [Placement::Same, Placement::Split] {
        let small = |kind| slashnet(nodes, "slashnet", kind, 64, placement);
        let mut group = Group::new("remote 64 B round trip", "us")
            .placed(placement)
            .subject(lab.round_trip("raw UDP", Kind::UdpEcho, 64, placement))
            .subject(lab.round_trip(NO_DAEMON, Kind::DirectEcho, 64, placement));
        if placement == Placement::Same {
            group = group
                .subject(small(Kind::SlashnetEcho).target(Target::RatioAtMost(1.4)))
                .subject(stopped(nodes, placement).target(Target::RatioAtMost(1.4)));
        } else {
            group = group.subject(small(Kind::SlashnetEcho));
        }
        groups.push(group);
        groups.push(
            Group::new("remote 64 KiB round trip", "us")
                .placed(placement)
                .subject(lab.round_trip("UDP with GSO", Kind::GsoEcho, 64 * KIB, placement))
                .subject(lab.round_trip(NO_DAEMON, Kind::DirectEcho, 64 * KIB, placement))
                .subject(
                    slashnet(nodes, "slashnet", Kind::SlashnetEcho, 64 * KIB, placement)
                        .target(Target::RatioAtMost(3.0)),
                ),
        );
        groups.push(
            Group::new("bulk of 1 MiB messages", "Gbit/s")
                .placed(placement)
                .subject(lab.stream("one TCP stream", Kind::TcpStream, KIB * KIB, placement))
                .subject(lab.stream("quinn", Kind::QuinnStream, KIB * KIB, placement))
                .subject(lab.stream(NO_DAEMON, Kind::DirectBulk, KIB * KIB, placement))
                .subject(
                    slashnet(nodes, "slashnet", Kind::SlashnetBulk, KIB * KIB, placement)
                        .target(Target::RatioAtLeast(0.5))
                        .target(Target::AtLeastTimes("quinn", 1.0)),
                ),
        );
    }
    groups
}

fn slashnet(
    nodes: &Nodes,
    name: &'static str,
    kind: Kind,
    size: usize,
    placement: Placement,
) -> Subject {
    let nodes = nodes.clone();
    Subject::new(name, move |time| {
        let figures = remote(&nodes, kind, size, placement)?.run(time)?;
        Ok(if kind == Kind::SlashnetBulk {
            figures.gigabits()
        } else {
            figures.microseconds()
        })
    })
}

fn stopped(nodes: &Nodes, placement: Placement) -> Subject {
    let nodes = nodes.clone();
    Subject::new("slashnet, both daemons stopped", move |time| {
        let mut pair = remote(&nodes, Kind::SlashnetEcho, 64, placement)?;
        pair.client.stop = nodes.pair()?.pids();
        Ok(pair.run(time)?.microseconds())
    })
}

/// A client on the first node and a server on the second.
pub(crate) fn remote(
    nodes: &Nodes,
    kind: Kind,
    size: usize,
    placement: Placement,
) -> Outcome<Pair> {
    let [client, server] = nodes.lab().pids()?;
    let [near, far] = &nodes.pair()?.nodes;
    Ok(Pair {
        kind,
        size,
        cpus: placement.cpus()?,
        client: Place {
            network: Some(client),
            at: Some(near.directory()),
            to: Some(NAMES[1].to_owned()),
            stop: Vec::new(),
        },
        server: Place {
            network: Some(server),
            at: Some(far.directory()),
            ..Place::default()
        },
    })
}

/// The two machines, made when first needed.
#[derive(Clone, Default)]
pub(crate) struct Lab {
    namespaces: Rc<OnceCell<Result<Namespaces, String>>>,
}

impl Lab {
    pub(crate) fn pids(&self) -> Outcome<[i32; 2]> {
        let made = self
            .namespaces
            .get_or_init(|| Namespaces::create().map_err(|error| error.to_string()));
        match made {
            Ok(namespaces) => Ok(namespaces.pids()),
            Err(reason) => Err(reason.clone().into()),
        }
    }

    fn pair(&self, kind: Kind, size: usize, placement: Placement) -> Outcome<Pair> {
        let [client, server] = self.pids()?;
        let [client_address, server_address] = ADDRESSES.map(|address| format!("{address}:{PORT}"));
        Ok(Pair {
            kind,
            size,
            cpus: placement.cpus()?,
            client: Place {
                network: Some(client),
                at: Some(client_address.clone()),
                to: Some(server_address.clone()),
                stop: Vec::new(),
            },
            server: Place {
                network: Some(server),
                at: Some(server_address),
                to: Some(client_address),
                stop: Vec::new(),
            },
        })
    }

    pub(crate) fn round_trip(
        &self,
        name: &'static str,
        kind: Kind,
        size: usize,
        placement: Placement,
    ) -> Subject {
        let lab = self.clone();
        Subject::new(name, move |time| {
            Ok(lab.pair(kind, size, placement)?.run(time)?.microseconds())
        })
    }

    fn stream(&self, name: &'static str, kind: Kind, size: usize, placement: Placement) -> Subject {
        let lab = self.clone();
        Subject::new(name, move |time| {
            Ok(lab.pair(kind, size, placement)?.run(time)?.gigabits())
        })
    }
}

/// Lets the kernel cut what is sent into `segment` bytes and join what has arrived.
#[expect(unsafe_code, reason = "no crate here carries these two options")]
pub(crate) fn enable_offload(socket: BorrowedFd<'_>, segment: usize) -> Outcome<()> {
    let segment = libc::c_int::try_from(segment)?;
    for (name, value) in [(libc::UDP_SEGMENT, segment), (libc::UDP_GRO, 1)] {
        // SAFETY: the value is a c_int of the length given; the kernel only reads it during the call.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_UDP,
                name,
                (&raw const value).cast(),
                libc::socklen_t::try_from(size_of_val(&value))?,
            )
        };
        if result != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
    }
    Ok(())
}

const NO_DAEMON: &str = "slashnet, no daemon";
const PORT: u16 = 7713;
const KIB: usize = 1024;
