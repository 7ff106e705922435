//! The tree as a resource: every operation of a client, done as that client.

use abi::credentials::Credentials;
use abi::devctl::{ALL_GETFLAGS, ALL_SETFLAGS};
use abi::flags::mode;
use abi::io::{Xattr, XattrFlags};
use abi::{Errno, OpenFlags, Result};
use resmgr::{
    AllocateRequest, Answer, ChmodRequest, ChownRequest, DevctlRequest, InfoRequest, LinkRequest,
    LinkTextRequest, MakeNodeRequest, OpenFile, OpenRequest, Opening, ReadDirectoryRequest,
    ReadLinkRequest, ReadRequest, RenameRequest, Resource, SeekRequest, SetTimesRequest,
    StatRequest, StatvfsRequest, SymlinkRequest, SyncRequest, TruncateRequest, UnlinkRequest,
    WriteRequest, XattrRequest,
};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Statx};

use crate::authority::{Authority, without_umask};
use crate::node::{self, Node};
use crate::permission::{self, Wanted};
use crate::tree::{Tree, errno, statx, statx_entry};

/// The exported tree.
#[derive(Debug)]
pub struct Export {
    tree: Tree,
}

impl Export {
    /// Exports `tree`.
    #[must_use]
    pub fn new(tree: Tree) -> Self {
        Self { tree }
    }

