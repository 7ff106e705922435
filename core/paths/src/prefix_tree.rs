//! Who owns which prefix: a process manager's table.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Bound;

use abi::limits::PATH_MAX;
use abi::{AttachFlags, ChannelId, Errno, FileType, Handle, Nd, Pid, Result};

use crate::pathname::Pathname;

/// Most objects in one tree; one more is `ENOMEM`.
pub const OBJECTS_MAX: usize = 65_536;

/// Number of one registration, never used again in the life of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttachId(pub u32);

/// What a server says when it claims a prefix (P3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// Its node in the terms of the tree's node.
    pub nd: Nd,
    /// Its process.
    pub pid: Pid,
    /// The channel on which it receives.
    pub chid: ChannelId,
    /// Comes back in every candidate.
    pub handle: Handle,
    /// What it serves.
    pub file_type: FileType,
    /// Where it stands and what it takes.
    pub flags: AttachFlags,
}

/// Who registers: what is allowed to whom (P4, P61).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registrar {
    /// May register anything.
    Privileged,
    /// May register names of channels only.
    Ordinary,
}

/// What stands at one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A server.
    Server {
        /// The registration.
        id: AttachId,
        /// Who.
        server: Server,
    },
    /// A process-manager symlink (P60).
    Symlink {
        /// Its text.
        target: Vec<u8>,
    },
}

/// A name in a directory of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListEntry {
    /// The component.
    pub name: Vec<u8>,
    /// What is there.
    pub kind: EntryKind,
}

/// What the tree knows of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory that exists because something is registered below it (P2).
    Directory,
    /// A server, and nothing below it.
    Server {
        /// Whether it takes longer paths.
        directory: bool,
        /// What it serves.
        file_type: FileType,
    },
    /// A symlink and its text (P63).
    Symlink(Vec<u8>),
}

/// The table of one node.
///
/// Paths are kept with zero bytes for slashes, so that the order of keys is the order of components
/// and everything below a directory is one range.
#[derive(Debug, Default)]
pub struct PrefixTree {
    objects: BTreeMap<Vec<u8>, Vec<Object>>,
    paths: BTreeMap<AttachId, Vec<u8>>,
    count: usize,
    last_id: u32,
    generation: u64,
}

impl PrefixTree {
    /// An empty tree: only the root exists.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Grows with every change (P5).
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Registers `server` at `path`, which needs not exist (P2); where it stands among others at the
    /// same path its flags say (P10 to P13).
    ///
    /// # Errors
    /// `EPERM` if the registrar may not (P4), `EEXIST` for an ordinary registrar's name that exists
    /// (P4), `EINVAL` for flags beyond [`AttachFlags::ATTACHABLE`] and `STICKY` or for both `BEFORE`
    /// and `AFTER`, `ENOMEM` beyond [`OBJECTS_MAX`], and those of [`Pathname::parse`].
    #[doc(alias = "resmgr_attach")]
    #[doc(alias = "pathmgr_link")]
    pub fn attach(&mut self, path: &[u8], server: Server, by: Registrar) -> Result<AttachId> {
        let path = Pathname::parse(path)?;
        let allowed = AttachFlags::ATTACHABLE | AttachFlags::STICKY;
        let both = AttachFlags::BEFORE | AttachFlags::AFTER;
        if !allowed.contains(server.flags) || server.flags.contains(both) {
            return Err(Errno::EINVAL);
        }
        let key = key(path.as_bytes());
        if by == Registrar::Ordinary {
            self.check_ordinary(&key, &server)?;
        }
        self.make_room()?;
        self.last_id = self.last_id.checked_add(1).ok_or(Errno::ENOMEM)?;
        let id = AttachId(self.last_id);
        let row = self.objects.entry(key.clone()).or_default();
        let place = place(row, server.flags);
        row.insert(place, Object::Server { id, server });
        self.paths.insert(id, key);
        Ok(id)
    }

    fn check_ordinary(&self, key: &[u8], server: &Server) -> Result {
        if server.file_type != FileType::NAME {
            return Err(Errno::EPERM);
        }
        let row = self.objects.get(key).map(Vec::as_slice).unwrap_or_default();
        let taken = row.iter().any(
            |o| matches!(o, Object::Server { server, .. } if server.file_type == FileType::NAME),
        );
        if taken { Err(Errno::EEXIST) } else { Ok(()) }
    }

    fn make_room(&mut self) -> Result {
        if self.count >= OBJECTS_MAX {
            return Err(Errno::ENOMEM);
        }
        self.count += 1;
        self.generation += 1;
        Ok(())
    }

    /// Gives a registration up. Directories that existed only for it vanish (P1).
    ///
    /// # Errors
    /// `ENOENT` if there is no such registration.
    pub fn detach(&mut self, id: AttachId) -> Result<Server> {
        let key = self.paths.get(&id).cloned().ok_or(Errno::ENOENT)?;
        match self.take(
            &key,
            |object| matches!(object, Object::Server { id: i, .. } if *i == id),
        ) {
            Some(Object::Server { server, .. }) => Ok(server),
            Some(Object::Symlink { .. }) | None => Err(Errno::ENOENT),
        }
    }

