//! Doors: second entrances to the node, by which programs come in that see only a part of the path space (P42).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use abi::system::{Door, NETWORK_PREFIX, Narrow, NodeRow, PrefixRow, QueryKind, Reply, Request};
use abi::{Errno, Instant, Nd};
use paths::Pathname;

use super::Node;
use super::requests::{Call, Refused, plainly};
use crate::interface::{Caller, Level, Output, ProgramKey};
use crate::limits::{DOORS_MAX, DOORS_PER_USER, DOORS_RESERVE};
use crate::process_manager::view::View;
use crate::share::Share;

const DOORS: Share = Share {
    all: DOORS_MAX,
    of_user: DOORS_PER_USER,
    reserve: DOORS_RESERVE,
};

impl Node {
    /// A program came in by the door that `owner` had opened.
    pub(super) fn connected_by_door(
        &mut self,
        now: Instant,
        program: ProgramKey,
        caller: Caller,
        owner: ProgramKey,
    ) {
        let door = self.processes.programs.get(owner);
        let root = door.and_then(|owner| owner.door.clone());
        let connected = self.processes.connect(now, program, caller);
        match (root, connected, self.processes.programs.get_mut(program)) {
            (Some(root), Ok(()), Some(known)) => known.view = Some(View::new(root)),
            _ => {
                let text = "a program is turned away: too many, or its door is closed";
                self.log(Level::Warn, String::from(text));
                self.processes.programs.disconnect(program);
                self.outputs.push_back(Output::Disconnect(program));
            }
        }
    }

    /// Opens a door for a program; the host says whether that went well.
    pub(super) fn narrow(&mut self, call: Call, narrow: &Narrow) -> Result<(), Refused> {
        let root = Pathname::parse(&narrow.root).map_err(plainly)?;
        if let Some(link) = self.processes.names.link_on_the_way(&root) {
            let text = format!(
                "a root cannot be behind the link {}: give the path that it stands for",
                String::from_utf8_lossy(&link)
            );
            return Err((Errno::EINVAL, text));
        }
        let programs = &self.processes.programs;
        let known = programs
            .get(call.program)
            .ok_or_else(|| plainly(Errno::ESRCH))?;
        if known.door.is_some() {
            let text = "this program has a door already";
            return Err((Errno::EALREADY, String::from(text)));
        }
        let doors = || programs.iter().filter(|(.., other)| other.door.is_some());
        let taken = doors().count();
        let of_user = doors().filter(|(.., other)| other.caller.uid == known.caller.uid);
        let own = of_user.count();
        let has_one = match self.processes.may_manage(&known.caller) {
            true => DOORS.has_one_for_manager(taken),
            false => DOORS.has_one_for_user(own, taken),
        };
        if !has_one {
            return Err((
                Errno::EAGAIN,
                format!("too many doors: at most {DOORS_PER_USER} of one user, {DOORS_MAX} of all"),
            ));
        }
        let (process, started) = (known.caller.pid, known.caller.started);
        let root = root.with_flags(abi::PathFlags::DIR);
        if let Some(known) = self.processes.programs.get_mut(call.program) {
            known.door = Some(root);
        }
        let (program, serial) = (call.program, call.serial);
        self.outputs.push_back(Output::OpenDoor {
            program,
            serial,
            process,
            started,
        });
        Ok(())
    }

    /// The host has opened a door, or could not.
    pub(super) fn door_opened(
        &mut self,
        program: ProgramKey,
        serial: u32,
        outcome: Result<Vec<u8>, String>,
    ) {
        match outcome {
            Ok(directory) => self.reply(program, serial, &Reply::Door(Door { directory })),
            Err(text) => {
                if let Some(known) = self.processes.programs.get_mut(program) {
                    known.door = None;
                }
                self.refuse(program, serial, Errno::EIO, &text);
            }
        }
    }

