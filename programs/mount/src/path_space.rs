//! The mounted path space: each request of the kernel becomes calls of an ordinary client.

use abi::flags::mode;
use abi::io::Stat;
use abi::{Candidate, Errno, Result};
use client::Namespace;
use ipc::{Interrupt, SendOptions};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::attributes;
use crate::behind::Behind;
use crate::closing::Closings;
use crate::directories::Listed;
use crate::handles::Handles;
use crate::identity::Views;
use crate::kernel::channel::Channel;
use crate::kernel::readahead::Readahead;
use crate::kernel::request::Operation;
use crate::kernel::{Answer, Handler, Header, Validity, reply};
use crate::leases::{self, LEASED, Leases, Stamp};
use crate::listing_space::ListingSpace;
use crate::locks::Lockers;
use crate::nodes::{Identity, Nodes};
use crate::open_files::OpenFiles;
use crate::readiness::Watchers;
use crate::server::Server;
use crate::versions::Versions;

/// Everything between the kernel and the client.
pub(crate) struct PathSpace {
    pub(crate) views: Views,
    pub(crate) nodes: Arc<Nodes>,
    pub(crate) files: OpenFiles,
    pub(crate) directories: Handles<Listed>,
    pub(crate) listing_space: ListingSpace,
    pub(crate) behind: Behind,
    pub(crate) closings: Arc<Closings>,
    pub(crate) lockers: Lockers,
    pub(crate) versions: Versions,
    pub(crate) leases: Leases,
    pub(crate) watchers: Watchers,
    pub(crate) readahead: Readahead,
    /// To tell the kernel what it did not ask.
    pub(crate) channel: Arc<Channel>,
    /// How long the kernel may believe what it was told.
    pub(crate) fresh: Duration,
}

/// One request at work.
pub(crate) struct Call<'a> {
    pub(crate) node: u64,
    /// User and group of the calling thread.
    pub(crate) caller: (u32, u32),
    pub(crate) view: Namespace,
    pub(crate) interrupt: &'a Interrupt,
    pub(crate) begun: Instant,
}

impl Call<'_> {
    pub(crate) fn options(&self) -> SendOptions<'_> {
        SendOptions {
            interrupt: Some(self.interrupt),
            ..SendOptions::default()
        }
    }
}

impl PathSpace {
    pub(crate) fn new(views: Views, root: &[u8], fresh: Duration, channel: Arc<Channel>) -> Self {
        let nodes = Arc::new(Nodes::new(root));
        let closings = Arc::new(Closings::default());
        let known = (Arc::clone(&nodes), Arc::clone(&closings));
        Self {
            views,
            leases: Leases::new(known, Arc::clone(&channel)),
            nodes,
            files: OpenFiles::new(),
            directories: Handles::new(),
            listing_space: ListingSpace::new(LISTED_BYTES_MAX),
            behind: Behind::new(),
            closings,
            lockers: Lockers::new(),
            versions: Versions::new(),
            watchers: Watchers::new(),
            readahead: Readahead::default(),
            channel,
            fresh,
        }
    }

    /// The path of the node that the call is about.
    pub(crate) fn path(&self, call: &Call<'_>) -> Result<Vec<u8>> {
        self.nodes.path(call.node).ok_or(Errno::ENOENT)
    }

    /// Does something to a file under one of its names: of several, one may be gone meanwhile and another may lie where the
    /// caller may not go.
    pub(crate) fn by_name<T>(
        &self,
        node: u64,
        mut act: impl FnMut(&[u8]) -> Result<T>,
    ) -> Result<T> {
        // The kernel knows the name and is asked about it again then, by LOOKUP; a program that opens with O_CREAT what another
        // node has just removed would get ENOENT otherwise.
        let mut last = Errno::ESTALE;
        for path in self.nodes.paths(node) {
            match act(&path) {
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(Errno::EACCES) => last = Errno::EACCES,
                done => return done,
            }
        }
        Err(last)
    }

    /// The path of a name in the directory that the call is about.
    pub(crate) fn child(&self, call: &Call<'_>, name: &[u8]) -> Result<Vec<u8>> {
        if name.len() > abi::limits::NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        self.nodes.child(call.node, name).ok_or(Errno::ENOENT)
    }

