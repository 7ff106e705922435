//! Ports for the programs of one `slashnet run`: their preload library asks, terminals are made and controlled.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use abi::devctl::{
    CHR_DRAIN, CHR_EXCLUSIVE, CHR_MODEM_GET, CHR_MODEM_SET, CHR_OUTPUT_COUNT, CHR_SEND_BREAK,
    CHR_SET_BREAK, CHR_TCGETATTR, ModemLines, ModemSet, When,
};
use abi::flags::mode;
use abi::{Errno, OpenFlags, Result};
use client::{File, Namespace, SendOptions};
use preload_messages::{
    ANSWER_MAX, Answer, Control as Asked, NOT_OURS, QUESTION_MAX, Question, Token,
    When as AskedWhen,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use super::asked;
use super::connection::{Connection, Control, Passed};
use super::departure::unless_gone;
use super::drop_leftovers;
use super::pty::{self, Pty};
use crate::accepting::{ACCEPT_REST, is_lasting};
use crate::device::errno;
use crate::line_settings;

/// Programs that ask at once; more wait in the socket's queue.
const ASKING_MAX: usize = 256;
/// Questions that wait to be heard.
const BACKLOG: i32 = 128;
/// How long a program may take from the answer to opening its terminal. It does so at once, unless it is killed or stopped.
const OPENING_LIMIT: Duration = Duration::from_secs(10);
/// How long a connection may take to say its question.
const QUESTION_LIMIT: Duration = Duration::from_secs(5);

/// The broker of one `slashnet run`.
pub struct Broker {
    shared: Arc<Shared>,
    socket: OwnedFd,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").finish_non_exhaustive()
    }
}

struct Shared {
    namespace: Namespace,
    token: Token,
    /// Names that stand for other paths.
    names: HashMap<Vec<u8>, Vec<u8>>,
    terminals: Mutex<HashMap<u32, Control>>,
    asking: AtomicUsize,
}

impl Broker {
    /// Makes the socket, whose name is not that of a file. `token` is what questions must prove to know.
    ///
    /// # Errors
    /// EADDRINUSE if the name is taken, EMFILE.
    pub fn new(
        namespace: Namespace,
        name: &str,
        token: Token,
        names: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Result<Self> {
        let kind = SocketType::SEQPACKET;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None);
        let socket = socket.map_err(errno)?;
        let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).map_err(errno)?;
        rustix::net::bind(&socket, &address).map_err(errno)?;
        rustix::net::listen(&socket, BACKLOG).map_err(errno)?;
        let shared = Shared {
            namespace,
            token,
            names: names.into_iter().collect(),
            terminals: Mutex::new(HashMap::new()),
            asking: AtomicUsize::new(0),
        };
        Ok(Self {
            shared: Arc::new(shared),
            socket,
        })
    }

    /// Readable when a program asks.
    #[must_use]
    pub fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Hears one question and answers it on a thread of its own. Blocks until there is one, and for a tenth of a second if
    /// none can be accepted.
    pub fn serve_one(&self) {
        let asker = match rustix::net::accept_with(&self.socket, SocketFlags::CLOEXEC) {
            Ok(asker) => asker,
            Err(error) => {
                let error = std::io::Error::from(error);
                if is_lasting(&error) {
                    tracing::warn!("no program can ask: {error}");
                    std::thread::sleep(ACCEPT_REST);
                }
                return;
            }
        };
        // The name is public; strangers must not use up what is kept for the programs.
        let own = rustix::process::geteuid();
        let peer = rustix::net::sockopt::socket_peercred(&asker);
        if !peer.is_ok_and(|peer| peer.uid == own || peer.uid.is_root()) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        if shared.asking.fetch_add(1, Ordering::SeqCst) >= ASKING_MAX {
            shared.asking.fetch_sub(1, Ordering::SeqCst);
            return;
        }
        let spawned = std::thread::Builder::new()
            .name("asked".into())
            .spawn(move || {
                shared.hear(&asker);
                shared.asking.fetch_sub(1, Ordering::SeqCst);
            });
        if spawned.is_err() {
            self.shared.asking.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Whether no program has a terminal, nor asks for one.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.shared.asking.load(Ordering::SeqCst) == 0 && self.shared.terminals().is_empty()
    }
}

