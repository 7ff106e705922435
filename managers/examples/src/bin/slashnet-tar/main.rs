//! `/tar`: a tar archive as a read-only tree. Nothing is unpacked: reads go to the archive itself.

mod archive;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::ExitCode;
use std::sync::Arc;

use resmgr::abi::connect::SymlinkReply;
use resmgr::abi::flags::mode;
use resmgr::abi::io::{Entry, TimeSpec};
use resmgr::abi::{Gid, Uid};
use resmgr::{
    Answer, Attributes, Credentials, Endpoint, Errno, LinkTextRequest, OpenFile, OpenRequest,
    Opening, ReadDirectoryRequest, ReadLinkRequest, ReadRequest, Resource, Result, Server, posix,
};

use crate::archive::{Kind, Member};

/// A file, directory or link of the archive.
struct Node {
    attributes: Arc<Attributes>,
    what: What,
}

enum What {
    /// Names in their order, and the indices of their nodes.
    Directory(BTreeMap<Vec<u8>, usize>),
    File {
        offset: u64,
        len: u64,
    },
    Symlink(Vec<u8>),
    Other,
}

struct Tar {
    archive: File,
    /// The first one is the root.
    nodes: Vec<Node>,
}

/// Where a path leads.
enum Found {
    Node(usize),
    Link(SymlinkReply),
}

impl Tar {
    fn new(archive: File) -> std::io::Result<Self> {
        let members = archive::members(&archive)?;
        let mut tar = Self {
            archive,
            nodes: vec![],
        };
        tar.push(mode::S_IFDIR | 0o555, What::Directory(BTreeMap::new()));
        for member in members {
            tar.add(&member);
        }
        Ok(tar)
    }

    fn push(&mut self, mode: u32, what: What) -> usize {
        let index = self.nodes.len();
        let size = match &what {
            What::File { len, .. } => *len,
            What::Symlink(text) => text.len() as u64,
            What::Directory(_) | What::Other => 0,
        };
        let attributes = Attributes::new(mode).size(size).inode(index as u64 + 1);
        self.nodes.push(Node {
            attributes: Arc::new(attributes.read_only()),
            what,
        });
        index
    }

    /// A later member replaces an earlier one of the same path.
    fn add(&mut self, member: &Member) {
        let end = member.path.iter().rposition(|byte| *byte == b'/');
        let (parents, name) = match end {
            Some(end) => (&member.path[..end], &member.path[end + 1..]),
            None => (&b""[..], member.path.as_slice()),
        };
        let mut parent = 0;
        for part in parents
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty())
        {
            parent = self.directory(parent, part);
        }
        let index = match &member.kind {
            Kind::Directory => self.directory(parent, name),
            Kind::Hard { path } => match self.index_of(path) {
                Some(index) => index,
                None => return,
            },
            kind => self.leaf(kind),
        };
        let mut fields = self.nodes[index].attributes.lock();
        fields.mode = fields.mode & mode::S_IFMT | member.permissions;
        (fields.uid, fields.gid) = (Uid(member.uid), Gid(member.gid));
        fields.modified = TimeSpec {
            seconds: member.modified,
            nanos: 0,
        };
        if matches!(member.kind, Kind::Hard { .. }) {
            fields.links += 1;
        }
        drop(fields);
        if let What::Directory(names) = &mut self.nodes[parent].what {
            names.insert(name.to_vec(), index);
        }
    }

    fn leaf(&mut self, kind: &Kind) -> usize {
        match kind {
            Kind::Symlink { text } => self.push(mode::S_IFLNK, What::Symlink(text.clone())),
            Kind::File { offset, len } => {
                let (offset, len) = (*offset, *len);
                self.push(mode::S_IFREG, What::File { offset, len })
            }
            Kind::Other { mode } => self.push(*mode, What::Other),
            Kind::Directory | Kind::Hard { .. } => 0,
        }
    }

    /// The directory of this name, made if the archive has not named it.
    fn directory(&mut self, parent: usize, name: &[u8]) -> usize {
        if let Some(index) = self.child(parent, name)
            && matches!(self.nodes[index].what, What::Directory(_))
        {
            return index;
        }
        let index = self.push(mode::S_IFDIR | 0o555, What::Directory(BTreeMap::new()));
        if let What::Directory(names) = &mut self.nodes[parent].what {
            names.insert(name.to_vec(), index);
        }
        index
    }

    fn child(&self, parent: usize, name: &[u8]) -> Option<usize> {
        match &self.nodes.get(parent)?.what {
            What::Directory(names) => names.get(name).copied(),
            _ => None,
        }
    }

    fn index_of(&self, path: &[u8]) -> Option<usize> {
        let mut parts = path.split(|byte| *byte == b'/');
        parts.try_fold(0, |index, part| self.child(index, part))
    }

    /// Goes where `path` leads, with the rights of `caller`.
    fn walk(&self, path: &[u8], follow: bool, caller: &Credentials) -> Result<Found> {
        let parts: Vec<&[u8]> = path
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty() && *part != b".")
            .collect();
        let mut way = vec![0];
        for (place, part) in parts.iter().enumerate() {
            let parent = way.last().copied().unwrap_or(0);
            posix::names::may_look_up(&self.nodes[parent].attributes.lock(), part, caller)?;
            if *part == b".." {
                way.truncate((way.len() - 1).max(1));
                continue;
            }
            let index = self.child(parent, part).ok_or(Errno::ENOENT)?;
            let is_last = place + 1 == parts.len();
            if let What::Symlink(text) = &self.nodes[index].what
                && (follow || !is_last)
            {
                return Ok(Found::Link(SymlinkReply {
                    target: text.clone(),
                    rest: parts[place + 1..].join(&b'/'),
                }));
            }
            way.push(index);
        }
        Ok(Found::Node(way.last().copied().unwrap_or(0)))
    }

    fn node_of(&self, file: &OpenFile) -> Result<&Node> {
        let index = file.state::<usize>().ok_or(Errno::EBADF)?;
        self.nodes.get(*index).ok_or(Errno::EBADF)
    }
}

