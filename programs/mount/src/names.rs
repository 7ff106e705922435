//! Requests about names and attributes.

use abi::flags::mode;
use abi::io::{Stat, XattrFlags};
use abi::{Errno, Gid, Result, Uid};

use crate::attributes;
use crate::kernel::request::SetAttr;
use crate::kernel::{Answer, FileAttributes, reply};
use crate::path_space::{Call, PathSpace};

impl PathSpace {
    pub(crate) fn look_up(&self, call: &Call<'_>, name: &[u8]) -> Result<Answer> {
        let path = self.child(call, name)?;
        if let Some(known) = self.nodes.find(call.node, name) {
            self.behind.settle(known, call.interrupt)?;
        }
        match call.view.lstat(&path) {
            Ok(stat) => Ok(self.entry(call, name, &stat)),
            // Node 0: the kernel may remember that there is nothing.
            Err(Errno::ENOENT) => Ok(reply::entry(
                0,
                &FileAttributes::default(),
                self.validity(call),
            )),
            Err(errno) => Err(errno),
        }
    }

    pub(crate) fn get_attributes(&self, call: &Call<'_>, handle: Option<u64>) -> Result<Answer> {
        let stat = self.stat(call, handle)?;
        Ok(reply::attributes(
            &attributes::of(&stat),
            self.validity(call),
        ))
    }

    pub(crate) fn set_attributes(&self, call: &Call<'_>, change: &SetAttr) -> Result<Answer> {
        let file = change.handle.and_then(|handle| self.files.get(handle));
        if let Some(size) = change.size {
            match &file {
                Some(open) => open.file().truncate(size)?,
                None => call.view.truncate(self.path(call)?, size)?,
            }
        }
        if let Some(new) = change.mode {
            call.view.chmod(self.path(call)?, new & mode::PERMISSIONS)?;
        }
        if change.uid.is_some() || change.gid.is_some() {
            call.view
                .lchown(self.path(call)?, change.uid.map(Uid), change.gid.map(Gid))?;
        }
        if change.accessed.is_some() || change.modified.is_some() {
            let accessed = attributes::set_time(change.accessed);
            let modified = attributes::set_time(change.modified);
            call.view.lutimens(self.path(call)?, accessed, modified)?;
        }
        self.get_attributes(call, change.handle)
    }

    fn stat(&self, call: &Call<'_>, handle: Option<u64>) -> Result<Stat> {
        match handle.and_then(|handle| self.files.get(handle)) {
            Some(open) => open.file().stat(),
            None => call.view.lstat(self.path(call)?),
        }
    }

    pub(crate) fn read_link(&self, call: &Call<'_>) -> Result<Answer> {
        Ok(Answer::Bytes(call.view.readlink(self.path(call)?)?))
    }

    pub(crate) fn make_symlink(
        &self,
        call: &Call<'_>,
        name: &[u8],
        target: &[u8],
    ) -> Result<Answer> {
        let path = self.child(call, name)?;
        call.view.symlink(target, &path)?;
        Ok(self.entry(call, name, &call.view.lstat(&path)?))
    }

    pub(crate) fn make_node(
        &self,
        call: &Call<'_>,
        name: &[u8],
        kind: u32,
        rdev: u32,
    ) -> Result<Answer> {
        // A device node would be shown as a plain file, which the kernel takes for a broken answer.
        if matches!(kind & mode::S_IFMT, mode::S_IFCHR | mode::S_IFBLK) {
            return Err(Errno::EPERM);
        }
        let path = self.child(call, name)?;
        call.view.mknod(&path, kind, u64::from(rdev))?;
        Ok(self.entry(call, name, &call.view.lstat(&path)?))
    }

    pub(crate) fn make_directory(&self, call: &Call<'_>, name: &[u8], mode: u32) -> Result<Answer> {
        let path = self.child(call, name)?;
        call.view.mkdir(&path, mode)?;
        Ok(self.entry(call, name, &call.view.lstat(&path)?))
    }

    pub(crate) fn unlink(&self, call: &Call<'_>, name: &[u8], directory: bool) -> Result<Answer> {
        let path = self.child(call, name)?;
        if directory {
            call.view.rmdir(&path)?;
        } else {
            call.view.unlink(&path)?;
        }
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
        call.view.rename(&old, &new)?;
        self.nodes.renamed((call.node, name), to);
        Ok(Answer::Empty)
    }

    pub(crate) fn link(&self, call: &Call<'_>, node: u64, new_name: &[u8]) -> Result<Answer> {
        let old = self.nodes.path(node).ok_or(Errno::ENOENT)?;
        let path = self.child(call, new_name)?;
        call.view.link(&old, &path)?;
        Ok(self.entry(call, new_name, &call.view.lstat(&path)?))
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
        let stat = call.view.lstat(self.path(call)?)?;
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
        carried(name, Errno::EOPNOTSUPP)?;
        let flags = XattrFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
        call.view.set_xattr(self.path(call)?, name, value, flags)?;
        Ok(Answer::Empty)
    }

    pub(crate) fn get_xattr(&self, call: &Call<'_>, name: &[u8], size: u32) -> Result<Answer> {
        carried(name, Errno::ENODATA)?;
        sized(call.view.xattr(self.path(call)?, name)?, size)
    }

    pub(crate) fn list_xattr(&self, call: &Call<'_>, size: u32) -> Result<Answer> {
        sized(call.view.xattrs(self.path(call)?)?, size)
    }

    pub(crate) fn remove_xattr(&self, call: &Call<'_>, name: &[u8]) -> Result<Answer> {
        carried(name, Errno::ENODATA)?;
        call.view.remove_xattr(self.path(call)?, name)?;
        Ok(Answer::Empty)
    }
}

/// Attributes that mean something to one kernel only (security modules, access control lists) are not carried:
/// `ls -l` asks for them with every file.
fn carried(name: &[u8], refusal: Errno) -> Result {
    match name.starts_with(b"user.") || name.starts_with(b"trusted.") {
        true => Ok(()),
        false if name.starts_with(b"system.") => Err(Errno::EOPNOTSUPP),
        false => Err(refusal),
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
