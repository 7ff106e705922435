//! Who owns which prefix: a process manager's table.

mod branches;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use abi::limits::PATH_MAX;
use abi::{AttachFlags, ChannelId, Errno, FileType, Handle, Nd, Pid, Result};

use crate::pathname::Pathname;
use branches::{Branches, Place};

/// Most objects in one tree; one more is `ENOMEM`. 10 000 programs with a hundred prefixes each fit; they take about
/// 250 MB.
pub const OBJECTS_MAX: usize = 1 << 20;
/// Most objects at one path; one more is `ENOSPC`. A search among more than 256 is refused in any case (P31).
pub const OBJECTS_PER_PATH_MAX: usize = 1024;

/// Most components of the path of an object; one more is `ENAMETOOLONG` (P6). Each may cost a node of the tree.
pub const DEPTH_MAX: usize = 32;
/// Most nodes of the tree, of about 130 bytes; one more is `ENOMEM`.
pub const NODES_MAX: usize = 1 << 22;

/// Number of one object, never used again in the life of the tree.
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
        /// The symlink.
        id: AttachId,
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

/// The table of one node. A question costs one step for each component of its path, however many prefixes there are.
#[derive(Debug)]
pub struct PrefixTree {
    branches: Branches,
    places: BTreeMap<AttachId, Place>,
    objects_max: usize,
    last_id: u32,
    generation: u64,
}

impl Default for PrefixTree {
    fn default() -> Self {
        Self::with_room(OBJECTS_MAX)
    }
}

