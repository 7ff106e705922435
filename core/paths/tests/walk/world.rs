use std::collections::BTreeMap;

use abi::connect::Redirect;
use abi::system::NETWORK_MANAGER;
use abi::{AttachFlags, Candidate, ChannelId, Errno, FileType, Handle, Nd, PathFlags, Pid, Result};
use paths::resolve::{resolve_below, translate};
use paths::{
    Answer, Asker, NodeComponent, Pathname, PrefixTree, Registrar, Resolution, Server, Step, Walk,
    WalkOptions,
};

/// What a server says to a path: its own choice for each request.
pub(crate) type Behaviour = Box<dyn Fn(&Request<'_>) -> Answer>;

/// What a server sees.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) path: &'a str,
    pub(crate) path_flags: PathFlags,
    pub(crate) file_type: FileType,
    pub(crate) probe: bool,
}

/// Some nodes. `lab1` is the client's and is 0 in its terms; the others are known to everybody by
/// the same numbers, except that a node calls itself 0.
pub(crate) struct World {
    trees: BTreeMap<u16, PrefixTree>,
    names: BTreeMap<&'static str, u16>,
    servers: BTreeMap<(u16, u32), Behaviour>,
    /// The client's, on `lab1`.
    pub(crate) root: Pathname,
}

/// How a walk ended, and what was asked on the way.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) outcome: Result,
    pub(crate) found: u32,
    pub(crate) trace: Vec<String>,
}

impl Report {
    /// How often somebody was asked to do this.
    pub(crate) fn count(&self, what: &str) -> usize {
        self.trace.iter().filter(|line| line.contains(what)).count()
    }
}

const CLIENT: Pid = Pid(999);
/// The number by which other nodes know `lab1`.
const LAB1_ELSEWHERE: Nd = Nd(1);

impl World {
    /// `lab1` with a network manager at `/net` that knows `lab2` and `lab3`, and those two.
    pub(crate) fn new() -> Self {
        let mut world = Self {
            trees: BTreeMap::new(),
            names: BTreeMap::from([("lab2", 2), ("lab3", 3)]),
            servers: BTreeMap::new(),
            root: Pathname::root(),
        };
        for node in [0, 2, 3] {
            let mut tree = PrefixTree::new();
            let net = Server {
                nd: Nd::LOCAL,
                pid: Pid::PROCESS_MANAGER,
                chid: NETWORK_MANAGER,
                handle: Handle(0),
                file_type: FileType::ANY,
                flags: AttachFlags::DIR,
            };
            tree.attach(b"/net", net, Registrar::Privileged).unwrap();
            world.trees.insert(node, tree);
        }
        world
    }

