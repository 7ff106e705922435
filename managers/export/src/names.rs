//! What is done to pathnames of the tree: opened, made, moved, linked, removed.

use abi::flags::mode;
use abi::{Errno, OpenFlags, Result};
use resmgr::{
    LinkRequest, MakeNodeRequest, OpenRequest, Opening, ReadLinkRequest, RenameRequest,
    SymlinkRequest, UnlinkRequest,
};
use rustix::fs::inotify::ReadFlags;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Statx};
use std::os::fd::AsFd;

use crate::authority::{Authority, without_umask};
use crate::leases::Change;
use crate::node::{self, Node};
use crate::permission::{self, Wanted};
use crate::resource::Export;
use crate::tree::{Links, errno, statx, statx_entry};

impl Export {
    pub(crate) fn opening(&self, open: &OpenRequest) -> Result<Opening> {
        let wanted = open.flags();
        if wanted.contains(OpenFlags::TMPFILE) {
            return Err(Errno::EOPNOTSUPP);
        }
        let links = Links::on_the_way(open.has_inner_rules());
        let caller = open.credentials();
        let authority = Authority::assume(caller)?;
        let names_only =
            wanted.contains(OpenFlags::PATH) || !wanted.intersects(OpenFlags::READ_WRITE);
        let mut naming = OFlags::PATH;
        // qnx: P63, a mode of S_IFLNK asks for the link itself.
        let link_itself = wanted.intersects(OpenFlags::NOFOLLOW | OpenFlags::EXCLUSIVE)
            || mode::is_symlink(open.mode());
        naming.set(OFlags::NOFOLLOW, link_itself);
        let directory = wanted.contains(OpenFlags::DIRECTORY) || open.must_be_directory();
        naming.set(OFlags::DIRECTORY, directory);
        let found = self.tree.find(
            (&authority, links),
            caller,
            open.path(),
            naming,
            Mode::empty(),
        );
        let creates = wanted.contains(OpenFlags::CREATE);
        let fd = match found {
            Ok(fd) => fd,
            Err(Errno::ENOENT) if creates => return self.create(&authority, open),
            Err(errno) => return Err(errno),
        };
        let stat = statx(&fd)?;
        if creates && wanted.contains(OpenFlags::EXCLUSIVE) {
            return Err(Errno::EEXIST);
        }
        if names_only {
            return Ok(described(Node::new(fd, &stat, true, open.path()), &stat));
        }
        check_kind(&stat, wanted)?;
        if wanted.contains(OpenFlags::WRITE) {
            self.tree.check_writable()?;
        }
        let truncates = wanted.contains(OpenFlags::TRUNCATE | OpenFlags::WRITE);
        let _own = truncates.then(|| self.own_change_of_name(open, ReadFlags::MODIFY));
        // NONBLOCK: should the file have become a pipe meanwhile, opening it does not wait.
        let flags = access_flags(wanted) | naming.difference(OFlags::PATH) | OFlags::NONBLOCK;
        let fd = self.tree.find(
            (&authority, links),
            caller,
            open.path(),
            flags,
            Mode::empty(),
        )?;
        let stat = statx(&fd)?;
        check_kind(&stat, wanted)?;
        Ok(described(Node::new(fd, &stat, false, open.path()), &stat))
    }

    fn create(&self, authority: &Authority, open: &OpenRequest) -> Result<Opening> {
        self.tree.check_writable()?;
        if open.must_be_directory() {
            return Err(Errno::EISDIR);
        }
        let wanted = open.flags();
        let mut flags = access_flags(wanted) | OFlags::CREATE | OFlags::NONBLOCK;
        flags.set(OFlags::EXCL, wanted.contains(OpenFlags::EXCLUSIVE));
        flags.set(OFlags::NOFOLLOW, wanted.contains(OpenFlags::NOFOLLOW));
        let permissions = Mode::from_raw_mode(made_bits(authority, open.permissions()));
        let links = Links::on_the_way(open.has_inner_rules());
        let (caller, path) = (open.credentials(), open.path());
        let own = self.own_change_of_name(open, ReadFlags::CREATE);
        let fd = without_umask(|| {
            self.tree
                .find((authority, links), caller, path, flags, permissions)
        })?;
        drop(own);
        let stat = statx(&fd)?;
        check_kind(&stat, wanted)?;
        Ok(described(Node::new(fd, &stat, false, open.path()), &stat))
    }

