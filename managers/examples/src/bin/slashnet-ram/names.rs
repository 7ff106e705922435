//! What is done to names: opened, made, linked, moved, removed.

use std::sync::Arc;

use resmgr::abi::connect::SymlinkReply;
use resmgr::abi::flags::mode;
use resmgr::abi::limits::PATH_MAX;
use resmgr::{
    Answer, Attributes, Credentials, Errno, FileType, LinkRequest, MakeNodeRequest, OpenFlags,
    OpenRequest, Opened, Opening, ReadLinkRequest, RenameRequest, Result, SymlinkRequest,
    UnlinkRequest, posix,
};

use crate::files::Ram;
use crate::tree::{Directory, Found, Names, Node, Spot};

/// An answer other than the wanted one: a link on the way, or an error.
pub(crate) enum Otherwise {
    Link(SymlinkReply),
    Fail(Errno),
}

impl From<Errno> for Otherwise {
    fn from(errno: Errno) -> Self {
        Self::Fail(errno)
    }
}

type Outcome<T = ()> = std::result::Result<T, Otherwise>;

/// Answers a request by what came of it.
macro_rules! conclude {
    ($request:ident, $outcome:expr, $good:expr) => {
        match $outcome {
            Ok(value) => $good(value),
            Err(Otherwise::Link(link)) => $request.splice(&link),
            Err(Otherwise::Fail(errno)) => $request.fail(errno),
        }
    };
}

impl Ram {
    pub(crate) fn open_path(&self, open: OpenRequest) -> Answer {
        let opened = self.opening(&open);
        conclude!(open, opened, |opening| open.accept_as(opening))
    }

    fn opening(&self, open: &OpenRequest) -> Outcome<Opening> {
        let flags = open.flags();
        if flags.contains(OpenFlags::TMPFILE) {
            return Err(Errno::EOPNOTSUPP.into());
        }
        let follow = !open.means_link() || open.must_be_directory();
        let root = self.root(open.attributes());
        let mut names = self.tree.lock();
        let way = (open.path(), follow);
        let node = match self.tree.walk(&names, &root, way, open.credentials())? {
            Found::Link(link) => return Err(Otherwise::Link(link)),
            Found::Missing(spot) if flags.contains(OpenFlags::CREATE) => {
                if open.must_be_directory() {
                    return Err(Errno::EISDIR.into());
                }
                let kind = mode::S_IFREG | open.permissions();
                self.add(&mut names, &spot, (kind, 0, b""), open.credentials())?
            }
            Found::Missing(_) => return Err(Errno::ENOENT.into()),
            Found::Node(_, node) => {
                check(open, &node)?;
                node
            }
        };
        drop(names);
        if flags.contains(OpenFlags::TRUNCATE) && open.is_for_writing() {
            Self::set_size(&node, 0);
        }
        let fields = node.attributes.lock().clone();
        let described = Opened {
            file_type: FileType::FILE,
            mode: fields.mode,
            size: fields.size,
            ino: fields.inode,
            direct: false,
            block_size: 4096,
        };
        let attributes = Arc::clone(&node.attributes);
        let opening = Opening::new().attributes(attributes).state(node);
        Ok(opening.described(described))
    }

    pub(crate) fn make_path(&self, make: MakeNodeRequest) -> Answer {
        let kind = make.mode() & mode::S_IFMT;
        let is_device = matches!(kind, mode::S_IFCHR | mode::S_IFBLK);
        if is_device && !make.credentials().is_root() {
            return make.fail(Errno::EPERM);
        }
        if make.must_be_directory() && kind != mode::S_IFDIR {
            return make.fail(Errno::ENOENT);
        }
        let root = self.root(make.attributes());
        let what = (make.mode(), make.device(), &b""[..]);
        let made = self.create(&root, make.path(), what, make.credentials());
        conclude!(make, made, |()| make.done())
    }

    pub(crate) fn make_link(&self, symlink: SymlinkRequest) -> Answer {
        let text = symlink.text();
        if text.is_empty() || text.len() > PATH_MAX {
            return symlink.fail(Errno::ENOENT);
        }
        let root = self.root(symlink.attributes());
        let what = (mode::S_IFLNK | 0o777, 0, text);
        let made = self.create(&root, symlink.path(), what, symlink.credentials());
        conclude!(symlink, made, |()| symlink.done())
    }

    pub(crate) fn text_of_link(&self, read: ReadLinkRequest) -> Answer {
        let root = self.root(read.attributes());
        let found = self.find(&self.tree.lock(), &root, read.path(), read.credentials());
        conclude!(read, found, |(_, node): (_, Arc<Node>)| {
            match node.text.as_slice() {
                [] => read.fail(Errno::EINVAL),
                text => read.text(text),
            }
        })
    }

