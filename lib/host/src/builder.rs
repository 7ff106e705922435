//! Setting a node up and running it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use abi::system::{Detect, NODE_PORT, SOCKET_NAME};
use abi::{Incarnation, NodeName, Uid};
use node::{Config, Kept, LinkConfig};
use rights::Rules;
use rustix::event::{EventfdFlags, eventfd};

use crate::crypto::NodeCrypto;
use crate::event_loop::{EventLoop, Parts};
use crate::interface_watch::InterfaceWatch;
use crate::link_place::Own;
use crate::links::Links;
use crate::{
    StartError, clock, descriptor_limit, directories, event_number, invite_store, key_file,
    program_socket, rights_store, trust_store,
};

const LOCK_NAME: &str = "node.lock";
/// Written to the stop descriptor: say goodbye and stop.
const STOP: u64 = 1;
/// Written to the stop descriptor: stop without a word.
pub(crate) const KILL: u64 = 1 << 32;

/// How a node shall be. Nothing happens before [`Builder::start`].
#[derive(Clone, Debug)]
pub struct Builder {
    name: String,
    directory: Option<PathBuf>,
    state: Option<PathBuf>,
    links: Vec<String>,
    port: u16,
    detect: Detect,
    one_port: bool,
    rights: Rules,
}

/// A node that runs in a thread of this process. Dropping it stops the node; programs that talk to each other go on.
#[derive(Debug)]
pub struct Host {
    directory: PathBuf,
    name: NodeName,
    links: Vec<LinkConfig>,
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl Builder {
    /// A node of this name (1 to 63 letters, digits, `-` and `_`), with defaults for everything else.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            directory: None,
            state: None,
            links: Vec::new(),
            port: NODE_PORT,
            detect: Detect::default(),
            one_port: false,
            rights: Rules::default(),
        }
    }

    /// Where its socket is. Default: [`crate::own_directory`].
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Where its key and its list of trusted nodes are. Default: [`crate::default_state`].
    #[must_use]
    pub fn state(mut self, state: impl Into<PathBuf>) -> Self {
        self.state = Some(state.into());
        self
    }

    /// Uses a link, as [`crate::LinkSpec`] reads it: an interface's name, or an address of this machine. May be said 16 times;
    /// if it is not said, every interface that is up is used, but not the loopback. A link that is not there yet is used
    /// as soon as it is.
    #[must_use]
    pub fn link(mut self, link: impl Into<String>) -> Self {
        self.links.push(link.into());
        self
    }

    /// UDP port of the node on every link. Default: 41000; 0 lets the kernel choose.
    #[must_use]
    pub const fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// How fast broken ways to other nodes are found. Default: within 100 ms.
    #[must_use]
    pub const fn detect(mut self, detect: Detect) -> Self {
        self.detect = detect;
        self
    }

    /// All traffic of all programs passes through the node's own port, for firewalls. Default: every program has a
    /// port of its own on each link.
    #[must_use]
    pub const fn one_port(mut self, one_port: bool) -> Self {
        self.one_port = one_port;
        self
    }

    /// Who may do what, after the rules that were made while the node ran. Default: no rules.
    #[must_use]
    pub fn rights(mut self, rights: Rules) -> Self {
        self.rights = rights;
        self
    }

    /// Starts the node in a thread. When this returns, programs can connect.
    ///
    /// # Errors
    /// [`StartError`], with nothing left behind but directories and a key.
    pub fn start(self) -> Result<Host, StartError> {
        let failed = |error| StartError::new(format!("cannot start the node's thread: {error}"));
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| StartError::new(format!("cannot make an eventfd: {error}")))?;
        let prepared = self.prepare(stop.try_clone().map_err(failed)?)?;
        let thread = std::thread::Builder::new()
            .name(format!("node-{}", prepared.name))
            .spawn(move || prepared.event_loop.run())
            .map_err(failed)?;
        Ok(Host {
            directory: prepared.directory,
            name: prepared.name,
            links: prepared.links,
            stop,
            thread: Some(thread),
        })
    }

    fn prepare(self, stop: OwnedFd) -> Result<Prepared, StartError> {
        let name = NodeName::parse(&self.name).map_err(|_| {
            let text = format!(
                "{:?} is no name for a node: expected 1 to 63 letters, digits, '-' and '_'",
                self.name
            );
            StartError::new(text)
        })?;
        let directory = self.directory.unwrap_or_else(directories::own_directory);
        let state = self
            .state
            .unwrap_or_else(|| directories::default_state(&directory));
        directories::make_public(&directory)?;
        let lock = lock(&directory)?;
        directories::make_private(&state)?;
        let (private, public) = key_file::load_or_make(&state)?;
        let kept = load(&state)?;
        if kept.rights.followed_by(&self.rights).is_err() {
            let text = "with the rules of the config file there are too many: at most 512, and 32768 bytes of them";
            return Err(StartError::at(&state.join(rights_store::FILE_NAME), text));
        }
        let wanted = self.links.iter().map(|text| text.parse());
        let wanted = wanted.collect::<Result<_, _>>().map_err(StartError::new)?;
        let (watch, interfaces) = InterfaceWatch::start().map_err(|error| {
            StartError::new(format!("cannot list the network interfaces: {error}"))
        })?;
        let (name_in_directories, _) = public.0.split_first_chunk().unwrap_or((&[0; 8], &[]));
        let own = Own {
            port: self.port,
            name: *name_in_directories,
        };
        let links = Links::open(wanted, own, &interfaces)?;
        let room = descriptor_limit::make_room();
        let config = Config {
            name,
            owner: Uid(rustix::process::geteuid().as_raw()),
            incarnation: Incarnation(clock::wall()),
            boot: boot_id(),
            links: links.configs(),
            kept,
            detect: self.detect,
            one_port: self.one_port,
            rights: self.rights,
            programs_max: room.programs,
            seed: seed()?,
        };
        let link_configs = config.links.clone();
        let socket_path = directory.join(SOCKET_NAME);
        let listener = program_socket::listen(&socket_path)?;
        let crypto = Box::new(NodeCrypto::new(private, public));
        let event_loop = EventLoop::new(Parts {
            config,
            crypto,
            links,
            watch,
            interfaces,
            listener,
            socket_path,
            state,
            lock,
            stop,
            watched_max: room.watched,
        })?;
        Ok(Prepared {
            event_loop,
            directory,
            name,
            links: link_configs,
        })
    }
}