    fn opening(&self, open: &OpenRequest) -> Result<Opening> {
        let wanted = open.flags();
        if wanted.contains(OpenFlags::TMPFILE) {
            return Err(Errno::EOPNOTSUPP);
        }
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
        let found = self
            .tree
            .find(&authority, caller, open.path(), naming, Mode::empty());
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
            return Ok(described(Node::new(fd, &stat, true), &stat));
        }
        check_kind(&stat, wanted)?;
        if wanted.contains(OpenFlags::WRITE) {
            self.tree.check_writable()?;
        }
        // NONBLOCK: should the file have become a pipe meanwhile, opening it does not wait.
        let flags = access_flags(wanted) | naming.difference(OFlags::PATH) | OFlags::NONBLOCK;
        let fd = self
            .tree
            .find(&authority, caller, open.path(), flags, Mode::empty())?;
        let stat = statx(&fd)?;
        check_kind(&stat, wanted)?;
        Ok(described(Node::new(fd, &stat, false), &stat))
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
        let permissions = Mode::from_raw_mode(open.permissions());
        let (caller, path) = (open.credentials(), open.path());
        let fd = without_umask(|| self.tree.find(authority, caller, path, flags, permissions))?;
        let stat = statx(&fd)?;
        check_kind(&stat, wanted)?;
        Ok(described(Node::new(fd, &stat, false), &stat))
    }

    fn remove(&self, unlink: &UnlinkRequest) -> Result {
        self.tree.check_writable()?;
        let caller = unlink.credentials();
        let authority = Authority::assume(caller)?;
        let spot = self
            .tree
            .spot(&authority, caller, unlink.path(), Wanted::Remove)?;
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
        rustix::fs::unlinkat(&spot.directory, spot.name, flags).map_err(errno)
    }

    fn move_name(&self, rename: &RenameRequest) -> Result {
        self.tree.check_writable()?;
        let caller = rename.credentials();
        let authority = Authority::assume(caller)?;
        let old = self
            .tree
            .spot(&authority, caller, rename.old_path(), Wanted::Remove)?;
        let new = self
            .tree
            .spot(&authority, caller, rename.path(), Wanted::Make)?;
        if authority.must_check() && statx_entry(&new.directory, new.name).is_ok() {
            permission::check_entry(&new.directory, caller, new.name, Wanted::Remove)?;
        }
        rustix::fs::renameat(&old.directory, old.name, &new.directory, new.name).map_err(errno)
    }

    fn add_name(&self, link: &LinkRequest) -> Result {
        self.tree.check_writable()?;
        let caller = link.credentials();
        let authority = Authority::assume(caller)?;
        let old = self
            .tree
            .spot(&authority, caller, link.old_path(), Wanted::Look)?;
        let new = self
            .tree
            .spot(&authority, caller, link.path(), Wanted::Make)?;
        if authority.must_check() {
            permission::check_owner(&statx_entry(&old.directory, old.name)?, caller)?;
        }
        let flags = AtFlags::empty();
        rustix::fs::linkat(&old.directory, old.name, &new.directory, new.name, flags).map_err(errno)
    }

    fn make_link(&self, symlink: &SymlinkRequest) -> Result {
        self.tree.check_writable()?;
        let caller = symlink.credentials();
        let authority = Authority::assume(caller)?;
        let spot = self
            .tree
            .spot(&authority, caller, symlink.path(), Wanted::Make)?;
        rustix::fs::symlinkat(symlink.text(), &spot.directory, spot.name).map_err(errno)
    }

    fn make(&self, make: &MakeNodeRequest) -> Result {
        self.tree.check_writable()?;
        let caller = make.credentials();
        let authority = Authority::assume(caller)?;
        let spot = match self
            .tree
            .spot(&authority, caller, make.path(), Wanted::Make)
        {
            // The root exists, and is what has no name.
            Err(Errno::EBUSY) => return Err(Errno::EEXIST),
            spot => spot?,
        };
        let kind = FileType::from_raw_mode(make.mode());
        let bits = Mode::from_raw_mode(make.mode() & mode::PERMISSIONS);
        if kind != FileType::Directory && make.must_be_directory() {
            return Err(Errno::ENOENT);
        }
        without_umask(|| match kind {
            FileType::Directory => rustix::fs::mkdirat(&spot.directory, spot.name, bits),
            kind => rustix::fs::mknodat(&spot.directory, spot.name, kind, bits, make.device()),
        })
        .map_err(errno)
    }

    fn text_of_link(&self, read: &ReadLinkRequest) -> Result<Vec<u8>> {
        let caller = read.credentials();
        let authority = Authority::assume(caller)?;
        let spot = match self
            .tree
            .spot(&authority, caller, read.path(), Wanted::Look)
        {
            Err(Errno::EBUSY) => return Err(Errno::EINVAL),
            spot => spot?,
        };
        let text = rustix::fs::readlinkat(&spot.directory, spot.name, Vec::new());
        Ok(text.map_err(errno)?.into_bytes())
    }

    /// A change of an open file: not in a read-only tree, and as the caller.
    fn change(
        &self,
        file: &OpenFile,
        caller: &Credentials,
        change: impl FnOnce(&Node, &Authority) -> Result,
    ) -> Result {
        self.tree.check_writable()?;
        let node = node_of(file)?;
        let authority = Authority::assume(caller)?;
        change(node, &authority)
    }

    /// Extended attributes; those of the system itself only for the superuser.
    fn xattr_value(&self, file: &OpenFile, xattr: &XattrRequest) -> Result<Option<Vec<u8>>> {
        let caller = xattr.credentials();
        let command = xattr.command()?;
        let (name, changes): (&[u8], bool) = match &command {
            Xattr::Get { name, .. } => (name, false),
            Xattr::Set { name, .. } | Xattr::Remove { name } => (name, true),
            Xattr::List { .. } => (b"user.", false),
        };
        if changes {
            self.tree.check_writable()?;
        }
        let open_to_all = name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_");
        if !open_to_all && !caller.is_root() {
            return Err(if changes {
                Errno::EPERM
            } else {
                Errno::ENODATA
            });
        }
        let authority = Authority::assume(caller)?;
        let path = node_of(file)?.for_xattr(&authority, caller, changes)?;
        match command {
            Xattr::Get { name, .. } => {
                whole(|space| rustix::fs::getxattr(&path, name, space)).map(Some)
            }
            Xattr::List { .. } => whole(|space| rustix::fs::listxattr(&path, space)).map(Some),
            Xattr::Set { name, flags, value } => {
                let mut conditions = rustix::fs::XattrFlags::empty();
                let create = flags.contains(XattrFlags::CREATE);
                conditions.set(rustix::fs::XattrFlags::CREATE, create);
                let replace = flags.contains(XattrFlags::REPLACE);
                conditions.set(rustix::fs::XattrFlags::REPLACE, replace);
                rustix::fs::setxattr(&path, name, value, conditions).map_err(errno)?;
                Ok(None)
            }
            Xattr::Remove { name } => {
                rustix::fs::removexattr(&path, name).map_err(errno)?;
                Ok(None)
            }
        }
    }

    fn write_bytes(&self, file: &OpenFile, write: WriteRequest) -> Answer {
        let ready = if file.is_writable() {
            node_of(file)
        } else {
            Err(Errno::EBADF)
        };
        let node = match ready {
            Ok(node) => node,
            Err(errno) => return write.fail(errno),
        };
        let appends = file.flags().contains(OpenFlags::APPEND);
        let mut cursor = file.cursor(write.offset());
        write.pour(|_, bytes| {
            // As the one who opened it, so that set-id bits, quotas and reserved blocks are treated
            // as its. For each piece anew: between them the thread waits for the client.
            let _authority = Authority::assume(file.opener())?;
            let written = node.write_at(cursor.position(), bytes)?;
            if appends {
                cursor.move_to(node.size()?);
            } else {
                cursor.advance(written);
            }
            Ok(written)
        })
    }
}

