//! Nodes to measure with: the daemon is the installed program, started beside this one.

use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;

use tempfile::TempDir;

use crate::Outcome;
use crate::awaited;
use crate::files::{inside, memory_directory};
use crate::network::Lab;
use crate::pair::Guarded;

/// One node daemon.
pub(crate) struct Node {
    directory: PathBuf,
    /// Whose network namespace it is in, if in none of ours.
    network: Option<i32>,
    daemon: Guarded,
}

/// Two nodes that trust each other, in the two namespaces of a lab.
pub(crate) struct Pair {
    pub(crate) nodes: [Node; 2],
    _directory: TempDir,
}

/// A node of its own, outside all namespaces.
pub(crate) struct Single {
    pub(crate) node: Node,
    _directory: TempDir,
}

pub(crate) const NAMES: [&str; 2] = ["bench1", "bench2"];

impl Node {
    fn start(
        directory: PathBuf,
        network: Option<i32>,
        name: &str,
        links: &[&str],
    ) -> Outcome<Self> {
        let daemon = command(network)?
            .arg("--dir")
            .arg(&directory)
            .args(["node", "--name", name, "--port", PORT])
            .args(links.iter().flat_map(|link| ["--link", link]))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map(Guarded)?;
        let node = Self {
            directory,
            network,
            daemon,
        };
        node.await_answer()?;
        Ok(node)
    }

    pub(crate) fn directory(&self) -> String {
        self.directory.display().to_string()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.daemon.0.id()
    }

    /// Output of one `slashnet` verb on this node.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Outcome<String> {
        let output = command(self.network)?
            .arg("--dir")
            .arg(&self.directory)
            .args(arguments)
            .output()?;
        if output.status.success() {
            return Ok(String::from_utf8(output.stdout)?);
        }
        let reason = String::from_utf8_lossy(&output.stderr);
        Err(format!("slashnet {}: {}", arguments.join(" "), reason.trim()).into())
    }

    fn await_answer(&self) -> Outcome<()> {
        self.await_success(&["nodes"])
    }

    /// Waits until `path` can be looked at from this node.
    pub(crate) fn await_path(&self, path: &str) -> Outcome<()> {
        self.await_success(&["stat", path])
    }

    fn await_success(&self, arguments: &[&str]) -> Outcome<()> {
        awaited::success(|| self.ask(arguments).map(drop))
    }
}

impl Single {
    fn start() -> Outcome<Self> {
        let directory = memory_directory()?;
        let place = directory.path().join("node");
        fs::create_dir(&place)?;
        let node = Node::start(place, None, NAMES[0], &["127.0.0.1"])?;
        Ok(Self {
            node,
            _directory: directory,
        })
    }
}

impl Pair {
    fn start(lab: &Lab) -> Outcome<Self> {
        let pids = lab.pids()?;
        let directory = memory_directory()?;
        let start = |index: usize| {
            let place = directory.path().join(NAMES[index]);
            fs::create_dir(&place)?;
            Node::start(place, Some(pids[index]), NAMES[index], lab.devices())
        };
        let nodes = [start(0)?, start(1)?];
        let code = nodes[0].ask(&["invite"])?;
        let code = code.lines().next().ok_or("no code")?.trim().to_owned();
        nodes[1].ask(&["join", &code])?;
        Ok(Self {
            nodes,
            _directory: directory,
        })
    }

    /// The process ids of both daemons.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.nodes.iter().map(Node::pid).collect()
    }
}

/// Nodes that several groups use, started when first needed.
#[derive(Clone)]
pub(crate) struct Nodes {
    lab: Lab,
    pair: Rc<OnceCell<Result<Pair, String>>>,
    single: Rc<OnceCell<Result<Single, String>>>,
}

impl Nodes {
    pub(crate) fn new(lab: &Lab) -> Self {
        Self {
            lab: lab.clone(),
            pair: Rc::default(),
            single: Rc::default(),
        }
    }

    pub(crate) fn lab(&self) -> &Lab {
        &self.lab
    }

    pub(crate) fn pair(&self) -> Outcome<&Pair> {
        let made = self
            .pair
            .get_or_init(|| Pair::start(&self.lab).map_err(|error| error.to_string()));
        made.as_ref().map_err(|reason| reason.clone().into())
    }

    pub(crate) fn single(&self) -> Outcome<&Single> {
        let made = self
            .single
            .get_or_init(|| Single::start().map_err(|error| error.to_string()));
        made.as_ref().map_err(|reason| reason.clone().into())
    }
}

/// The `slashnet` program that was built together with this one.
pub(crate) fn program() -> Outcome<PathBuf> {
    let own = std::env::current_exe()?;
    let program = own
        .parent()
        .map_or_else(|| Path::new("").into(), Path::to_owned)
        .join("slashnet");
    if program.exists() {
        return Ok(program);
    }
    Err("the slashnet program is not built: cargo build --release -p slashnet-programs".into())
}

/// The `slashnet` program, in the network namespace of a process if one is given.
fn command(network: Option<i32>) -> Outcome<Command> {
    let program = program()?;
    match network {
        Some(pid) => inside(pid, None, &program.display().to_string()),
        None => Ok(Command::new(program)),
    }
}

const PORT: &str = "41713";
