//! Requests about names and attributes.

use abi::flags::mode;
use abi::io::{Chmod, Chown, Request, Stat, Utime, Xattr, XattrFlags};
use abi::limits::XATTR_VALUE_MAX;
use abi::{Errno, Gid, Result, Uid};
use std::time::Duration;

use crate::attributes;
use crate::files::OpenFile;
use crate::kernel::request::SetAttr;
use crate::kernel::{Answer, FileAttributes, Validity, reply};
use crate::leases::{LEASED, Stamp};
use crate::nodes::Identity;
use crate::path_space::{Call, PathSpace};

impl PathSpace {
    pub(crate) fn look_up(
        &self,
        call: &Call<'_>,
        name: &[u8],
        early: &mut dyn FnMut(Answer),
    ) -> Result<Answer> {
        let above = self.lease(call);
        if self.look_up_known(call.node, name, early) {
            return Ok(Answer::Empty);
        }
        let path = self.child(call, name)?;
        let known = self.nodes.find(call.node, name);
        let own = known.and_then(|known| self.leases.of(known));
        if let Some(known) = known {
            self.behind.settle(known, call.interrupt)?;
        }
        match call.view.lstat_and_server(&path) {
            Ok(found) => {
                let holds = || self.leases.holds(above, name);
                Ok(self.entry(call, (name, &found), early, holds, own))
            }
            // Node 0: the kernel may remember that there is nothing.
            Err(Errno::ENOENT) => {
                let _gate = self.leases.gate();
                let lease = above.filter(|_| self.leases.holds(above, name));
                self.tell_missing(name, self.validity(call), early, lease);
                Ok(Answer::Empty)
            }
            Err(errno) => Err(errno),
        }
    }

    /// Under the gate.
    pub(crate) fn tell_missing(
        &self,
        name: &[u8],
        mut validity: Validity,
        early: &mut dyn FnMut(Answer),
        lease: Option<Stamp>,
    ) {
        if lease.is_some_and(|lease| self.leases.remembers_missing(lease, name)) {
            validity.entry = LEASED;
        }
        early(reply::entry(0, &FileAttributes::default(), validity));
    }

    /// The lease under which names are looked up in the directory of the call, if there is one.
    fn lease(&self, call: &Call<'_>) -> Option<Stamp> {
        match self.fresh.is_zero() {
            true => None,
            false => self.leases.used(call.node, &call.view),
        }
    }

    pub(crate) fn get_attributes(
        &self,
        call: &Call<'_>,
        handle: Option<u64>,
        early: &mut dyn FnMut(Answer),
    ) -> Result<Answer> {
        let own = self.leases.of(call.node);
        let place = self.nodes.place(call.node);
        if let (Some(_), Some((above, _))) = (own, &place) {
            self.leases.tell_beside(*above, &call.view);
            if self.attributes_known(call.node, early) {
                return Ok(Answer::Empty);
            }
        }
        let above = place
            .as_ref()
            .and_then(|(directory, _)| self.leases.of(*directory));
        let stat = self.stat(call, handle)?;
        self.versions.told(call.node, &stat);
        let _gate = self.leases.gate();
        let holds = place.is_some_and(|(_, name)| self.leases.holds(above, &name));
        self.tell_attributes(call, &stat, early, (holds, own));
        Ok(Answer::Empty)
    }

    /// Under the gate.
    fn tell_attributes(
        &self,
        call: &Call<'_>,
        stat: &Stat,
        early: &mut dyn FnMut(Answer),
        (holds, own): (bool, Option<Stamp>),
    ) {
        let validity = Validity {
            entry: Duration::ZERO,
            attributes: self.attributes_validity(call, stat, holds, own),
        };
        early(reply::attributes(&attributes::of(stat), validity));
    }

    pub(crate) fn set_attributes(
        &self,
        call: &Call<'_>,
        change: &SetAttr,
        early: &mut dyn FnMut(Answer),
    ) -> Result<Answer> {
        let own_change = self.leases.change_of(call.node);
        let told = own_change.judge(self.apply(call, change))?;
        let stat = told.map_or_else(|| self.stat(call, change.handle), Ok)?;
        self.versions.told(call.node, &stat);
        let _gate = self.leases.gate();
        let holds = own_change.finish();
        self.tell_attributes(call, &stat, early, (holds, None));
        Ok(Answer::Empty)
    }

    /// Makes the changes one by one; the attributes after the last one, if the server told them.
    fn apply(&self, call: &Call<'_>, change: &SetAttr) -> Result<Option<Stat>> {
        let mut told = None;
        if let Some(size) = change.size {
            self.set_size(call, change.handle, size)?;
        }
        if let Some(new) = change.mode {
            let new = new & mode::PERMISSIONS;
            let request = Request::Chmod(Chmod { mode: new });
            told = self.change(call, &request, |path| call.view.chmod(path, new))?;
        }
        if change.uid.is_some() || change.gid.is_some() {
            let (uid, gid) = (change.uid.map(Uid), change.gid.map(Gid));
            let request = Request::Chown(Chown { uid, gid });
            told = self.change(call, &request, |path| call.view.lchown(path, uid, gid))?;
        }
        if change.accessed.is_some() || change.modified.is_some() {
            let atime = attributes::set_time(change.accessed);
            let mtime = attributes::set_time(change.modified);
            let request = Request::Utime(Utime { atime, mtime });
            told = self.change(call, &request, |path| {
                call.view.lutimens(path, atime, mtime)
            })?;
        }
        Ok(told)
    }