impl Resource for Export {
    fn open(&self, open: OpenRequest) -> Answer {
        match self.opening(&open) {
            Ok(opening) => open.accept_as(opening),
            Err(errno) => open.fail(errno),
        }
    }

    fn unlink(&self, unlink: UnlinkRequest) -> Answer {
        let removed = self.remove(&unlink);
        unlink.finish(removed)
    }

    fn rename(&self, rename: RenameRequest) -> Answer {
        let moved = self.move_name(&rename);
        rename.finish(moved)
    }

    fn make_node(&self, make: MakeNodeRequest) -> Answer {
        let made = self.make(&make);
        make.finish(made)
    }

    fn read_link(&self, read: ReadLinkRequest) -> Answer {
        match self.text_of_link(&read) {
            Ok(text) => read.text(&text),
            Err(errno) => read.fail(errno),
        }
    }

    fn link(&self, link: LinkRequest) -> Answer {
        let linked = self.add_name(&link);
        link.finish(linked)
    }

    fn symlink(&self, symlink: SymlinkRequest) -> Answer {
        let made = self.make_link(&symlink);
        symlink.finish(made)
    }

    fn read(&self, file: &OpenFile, read: ReadRequest) -> Answer {
        let ready = if file.is_readable() {
            node_of(file)
        } else {
            Err(Errno::EBADF)
        };
        let node = match ready {
            Ok(node) => node,
            Err(errno) => return read.fail(errno),
        };
        let mut cursor = file.cursor(read.offset());
        read.fill(|_, space| {
            let count = node.read_at(cursor.position(), space)?;
            cursor.advance(count);
            Ok(count)
        })
    }

    fn write(&self, file: &OpenFile, write: WriteRequest) -> Answer {
        self.write_bytes(file, write)
    }

    fn stat(&self, file: &OpenFile, stat: StatRequest) -> Answer {
        stat.finish(node_of(file).and_then(Node::stat))
    }

    fn seek(&self, file: &OpenFile, seek: SeekRequest) -> Answer {
        let moved = node_of(file).and_then(|node| {
            let mut offset = file.offset();
            node.seek(*offset, seek.arguments())
                .inspect(|new| *offset = *new)
        });
        seek.finish(moved)
    }

    fn devctl(&self, file: &OpenFile, devctl: DevctlRequest) -> Answer {
        devctl
            .on(ALL_GETFLAGS, |()| Ok(file.flags()))
            .on(ALL_SETFLAGS, |flags| {
                node_of(file)?.set_append(flags.contains(OpenFlags::APPEND))?;
                file.set_flags(flags);
                Ok(())
            })
            .otherwise(|devctl| devctl.fail(Errno::ENOTTY))
    }

