//! Two machines: network namespaces with one or two veth pairs between them.

use std::cell::{Cell, OnceCell};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::rc::Rc;

use crate::Outcome;
use crate::figures::Figures;
use crate::group::Subject;
use crate::namespaces::{ADDRESSES, DEVICES, Namespaces, SECOND_ADDRESSES, run};
use crate::nodes::{NAMES, Nodes};
use crate::pair::{Kind, Pair, Place};
use crate::place::Placement;

/// What one measurement between two machines does.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    pub(crate) kind: Kind,
    pub(crate) size: usize,
    pub(crate) depth: usize,
    pub(crate) placement: Placement,
    /// Whether veth hands trains of packets over whole.
    pub(crate) offload: bool,
    /// Behind the name of the server's node.
    pub(crate) policy: &'static str,
}

impl Way {
    pub(crate) const fn new(kind: Kind, size: usize, placement: Placement) -> Self {
        Self {
            kind,
            size,
            depth: 1,
            placement,
            offload: true,
            policy: "",
        }
    }

    const fn is_slashnet(self) -> bool {
        matches!(
            self.kind,
            Kind::SlashnetEcho | Kind::SlashnetThreads | Kind::SlashnetBulk
        )
    }
}

/// The two machines, made when first needed.
#[derive(Clone)]
pub(crate) struct Lab {
    cables: usize,
    namespaces: Rc<OnceCell<Result<Namespaces, String>>>,
    offload: Rc<Cell<bool>>,
}

impl Lab {
    pub(crate) fn new(cables: usize) -> Self {
        Self {
            cables,
            namespaces: Rc::default(),
            offload: Rc::new(Cell::new(true)),
        }
    }

    /// The interfaces of each machine.
    pub(crate) fn devices(&self) -> &'static [&'static str] {
        &DEVICES[..self.cables]
    }

    pub(crate) fn pids(&self) -> Outcome<[i32; 2]> {
        let made = self.namespaces.get_or_init(|| {
            let namespaces = Namespaces::create(self.cables).map_err(|error| error.to_string())?;
            if self.cables > 1 {
                shape(&namespaces).map_err(|error| error.to_string())?;
            }
            Ok(namespaces)
        });
        match made {
            Ok(namespaces) => Ok(namespaces.pids()),
            Err(reason) => Err(reason.clone().into()),
        }
    }

    /// Has the machines cut their packets before veth or behind it.
    pub(crate) fn set_offload(&self, on: bool) -> Outcome<()> {
        if self.offload.get() == on {
            return Ok(());
        }
        let (cut, joined) = if on { ("on", "off") } else { ("off", "on") };
        for pid in self.pids()? {
            for device in self.devices() {
                let words = ["ethtool", "-K", device, "tso", cut, "gso", cut];
                let more = ["tx-udp-segmentation", cut, "gro", joined];
                run(pid, &[&words[..], &more].concat())?;
            }
        }
        self.offload.set(on);
        Ok(())
    }

    /// One subject: a peer between two addresses, or Slashnet between two nodes.
    pub(crate) fn subject(
        &self,
        nodes: &Nodes,
        name: &'static str,
        way: Way,
        read: fn(Figures) -> crate::figures::Measured,
    ) -> Subject {
        let (lab, nodes) = (self.clone(), nodes.clone());
        Subject::new(name, move |time| {
            lab.set_offload(way.offload)?;
            let pair = if way.is_slashnet() {
                remote(&nodes, way)?
            } else {
                lab.pair(way)?
            };
            Ok(read(pair.run(time)?))
        })
    }

    fn pair(&self, way: Way) -> Outcome<Pair> {
        let [client, server] = ADDRESSES.map(|address| format!("{address}:{PORT}"));
        let ways = [
            (client.clone(), Some(server.clone())),
            (server, Some(client)),
        ];
        self.placed(way, ways)
    }

    /// A pair with a side on each machine: where each is, and what it speaks to.
    fn placed(&self, way: Way, sides: [(String, Option<String>); 2]) -> Outcome<Pair> {
        let networks = self.pids()?;
        let [client, server] = sides.map(|(at, to)| Place {
            at: Some(at),
            to,
            ..Place::default()
        });
        let within = |place, network| Place {
            network: Some(network),
            ..place
        };
        Ok(Pair {
            kind: way.kind,
            size: way.size,
            depth: way.depth,
            cpus: way.placement.cpus()?,
            client: within(client, networks[0]),
            server: within(server, networks[1]),
        })
    }
}

/// A client on the first node and a server on the second.
pub(crate) fn remote(nodes: &Nodes, way: Way) -> Outcome<Pair> {
    let [near, far] = &nodes.pair()?.nodes;
    let to = format!("{}{}", NAMES[1], way.policy);
    let sides = [(near.directory(), Some(to)), (far.directory(), None)];
    nodes.lab().placed(way, sides)
}

/// Two cables of 1 Gbit/s, and MPTCP allowed to use both.
fn shape(namespaces: &Namespaces) -> Outcome<()> {
    for pid in namespaces.pids() {
        for device in DEVICES {
            let words = ["tc", "qdisc", "replace", "dev", device, "root", "tbf"];
            let rate = ["rate", "1gbit", "burst", "128k", "limit", "1m"];
            run(pid, &[&words[..], &rate].concat())?;
        }
        let limits = ["subflows", "2", "add_addr_accepted", "2"];
        run(
            pid,
            &[&["ip", "mptcp", "limits", "set"], &limits[..]].concat(),
        )?;
    }
    let [_, server] = namespaces.pids();
    let endpoint = ["ip", "mptcp", "endpoint", "add", SECOND_ADDRESSES[1]];
    run(
        server,
        &[&endpoint[..], &["dev", DEVICES[1], "signal"]].concat(),
    )?;
    Ok(())
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

const PORT: u16 = 7713;