    /// How long an answer may be believed. The time since the request began is taken off, because the server
    /// may have looked as early as that.
    pub(crate) fn validity(&self, call: &Call<'_>) -> Validity {
        let left = self.fresh.saturating_sub(call.begun.elapsed());
        Validity {
            entry: left,
            attributes: left,
        }
    }

    /// Answers with a name and what it stands for; the kernel holds one more reference to it. `holds` tells, under the gate,
    /// whether both may be believed for long, and `holds_own` the same of the attributes of a directory.
    pub(crate) fn entry(
        &self,
        call: &Call<'_>,
        (name, (stat, server)): (&[u8], &(Stat, Option<Candidate>)),
        early: &mut dyn FnMut(Answer),
        holds: impl FnOnce() -> bool,
        own: Option<Stamp>,
    ) -> Answer {
        let node = self
            .nodes
            .enter(call.node, name, Identity::of(stat, server.as_ref()));
        self.versions.told(node, stat);
        let _gate = self.leases.gate();
        let mut validity = self.validity(call);
        if holds() {
            validity.entry = LEASED;
        }
        validity.attributes = self.attributes_validity(call, stat, validity.entry == LEASED, own);
        early(reply::entry(node, &attributes::of(stat), validity));
        Answer::Empty
    }

    /// How long attributes may be believed. To be called under the gate.
    pub(crate) fn attributes_validity(
        &self,
        call: &Call<'_>,
        stat: &Stat,
        above_holds: bool,
        own: Option<Stamp>,
    ) -> Duration {
        let noticed = match mode::is_directory(stat.mode) {
            true => self.leases.holds_all(own),
            false => above_holds && leases::is_noticed(stat),
        };
        match noticed {
            true => LEASED,
            false => self.validity(call).attributes,
        }
    }

    fn dispatch(
        &self,
        call: &Call<'_>,
        operation: &Operation<'_>,
        transfer: &mut Vec<u8>,
        early: &mut dyn FnMut(Answer),
    ) -> Result<Answer> {
        if !matches!(operation, Operation::Write { .. }) {
            // Whatever is asked about a file, it is asked about all that was written to it.
            self.behind.settle(call.node, call.interrupt)?;
        }
        match *operation {
            Operation::Lookup { name } => self.look_up(call, name, early),
            Operation::GetAttr { handle } => self.get_attributes(call, handle, early),
            Operation::SetAttr(ref change) => self.set_attributes(call, change, early),
            Operation::ReadLink => self.read_link(call),
            Operation::SymLink { name, target } => self.make_symlink(call, name, target, early),
            Operation::MkNod { name, mode, rdev } => self.make_node(call, name, mode, rdev, early),
            Operation::MkDir { name, mode } => self.make_directory(call, name, mode, early),
            Operation::Unlink { name } => self.unlink(call, name, false),
            Operation::RmDir { name } => self.unlink(call, name, true),
            Operation::Rename {
                name,
                new_parent,
                new_name,
                flags,
            } => self.rename(call, name, (new_parent, new_name), flags),
            Operation::Link { node, new_name } => self.link(call, node, new_name, early),
            Operation::StatFs => self.space(call),
            Operation::Access { mask } => self.access(call, mask),
            Operation::SetXattr { name, value, flags } => self.set_xattr(call, name, value, flags),
            Operation::GetXattr { name, size } => self.get_xattr(call, name, size),
            Operation::ListXattr { size } => self.list_xattr(call, size),
            Operation::RemoveXattr { name } => self.remove_xattr(call, name),
            Operation::OpenDir => self.open_directory(call),
            Operation::ReadDir {
                handle,
                offset,
                size,
                plus,
            } => self.read_directory(call, handle, offset, (size as usize, plus), early),
            Operation::ReleaseDir { handle } => {
                if let Some(reader) = self.directories.remove(handle).and_then(Listed::reader) {
                    self.closings.close_directory(reader);
                }
                Ok(Answer::Empty)
            }
            Operation::FSyncDir => Ok(Answer::Empty),
            _ => self.dispatch_file(call, operation, transfer, early),
        }
    }

