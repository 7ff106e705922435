//! A world of two nodes in memory, for tests: real prefix trees, servers with a few files, and a log of who was asked.

use std::collections::{BTreeMap, HashMap};
use std::io::{IoSlice, IoSliceMut};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use abi::connect::{
    CombinedReply, Connect, ConnectStatus, ConnectType, Extra, Opened, SymlinkReply,
};
use abi::flags::mode;
use abi::io::{Entry, Request, Stat, push_entry};
use abi::system::{
    Description, Entry as TreeEntry, Identity, Listing, NETWORK_MANAGER, Redirect,
    Reply as NodeReply, Request as NodeRequest, Resolve, Resolved, Symlink,
};
use abi::{
    AttachFlags, ChannelId, Decode, Encode, Errno, FileType, Handle, Incarnation, Nd, Pid, Result,
};
use ipc::{Cause, Delivery, Failure, Reply, SendOptions};
use paths::prefix_tree::EntryKind;
use paths::{Asker, PrefixTree, Registrar, Resolution, Server, resolve};

use crate::carrier::{Carrier, Line};
use crate::connections::Address;

/// The second node, as the first one knows it.
pub(crate) const LAB2: Nd = Nd(2);

pub(crate) struct World {
    trees: Mutex<HashMap<Nd, PrefixTree>>,
    servers: Mutex<HashMap<Address, Arc<FileServer>>>,
    generation: AtomicU64,
    log: Mutex<Vec<String>>,
}

/// A file of a [`FileServer`], by its path below the prefix.
#[derive(Clone)]
pub(crate) enum Node {
    Directory,
    File(Vec<u8>),
    Link(Vec<u8>),
}

pub(crate) struct FileServer {
    pub(crate) files: Mutex<BTreeMap<Vec<u8>, Node>>,
    /// Answers everything with this.
    pub(crate) refusal: Mutex<Option<Errno>>,
    pub(crate) dead: AtomicBool,
}

impl World {
    pub(crate) fn new() -> Arc<Self> {
        let world = Self {
            trees: Mutex::new(HashMap::new()),
            servers: Mutex::default(),
            generation: AtomicU64::new(1),
            log: Mutex::default(),
        };
        for nd in [Nd::LOCAL, LAB2] {
            let mut tree = PrefixTree::new();
            let server = Server {
                nd: Nd::LOCAL,
                pid: Pid::PROCESS_MANAGER,
                chid: NETWORK_MANAGER,
                handle: Handle(0),
                file_type: FileType::ANY,
                flags: AttachFlags::DIR | AttachFlags::SELF,
            };
            tree.attach(b"/net", server, Registrar::Privileged).unwrap();
            world.trees.lock().unwrap().insert(nd, tree);
        }
        Arc::new(world)
    }

    /// A server of `path` on `nd` with these files.
    pub(crate) fn serve(
        &self,
        nd: Nd,
        pid: u32,
        path: &str,
        files: &[(&str, Node)],
    ) -> Arc<FileServer> {
        let (pid, chid) = (Pid(pid), ChannelId(1));
        let flags = AttachFlags::DIR;
        let (handle, file_type) = (Handle(7), FileType::ANY);
        let attached = Server {
            nd: Nd::LOCAL,
            pid,
            chid,
            handle,
            file_type,
            flags,
        };
        let mut trees = self.trees.lock().unwrap();
        let tree = trees.get_mut(&nd).unwrap();
        tree.attach(path.as_bytes(), attached, Registrar::Privileged)
            .unwrap();
        let files = files
            .iter()
            .map(|(name, node)| (name.as_bytes().to_vec(), node.clone()));
        let server = Arc::new(FileServer {
            files: Mutex::new(files.collect()),
            refusal: Mutex::new(None),
            dead: AtomicBool::new(false),
        });
        self.servers
            .lock()
            .unwrap()
            .insert((nd, pid, chid), Arc::clone(&server));
        self.changed();
        server
    }