/// What an answer says.
#[derive(Default)]
struct Said {
    number: u32,
    text: Vec<u8>,
}

impl Said {
    const fn number(number: u32) -> Self {
        Self {
            number,
            text: Vec::new(),
        }
    }
}

/// Why a question has no answer.
enum Refusal {
    NotOurs,
    Failed(Errno),
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self::Failed(errno)
    }
}

impl Shared {
    fn terminals(&self) -> MutexGuard<'_, HashMap<u32, Control>> {
        self.terminals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(self: &Arc<Self>, asker: &OwnedFd) {
        if !is_ready(asker, QUESTION_LIMIT) {
            return;
        }
        let mut packet = [0; QUESTION_MAX];
        let Ok((length, _)) = rustix::net::recv(asker, &mut packet, RecvFlags::empty()) else {
            return;
        };
        let heard = packet.get(..length).unwrap_or_default();
        let Some(question) = Question::read(&self.token, heard) else {
            return;
        };
        let mut space = [0; ANSWER_MAX];
        let said;
        let answer = match self.answer(&question, asker) {
            Ok(done) => {
                said = done;
                Answer {
                    status: 0,
                    number: said.number,
                    text: &said.text,
                }
            }
            Err(Refusal::NotOurs) => Answer::status(NOT_OURS),
            Err(Refusal::Failed(errno)) => {
                Answer::status(u16::try_from(errno.linux()).unwrap_or(NOT_OURS))
            }
        };
        let length = answer.write(&mut space).unwrap_or(0);
        let answer = space.get(..length).unwrap_or_default();
        // An asker that has gone needs no answer; a terminal that was made for it ends by its time.
        let _ = rustix::net::send(asker, answer, SendFlags::NOSIGNAL);
    }

    fn answer(
        self: &Arc<Self>,
        question: &Question<'_>,
        asker: &OwnedFd,
    ) -> std::result::Result<Said, Refusal> {
        match question {
            Question::Look { path } => {
                self.look(self.path(path))?;
                Ok(Said::default())
            }
            Question::Open { path, exclusive } => {
                let path = self.path(path);
                self.look(path)?;
                let text = self.open(path, *exclusive, asker)?;
                Ok(Said { number: 0, text })
            }
            Question::Control { number, control } => {
                let terminal = self.terminals().get(number).cloned();
                let terminal = terminal.ok_or(Refusal::NotOurs)?;
                Ok(Said::number(serve(&terminal, control)?))
            }
        }
    }

    fn path<'a>(&'a self, path: &'a [u8]) -> &'a [u8] {
        self.names.get(path).map_or(path, Vec::as_slice)
    }