    pub(crate) fn remove(&self, unlink: &UnlinkRequest) -> Result {
        self.tree.check_writable()?;
        let links = Links::on_the_way(unlink.has_inner_rules());
        let caller = unlink.credentials();
        let authority = Authority::assume(caller)?;
        let spot = self
            .tree
            .spot((&authority, links), caller, unlink.path(), Wanted::Remove)?;
        let mut flags = AtFlags::empty();
        flags.set(AtFlags::REMOVEDIR, unlink.is_directory());
        if unlink.must_be_directory() && !unlink.is_directory() {
            let stat = statx_entry(&spot.directory, spot.name)?;
            let is_directory = mode::is_directory(u32::from(stat.stx_mode));
            return Err(if is_directory {
                Errno::EISDIR
            } else {
                Errno::ENOTDIR
            });
        }
        let _own = self
            .leases
            .begin(caller, &[spot.touched(ReadFlags::DELETE)]);
        rustix::fs::unlinkat(&spot.directory, spot.name, flags).map_err(errno)
    }

    pub(crate) fn move_name(&self, rename: &RenameRequest) -> Result {
        self.tree.check_writable()?;
        let links = Links::on_the_way(rename.has_inner_rules());
        let caller = rename.credentials();
        let authority = Authority::assume(caller)?;
        let old = self.tree.spot(
            (&authority, links),
            caller,
            rename.old_path(),
            Wanted::Remove,
        )?;
        let new = self
            .tree
            .spot((&authority, links), caller, rename.path(), Wanted::Make)?;
        if authority.must_check() && statx_entry(&new.directory, new.name).is_ok() {
            permission::check_entry(&new.directory, caller, new.name, Wanted::Remove)?;
        }
        let touched = [
            old.touched(ReadFlags::MOVED_FROM),
            new.touched(ReadFlags::MOVED_TO),
        ];
        let _own = self.leases.begin(caller, &touched);
        rustix::fs::renameat(&old.directory, old.name, &new.directory, new.name).map_err(errno)
    }

    pub(crate) fn add_name(&self, link: &LinkRequest) -> Result {
        self.tree.check_writable()?;
        let links = Links::on_the_way(link.has_inner_rules());
        let caller = link.credentials();
        let authority = Authority::assume(caller)?;
        let old = self
            .tree
            .spot((&authority, links), caller, link.old_path(), Wanted::Look)?;
        let new = self
            .tree
            .spot((&authority, links), caller, link.path(), Wanted::Make)?;
        if authority.must_check() {
            permission::check_owner(&statx_entry(&old.directory, old.name)?, caller)?;
        }
        let touched = [new.touched(ReadFlags::CREATE)];
        let _own = self.leases.begin(caller, &touched);
        let flags = AtFlags::empty();
        rustix::fs::linkat(&old.directory, old.name, &new.directory, new.name, flags)
            .map_err(errno)?;
        // The kernel does not say there that the file has more names now, of which not all may be watched.
        self.leases.end_all(old.directory.as_fd());
        Ok(())
    }

    pub(crate) fn make_link(&self, symlink: &SymlinkRequest) -> Result {
        self.tree.check_writable()?;
        let links = Links::on_the_way(symlink.has_inner_rules());
        let caller = symlink.credentials();
        let authority = Authority::assume(caller)?;
        let spot = self
            .tree
            .spot((&authority, links), caller, symlink.path(), Wanted::Make)?;
        let _own = self
            .leases
            .begin(caller, &[spot.touched(ReadFlags::CREATE)]);
        rustix::fs::symlinkat(symlink.text(), &spot.directory, spot.name).map_err(errno)
    }

