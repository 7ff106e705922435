//! What is done to open files.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use resmgr::abi::flags::mode;
use resmgr::abi::io::{Entry, OFFSET_MAX, SpaceFlags, Statvfs, Whence, Xattr, XattrFlags};
use resmgr::abi::limits::NAME_MAX;
use resmgr::{
    AllocateRequest, Answer, Attributes, Errno, LinkRequest, LinkTextRequest, MakeNodeRequest,
    OpenFile, OpenFlags, OpenRequest, ReadDirectoryRequest, ReadLinkRequest, ReadRequest,
    RenameRequest, Resource, Result, SeekRequest, StatRequest, StatvfsRequest, SymlinkRequest,
    TruncateRequest, UnlinkRequest, WriteRequest, XattrRequest, posix,
};

use crate::content::PAGE;
use crate::tree::{Directory, Node, Tree};

/// The file system.
#[derive(Debug)]
pub(crate) struct Ram {
    pub(crate) tree: Tree,
    root: OnceLock<Arc<Node>>,
}

impl Ram {
    pub(crate) fn new() -> Self {
        Self {
            tree: Tree::new(MEMORY),
            root: OnceLock::new(),
        }
    }

    /// The root has the attributes that the path was attached with.
    pub(crate) fn root(&self, attributes: &Arc<Attributes>) -> Arc<Node> {
        let root = self.root.get_or_init(|| {
            let node = self.tree.node(Arc::clone(attributes), b"");
            node.attributes.lock().links = 2;
            self.tree.lock().insert(node.inode, Directory::default());
            node
        });
        Arc::clone(root)
    }

    /// Sets the length; what is cut off reads as zeros if the file grows again.
    pub(crate) fn set_size(node: &Node, size: u64) {
        let mut content = node.content();
        content.clear(size, OFFSET_MAX - size);
        let mut fields = node.attributes.lock();
        fields.size = size;
        fields.stamp_written();
    }

    fn xattr_value(file: &OpenFile, xattr: &XattrRequest) -> Result<Option<Vec<u8>>> {
        let node = node_of(file)?;
        let command = xattr.command()?;
        let (name, rights): (&[u8], u32) = match command {
            Xattr::Get { name, .. } => (name, posix::access::READ),
            Xattr::List { .. } => (b"user.", 0),
            Xattr::Set { name, .. } | Xattr::Remove { name } => (name, posix::access::WRITE),
        };
        if !name.starts_with(b"user.") {
            return Err(Errno::EOPNOTSUPP);
        }
        posix::access::check(&node.attributes.lock(), xattr.credentials(), rights)?;
        let mut extended = lock(&node.extended);
        match command {
            Xattr::Get { name, .. } => match extended.get(name) {
                Some(value) => Ok(Some(value.clone())),
                None => Err(Errno::ENODATA),
            },
            Xattr::List { .. } => {
                let names = extended.keys().flat_map(|name| [name, &b"\0"[..]].concat());
                Ok(Some(names.collect()))
            }
            Xattr::Set { name, flags, value } => {
                match extended.contains_key(name) {
                    true if flags.contains(XattrFlags::CREATE) => return Err(Errno::EEXIST),
                    false if flags.contains(XattrFlags::REPLACE) => return Err(Errno::ENODATA),
                    false if extended.len() >= EXTENDED_MAX => return Err(Errno::ENOSPC),
                    _ => {}
                }
                extended.insert(name.to_vec(), value.to_vec());
                Ok(None)
            }
            Xattr::Remove { name } => match extended.remove(name) {
                Some(_) => Ok(None),
                None => Err(Errno::ENODATA),
            },
        }
    }
}

impl Resource for Ram {
    fn open(&self, open: OpenRequest) -> Answer {
        self.open_path(open)
    }

    fn unlink(&self, unlink: UnlinkRequest) -> Answer {
        self.remove_name(unlink)
    }

    fn rename(&self, rename: RenameRequest) -> Answer {
        self.move_name(rename)
    }

    fn make_node(&self, make: MakeNodeRequest) -> Answer {
        self.make_path(make)
    }

    fn read_link(&self, read: ReadLinkRequest) -> Answer {
        self.text_of_link(read)
    }

    fn link(&self, link: LinkRequest) -> Answer {
        self.add_link(link)
    }

    fn symlink(&self, symlink: SymlinkRequest) -> Answer {
        self.make_link(symlink)
    }

    fn read(&self, file: &OpenFile, read: ReadRequest) -> Answer {
        let ready = posix::read::verify(file, &read).and_then(|()| node_of(file));
        let node = match ready {
            Ok(node) => node,
            Err(errno) => return read.fail(errno),
        };
        let mut cursor = file.cursor(read.offset());
        node.attributes.lock().stamp_read();
        read.fill(|space| {
            let content = node.content();
            let rest = node
                .attributes
                .lock()
                .size
                .saturating_sub(cursor.position());
            let count = space.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
            content.read(cursor.position(), &mut space[..count]);
            cursor.advance(count);
            Ok(count)
        })
    }