impl Resource for Tar {
    fn open(&self, open: OpenRequest) -> Answer {
        let follow = !open.means_link() || open.must_be_directory();
        let index = match self.walk(open.path(), follow, open.credentials()) {
            Ok(Found::Node(index)) => index,
            Ok(Found::Link(link)) => return open.splice(&link),
            Err(errno) => return open.fail(errno),
        };
        let node = &self.nodes[index];
        let allowed = posix::open::check(&open, &node.attributes.lock());
        match (&node.what, allowed) {
            (_, Err(errno)) => open.fail(errno),
            (What::Symlink(_), _) if open.is_for_reading() => open.fail(Errno::ELOOP),
            (What::Other, _) if open.is_for_reading() => open.fail(Errno::ENXIO),
            _ => {
                let attributes = Arc::clone(&node.attributes);
                open.accept_as(Opening::new().attributes(attributes).state(index))
            }
        }
    }

    fn read(&self, file: &OpenFile, read: ReadRequest) -> Answer {
        if let Err(errno) = posix::read::verify(file, &read) {
            return read.fail(errno);
        }
        let (start, len) = match self.node_of(file).map(|node| &node.what) {
            Ok(What::File { offset, len }) => (*offset, *len),
            _ => return read.fail(Errno::EBADF),
        };
        let mut cursor = file.cursor(read.offset());
        read.fill(|space| {
            let rest = len.saturating_sub(cursor.position());
            let count = space.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
            let place = start.saturating_add(cursor.position());
            let bytes = self.archive.read_at(&mut space[..count], place);
            let bytes = bytes.map_err(|_| Errno::EIO)?;
            cursor.advance(bytes);
            Ok(bytes)
        })
    }

    fn read_directory(&self, file: &OpenFile, mut read: ReadDirectoryRequest) -> Answer {
        let names = match self.node_of(file).map(|node| &node.what) {
            Ok(What::Directory(names)) => names,
            Ok(_) => return read.fail(Errno::ENOTDIR),
            Err(errno) => return read.fail(errno),
        };
        let first = usize::try_from(read.cookie()).unwrap_or(usize::MAX);
        for ((name, index), next) in names.iter().zip(1..).skip(first) {
            let fields = self.nodes[*index].attributes.lock().clone();
            let entry = Entry {
                ino: fields.inode,
                mode: fields.mode,
                next,
                name,
                stat: read.wants_stat().then(|| posix::stat::of(&fields)),
            };
            if !read.add(&entry) {
                break;
            }
        }
        read.end()
    }

    fn read_link(&self, read: ReadLinkRequest) -> Answer {
        let found = self.walk(read.path(), false, read.credentials());
        match found.map(|found| match found {
            Found::Node(index) => Ok(&self.nodes[index].what),
            Found::Link(link) => Err(link),
        }) {
            Ok(Ok(What::Symlink(text))) => read.text(text),
            Ok(Ok(_)) => read.fail(Errno::EINVAL),
            Ok(Err(link)) => read.splice(&link),
            Err(errno) => read.fail(errno),
        }
    }

    fn link_text(&self, file: &OpenFile, read: LinkTextRequest) -> Answer {
        match self.node_of(file).map(|node| &node.what) {
            Ok(What::Symlink(text)) => read.text(text),
            Ok(_) => read.fail(Errno::EINVAL),
            Err(errno) => read.fail(errno),
        }
    }
}

fn serve(file: &str, path: &str) -> std::result::Result<(), String> {
    let archive = File::open(file).and_then(Tar::new);
    let tar = archive.map_err(|error| format!("{file}: {error}"))?;
    let refused = |errno: Errno| format!("{path}: {}", errno.text());
    let endpoint = Endpoint::global().map_err(refused)?;
    let server = Server::new(endpoint).map_err(refused)?;
    let server = server.attach(path, Attributes::directory(0o555).read_only(), tar);
    server.and_then(Server::run).map_err(refused)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (file, path) = match arguments.as_slice() {
        [file] => (file.as_str(), "/tar"),
        [file, path] => (file.as_str(), path.as_str()),
        _ => {
            eprintln!("usage: slashnet-tar ARCHIVE [PATH]");
            return ExitCode::from(2);
        }
    };
    match serve(file, path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("slashnet-tar: {why}");
            ExitCode::FAILURE
        }
    }
}