    pub(crate) fn serve(
        &mut self,
        (node, path): (u16, &str),
        pid: u32,
        flags: AttachFlags,
        behaviour: impl Fn(&Request<'_>) -> Answer + 'static,
    ) {
        let server = Server {
            nd: Nd::LOCAL,
            pid: Pid(pid),
            chid: ChannelId(1),
            handle: Handle(pid),
            file_type: FileType::ANY,
            flags,
        };
        self.tree(node)
            .attach(path.as_bytes(), server, Registrar::Privileged)
            .unwrap();
        self.servers.insert((node, pid), Box::new(behaviour));
    }

    /// A server that says the same to every request.
    pub(crate) fn always(&mut self, place: (u16, &str), pid: u32, flags: AttachFlags, a: Answer) {
        self.serve(place, pid, flags, move |_| a.clone());
    }

    pub(crate) fn link(&mut self, node: u16, path: &str, target: &str) {
        let tree = self.tree(node);
        tree.symlink(path.as_bytes(), target.as_bytes(), Registrar::Privileged)
            .unwrap();
    }

    pub(crate) fn tree(&mut self, node: u16) -> &mut PrefixTree {
        self.trees.get_mut(&node).unwrap()
    }

    pub(crate) fn open(&self, path: &str) -> Report {
        self.walk(path, WalkOptions::default())
    }

    pub(crate) fn walk(&self, path: &str, options: WalkOptions) -> Report {
        let mut walk = Walk::new(path.as_bytes(), options);
        let mut trace = Vec::new();
        loop {
            let step = walk.next();
            if let Step::Done(outcome) = step {
                return Report {
                    outcome,
                    found: walk.found(),
                    trace,
                };
            }
            trace.push(words(&step));
            walk.answered(self.answer(&step));
        }
    }

    fn answer(&self, step: &Step) -> Answer {
        match step {
            Step::Resolve {
                nd,
                path,
                file_type,
                no_follow,
            } => self.resolve(*nd, path, *file_type, *no_follow),
            Step::Network { path, .. } => self.network(path),
            Step::Own { nd, path, .. } => {
                match self.trees[&nd.node()].describe(&self.whole(*nd, path)) {
                    Ok(_) => Answer::Done,
                    Err(_) if path == b"/net" => Answer::Done,
                    Err(error) => Answer::Failed(error),
                }
            }
            Step::Connect {
                candidate,
                path,
                path_flags,
                file_type,
                ..
            } => self.serves(candidate, path, *path_flags, *file_type, false),
            Step::Probe {
                candidate,
                path,
                path_flags,
                file_type,
            } => self.serves(candidate, path, *path_flags, *file_type, true),
            Step::Done(_) => unreachable!("the walk is over"),
        }
    }

    fn serves(
        &self,
        candidate: &Candidate,
        path: &[u8],
        path_flags: PathFlags,
        file_type: FileType,
        probe: bool,
    ) -> Answer {
        let path = std::str::from_utf8(path).unwrap();
        assert!(!path.starts_with('/'), "relative: {path}");
        match self.servers.get(&(candidate.nd.node(), candidate.pid.0)) {
            Some(behaviour) => behaviour(&Request {
                path,
                path_flags,
                file_type,
                probe,
            }),
            None => Answer::Failed(Errno::ESRCH),
        }
    }

    /// What a process manager takes a path of the client for.
    fn whole(&self, nd: Nd, path: &[u8]) -> Vec<u8> {
        let path = Pathname::parse(path).unwrap();
        let root = if nd == Nd::LOCAL {
            &self.root
        } else {
            &Pathname::root()
        };
        path.below_root(root).unwrap().into_bytes()
    }

    fn resolve(&self, nd: Nd, path: &[u8], file_type: FileType, no_follow: bool) -> Answer {
        let asker_node = if nd.is_local() {
            Nd::LOCAL
        } else {
            LAB1_ELSEWHERE
        };
        let asker = Asker {
            nd: asker_node,
            pid: CLIENT,
            file_type,
            no_follow,
        };
        let root = if nd == Nd::LOCAL {
            self.root.clone()
        } else {
            Pathname::root()
        };
        let root_len = if root.is_root() {
            0
        } else {
            root.as_bytes().len()
        };
        match resolve_below(&self.trees[&nd.node()], &root, path, &asker) {
            Err(error) => Answer::Failed(error),
            Ok(Resolution::Symlink { path, absolute }) => {
                let mut bytes = path.as_bytes().to_vec();
                if path.flags().contains(PathFlags::DIR) {
                    bytes.push(b'/');
                }
                Answer::Symlink {
                    path: bytes,
                    absolute,
                }
            }
            Ok(Resolution::Candidates {
                path,
                mut candidates,
            }) => {
                translate(&mut candidates, asker_node, nd, Some);
                let path_flags = path.flags();
                Answer::Resolved {
                    path: path.into_bytes(),
                    path_flags,
                    root: root_len as u16,
                    candidates,
                }
            }
        }
    }

    fn network(&self, path: &[u8]) -> Answer {
        let Ok((node, rest)) = NodeComponent::split(path) else {
            return Answer::Failed(Errno::ENOENT);
        };
        match self.names.get(node.name.as_str()) {
            Some(&number) => Answer::Redirect(to_process_manager(Nd::new(number, 0), rest)),
            None => Answer::Failed(Errno::ENOENT),
        }
    }
}

/// "Ask that process manager."
pub(crate) fn to_process_manager(nd: Nd, rest: &[u8]) -> Redirect {
    let candidate = Candidate {
        nd,
        pid: Pid::PROCESS_MANAGER,
        chid: ChannelId::PROCESS_MANAGER,
        ..Candidate::default()
    };
    Redirect {
        candidates: vec![candidate],
        path: rest.to_vec(),
        path_flags: PathFlags::empty(),
    }
}

/// "Ask this server of my node for that."
pub(crate) fn to_server(pid: u32, path: &str, prefix_len: u16) -> Redirect {
    let candidate = Candidate {
        pid: Pid(pid),
        chid: ChannelId(1),
        handle: Handle(pid),
        prefix_len,
        ..Candidate::default()
    };
    Redirect {
        candidates: vec![candidate],
        path: path.into(),
        path_flags: PathFlags::empty(),
    }
}

fn words(step: &Step) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match step {
        Step::Resolve { nd, path, .. } => format!("{nd} resolve {}", text(path)),
        Step::Network { nd, path } => format!("{nd} network {}", text(path)),
        Step::Own { nd, path, view } => format!("{nd} own {} as {}", text(path), text(view)),
        Step::Connect {
            candidate,
            path,
            view,
            ..
        } => {
            format!(
                "{}.{} connect {} as {}",
                candidate.nd,
                candidate.pid,
                text(path),
                text(view)
            )
        }
        Step::Probe {
            candidate, path, ..
        } => {
            format!("{}.{} probe {}", candidate.nd, candidate.pid, text(path))
        }
        Step::Done(_) => String::from("done"),
    }
}