    pub(crate) fn remove_name(&self, unlink: UnlinkRequest) -> Answer {
        let root = self.root(unlink.attributes());
        let removed = self.remove(&root, &unlink);
        conclude!(unlink, removed, |()| unlink.done())
    }

    fn remove(&self, root: &Arc<Node>, unlink: &UnlinkRequest) -> Outcome {
        let caller = unlink.credentials();
        let mut names = self.tree.lock();
        let (spot, node) = self.find(&names, root, unlink.path(), caller)?;
        if unlink.path().ends_with(b"..") {
            return Err(Errno::ENOTEMPTY.into());
        }
        if spot.name.is_empty() {
            return Err(Errno::EBUSY.into());
        }
        {
            let (parent, named) = (spot.parent.attributes.lock(), node.attributes.lock());
            posix::names::may_remove(&parent, &named, caller)?;
        }
        match (unlink.is_directory(), names.get(&node.inode)) {
            (true, None) => return Err(Errno::ENOTDIR.into()),
            (true, Some(directory)) if !directory.is_empty() => {
                return Err(Errno::ENOTEMPTY.into());
            }
            (false, Some(_)) => return Err(Errno::EISDIR.into()),
            (false, None) if unlink.must_be_directory() => return Err(Errno::ENOTDIR.into()),
            _ => {}
        }
        take_away(&mut names, &spot, &node);
        Ok(())
    }

    pub(crate) fn add_link(&self, link: LinkRequest) -> Answer {
        let root = self.root(link.attributes());
        let linked = self.link_node(&root, &link);
        conclude!(link, linked, |()| link.done())
    }

    fn link_node(&self, root: &Arc<Node>, link: &LinkRequest) -> Outcome {
        let caller = link.credentials();
        let mut names = self.tree.lock();
        let (_, node) = self.find(&names, root, link.old_path(), caller)?;
        let spot = match self.tree.walk(&names, root, (link.path(), false), caller)? {
            Found::Link(link) => return Err(Otherwise::Link(link)),
            Found::Node(..) => return Err(Errno::EEXIST.into()),
            Found::Missing(spot) => spot,
        };
        if names.contains_key(&node.inode) {
            return Err(Errno::EPERM.into());
        }
        posix::names::may_add(&spot.parent.attributes.lock(), caller)?;
        {
            let mut fields = node.attributes.lock();
            fields.links += 1;
            fields.stamp_changed();
        }
        put(&mut names, &spot, node);
        Ok(())
    }

    pub(crate) fn move_name(&self, rename: RenameRequest) -> Answer {
        let root = self.root(rename.attributes());
        let moved = self.rename_node(&root, &rename);
        conclude!(rename, moved, |()| rename.done())
    }

    fn rename_node(&self, root: &Arc<Node>, rename: &RenameRequest) -> Outcome {
        let caller = rename.credentials();
        let mut names = self.tree.lock();
        let (from, node) = self.find(&names, root, rename.old_path(), caller)?;
        let (to, replaced) = match self
            .tree
            .walk(&names, root, (rename.path(), false), caller)?
        {
            Found::Link(link) => return Err(Otherwise::Link(link)),
            Found::Node(to, replaced) => (to, Some(replaced)),
            Found::Missing(to) => (to, None),
        };
        if from.name.is_empty() || to.name.is_empty() {
            return Err(Errno::EBUSY.into());
        }
        let is_directory = names.contains_key(&node.inode);
        if rename.must_be_directory() && !is_directory {
            return Err(Errno::ENOTDIR.into());
        }
        if replaced
            .as_ref()
            .is_some_and(|other| Arc::ptr_eq(other, &node))
        {
            return Ok(());
        }
        if is_directory && self.tree.is_within(&names, &to.parent, &node) {
            return Err(Errno::EINVAL.into());
        }
        self.may_move(&names, (&from, &node), (&to, replaced.as_deref()), caller)?;
        if let Some(replaced) = replaced {
            take_away(&mut names, &to, &replaced);
        }
        if let Some(directory) = names.get_mut(&from.parent.inode) {
            directory.remove(&from.name);
        }
        if is_directory {
            from.parent.attributes.lock().links -= 1;
            to.parent.attributes.lock().links += 1;
        }
        from.parent.attributes.lock().stamp_written();
        node.attributes.lock().stamp_changed();
        put(&mut names, &to, node);
        Ok(())
    }