    fn write(&self, file: &OpenFile, write: WriteRequest) -> Answer {
        let ready = posix::write::verify(file, &write).and_then(|()| node_of(file));
        let node = match ready {
            Ok(node) => node,
            Err(errno) => return write.fail(errno),
        };
        let appends = file.flags().contains(OpenFlags::APPEND);
        let mut cursor = file.cursor(write.offset());
        write.pour(|done, bytes| {
            let mut content = node.content();
            if appends && done == 0 {
                cursor.move_to(node.attributes.lock().size);
            }
            let room = OFFSET_MAX.saturating_sub(cursor.position());
            let bytes = &bytes[..bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
            if bytes.is_empty() {
                return Err(Errno::EFBIG);
            }
            let written = content.write(cursor.position(), bytes)?;
            cursor.advance(written);
            let mut fields = node.attributes.lock();
            fields.size = fields.size.max(cursor.position());
            fields.stamp_written();
            Ok(written)
        })
    }

    fn stat(&self, file: &OpenFile, stat: StatRequest) -> Answer {
        let told = node_of(file).map(|node| {
            let blocks = node.content().used() / 512;
            let mut told = posix::stat::of(&node.attributes.lock());
            told.blocks = blocks;
            told
        });
        stat.finish(told)
    }

    fn seek(&self, file: &OpenFile, seek: SeekRequest) -> Answer {
        let moved = node_of(file).and_then(|node| {
            let (asked, content) = (seek.arguments(), node.content());
            let size = node.attributes.lock().size;
            let mut offset = file.offset();
            let mut new = posix::seek::target(*offset, size, asked)?;
            if matches!(asked.whence, Whence::Data | Whence::Hole) {
                let is_hole = asked.whence == Whence::Hole;
                let from = u64::try_from(asked.offset).map_err(|_| Errno::ENXIO)?;
                new = match content.next(from, is_hole) {
                    Some(next) if next < size => next,
                    _ if is_hole => size,
                    _ => return Err(Errno::ENXIO),
                };
            }
            *offset = new;
            Ok(new)
        });
        seek.finish(moved)
    }

    fn truncate(&self, file: &OpenFile, truncate: TruncateRequest) -> Answer {
        let done = node_of(file).and_then(|node| {
            {
                let fields = node.attributes.lock();
                match fields.mode & mode::S_IFMT {
                    mode::S_IFREG => {}
                    mode::S_IFDIR => return Err(Errno::EISDIR),
                    _ => return Err(Errno::EINVAL),
                }
                if !file.is_writable() {
                    let caller = truncate.credentials();
                    posix::access::check(&fields, caller, posix::access::WRITE)?;
                }
            }
            Self::set_size(node, truncate.size());
            Ok(())
        });
        truncate.finish(done)
    }

    fn allocate(&self, file: &OpenFile, allocate: AllocateRequest) -> Answer {
        let done = node_of(file).and_then(|node| {
            if !file.is_writable() {
                return Err(Errno::EBADF);
            }
            let space = allocate.arguments();
            let end = space
                .offset
                .checked_add(space.len)
                .filter(|end| *end <= OFFSET_MAX);
            let end = end.ok_or(Errno::EFBIG)?;
            let keeps_size = space.flags.contains(SpaceFlags::KEEP_SIZE);
            let mut content = node.content();
            if space.flags.contains(SpaceFlags::PUNCH_HOLE) {
                if !keeps_size {
                    return Err(Errno::EOPNOTSUPP);
                }
                content.clear(space.offset, space.len);
            } else {
                if space.flags.contains(SpaceFlags::ZERO_RANGE) {
                    content.clear(space.offset, space.len);
                }
                if space.len.div_ceil(PAGE as u64) > self.tree.budget.pages {
                    return Err(Errno::ENOSPC);
                }
                content.reserve(space.offset, space.len)?;
            }
            let mut fields = node.attributes.lock();
            if !keeps_size {
                fields.size = fields.size.max(end);
            }
            fields.stamp_written();
            Ok(())
        });
        allocate.finish(done)
    }

    fn read_directory(&self, file: &OpenFile, mut read: ReadDirectoryRequest) -> Answer {
        let names = self.tree.lock();
        let Ok(node) = node_of(file) else {
            return read.fail(Errno::EBADF);
        };
        if !node.attributes.lock().is_directory() {
            return read.fail(Errno::ENOTDIR);
        }
        let from = read.cookie();
        let directory = names.get(&node.inode).into_iter();
        for (place, name, child) in directory.flat_map(|directory| directory.after(from)) {
            let fields = child.attributes.lock().clone();
            let entry = Entry {
                ino: child.inode,
                mode: fields.mode,
                next: place,
                name,
                stat: read.wants_stat().then(|| posix::stat::of(&fields)),
            };
            if !read.add(&entry) {
                break;
            }
        }
        drop(names);
        node.attributes.lock().stamp_read();
        read.end()
    }

    fn link_text(&self, file: &OpenFile, read: LinkTextRequest) -> Answer {
        match node_of(file).map(|node| node.text.as_slice()) {
            Ok([]) => read.fail(Errno::EINVAL),
            Ok(text) => read.text(text),
            Err(errno) => read.fail(errno),
        }
    }

    fn statvfs(&self, _file: &OpenFile, statvfs: StatvfsRequest) -> Answer {
        let (blocks, free) = (self.tree.budget.pages, self.tree.budget.free());
        statvfs.reply(&Statvfs {
            block_size: PAGE as u32,
            fragment_size: PAGE as u32,
            blocks,
            blocks_free: free,
            blocks_available: free,
            name_max: NAME_MAX as u32,
            ..Statvfs::default()
        })
    }

    fn xattr(&self, file: &OpenFile, xattr: XattrRequest) -> Answer {
        match Self::xattr_value(file, &xattr) {
            Ok(Some(value)) => xattr.value(&value),
            Ok(None) => xattr.done(),
            Err(errno) => xattr.fail(errno),
        }
    }
}

fn node_of(file: &OpenFile) -> Result<&Arc<Node>> {
    file.state::<Arc<Node>>().ok_or(Errno::EBADF)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Memory for the content of all files, in bytes.
const MEMORY: u64 = 1 << 30;
/// Extended attributes of one node.
const EXTENDED_MAX: usize = 1024;