    fn set_size(&self, call: &Call<'_>, handle: Option<u64>, size: u64) -> Result {
        let open = handle.and_then(|handle| self.files.get(handle));
        match open {
            Some(open) => open.file().truncate(size),
            None => self.by_name(call.node, |path| call.view.truncate(path, size)),
        }
    }

    /// Changes the file through a descriptor that its caller has opened, which is sure to be this file and may have no
    /// name any more, or else by name.
    fn change(
        &self,
        call: &Call<'_>,
        request: &Request<'_>,
        by_name: impl FnMut(&[u8]) -> Result,
    ) -> Result<Option<Stat>> {
        let own = |open: &OpenFile| open.opener() == call.caller;
        if let Some(open) = self.files.of(call.node, own) {
            match open.file().change(request, &call.options()) {
                Err(errno) if is_gone(errno) => {}
                done => return done,
            }
        }
        self.by_name(call.node, by_name).map(|()| None)
    }

    fn stat(&self, call: &Call<'_>, handle: Option<u64>) -> Result<Stat> {
        let open = handle.and_then(|handle| self.files.get(handle));
        if let Some(open) = open.or_else(|| self.files.of(call.node, |_| true)) {
            match open.file().stat() {
                Err(errno) if is_gone(errno) => {}
                done => return done,
            }
        }
        self.by_name(call.node, |path| {
            let (stat, server) = call.view.lstat_and_server(path)?;
            match self
                .nodes
                .is(call.node, Identity::of(&stat, server.as_ref()))
            {
                true => Ok(stat),
                // Somebody has put another file there: the kernel looks the name up again.
                false => Err(Errno::ESTALE),
            }
        })
    }

    pub(crate) fn read_link(&self, call: &Call<'_>) -> Result<Answer> {
        let text = self.by_name(call.node, |path| call.view.readlink(path))?;
        Ok(Answer::Bytes(text))
    }

    pub(crate) fn make_symlink(
        &self,
        call: &Call<'_>,
        name: &[u8],
        target: &[u8],
        early: &mut dyn FnMut(Answer),
    ) -> Result<Answer> {
        self.make(call, name, early, |path| call.view.symlink(target, path))
    }

    pub(crate) fn make_node(
        &self,
        call: &Call<'_>,
        name: &[u8],
        kind: u32,
        rdev: u32,
        early: &mut dyn FnMut(Answer),
    ) -> Result<Answer> {
        self.make(call, name, early, |path| {
            call.view.mknod(path, kind, u64::from(rdev))
        })
    }

    pub(crate) fn make_directory(
        &self,
        call: &Call<'_>,
        name: &[u8],
        mode: u32,
        early: &mut dyn FnMut(Answer),
    ) -> Result<Answer> {
        self.make(call, name, early, |path| call.view.mkdir(path, mode))
    }

    /// Makes a name and answers with what it stands for.
    fn make(
        &self,
        call: &Call<'_>,
        name: &[u8],
        early: &mut dyn FnMut(Answer),
        make: impl FnOnce(&[u8]) -> Result,
    ) -> Result<Answer> {
        let path = self.child(call, name)?;
        let change = self.leases.change(call.node, name);
        change.judge(make(&path))?;
        let found = call.view.lstat_and_server(&path)?;
        Ok(self.entry(call, (name, &found), early, || change.finish(), None))
    }

    pub(crate) fn unlink(&self, call: &Call<'_>, name: &[u8], directory: bool) -> Result<Answer> {
        let path = self.child(call, name)?;
        let change = self.leases.change(call.node, name);
        change.judge(match directory {
            true => call.view.rmdir(&path),
            false => call.view.unlink(&path),
        })?;
        self.nodes.removed(call.node, name);
        Ok(Answer::Empty)
    }

    pub(crate) fn rename(
        &self,
        call: &Call<'_>,
        name: &[u8],
        to: (u64, &[u8]),
        flags: u32,
    ) -> Result<Answer> {
        // Exchanging and not replacing are no part of the messages; callers fall back.
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        let (new_parent, new_name) = to;
        let old = self.child(call, name)?;
        let new = self
            .nodes
            .child(new_parent, new_name)
            .ok_or(Errno::ENOENT)?;
        let from = self.leases.change(call.node, name);
        let into = self.leases.change(new_parent, new_name);
        from.judge(into.judge(call.view.rename(&old, &new)))?;
        self.nodes.renamed((call.node, name), to);
        Ok(Answer::Empty)
    }