    fn dispatch_file(
        &self,
        call: &Call<'_>,
        operation: &Operation<'_>,
        transfer: &mut Vec<u8>,
        early: &mut dyn FnMut(Answer),
    ) -> Result<Answer> {
        match *operation {
            Operation::Open { flags } => self.open(call, flags),
            Operation::Create { name, flags, mode } => self.create(call, name, flags, mode, early),
            Operation::Read {
                handle,
                offset,
                size,
                flags,
            } => self.read(call, (handle, flags), offset, size as usize, transfer),
            Operation::Write {
                handle,
                offset,
                flags,
                data,
                ..
            } => self.write(call, (handle, flags), offset, data, early),
            Operation::Release { handle } => {
                self.watchers.end(handle);
                // Where another request still has it, the last reference sends the close.
                let released = self.files.remove(call.node, handle);
                if let Some(open) = released.and_then(Arc::into_inner) {
                    self.closings.close(open.into_file());
                }
                Ok(Answer::Empty)
            }
            Operation::Flush { handle, owner } => self.flush(call, handle, owner),
            Operation::Lock(ref lock) => self.lock(call, lock),
            Operation::Poll {
                handle,
                watch,
                events,
                notify,
            } => self.poll(handle, events, notify.then_some(watch)),
            Operation::FSync { handle, data_only } => self.sync(handle, data_only),
            Operation::Fallocate {
                handle,
                offset,
                length,
                mode,
            } => self.allocate(call, handle, (offset, length), mode),
            Operation::LSeek {
                handle,
                offset,
                whence,
            } => self.seek(handle, offset, whence),
            // The kernel does without.
            _ => Err(Errno::ENOSYS),
        }
    }
}

impl Handler for PathSpace {
    type Token = Interrupt;

    type Server = Server;

    fn server(&self, header: &Header) -> Server {
        self.nodes.server(header.node)
    }

    fn token(&self) -> Interrupt {
        Interrupt::new()
    }

    fn trigger(&self, token: &Interrupt) {
        token.trigger();
    }

    fn ends_at_any_signal(&self, header: &Header, operation: &Operation<'_>) -> bool {
        match operation {
            Operation::Open { .. } => self.nodes.is_device(header.node),
            Operation::Lock(_) => true,
            Operation::Read { handle, .. } | Operation::Write { handle, .. } => {
                self.files.get(*handle).is_some_and(|file| file.is_device())
            }
            _ => false,
        }
    }

    fn handle(
        &self,
        header: &Header,
        operation: &Operation<'_>,
        token: &Interrupt,
        transfer: &mut Vec<u8>,
        early: &mut dyn FnMut(Answer),
    ) -> core::result::Result<Answer, i32> {
        let view = if operation.is_about_open_file() {
            self.views.own().clone()
        } else {
            self.views
                .of(header.uid, header.gid, header.pid)
                .interrupted_by(token)
        };
        let call = Call {
            node: header.node,
            caller: (header.uid, header.gid),
            view,
            interrupt: token,
            begun: Instant::now(),
        };
        self.dispatch(&call, operation, transfer, early)
            .map_err(|errno| number(operation, errno))
    }

    fn answers_at_once(
        &self,
        header: &Header,
        operation: &Operation<'_>,
        answer: &mut dyn FnMut(Answer),
    ) -> bool {
        self.answers_known(header, operation, answer)
    }

    fn forget(&self, node: u64, lookups: u64) {
        if self.nodes.forget(node, lookups) {
            self.versions.forget(node);
        }
    }
}

/// Memory for listings that programs are reading; half of it is one of a million files.
const LISTED_BYTES_MAX: usize = 512 << 20;

/// The number for the kernel. For some operations ENOSYS means "never ask again, for any file of the mount", which
/// one server must not decide for all of them.
fn number(operation: &Operation<'_>, errno: Errno) -> i32 {
    let instead = match operation {
        _ if errno != Errno::ENOSYS => errno,
        Operation::Unknown => errno,
        Operation::Lock(_) => Errno::ENOLCK,
        Operation::Flush { .. } | Operation::FSync { .. } | Operation::LSeek { .. } => {
            Errno::EINVAL
        }
        Operation::Open { .. } | Operation::OpenDir | Operation::Create { .. } => Errno::ENXIO,
        Operation::ReadDir { .. } => Errno::ENOTDIR,
        Operation::Access { .. } => Errno::EACCES,
        Operation::SetXattr { .. }
        | Operation::GetXattr { .. }
        | Operation::ListXattr { .. }
        | Operation::RemoveXattr { .. }
        | Operation::Fallocate { .. }
        | Operation::Rename { .. } => Errno::EOPNOTSUPP,
        _ => errno,
    };
    instead.linux()
}
