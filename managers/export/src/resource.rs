//! The tree as a resource: every operation of a client, done as that client.

use abi::credentials::Credentials;
use abi::devctl::{ALL_GETFLAGS, ALL_SETFLAGS, DIRECTORY_LEASE, LEASE_NEWS};
use abi::io::{Xattr, XattrFlags};
use abi::{Errno, OpenFlags, Result};
use resmgr::{
    AllocateRequest, Answer, ChmodRequest, ChownRequest, DevctlRequest, InfoRequest, LinkRequest,
    LinkTextRequest, LockRequest, MakeNodeRequest, OpenFile, OpenRequest, ReadDirectoryRequest,
    ReadLinkRequest, ReadRequest, RenameRequest, Resource, SeekRequest, SetTimesRequest,
    StatRequest, StatvfsRequest, SymlinkRequest, SyncRequest, TruncateRequest, UnlinkRequest,
    WriteRequest, XattrRequest,
};

use rustix::fs::inotify::ReadFlags;

use crate::authority::Authority;
use crate::leases::{Change, Leases};
use crate::locks::Locks;
use crate::node::Node;
use crate::tree::{Tree, errno, statx, statx_entry};

/// The exported tree.
#[derive(Debug)]
pub struct Export {
    pub(crate) tree: Tree,
    locks: Locks,
    pub(crate) leases: Leases,
}

impl Export {
    /// Exports `tree`.
    #[must_use]
    pub fn new(tree: Tree) -> Self {
        Self {
            tree,
            locks: Locks::default(),
            leases: Leases::default(),
        }
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
        // Ended before anybody is told the attributes.
        let _own = self.own_change(node, caller, ReadFlags::ATTRIB | ReadFlags::MODIFY);
        let authority = Authority::assume(caller)?;
        change(node, &authority)
    }

    /// Announces a change of an open file, if it still has the name under which it was opened.
    fn own_change(&self, node: &Node, who: &Credentials, events: ReadFlags) -> Option<Change> {
        if self.leases.is_empty() {
            return None;
        }
        let spot = self.tree.place(node.path())?;
        let named = statx_entry(&spot.directory, spot.name).ok()?;
        // Of another file that has the name now, everything is news.
        if statx(node.fd()).ok()?.stx_ino != named.stx_ino {
            return None;
        }
        self.leases.begin(who, &[spot.touched(events)])
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
        let node = node_of(file)?;
        let _own = changes.then(|| self.own_change(node, caller, ReadFlags::ATTRIB));
        let authority = Authority::assume(caller)?;
        if changes && name.starts_with(b"system.posix_acl_") {
            // Access lists are rights, as the mode is: the owner's to change, whoever may write the content.
            node.permit_owner(&authority, caller)?;
        }
        let path = node.for_xattr(&authority, caller, changes)?;
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
        let events = ReadFlags::MODIFY | ReadFlags::ATTRIB;
        let _own = self.own_change(node, write.credentials(), events);
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
        read.fill(|space| {
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
            .on(DIRECTORY_LEASE, |()| {
                // It tells what happens in the directory, as a listing would.
                if !file.is_readable() {
                    return Err(Errno::EBADF);
                }
                self.leases.lease(file.opener(), node_of(file)?)
            })
            .take(LEASE_NEWS, |call, ()| self.leases.news(file, call))
            .otherwise(|devctl| devctl.fail(Errno::ENOTTY))
    }

    fn chmod(&self, file: &OpenFile, chmod: ChmodRequest) -> Answer {
        let (caller, bits) = (chmod.credentials(), chmod.permissions());
        let changed = self.change(file, caller, |node, authority| {
            node.chmod(authority, caller, bits)
        });
        match changed.map(|()| node_of(file).and_then(Node::stat)) {
            Ok(Ok(stat)) => chmod.done_telling(&stat),
            Ok(Err(_)) => chmod.done(),
            Err(errno) => chmod.fail(errno),
        }
    }

    fn chown(&self, file: &OpenFile, chown: ChownRequest) -> Answer {
        let (caller, to) = (chown.credentials(), chown.arguments());
        let changed = self.change(file, caller, |node, authority| {
            node.chown(authority, caller, to.uid, to.gid)
        });
        match changed.map(|()| node_of(file).and_then(Node::stat)) {
            Ok(Ok(stat)) => chown.done_telling(&stat),
            Ok(Err(_)) => chown.done(),
            Err(errno) => chown.fail(errno),
        }
    }

    fn set_times(&self, file: &OpenFile, times: SetTimesRequest) -> Answer {
        let (caller, to) = (times.credentials(), times.arguments());
        let changed = self.change(file, caller, |node, authority| {
            node.set_times(authority, caller, to)
        });
        match changed.map(|()| node_of(file).and_then(Node::stat)) {
            Ok(Ok(stat)) => times.done_telling(&stat),
            Ok(Err(_)) => times.done(),
            Err(errno) => times.fail(errno),
        }
    }

    fn truncate(&self, file: &OpenFile, truncate: TruncateRequest) -> Answer {
        let (caller, size) = (truncate.credentials(), truncate.size());
        let changed = self.change(file, caller, |node, authority| {
            node.truncate(authority, caller, size)
        });
        match changed.map(|()| node_of(file).and_then(Node::stat)) {
            Ok(Ok(stat)) => truncate.done_telling(&stat),
            Ok(Err(_)) => truncate.done(),
            Err(errno) => truncate.fail(errno),
        }
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

    fn lock(&self, file: &OpenFile, lock: LockRequest) -> Answer {
        match node_of(file) {
            Ok(node) => self.locks.serve(node, file, lock),
            Err(errno) => lock.fail(errno),
        }
    }

    fn close(&self, file: &OpenFile) {
        if let (true, Ok(node)) = (file.is_writable(), node_of(file)) {
            node.closes(self.own_change(node, file.opener(), ReadFlags::CLOSE_WRITE));
        }
        self.leases.closed(file);
        self.locks.closed(file);
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

/// Reads a value of unknown length.
fn whole(mut read: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>) -> Result<Vec<u8>> {
    let mut space = vec![0; abi::limits::XATTR_VALUE_MAX];
    let len = read(&mut space).map_err(errno)?;
    space.truncate(len);
    Ok(space)
}