    fn may_move(
        &self,
        names: &Names,
        (from, node): (&Spot, &Node),
        (to, replaced): (&Spot, Option<&Node>),
        caller: &Credentials,
    ) -> Result {
        let is_directory = names.contains_key(&node.inode);
        {
            let (parent, named) = (from.parent.attributes.lock(), node.attributes.lock());
            posix::names::may_remove(&parent, &named, caller)?;
            // Its `..` is written.
            if is_directory && !Arc::ptr_eq(&from.parent, &to.parent) {
                posix::access::check(&named, caller, posix::access::WRITE)?;
            }
        }
        let parent = to.parent.attributes.lock();
        posix::names::may_add(&parent, caller)?;
        let Some(replaced) = replaced else {
            return Ok(());
        };
        posix::names::may_remove(&parent, &replaced.attributes.lock(), caller)?;
        match (is_directory, names.get(&replaced.inode)) {
            (true, None) => Err(Errno::ENOTDIR),
            (false, Some(_)) => Err(Errno::EISDIR),
            (true, Some(directory)) if !directory.is_empty() => Err(Errno::ENOTEMPTY),
            _ => Ok(()),
        }
    }

    fn create(
        &self,
        root: &Arc<Node>,
        path: &[u8],
        what: (u32, u64, &[u8]),
        caller: &Credentials,
    ) -> Outcome {
        let mut names = self.tree.lock();
        match self.tree.walk(&names, root, (path, false), caller)? {
            Found::Link(link) => Err(Otherwise::Link(link)),
            Found::Node(..) => Err(Errno::EEXIST.into()),
            Found::Missing(spot) => Ok(self.add(&mut names, &spot, what, caller).map(drop)?),
        }
    }

    /// Makes a node and its name.
    fn add(
        &self,
        names: &mut Names,
        spot: &Spot,
        (kind, device, text): (u32, u64, &[u8]),
        caller: &Credentials,
    ) -> Result<Arc<Node>> {
        let attributes = Attributes::new(kind).size(text.len() as u64);
        {
            let parent = spot.parent.attributes.lock();
            posix::names::may_add(&parent, caller)?;
            let mut made = attributes.lock();
            made.device = device;
            posix::names::own(&parent, &mut made, caller);
        }
        let node = self.tree.node(Arc::new(attributes), text);
        if mode::is_directory(kind) {
            node.attributes.lock().links = 2;
            spot.parent.attributes.lock().links += 1;
            names.insert(node.inode, Directory::default());
        }
        put(names, spot, Arc::clone(&node));
        Ok(node)
    }

    /// What is at a path; a symbolic link at its end is meant itself.
    fn find(
        &self,
        names: &Names,
        root: &Arc<Node>,
        path: &[u8],
        caller: &Credentials,
    ) -> Outcome<(Spot, Arc<Node>)> {
        match self.tree.walk(names, root, (path, false), caller)? {
            Found::Node(spot, node) => Ok((spot, node)),
            Found::Missing(_) => Err(Errno::ENOENT.into()),
            Found::Link(link) => Err(Otherwise::Link(link)),
        }
    }
}

fn put(names: &mut Names, spot: &Spot, node: Arc<Node>) {
    if let Some(directory) = names.get_mut(&spot.parent.inode) {
        directory.insert(&spot.name, node);
    }
    spot.parent.attributes.lock().stamp_written();
}

/// Takes a name away, and what it was the last name of.
fn take_away(names: &mut Names, spot: &Spot, node: &Node) {
    if let Some(directory) = names.get_mut(&spot.parent.inode) {
        directory.remove(&spot.name);
    }
    let was_directory = names.remove(&node.inode).is_some();
    let mut parent = spot.parent.attributes.lock();
    parent.links -= u32::from(was_directory);
    parent.stamp_written();
    drop(parent);
    let mut fields = node.attributes.lock();
    fields.links = if was_directory { 0 } else { fields.links - 1 };
    fields.stamp_changed();
}

/// Whether a node that is there may be opened.
fn check(open: &OpenRequest, node: &Node) -> Result {
    posix::open::check(open, &node.attributes.lock())?;
    let opens = open.is_for_reading() || open.is_for_writing();
    let kind = node.attributes.lock().mode & mode::S_IFMT;
    match kind {
        _ if !opens => Ok(()),
        mode::S_IFREG | mode::S_IFDIR => Ok(()),
        mode::S_IFLNK => Err(Errno::ELOOP),
        // Pipes, sockets and devices have names here, and nothing behind them.
        _ => Err(Errno::ENXIO),
    }
}