    pub(crate) fn link(&self, nd: Nd, path: &str, target: &str) {
        let mut trees = self.trees.lock().unwrap();
        let tree = trees.get_mut(&nd).unwrap();
        tree.symlink(path.as_bytes(), target.as_bytes(), Registrar::Privileged)
            .unwrap();
        self.changed();
    }

    /// The process is gone; nobody has noticed yet.
    pub(crate) fn kill(&self, nd: Nd, pid: u32) {
        let server = self
            .servers
            .lock()
            .unwrap()
            .remove(&(nd, Pid(pid), ChannelId(1)))
            .unwrap();
        server.dead.store(true, Ordering::SeqCst);
        self.trees
            .lock()
            .unwrap()
            .get_mut(&nd)
            .unwrap()
            .detach_process(Nd::LOCAL, Pid(pid));
    }

    pub(crate) fn changed(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// What went over the network since the last call: `resolve`, `list`, `stat` to the other node, `connect` or the
    /// name of an I/O message to a server there.
    pub(crate) fn exchanges(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    fn note(&self, nd: Nd, what: &str) {
        if nd != Nd::LOCAL {
            self.log.lock().unwrap().push(what.into());
        }
    }

    fn answer(&self, request: &NodeRequest) -> Result<NodeReply> {
        let trees = self.trees.lock().unwrap();
        match request {
            NodeRequest::Resolve(ask) => {
                self.note(ask.nd, "resolve");
                resolved(trees.get(&ask.nd).ok_or(Errno::EHOSTDOWN)?, ask)
            }
            NodeRequest::Network(ask) => {
                let path = std::str::from_utf8(&ask.path).unwrap();
                let (name, rest) = path.split_once('/').unwrap_or((path, ""));
                let nd = if name == "lab2" {
                    LAB2
                } else {
                    return Err(Errno::ENOENT);
                };
                let path = rest.as_bytes().to_vec();
                let (pid, channel) = (Pid::PROCESS_MANAGER, ChannelId::PROCESS_MANAGER);
                Ok(NodeReply::Redirect(Redirect {
                    nd,
                    pid,
                    channel,
                    path,
                }))
            }
            NodeRequest::List(ask) => {
                self.note(ask.nd, "list");
                let entries = trees[&ask.nd].list(&ask.path, &ask.after, 100)?;
                let entries = entries.into_iter().map(|entry| TreeEntry {
                    name: entry.name,
                    inode: 5,
                    mode: mode::S_IFDIR,
                });
                Ok(NodeReply::Listing(Listing {
                    entries: entries.collect(),
                    more: false,
                }))
            }
            NodeRequest::Stat(ask) => {
                self.note(ask.nd, "stat");
                let (mode, target) = match trees[&ask.nd].describe(&ask.path)? {
                    EntryKind::Symlink(target) => (mode::S_IFLNK | 0o777, target),
                    _ => (mode::S_IFDIR | 0o555, Vec::new()),
                };
                Ok(NodeReply::Described(Description {
                    mode,
                    inode: 9,
                    links: 2,
                    target,
                }))
            }
            _ => Err(Errno::ENOSYS),
        }
    }
}

fn resolved(tree: &PrefixTree, ask: &Resolve) -> Result<NodeReply> {
    let asker = Asker {
        no_follow: ask.no_follow,
        ..Asker::local(Pid(1000))
    };
    Ok(match resolve(tree, &ask.path, &asker)? {
        Resolution::Candidates {
            path,
            mut candidates,
        } => {
            for candidate in &mut candidates {
                candidate.nd = ask.nd;
            }
            NodeReply::Resolved(Resolved {
                path_flags: path.flags(),
                path: path.into_bytes(),
                candidates,
            })
        }
        Resolution::Symlink { path, absolute } => NodeReply::Symlink(Symlink {
            path: path.into_bytes(),
            absolute,
        }),
    })
}

impl Carrier for Arc<World> {
    fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    fn request(&self, request: &NodeRequest) -> Result<NodeReply> {
        self.answer(request)
    }

    fn attach(
        &self,
        nd: Nd,
        pid: Pid,
        channel: ChannelId,
        _: Option<&Identity>,
    ) -> Result<Arc<dyn Line>> {
        let servers = self.servers.lock().unwrap();
        let server = servers.get(&(nd, pid, channel)).ok_or(Errno::ESRCH)?;
        let (world, server) = (Self::clone(self), Arc::clone(server));
        Ok(Arc::new(FakeLine {
            world,
            nd,
            server,
            open: Mutex::new(None),
        }))
    }
}

struct FakeLine {
    world: Arc<World>,
    nd: Nd,
    server: Arc<FileServer>,
    /// The path of the open file.
    open: Mutex<Option<Vec<u8>>>,
}

impl Line for FakeLine {
    fn send(
        &self,
        request: &[IoSlice<'_>],
        reply: &mut [IoSliceMut<'_>],
        _: &SendOptions<'_>,
    ) -> core::result::Result<Reply, Failure> {
        let failure = |errno, delivery, cause| Failure {
            errno,
            delivery,
            cause,
            peer: Incarnation(1),
        };
        if self.server.dead.load(Ordering::SeqCst) {
            return Err(failure(Errno::ESRCH, Delivery::NotDone, Cause::Server));
        }
        let message: Vec<u8> = request
            .iter()
            .flat_map(|part| part.iter().copied())
            .collect();
        let refused = |errno| failure(errno, Delivery::Unknown, Cause::Answer);
        let (status, body) = self.serve(&message).map_err(refused)?;
        let mut rest = body.as_slice();
        for part in reply {
            let count = part.len().min(rest.len());
            part[..count].copy_from_slice(&rest[..count]);
            rest = &rest[count..];
        }
        Ok(Reply {
            status,
            len: body.len() - rest.len(),
        })
    }

    fn duplicate(&self) -> Result<Arc<dyn Line>> {
        let (world, server) = (Arc::clone(&self.world), Arc::clone(&self.server));
        Ok(Arc::new(Self {
            world,
            nd: self.nd,
            server,
            open: Mutex::new(None),
        }))
    }

    fn is_dead(&self) -> bool {
        false
    }
}

impl FakeLine {
    fn serve(&self, message: &[u8]) -> Result<(i64, Vec<u8>)> {
        if let Ok(connect) = Connect::from_bytes(message) {
            self.world.note(self.nd, "connect");
            if let Some(errno) = *self.server.refusal.lock().unwrap() {
                return Err(errno);
            }
            return self.connect(&connect);
        }
        let request = Request::parse(message)?;
        self.world.note(self.nd, &format!("{:?}", request.kind()));
        let path = self.open.lock().unwrap().clone().ok_or(Errno::EBADF)?;
        self.io(&path, &request)
    }

    fn connect(&self, connect: &Connect<'_>) -> Result<(i64, Vec<u8>)> {
        let path = connect.path.to_vec();
        let files = self.server.files.lock().unwrap();
        for (at, node) in files.iter() {
            let Node::Link(target) = node else { continue };
            let rest = match path.strip_prefix(at.as_slice()) {
                Some([]) if mode::is_symlink(connect.mode) || !connect.subtype.opens() => continue,
                Some([]) => Vec::new(),
                Some([b'/', rest @ ..]) => rest.to_vec(),
                _ => continue,
            };
            let reply = SymlinkReply {
                target: target.clone(),
                rest,
            };
            return Ok((ConnectStatus::Symlink.status(), reply.to_bytes()?));
        }
        let node = files.get(&path).cloned();
        drop(files);
        match connect.subtype {
            ConnectType::Readlink => match node.ok_or(Errno::ENOENT)? {
                Node::Link(target) => Ok((0, target)),
                _ => Err(Errno::EINVAL),
            },
            ConnectType::Mknod => Err(if node.is_some() {
                Errno::EEXIST
            } else {
                Errno::ENOSYS
            }),
            ConnectType::Rename => {
                let Extra::Rename { path: old, .. } = connect.extra else {
                    return Err(Errno::EINVAL);
                };
                let mut files = self.server.files.lock().unwrap();
                let node = files.remove(old).ok_or(Errno::ENOENT)?;
                files.insert(path, node);
                Ok((0, Vec::new()))
            }
            ConnectType::CombineClose => {
                node.ok_or(Errno::ENOENT)?;
                let Extra::Combined(io) = connect.extra else {
                    return Err(Errno::EINVAL);
                };
                if io.is_empty() {
                    return Ok((0, CombinedReply::default().to_bytes()?));
                }
                let (status, body) = self.io(&path, &Request::parse(io)?)?;
                let reply = CombinedReply {
                    opened: None,
                    status,
                    body: &body,
                };
                Ok((0, reply.to_bytes()?))
            }
            ConnectType::Open => {
                node.ok_or(Errno::ENOENT)?;
                *self.open.lock().unwrap() = Some(path.clone());
                let mode = self.stat(&path)?.mode;
                Ok((
                    0,
                    Opened {
                        mode,
                        ..Opened::default()
                    }
                    .to_bytes()?,
                ))
            }
            _ => Err(Errno::ENOSYS),
        }
    }

    fn stat(&self, path: &[u8]) -> Result<Stat> {
        let files = self.server.files.lock().unwrap();
        let (mode, size) = match files.get(path).ok_or(Errno::ENOENT)? {
            Node::Directory => (mode::S_IFDIR | 0o755, 0),
            Node::File(data) => (mode::S_IFREG | 0o644, data.len()),
            Node::Link(target) => (mode::S_IFLNK | 0o777, target.len()),
        };
        Ok(Stat {
            mode,
            size: size as u64,
            ino: path.len() as u64 + 1,
            ..Stat::default()
        })
    }

    fn io(&self, path: &[u8], request: &Request<'_>) -> Result<(i64, Vec<u8>)> {
        match request {
            Request::Stat => Ok((0, self.stat(path)?.to_bytes()?)),
            Request::Close => Ok((0, Vec::new())),
            Request::Read(read) => {
                let files = self.server.files.lock().unwrap();
                let Some(Node::File(data)) = files.get(path) else {
                    return Err(Errno::EISDIR);
                };
                let start = usize::try_from(read.offset.unwrap_or(0))
                    .unwrap()
                    .min(data.len());
                let end = (start + read.nbytes as usize).min(data.len());
                Ok(((end - start) as i64, data[start..end].to_vec()))
            }
            Request::Write { offset, data } => {
                let mut files = self.server.files.lock().unwrap();
                let Some(Node::File(file)) = files.get_mut(path) else {
                    return Err(Errno::EISDIR);
                };
                let start = usize::try_from(offset.unwrap_or(0)).unwrap();
                file.resize(file.len().max(start + data.len()), 0);
                file[start..start + data.len()].copy_from_slice(data);
                Ok((data.len() as i64, Vec::new()))
            }
            Request::ReadDirectory(read) => {
                let files = self.server.files.lock().unwrap();
                let below = if path.is_empty() {
                    Vec::new()
                } else {
                    [path, b"/"].concat()
                };
                let names = files
                    .keys()
                    .filter_map(|name| name.strip_prefix(below.as_slice()));
                let names = names.filter(|name| !name.is_empty() && !name.contains(&b'/'));
                let mut body = Vec::new();
                let mut count = 0;
                for (at, name) in names
                    .enumerate()
                    .skip(usize::try_from(read.cookie).unwrap())
                {
                    let stat = None;
                    let mode = mode::S_IFREG;
                    let entry = Entry {
                        ino: 1,
                        mode,
                        next: at as u64 + 1,
                        name,
                        stat,
                    };
                    // Two at a time, so that listings take several messages.
                    if count == 2 || !push_entry(&mut body, read.nbytes, &entry)? {
                        break;
                    }
                    count += 1;
                }
                Ok((count, body))
            }
            _ => Err(Errno::ENOSYS),
        }
    }
}