    pub(crate) fn make(&self, make: &MakeNodeRequest) -> Result {
        self.tree.check_writable()?;
        let links = Links::on_the_way(make.has_inner_rules());
        let caller = make.credentials();
        let authority = Authority::assume(caller)?;
        let spot = match self
            .tree
            .spot((&authority, links), caller, make.path(), Wanted::Make)
        {
            // The root exists, and is what has no name.
            Err(Errno::EBUSY) => return Err(Errno::EEXIST),
            spot => spot?,
        };
        let kind = FileType::from_raw_mode(make.mode());
        let bits = made_bits(&authority, make.mode() & mode::PERMISSIONS);
        let bits = Mode::from_raw_mode(bits);
        if kind != FileType::Directory && make.must_be_directory() {
            return Err(Errno::ENOENT);
        }
        let _own = self
            .leases
            .begin(caller, &[spot.touched(ReadFlags::CREATE)]);
        without_umask(|| match kind {
            FileType::Directory => rustix::fs::mkdirat(&spot.directory, spot.name, bits),
            kind => rustix::fs::mknodat(&spot.directory, spot.name, kind, bits, make.device()),
        })
        .map_err(errno)
    }

    /// Announces what an opening does to its name.
    fn own_change_of_name(&self, open: &OpenRequest, events: ReadFlags) -> Option<Change> {
        if self.leases.is_empty() {
            return None;
        }
        let spot = self.tree.place(open.path())?;
        self.leases
            .begin(open.credentials(), &[spot.touched(events)])
    }

    pub(crate) fn text_of_link(&self, read: &ReadLinkRequest) -> Result<Vec<u8>> {
        let links = Links::on_the_way(read.has_inner_rules());
        let caller = read.credentials();
        let authority = Authority::assume(caller)?;
        let spot = match self
            .tree
            .spot((&authority, links), caller, read.path(), Wanted::Look)
        {
            Err(Errno::EBUSY) => return Err(Errno::EINVAL),
            spot => spot?,
        };
        let text = rustix::fs::readlinkat(&spot.directory, spot.name, Vec::new());
        Ok(text.map_err(errno)?.into_bytes())
    }
}

/// What a manager without root makes belongs to itself, not to the caller: nobody else may make it run as that.
fn made_bits(authority: &Authority, bits: u32) -> u32 {
    if authority.must_check() {
        bits & !(mode::S_ISUID | mode::S_ISGID)
    } else {
        bits
    }
}

fn described(node: Node, stat: &Statx) -> Opening {
    Opening::new().described(node::opened(stat)).state(node)
}

/// Only files and directories are opened. Pipes, sockets and devices of this machine are not the
/// client's; they are seen, and that is all.
fn check_kind(stat: &Statx, wanted: OpenFlags) -> Result {
    match FileType::from_raw_mode(u32::from(stat.stx_mode)) {
        FileType::RegularFile => Ok(()),
        FileType::Directory if wanted.contains(OpenFlags::WRITE) => Err(Errno::EISDIR),
        FileType::Directory => Ok(()),
        FileType::Symlink => Err(Errno::ELOOP),
        _ => Err(Errno::ENXIO),
    }
}

fn access_flags(wanted: OpenFlags) -> OFlags {
    let access = match (
        wanted.contains(OpenFlags::READ),
        wanted.contains(OpenFlags::WRITE),
    ) {
        (true, true) => OFlags::RDWR,
        (false, true) => OFlags::WRONLY,
        _ => OFlags::RDONLY,
    };
    let writes = wanted.contains(OpenFlags::WRITE);
    [
        (OpenFlags::APPEND, OFlags::APPEND),
        (OpenFlags::SYNC, OFlags::SYNC),
        (OpenFlags::DSYNC, OFlags::DSYNC),
        (OpenFlags::DIRECTORY, OFlags::DIRECTORY),
        // qnx: R40, dropped without write.
        (
            OpenFlags::TRUNCATE,
            if writes {
                OFlags::TRUNC
            } else {
                OFlags::empty()
            },
        ),
    ]
    .iter()
    .filter(|(wire, _)| wanted.contains(*wire))
    .fold(access | OFlags::NOCTTY, |flags, (_, flag)| flags | *flag)
}