    fn chmod(&self, file: &OpenFile, chmod: ChmodRequest) -> Answer {
        let (caller, bits) = (chmod.credentials(), chmod.permissions());
        let changed = self.change(file, caller, |node, authority| {
            node.chmod(authority, caller, bits)
        });
        chmod.finish(changed)
    }

    fn chown(&self, file: &OpenFile, chown: ChownRequest) -> Answer {
        let (caller, to) = (chown.credentials(), chown.arguments());
        let changed = self.change(file, caller, |node, authority| {
            node.chown(authority, caller, to.uid, to.gid)
        });
        chown.finish(changed)
    }

    fn set_times(&self, file: &OpenFile, times: SetTimesRequest) -> Answer {
        let (caller, to) = (times.credentials(), times.arguments());
        let changed = self.change(file, caller, |node, authority| {
            node.set_times(authority, caller, to)
        });
        times.finish(changed)
    }

    fn truncate(&self, file: &OpenFile, truncate: TruncateRequest) -> Answer {
        let (caller, size) = (truncate.credentials(), truncate.size());
        let changed = self.change(file, caller, |node, authority| {
            node.truncate(authority, caller, size)
        });
        truncate.finish(changed)
    }

    fn allocate(&self, file: &OpenFile, allocate: AllocateRequest) -> Answer {
        if !file.is_writable() {
            return allocate.fail(Errno::EBADF);
        }
        let space = allocate.arguments();
        let changed = self.change(file, allocate.credentials(), |node, _| node.allocate(space));
        allocate.finish(changed)
    }

    fn sync(&self, file: &OpenFile, sync: SyncRequest) -> Answer {
        let data_only = sync.arguments().data_only;
        let synced = node_of(file).and_then(|node| node.sync(data_only));
        sync.finish(synced)
    }

    fn read_directory(&self, file: &OpenFile, mut read: ReadDirectoryRequest) -> Answer {
        let listed = node_of(file).and_then(|node| {
            // Attributes of entries are looked up, which the caller must be allowed to do.
            let authority = Authority::assume(read.credentials())?;
            node.list(&authority, &mut read)
        });
        read.finish(listed)
    }

    fn link_text(&self, file: &OpenFile, read: LinkTextRequest) -> Answer {
        match node_of(file).and_then(Node::link_text) {
            Ok(text) => read.text(&text),
            Err(errno) => read.fail(errno),
        }
    }

    fn statvfs(&self, file: &OpenFile, statvfs: StatvfsRequest) -> Answer {
        let read_only = self.tree.is_read_only();
        statvfs.finish(node_of(file).and_then(|node| node.statvfs(read_only)))
    }

    fn xattr(&self, file: &OpenFile, xattr: XattrRequest) -> Answer {
        match self.xattr_value(file, &xattr) {
            Ok(Some(value)) => xattr.value(&value),
            Ok(None) => xattr.done(),
            Err(errno) => xattr.fail(errno),
        }
    }

    fn info(&self, file: &OpenFile, info: InfoRequest) -> Answer {
        let facts = node_of(file).and_then(|node| {
            let stat = node.stat()?;
            Ok(abi::io::Info {
                flags: file.flags(),
                mode: stat.mode,
                offset: *file.offset(),
                size: stat.size,
                connections: file.connections(),
            })
        });
        info.finish(facts)
    }
}

fn node_of(file: &OpenFile) -> Result<&Node> {
    file.state::<Node>().ok_or(Errno::EBADF)
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

/// Reads a value of unknown length.
fn whole(mut read: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>) -> Result<Vec<u8>> {
    let mut space = vec![0; abi::limits::XATTR_VALUE_MAX];
    let len = read(&mut space).map_err(errno)?;
    space.truncate(len);
    Ok(space)
}
