//! A world of two nodes in memory, for tests: real prefix trees, servers with a few files, and a log of who was asked.
//!
//! With the feature `testing` tests of other crates may use it too.

// Test code: a broken expectation is to end the test.
#![allow(clippy::unwrap_used)]

mod file_server;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use abi::flags::mode;
use abi::system::{
    Description, Entry as TreeEntry, Identity, Listing, NETWORK_MANAGER, NodeRow, NodeState,
    Policy, QueryKind, Redirect, Reply as NodeReply, Request as NodeRequest, Resolve, Resolved,
    Rows, Symlink, Table,
};
use abi::{
    AttachFlags, ChannelId, Errno, FileType, Handle, Incarnation, Nd, NodeName, Pid, Result,
};
use paths::prefix_tree::EntryKind;
use paths::prefix_tree::Object;
use paths::{Asker, AttachId, NodeComponent, PrefixTree, Registrar, Resolution, Server, resolve};

use crate::Namespace;
use crate::carrier::{Carrier, Line};
use crate::connections::Address;
use file_server::FakeLine;

pub use file_server::{FileServer, Node};

/// The second node, as the first one knows it.
pub const LAB2: Nd = Nd(2);

/// The link policies of its node descriptors, by their numbers.
pub const POLICIES: [&str; 3] = ["loadbalance", "exclusive:en0", "preferred:en1"];

/// Two nodes, their names and their servers.
pub struct World {
    trees: Mutex<HashMap<Nd, PrefixTree>>,
    servers: Mutex<HashMap<Address, Arc<FileServer>>>,
    generation: AtomicU64,
    log: Mutex<Vec<String>>,
    questions: AtomicU64,
    forged: Mutex<Option<Vec<u8>>>,
}

impl World {
    /// Two nodes without servers; on both the network manager owns `/net`.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let world = Self {
            trees: Mutex::new(HashMap::new()),
            servers: Mutex::default(),
            generation: AtomicU64::new(1),
            log: Mutex::default(),
            questions: AtomicU64::new(0),
            forged: Mutex::default(),
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
    pub fn serve(&self, nd: Nd, pid: u32, path: &str, files: &[(&str, Node)]) -> Arc<FileServer> {
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
        let server = Arc::new(FileServer::new(files.collect()));
        self.servers
            .lock()
            .unwrap()
            .insert((nd, pid, chid), Arc::clone(&server));
        self.changed();
        server
    }

    /// Makes a process-manager symlink.
    pub fn link(&self, nd: Nd, path: &str, target: &str) {
        let mut trees = self.trees.lock().unwrap();
        let tree = trees.get_mut(&nd).unwrap();
        tree.symlink(path.as_bytes(), target.as_bytes(), Registrar::Privileged)
            .unwrap();
        self.changed();
    }

    /// The process is gone; nobody has noticed yet.
    pub fn kill(&self, nd: Nd, pid: u32) {
        let server = self
            .servers
            .lock()
            .unwrap()
            .remove(&(nd, Pid(pid), ChannelId(1)))
            .unwrap();
        server.die();
        let mut trees = self.trees.lock().unwrap();
        let tree = trees.get_mut(&nd).unwrap();
        let theirs = |(id, _, object): (_, _, &Object)| match object {
            Object::Server { server, .. } => (server.pid == Pid(pid)).then_some(id),
            Object::Symlink { .. } => None,
        };
        let ids: Vec<AttachId> = tree.objects(AttachId(0)).filter_map(theirs).collect();
        for id in ids {
            tree.detach(id).unwrap();
        }
    }