    /// Gives up what a process had registered, as if it had closed every descriptor; sticky
    /// registrations stay (P3, P19). Returns how many went.
    pub fn detach_process(&mut self, nd: Nd, pid: Pid) -> usize {
        let theirs = |object: &Object| match object {
            Object::Server { id, server } => (server.pid == pid
                && server.nd.same_node(nd)
                && !server.flags.contains(AttachFlags::STICKY))
            .then_some(*id),
            Object::Symlink { .. } => None,
        };
        let ids: Vec<AttachId> = self.objects.values().flatten().filter_map(theirs).collect();
        ids.iter().filter(|id| self.detach(**id).is_ok()).count()
    }

    /// Makes a symlink in the process manager (P60). It stands ahead of every server (P13) and
    /// leads to `target`, which needs not exist.
    ///
    /// # Errors
    /// `EPERM` for an ordinary registrar (P61), `EBUSY` if there is a symlink at this path (P61),
    /// `ENOENT` for an empty text, `ENAMETOOLONG` for one beyond [`PATH_MAX`] bytes (P6), `ENOMEM`
    /// beyond [`OBJECTS_MAX`], `EEXIST` for the root, `EINVAL` for a zero byte in the text, and those of [`Pathname::parse`].
    #[doc(alias = "pathmgr_symlink")]
    pub fn symlink(&mut self, path: &[u8], target: &[u8], by: Registrar) -> Result {
        let path = Pathname::parse(path)?;
        if by == Registrar::Ordinary {
            return Err(Errno::EPERM);
        }
        if target.is_empty() {
            return Err(Errno::ENOENT);
        }
        if target.len() > PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        if target.contains(&0) {
            return Err(Errno::EINVAL);
        }
        if path.is_root() {
            return Err(Errno::EEXIST);
        }
        let key = key(path.as_bytes());
        if matches!(self.row(&key).first(), Some(Object::Symlink { .. })) {
            return Err(Errno::EBUSY);
        }
        self.make_room()?;
        let row = self.objects.entry(key).or_default();
        row.insert(
            0,
            Object::Symlink {
                target: target.to_vec(),
            },
        );
        Ok(())
    }

    /// Removes a symlink, or a sticky registration (P46, P60). What stood behind it is seen again.
    ///
    /// # Errors
    /// `ENOTDIR` for a path with a trailing slash that is no directory, `EBUSY` or `ENOSYS` for a
    /// directory or file of a server that still has it, `ENOTEMPTY` for a directory of the tree
    /// itself, `ENOENT` for what does not exist, and `EPERM` for an ordinary registrar.
    pub fn unlink(&mut self, path: &[u8], by: Registrar) -> Result {
        let path = Pathname::parse(path)?;
        let key = key(path.as_bytes());
        let as_directory = path.flags().contains(abi::PathFlags::DIR) && !path.is_root();
        match self.row(&key).first() {
            None if path.is_root() || self.has_children(&key) => return Err(Errno::ENOTEMPTY),
            None => return Err(Errno::ENOENT),
            Some(Object::Symlink { .. }) if as_directory => return Err(Errno::ENOTDIR),
            Some(Object::Symlink { .. }) => {}
            Some(Object::Server { server, .. }) => {
                let directory = server.flags.contains(AttachFlags::DIR);
                if as_directory && !directory {
                    return Err(Errno::ENOTDIR);
                }
                if !server.flags.contains(AttachFlags::STICKY) {
                    return Err(if directory {
                        Errno::EBUSY
                    } else {
                        Errno::ENOSYS
                    });
                }
            }
        }
        if by == Registrar::Ordinary {
            return Err(Errno::EPERM);
        }
        self.take(&key, |_| true).map(|_| ()).ok_or(Errno::ENOENT)
    }

    /// What making something at `path` answers when it comes to the process manager itself, which
    /// holds no files: `EEXIST` or `ENOSYS` (P46).
    ///
    /// # Errors
    /// Always one of the two, or those of [`Pathname::parse`].
    pub fn make(&self, path: &[u8]) -> Result {
        match self.describe(path) {
            Ok(_) => Err(Errno::EEXIST),
            Err(Errno::ENOENT) => Err(Errno::ENOSYS),
            Err(error) => Err(error),
        }
    }

    /// What the tree itself knows of `path`, without following a symlink there (P63).
    ///
    /// # Errors
    /// `ENOENT` if nothing is registered at or below it, and those of [`Pathname::parse`].
    pub fn describe(&self, path: &[u8]) -> Result<EntryKind> {
        let path = Pathname::parse(path)?;
        let key = key(path.as_bytes());
        if path.is_root() {
            return Ok(EntryKind::Directory);
        }
        self.kind(&key).ok_or(Errno::ENOENT)
    }