    pub(crate) fn link(
        &self,
        call: &Call<'_>,
        node: u64,
        new_name: &[u8],
        early: &mut dyn FnMut(Answer),
    ) -> Result<Answer> {
        let _old = self.leases.change_of(node);
        self.make(call, new_name, early, |path| {
            self.by_name(node, |old| call.view.link(old, path))
        })
    }

    pub(crate) fn space(&self, call: &Call<'_>) -> Result<Answer> {
        let space = match call.view.statvfs(self.path(call)?) {
            Ok(statvfs) => attributes::space(&statvfs),
            // Directories of managers are on no file system; `df` need not fail for them.
            Err(Errno::ENOSYS) => reply::Space {
                block_size: 4096,
                fragment_size: 4096,
                name_max: abi::limits::NAME_MAX as u32,
                ..reply::Space::default()
            },
            Err(errno) => return Err(errno),
        };
        Ok(reply::space(&space))
    }

    /// Says what the mode bits say; the server decides when the file is opened.
    pub(crate) fn access(&self, call: &Call<'_>, mask: u32) -> Result<Answer> {
        let stat = self.stat(call, None)?;
        let (uid, gid) = call.caller;
        let mut groups = vec![gid];
        if let Some(identity) = call.view.identity() {
            groups.extend(identity.groups.iter().map(|group| group.0));
        }
        match attributes::allows(&stat, uid, &groups, mask) {
            true => Ok(Answer::Empty),
            false => Err(Errno::EACCES),
        }
    }

    pub(crate) fn set_xattr(
        &self,
        call: &Call<'_>,
        name: &[u8],
        value: &[u8],
        flags: u32,
    ) -> Result<Answer> {
        carried(name)?;
        if self.nodes.is_symlink(call.node) {
            // Linux has no `user.` attributes of symbolic links.
            return Err(Errno::EPERM);
        }
        let flags = XattrFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
        let _own = self.leases.change_of(call.node);
        let request = Request::Xattr(Xattr::Set { name, flags, value });
        self.change(call, &request, |path| {
            call.view.set_xattr(path, name, value, flags)
        })?;
        Ok(Answer::Empty)
    }

    pub(crate) fn get_xattr(&self, call: &Call<'_>, name: &[u8], size: u32) -> Result<Answer> {
        carried(name)?;
        if self.nodes.is_symlink(call.node) {
            return Err(Errno::ENODATA);
        }
        let nbytes = XATTR_VALUE_MAX as u32;
        let request = Request::Xattr(Xattr::Get { name, nbytes });
        let value = self.xattr(call, &request, |path| call.view.xattr(path, name))?;
        sized(value, size)
    }

    pub(crate) fn list_xattr(&self, call: &Call<'_>, size: u32) -> Result<Answer> {
        if self.nodes.is_symlink(call.node) {
            return sized(Vec::new(), size);
        }
        let nbytes = XATTR_VALUE_MAX as u32;
        let request = Request::Xattr(Xattr::List { nbytes });
        let list = self.xattr(call, &request, |path| call.view.xattrs(path))?;
        sized(list, size)
    }

    /// Asks by name, and a file without one through a descriptor of the caller.
    fn xattr(
        &self,
        call: &Call<'_>,
        request: &Request<'_>,
        by_name: impl FnMut(&[u8]) -> Result<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        let own = |open: &OpenFile| open.opener() == call.caller;
        match self.by_name(call.node, by_name) {
            Err(Errno::ESTALE) => {}
            done => return done,
        }
        let open = self.files.of(call.node, own).ok_or(Errno::ESTALE)?;
        let mut value = vec![0; XATTR_VALUE_MAX];
        let reply = open.file().call(request, &mut value, &call.options())?;
        value.truncate(reply.len);
        Ok(value)
    }

    pub(crate) fn remove_xattr(&self, call: &Call<'_>, name: &[u8]) -> Result<Answer> {
        carried(name)?;
        let _own = self.leases.change_of(call.node);
        let request = Request::Xattr(Xattr::Remove { name });
        self.change(call, &request, |path| call.view.remove_xattr(path, name))?;
        Ok(Answer::Empty)
    }
}

/// Whether an open file has no server any more, so that its name has to do.
fn is_gone(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::ESRCH | Errno::EBADF | Errno::ESTALE | Errno::ENOENT
    )
}

/// Attributes that mean something to one kernel only (security modules, access control lists) are not carried. `ls -l` asks
/// for them with every file, unless it hears that there are none of this kind at all.
fn carried(name: &[u8]) -> Result {
    match name.starts_with(b"user.") || name.starts_with(b"trusted.") {
        true => Ok(()),
        false => Err(Errno::EOPNOTSUPP),
    }
}

/// The value, or how long it is if the caller has no room yet.
fn sized(value: Vec<u8>, room: u32) -> Result<Answer> {
    match (room as usize, value.len()) {
        (0, length) => Ok(reply::xattr_size(u32::try_from(length).unwrap_or(u32::MAX))),
        (room, length) if length > room => Err(Errno::ERANGE),
        _ => Ok(Answer::Bytes(value)),
    }
}