    /// Tells everybody that names have changed.
    pub fn changed(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// Puts a name into all listings of process managers from now on.
    pub fn forge(&self, name: &[u8]) {
        *self.forged.lock().unwrap() = Some(name.to_vec());
    }

    /// What went over the network since the last call: `resolve`, `list`, `stat` to the other node, `connect` or the
    /// name of an I/O message to a server there.
    pub fn exchanges(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    /// How often a manager of either node was asked since the last call.
    pub fn questions(&self) -> u64 {
        self.questions.swap(0, Ordering::SeqCst)
    }

    /// The path space as a program on the first node sees it.
    #[must_use]
    pub fn namespace(self: &Arc<Self>) -> Namespace {
        Namespace::over(Arc::new(Arc::clone(self)))
    }

    fn note(&self, nd: Nd, what: &str) {
        if nd != Nd::LOCAL {
            self.log.lock().unwrap().push(what.into());
        }
    }

    fn answer(&self, request: &NodeRequest) -> Result<NodeReply> {
        self.questions.fetch_add(1, Ordering::SeqCst);
        let trees = self.trees.lock().unwrap();
        match request {
            NodeRequest::Resolve(ask) => {
                self.note(ask.nd, "resolve");
                resolved(trees.get(&node(ask.nd)).ok_or(Errno::EHOSTDOWN)?, ask)
            }
            NodeRequest::Network(_) | NodeRequest::Policy(_) | NodeRequest::Query(_) => {
                answer_of_network_manager(request)
            }
            NodeRequest::List(ask) if ask.path == b"/net" => {
                let name = b"lab2".to_vec();
                let inode = u64::from(LAB2.0);
                let entries = vec![TreeEntry {
                    name,
                    inode,
                    mode: mode::S_IFDIR | 0o555,
                }];
                Ok(NodeReply::Listing(Listing {
                    entries,
                    more: false,
                }))
            }
            NodeRequest::List(ask) => {
                self.note(ask.nd, "list");
                let entries = trees[&node(ask.nd)].list(&ask.path, &ask.after, 100)?;
                let names = entries.into_iter().map(|entry| entry.name);
                let forged = self.forged.lock().unwrap().clone();
                let entries = names.chain(forged).map(|name| TreeEntry {
                    name,
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
                let (mode, target) = match trees[&node(ask.nd)].describe(&ask.path)? {
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

fn answer_of_network_manager(request: &NodeRequest) -> Result<NodeReply> {
    match request {
        NodeRequest::Network(ask) => {
            let (node, rest) = NodeComponent::split(&ask.path)?;
            let number = match node.name.as_str() {
                "lab1" => 0,
                "lab2" => LAB2.node(),
                _ => return Err(Errno::ENOENT),
            };
            let policy = node.policy.to_string();
            let qos = POLICIES.iter().position(|known| *known == policy);
            let qos = qos.ok_or(Errno::ENOENT)? as u16;
            let nd = Nd::new(number, if number == 0 { 0 } else { qos });
            let (pid, channel) = (Pid::PROCESS_MANAGER, ChannelId::PROCESS_MANAGER);
            Ok(NodeReply::Redirect(Redirect {
                nd,
                pid,
                channel,
                path: rest.to_vec(),
            }))
        }
        NodeRequest::Policy(nd) => {
            let text = POLICIES.get(usize::from(nd.qos())).ok_or(Errno::EBADF)?;
            Ok(NodeReply::Policy(Policy {
                text: text.as_bytes().to_vec(),
            }))
        }
        NodeRequest::Query(query) if query.what == QueryKind::Nodes => {
            let rows = [(Nd::LOCAL, "lab1"), (LAB2, "lab2")].map(node_row);
            Ok(NodeReply::Table(Table {
                rows: Rows::Nodes(rows.to_vec()),
                next: None,
            }))
        }
        _ => Err(Errno::ENOSYS),
    }
}

fn node_row((nd, name): (Nd, &str)) -> NodeRow {
    NodeRow {
        nd,
        name: NodeName::parse(name).unwrap(),
        state: NodeState::Up,
        incarnation: Incarnation(1),
        addresses: Vec::new(),
        round_trip: None,
        sessions: 0,
        fingerprint: [0; 8],
    }
}

/// A node descriptor without its link policy: one node, whatever the way to it.
const fn node(nd: Nd) -> Nd {
    Nd::new(nd.node(), 0)
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
                root: 0,
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
        let server = servers.get(&(node(nd), pid, channel)).ok_or(Errno::ESRCH)?;
        let (world, server) = (Self::clone(self), Arc::clone(server));
        Ok(Arc::new(FakeLine::new(world, nd, server)))
    }
}