/// What an earlier run has kept.
fn load(state: &Path) -> Result<Kept, StartError> {
    Ok(Kept {
        trust: trust_store::load(state)?,
        invites: invite_store::load(state)?,
        rights: rights_store::load(state)?,
    })
}

struct Prepared {
    event_loop: EventLoop,
    directory: PathBuf,
    name: NodeName,
    links: Vec<LinkConfig>,
}

impl Host {
    /// Where programs find the node.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What the node is called.
    #[must_use]
    pub const fn name(&self) -> NodeName {
        self.name
    }

    /// Its links as they were at the start, with the addresses that its sockets got.
    #[must_use]
    pub fn links(&self) -> &[LinkConfig] {
        &self.links
    }

    /// Whether the node still runs; it stops by itself when its owner asks it to by `Request::Shutdown`.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }

    /// Stops the node and waits until it has said goodbye, at most about 200 ms.
    pub fn stop(mut self) {
        self.end();
    }

    /// Ends the node as SIGKILL would: it says goodbye to nobody. For tests.
    pub fn kill(mut self) {
        self.tell(KILL);
    }

    fn end(&mut self) {
        self.tell(STOP);
    }

    fn tell(&mut self, what: u64) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        event_number::put(&self.stop, what);
        let _ = thread.join();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.end();
    }
}

/// Keeps a second node out of the directory for as long as the file is open.
fn lock(directory: &Path) -> Result<File, StartError> {
    let path = directory.join(LOCK_NAME);
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644);
    let mut file = options
        .open(&path)
        .map_err(|error| StartError::at(&path, error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            let _ = file.read_to_string(&mut owner);
            let text = format!(
                "another node runs in {} (process {}): stop it, or choose another --dir",
                directory.display(),
                owner.trim()
            );
            return Err(StartError::new(text));
        }
        Err(TryLockError::Error(error)) => return Err(StartError::at(&path, error)),
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(|error| StartError::at(&path, error))?;
    Ok(file)
}

/// The first bytes of the machine's boot id: another one means that every process is another one.
fn boot_id() -> u64 {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(16)
        .collect();
    u64::from_str_radix(&digits, 16).unwrap_or(0)
}

fn seed() -> Result<u64, StartError> {
    getrandom::u64()
        .map_err(|error| StartError::new(format!("the kernel gives no random numbers: {error}")))
}