    /// The names in a directory of the tree, in the order of their bytes, that come after the name
    /// `after` (empty for all of them): at most `max`.
    ///
    /// # Errors
    /// `ENOENT` if nothing is registered at or below `path`, `ENOTDIR` if nothing is registered
    /// below it, and those of [`Pathname::parse`].
    pub fn list(&self, path: &[u8], after: &[u8], max: usize) -> Result<Vec<ListEntry>> {
        let path = Pathname::parse(path)?;
        let directory = key(path.as_bytes());
        if !path.is_root() && !self.has_children(&directory) {
            let known = self.objects.contains_key(&directory);
            return Err(if known { Errno::ENOTDIR } else { Errno::ENOENT });
        }
        let mut entries = Vec::new();
        let mut cursor = with_end(&directory, 0);
        if !after.is_empty() {
            cursor.extend_from_slice(after);
            cursor.push(1);
        }
        let end = with_end(&directory, 1);
        while entries.len() < max {
            let range = (
                Bound::Included(cursor.clone()),
                Bound::Excluded(end.clone()),
            );
            let Some((found, _)) = self.objects.range::<Vec<u8>, _>(range).next() else {
                break;
            };
            let Some(rest) = found.get(directory.len() + 1..) else {
                break;
            };
            let name = rest.split(|&byte| byte == 0).next().unwrap_or_default();
            let child = &found[..directory.len() + 1 + name.len()];
            if let Some(kind) = self.kind(child) {
                entries.push(ListEntry {
                    name: name.to_vec(),
                    kind,
                });
            }
            cursor = with_end(child, 1);
        }
        Ok(entries)
    }

    /// Every object with its path, in the order of paths and, at one path, of the search.
    pub fn prefixes(&self) -> impl Iterator<Item = (Vec<u8>, &Object)> {
        self.objects
            .iter()
            .flat_map(|(key, row)| row.iter().map(|object| (path(key), object)))
    }

    /// How many objects there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether nothing is registered.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What stands at exactly this normalised path, in the order of the search.
    pub(crate) fn objects_at(&self, path: &[u8]) -> &[Object] {
        self.row(&key(path))
    }

    /// Whether the tree itself has a directory at this normalised path.
    pub(crate) fn is_directory(&self, path: &[u8]) -> bool {
        path == b"/" || self.has_children(&key(path))
    }

    fn row(&self, key: &[u8]) -> &[Object] {
        self.objects.get(key).map(Vec::as_slice).unwrap_or_default()
    }

    fn has_children(&self, key: &[u8]) -> bool {
        let range = (
            Bound::Included(with_end(key, 0)),
            Bound::Excluded(with_end(key, 1)),
        );
        self.objects.range::<Vec<u8>, _>(range).next().is_some()
    }

    fn kind(&self, key: &[u8]) -> Option<EntryKind> {
        match self.row(key).first() {
            Some(Object::Symlink { target }) => Some(EntryKind::Symlink(target.clone())),
            _ if self.has_children(key) => Some(EntryKind::Directory),
            Some(Object::Server { server, .. }) => Some(EntryKind::Server {
                directory: server.flags.contains(AttachFlags::DIR),
                file_type: server.file_type,
            }),
            None => None,
        }
    }

    fn take(&mut self, key: &[u8], which: impl Fn(&Object) -> bool) -> Option<Object> {
        let row = self.objects.get_mut(key)?;
        let place = row.iter().position(which)?;
        let object = row.remove(place);
        if row.is_empty() {
            self.objects.remove(key);
        }
        if let Object::Server { id, .. } = object {
            self.paths.remove(&id);
        }
        self.count -= 1;
        self.generation += 1;
        Some(object)
    }
}

/// Where a new server goes: behind symlinks and older `BEFORE` ones if it is one, ahead of the
/// unflagged ones if it is unflagged, ahead of older `AFTER` ones if it is one (P10 to P13).
fn place(row: &[Object], flags: AttachFlags) -> usize {
    let group = |object: &Object| match object {
        Object::Symlink { .. } => 0,
        Object::Server { server, .. } if server.flags.contains(AttachFlags::BEFORE) => 1,
        Object::Server { server, .. } if server.flags.contains(AttachFlags::AFTER) => 3,
        Object::Server { .. } => 2,
    };
    let before_me = if flags.contains(AttachFlags::AFTER) {
        2
    } else {
        1
    };
    row.iter()
        .take_while(|object| group(object) <= before_me)
        .count()
}

fn key(path: &[u8]) -> Vec<u8> {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    path.iter()
        .map(|&byte| if byte == b'/' { 0 } else { byte })
        .collect()
}

fn path(key: &[u8]) -> Vec<u8> {
    if key.is_empty() {
        return Vec::from(*b"/");
    }
    key.iter()
        .map(|&byte| if byte == 0 { b'/' } else { byte })
        .collect()
}

fn with_end(key: &[u8], byte: u8) -> Vec<u8> {
    let mut end = Vec::with_capacity(key.len() + 1);
    end.extend_from_slice(key);
    end.push(byte);
    end
}