impl PrefixTree {
    /// An empty tree: only the root exists.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty tree with room for fewer objects than [`OBJECTS_MAX`].
    #[must_use]
    pub fn with_room(objects_max: usize) -> Self {
        Self {
            branches: Branches::default(),
            places: BTreeMap::new(),
            objects_max: objects_max.min(OBJECTS_MAX),
            last_id: 0,
            generation: 0,
        }
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
    /// `EPERM` if the registrar may not (P4; an ordinary one's name has no flags), `EEXIST` for an ordinary registrar's name that exists
    /// (P4), `EINVAL` for flags beyond [`AttachFlags::ATTACHABLE`] and `STICKY` or for both `BEFORE`
    /// and `AFTER`, `ENOMEM` beyond [`OBJECTS_MAX`], `ENOSPC` beyond [`OBJECTS_PER_PATH_MAX`],
    /// `ENAMETOOLONG` beyond [`DEPTH_MAX`], and those of [`Pathname::parse`].
    #[doc(alias = "resmgr_attach")]
    #[doc(alias = "pathmgr_link")]
    pub fn attach(&mut self, path: &[u8], mut server: Server, by: Registrar) -> Result<AttachId> {
        let path = Pathname::parse(path)?;
        let allowed = AttachFlags::ATTACHABLE | AttachFlags::STICKY;
        let both = AttachFlags::BEFORE | AttachFlags::AFTER;
        if !allowed.contains(server.flags) || server.flags.contains(both) {
            return Err(Errno::EINVAL);
        }
        if by == Registrar::Ordinary {
            self.check_ordinary(&path, &server)?;
            // It stands wherever its owner likes, also before a file of somebody else: only who looks for a name finds it.
            server.flags |= AttachFlags::FTYPEONLY;
        }
        let rank = rank(self.row(&path), server.flags);
        self.add(&path, rank, |id| Object::Server { id, server })
    }

    fn check_ordinary(&self, path: &Pathname, server: &Server) -> Result {
        if server.file_type != FileType::NAME || !AttachFlags::FTYPEONLY.contains(server.flags) {
            return Err(Errno::EPERM);
        }
        let taken = self.row(path).iter().any(
            |o| matches!(o, Object::Server { server, .. } if server.file_type == FileType::NAME),
        );
        if taken { Err(Errno::EEXIST) } else { Ok(()) }
    }

    fn add(
        &mut self,
        path: &Pathname,
        rank: usize,
        object: impl FnOnce(AttachId) -> Object,
    ) -> Result<AttachId> {
        let depth = path.components().take(DEPTH_MAX + 1).count();
        if depth > DEPTH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        if self.places.len() >= self.objects_max || self.branches.len() + depth > NODES_MAX {
            return Err(Errno::ENOMEM);
        }
        if self.row(path).len() >= OBJECTS_PER_PATH_MAX {
            return Err(Errno::ENOSPC);
        }
        self.last_id = self.last_id.checked_add(1).ok_or(Errno::ENOMEM)?;
        let id = AttachId(self.last_id);
        let place = self.branches.grow(path);
        let row = self.branches.objects_mut(place);
        // Nearly every path has one object.
        row.reserve_exact(1);
        row.insert(rank, object(id));
        self.places.insert(id, place);
        self.generation += 1;
        Ok(id)
    }

    /// Gives a registration up. Directories that existed only for it vanish (P1).
    ///
    /// # Errors
    /// `ENOENT` if there is no such registration.
    pub fn detach(&mut self, id: AttachId) -> Result<Server> {
        let place = self.places.get(&id).copied().ok_or(Errno::ENOENT)?;
        let row = self.branches.objects(place);
        let found = row
            .iter()
            .position(|object| matches!(object, Object::Server { id: i, .. } if *i == id));
        match self.take(place, found.ok_or(Errno::ENOENT)?) {
            Object::Server { server, .. } => Ok(server),
            Object::Symlink { .. } => Err(Errno::ENOENT),
        }
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
        if matches!(self.row(&path).first(), Some(Object::Symlink { .. })) {
            return Err(Errno::EBUSY);
        }
        let target = target.to_vec();
        self.add(&path, 0, |id| Object::Symlink { id, target })
            .map(|_| ())
    }

    /// Removes a symlink, or a sticky registration (P46, P60). What stood behind it is seen again.
    ///
    /// # Errors
    /// `ENOTDIR` for a path with a trailing slash that is no directory, `EBUSY` or `ENOSYS` for a
    /// directory or file of a server that still has it, `ENOTEMPTY` for a directory of the tree
    /// itself, `ENOENT` for what does not exist, and `EPERM` for an ordinary registrar.
    pub fn unlink(&mut self, path: &[u8], by: Registrar) -> Result {
        let path = Pathname::parse(path)?;
        let as_directory = path.flags().contains(abi::PathFlags::DIR) && !path.is_root();
        if path.is_root() && self.row(&path).is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        let place = self.branches.find(&path).ok_or(Errno::ENOENT)?;
        match self.branches.objects(place).first() {
            None => return Err(Errno::ENOTEMPTY),
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
        self.take(place, 0);
        Ok(())
    }

    /// What the tree itself knows of `path`, without following a symlink there (P63).
    ///
    /// # Errors
    /// `ENOENT` if nothing is registered at or below it, and those of [`Pathname::parse`].
    pub fn describe(&self, path: &[u8]) -> Result<EntryKind> {
        let path = Pathname::parse(path)?;
        if path.is_root() {
            return Ok(EntryKind::Directory);
        }
        let place = self.branches.find(&path).ok_or(Errno::ENOENT)?;
        Ok(self.kind(place))
    }

    /// The names in a directory of the tree, in the order of their bytes, that come after the name
    /// `after` (empty for all of them): at most `max`.
    ///
    /// # Errors
    /// `ENOENT` if nothing is registered at or below `path`, `ENOTDIR` if nothing is registered
    /// below it, and those of [`Pathname::parse`].
    pub fn list(&self, path: &[u8], after: &[u8], max: usize) -> Result<Vec<ListEntry>> {
        let path = Pathname::parse(path)?;
        let directory = self.branches.find(&path).ok_or(Errno::ENOENT)?;
        if !path.is_root() && !self.branches.has_children(directory) {
            return Err(Errno::ENOTDIR);
        }
        let children = self.branches.children(directory, after).take(max);
        let entry = |(name, place): (&[u8], Place)| ListEntry {
            name: name.to_vec(),
            kind: self.kind(place),
        };
        Ok(children.map(entry).collect())
    }

    /// Objects with their numbers and paths, from a number on, in the order in which they came.
    pub fn objects(&self, from: AttachId) -> impl Iterator<Item = (AttachId, Vec<u8>, &Object)> {
        self.places.range(from..).filter_map(|(&id, &place)| {
            let row = self.branches.objects(place).iter();
            let object = row.into_iter().find(|object| object.id() == id)?;
            Some((id, self.branches.path(place), object))
        })
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether nothing is registered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// What stands at the prefixes of this path, the longest first and at each in the order of the search, with the
    /// lengths of the prefixes.
    pub(crate) fn rows(&self, path: &Pathname) -> impl Iterator<Item = (usize, &[Object])> {
        let way = self.branches.along(path).into_iter().rev();
        way.map(|(len, place)| (len, self.branches.objects(place)))
            .filter(|(_, row)| !row.is_empty())
    }

    /// Whether the tree itself has a directory at this path.
    pub(crate) fn is_directory(&self, path: &Pathname) -> bool {
        let place = self.branches.find(path);
        path.is_root() || place.is_some_and(|place| self.branches.has_children(place))
    }

    fn row(&self, path: &Pathname) -> &[Object] {
        let place = self.branches.find(path);
        place.map_or(&[], |place| self.branches.objects(place))
    }

    fn kind(&self, place: Place) -> EntryKind {
        match self.branches.objects(place).first() {
            Some(Object::Symlink { target, .. }) => EntryKind::Symlink(target.clone()),
            Some(Object::Server { server, .. }) if !self.branches.has_children(place) => {
                EntryKind::Server {
                    directory: server.flags.contains(AttachFlags::DIR),
                    file_type: server.file_type,
                }
            }
            _ => EntryKind::Directory,
        }
    }

    fn take(&mut self, place: Place, rank: usize) -> Object {
        let object = self.branches.objects_mut(place).remove(rank);
        self.places.remove(&object.id());
        self.branches.prune(place);
        self.generation += 1;
        object
    }
}

impl Object {
    /// Its number.
    #[must_use]
    pub const fn id(&self) -> AttachId {
        match self {
            Self::Server { id, .. } | Self::Symlink { id, .. } => *id,
        }
    }
}

/// Where a new server goes: behind symlinks and older `BEFORE` ones if it is one, ahead of the
/// unflagged ones if it is unflagged, ahead of older `AFTER` ones if it is one (P10 to P13).
fn rank(row: &[Object], flags: AttachFlags) -> usize {
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