    /// Whether the path is a port. Other files are for the mount.
    fn look(&self, path: &[u8]) -> std::result::Result<(), Refusal> {
        match self.namespace.stat(path) {
            Ok(stat) if stat.mode & mode::S_IFMT == mode::S_IFCHR => Ok(()),
            Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR) => Err(Refusal::NotOurs),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Opens a port and makes a terminal of it; the terminal's name.
    fn open(
        self: &Arc<Self>,
        path: &[u8],
        exclusive: bool,
        asker: &OwnedFd,
    ) -> std::result::Result<Vec<u8>, Refusal> {
        let mut flags = OpenFlags::READ_WRITE;
        flags.set(OpenFlags::EXCLUSIVE, exclusive);
        // A program that is killed while it waits for its turn gives its place in the queue back.
        let port = unless_gone(asker, |interrupt| {
            self.namespace.interrupted_by(interrupt).open(path, flags)
        })?;
        let line = match port.devctl(CHR_TCGETATTR, ()) {
            // A device of another kind, which has no use for a terminal.
            Err(Errno::ENOTTY) => return Err(Refusal::NotOurs),
            line => line?,
        };
        drop_leftovers(&port);
        let pty = Arc::new(Pty::open()?);
        let mut settings = pty.settings()?;
        line_settings::raw_like(&line, &mut settings)?;
        pty.set_settings(&settings)?;
        let number = pty::number(pty.name())?;
        let name = pty.name().as_os_str().as_bytes().to_vec();
        let frame = None;
        let (shared, passed) = (Arc::clone(self), Arc::new(Passed::default()));
        let (terminal, begun) = (Arc::clone(&pty), std::sync::mpsc::sync_channel(1));
        let (tell, told) = begun;
        std::thread::Builder::new()
            .name("port".into())
            .spawn(move || {
                // It is there before the program can ask about it, and until the last program has closed it.
                let port = shared.namespace.endpoint().map(|endpoint| (endpoint, port));
                let start = |port| Connection::start(Arc::clone(&terminal), port, frame, passed);
                match port.and_then(start) {
                    Ok(connection) => {
                        shared.terminals().insert(number, connection.control());
                        let _ = tell.send(Ok(()));
                        end_if_never_opened(&terminal, &connection.control());
                        let end = connection.wait();
                        tracing::debug!("terminal {number}: {end:?}");
                    }
                    Err(errno) => {
                        let _ = tell.send(Err(errno));
                    }
                }
                shared.terminals().remove(&number);
            })
            .map_err(|_| Errno::EAGAIN)?;
        told.recv().map_err(|_| Errno::EIO)??;
        Ok(name)
    }
}

/// A program that was killed between its answer and its terminal leaves nothing behind.
fn end_if_never_opened(pty: &Pty, control: &Control) {
    if !is_ready(pty.opens(), OPENING_LIMIT) {
        control.stop();
    }
}

fn is_ready(fd: impl AsFd, limit: Duration) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
    let limit = Timespec::try_from(limit).ok();
    poll(&mut fds, limit.as_ref()).is_ok_and(|ready| ready > 0)
}

fn serve(terminal: &Control, asked: &Asked) -> Result<u32> {
    match asked {
        Asked::Frame => Ok(terminal.frame().bits()),
        Asked::Set(when, settings) => {
            terminal.set(settings, when_of(*when))?;
            Ok(0)
        }
        Asked::Drain => terminal.in_order(|port| patient(terminal, port, CHR_DRAIN, ())),
        Asked::Break(millis) => {
            terminal.in_order(|port| patient(terminal, port, CHR_SEND_BREAK, *millis))
        }
        Asked::SetBreak(on) => {
            terminal.in_order(|port| patient(terminal, port, CHR_SET_BREAK, *on))
        }
        Asked::Modem => {
            let lines = terminal.port().devctl(CHR_MODEM_GET, ())?;
            Ok(asked::modem_bits(lines))
        }
        Asked::SetModem(on, off) => terminal.in_order(|port| {
            let (on, off) = (ours(*on), ours(*off));
            port.devctl(CHR_MODEM_SET, ModemSet { on, off })?;
            Ok(0)
        }),
        Asked::Exclusive(on) => patient(terminal, terminal.port(), CHR_EXCLUSIVE, *on),
        Asked::OutputCount => terminal.in_order(|port| port.devctl(CHR_OUTPUT_COUNT, ())),
    }
}

/// Does what may take long; ends with the terminal.
fn patient<A: abi::Encode>(
    terminal: &Control,
    port: &File,
    control: client::Devctl<A, ()>,
    argument: A,
) -> Result<u32> {
    let options = SendOptions {
        interrupt: Some(terminal.interrupt()),
        ..SendOptions::default()
    };
    port.devctl_with(control, argument, &options)?;
    Ok(0)
}

/// Of a program's wires those that are ours. Linux ignores the others.
fn ours(bits: u32) -> ModemLines {
    asked::modem_lines(bits) & (ModemLines::DTR | ModemLines::RTS)
}

const fn when_of(when: AskedWhen) -> When {
    match when {
        AskedWhen::Now => When::Now,
        AskedWhen::Drain => When::Drain,
        AskedWhen::Flush => When::Flush,
    }
}