    /// The request as a program without a view would make it, or why a program with this view may not make it.
    pub(super) fn within_view(&mut self, call: Call, request: Request) -> Result<Request, Refused> {
        let known = self.processes.programs.get_mut(call.program);
        let Some(view) = known.and_then(|known| known.view.as_mut()) else {
            return Ok(request);
        };
        widened(view, call.serial, request).map_err(|errno| match errno {
            Errno::EPERM => (
                errno,
                String::from("not for a program that sees only a part of the path space"),
            ),
            errno => plainly(errno),
        })
    }

    /// Where a program's paths start on this node.
    pub(super) fn root_of(&self, program: ProgramKey, nd: Nd) -> Pathname {
        let known = self.processes.programs.get(program);
        match known.and_then(|known| known.view.as_ref()) {
            Some(view) if nd == Nd::LOCAL => view.root().clone(),
            _ => Pathname::root(),
        }
    }

    /// What a program with a view may see of the rows of a table.
    pub(super) fn nodes_in_view(&self, program: ProgramKey, rows: &mut Vec<NodeRow>) {
        let known = self.processes.programs.get(program);
        if let Some(view) = known.and_then(|known| known.view.as_ref()) {
            rows.retain(|row| view.sees_node(row.nd));
        }
    }

    /// As [`Self::nodes_in_view`], of prefixes: their paths become the program's.
    pub(super) fn prefixes_in_view(&self, program: ProgramKey, rows: &mut Vec<PrefixRow>) {
        let known = self.processes.programs.get(program);
        if let Some(view) = known.and_then(|known| known.view.as_ref()) {
            rows.retain_mut(|row| match view.seen(&row.path) {
                Some(path) => {
                    row.path = path;
                    true
                }
                None => false,
            });
        }
    }
}

/// # Errors
/// `ENOENT` for names outside the view, `EACCES` for processes it does not lead to, `EPERM` for what concerns the whole
/// node.
fn widened(view: &mut View, serial: u32, mut request: Request) -> Result<Request, Errno> {
    match &mut request {
        Request::Attach(attach) => attach.path = view.whole(&attach.path)?,
        Request::Link(link) => link.path = view.whole(&link.path)?,
        Request::Unlink(unlink) => unlink.path = view.whole(&unlink.path)?,
        Request::Narrow(narrow) => narrow.root = view.whole(&narrow.root)?,
        // The answer has to tell the root and the rest apart.
        Request::Resolve(resolve) if resolve.nd == Nd::LOCAL => {}
        Request::Resolve(resolve) => view.check(resolve.nd, &resolve.path)?,
        Request::List(list) if list.nd == Nd::LOCAL => list.path = view.whole(&list.path)?,
        Request::List(list) => view.check(list.nd, &list.path)?,
        Request::Stat(stat) if stat.nd == Nd::LOCAL => stat.path = view.whole(&stat.path)?,
        Request::Stat(stat) => view.check(stat.nd, &stat.path)?,
        Request::Network(network) => view.ask_network(serial, network.nd, &network.path)?,
        Request::Lookup(lookup) => {
            let path = [NETWORK_PREFIX, "/", lookup.node.as_str()].concat();
            view.seen(path.as_bytes()).ok_or(Errno::ENOENT)?;
        }
        Request::OpenSession(open) => {
            if open.identity.is_some() {
                return Err(Errno::EPERM);
            }
            if !view.has_met(open.nd, open.pid) {
                return Err(Errno::EACCES);
            }
        }
        Request::Query(query) => match query.what {
            QueryKind::Nodes => {}
            QueryKind::Prefixes if query.nd == Nd::LOCAL => {}
            QueryKind::Prefixes => view.check(query.nd, b"/")?,
            _ => return Err(Errno::EPERM),
        },
        Request::Hello(_)
        | Request::Detach(_)
        | Request::CloseSession(_)
        | Request::Accept(_)
        | Request::Refuse(_)
        | Request::Suspect(_)
        | Request::Policy(_)
        | Request::Traffic(_)
        | Request::Denied(_)
        | Request::Sockets(_)
        | Request::TookLanes(_)
        | Request::Relay => {}
        // Trust, rules, and the life of the node.
        _ => return Err(Errno::EPERM),
    }
    Ok(request)
}
