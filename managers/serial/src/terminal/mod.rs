//! A port as a terminal of this machine, for programs that know nothing of Slashnet.
//!
//! The terminal is a pseudo terminal. `pty` is that, `connection` one use of the port through it, `link` the
//! name under which programs find it. This file is the terminal that stays while programs and the port come and go.
//!
//! A pseudo terminal carries speed, stop bits, flow control and flushes. It does not carry size and parity of a frame
//! (the kernel forgets them), breaks and modem lines (the kernel answers them itself), and waiting until output has
//! left ends at once. Programs under `slashnet run` have all of it.

mod asked;
mod broker;
mod connection;
mod departure;
mod link;
mod outward;
mod posted;
mod pty;

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use abi::devctl::{
    CHR_FLUSH, CHR_REFUSE, CHR_TCGETATTR, CHR_USERS, CHR_WANTED, FlushQueue, PortAccess, PortUser,
};
use abi::io::Request;
use abi::limits::DEVCTL_MAX;
use abi::{Decode, Errno, OpenFlags, Result};
use client::{File, Interrupt, Namespace, SendOptions};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::termios::ControlModes;

pub use self::broker::Broker;

use self::connection::{Connection, Control, End, Passed};
use self::link::Link;
use self::pty::Pty;
use crate::device::errno;
use crate::line_settings;
use crate::options::{BadPort, LineOptions};

/// A terminal to make.
#[derive(Clone)]
pub struct TerminalOptions {
    /// Where the port's path is looked up.
    pub namespace: Namespace,
    /// The port, such as `/net/lab2/dev/ser1`.
    pub port: Vec<u8>,
    /// A name for the terminal, such as `/dev/ttyNET0`.
    pub link: Option<PathBuf>,
    /// Size, parity and stop bits of a frame; without it they stay as the port has them.
    pub frame: Option<Frame>,
    /// Whether programs keep the terminal when the port is lost, until it is back. Otherwise the terminal is hung up,
    /// as that of a USB adapter that was pulled out.
    pub hold: bool,
    /// Whether wishes of others to take the port over are refused.
    pub keep: bool,
}

impl fmt::Debug for TerminalOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TerminalOptions")
            .field("port", &String::from_utf8_lossy(&self.port))
            .field("link", &self.link)
            .field("hold", &self.hold)
            .finish_non_exhaustive()
    }
}

/// Size and parity of a frame, which a pseudo terminal cannot say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame(ControlModes);

impl std::str::FromStr for Frame {
    type Err = BadPort;

    fn from_str(text: &str) -> std::result::Result<Self, BadPort> {
        let mut line = LineOptions::default();
        line.apply_frame(text)?;
        Ok(Self(line_settings::frame_of(&line)))
    }
}

/// What happened to a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TerminalEvent {
    /// It can be opened by this name (the link's, if there is one).
    Ready(PathBuf),
    /// A program has opened it, and so was the port.
    Opened,
    /// The last program has closed it; so many bytes went to the port and came from it since it was opened.
    Closed {
        /// Bytes to the port.
        out: u64,
        /// Bytes from the port.
        r#in: u64,
    },
    /// Somebody wants to take the port over.
    Wanted(PortUser),
    /// The port could not be opened or was lost.
    Lost(Errno),
}

/// Why there is no terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TerminalError {
    /// The port or the link.
    pub what: String,
    /// The reason.
    pub errno: Errno,
}

impl fmt::Display for TerminalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errno {
            Errno::ENOTTY => write!(f, "{}: not a serial port", self.what),
            errno => write!(f, "{}: {}", self.what, errno.text()),
        }
    }
}

impl std::error::Error for TerminalError {}

/// A terminal at work. Dropping it hangs up the programs that use it and removes the link.
pub struct Terminal {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminal").finish_non_exhaustive()
    }
}

/// How often wishes are looked after; who is asked has a second at least.
const WISH_LOOK: Duration = Duration::from_millis(250);
/// How often a lost port is tried again while a program waits for it.
const RETRY: Duration = Duration::from_millis(250);

/// What the terminal's thread and its owner share.
struct Shared {
    options: TerminalOptions,
    wake: OwnedFd,
    stopping: AtomicBool,
    /// Ends waiting for the port.
    stop: Interrupt,
    /// Ends the present use.
    using: Mutex<Option<Control>>,
}

impl Terminal {
    /// Makes the terminal. `tell` hears what happens to it, from another thread.
    ///
    /// # Errors
    /// ENOTTY for a path that is no serial port, EEXIST for a link whose name is taken, and what opening the port
    /// answers, except EBUSY and ENXIO: a port that somebody has for himself, or whose device is away, may be free
    /// when a program opens the terminal.
    pub fn start(
        options: TerminalOptions,
        tell: impl FnMut(TerminalEvent) + Send + 'static,
    ) -> std::result::Result<Self, TerminalError> {
        let port = String::from_utf8_lossy(&options.port).into_owned();
        let at_port = |errno| TerminalError {
            what: port.clone(),
            errno,
        };
        let pty = first_pty(&options).map_err(at_port)?;
        let link = options.link.as_deref().map(|link| {
            Link::make(link, pty.name()).map_err(|errno| TerminalError {
                what: link.display().to_string(),
                errno,
            })
        });
        let link = link.transpose()?;
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let shared = Arc::new(Shared {
            options,
            wake: eventfd(0, flags).map_err(|error| at_port(errno(error)))?,
            stopping: AtomicBool::new(false),
            stop: Interrupt::new(),
            using: Mutex::new(None),
        });
        let mut keeper = Keeper {
            shared: Arc::clone(&shared),
            pty: Arc::new(pty),
            link,
            tell: Arc::new(Mutex::new(tell)),
        };
        let thread = std::thread::Builder::new()
            .name("tty".into())
            .spawn(move || keeper.run())
            .map_err(|_| at_port(Errno::EAGAIN))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        let _ = rustix::io::write(&self.shared.wake, &[1; 8]);
        self.shared.stop.trigger();
        if let Some(control) = &*self.shared.using() {
            control.stop();
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A terminal that shows the port's own settings.
fn first_pty(options: &TerminalOptions) -> Result<Pty> {
    let pty = Pty::open()?;
    let mut settings = pty.settings()?;
    match options.namespace.open(&options.port, OpenFlags::READ) {
        Ok(port) => {
            let line = port.devctl(CHR_TCGETATTR, ())?;
            line_settings::raw_like(&line, &mut settings)?;
        }
        Err(Errno::EBUSY | Errno::ENXIO) => {
            line_settings::apply_options(&LineOptions::default(), &mut settings)?;
        }
        Err(errno) => return Err(errno),
    }
    pty.set_settings(&settings)?;
    Ok(pty)
}

/// The next wish of others to have the port. It is looked after rather than waited for: a thread that waits is woken by the
/// packets of all the others, too.
fn next_wish(control: &Control) -> Result<PortUser> {
    let question = Request::Devctl {
        dcmd: CHR_WANTED.dcmd(),
        data: &[],
    };
    let wish = control
        .port()
        .submit(&question, DEVCTL_MAX, &SendOptions::default())?;
    while !wish.is_ended() {
        if control.ends_within(WISH_LOOK) {
            return Err(Errno::EINTR);
        }
    }
    let told = wish.wait().map_err(Errno::from)?;
    Ok(PortUser::from_bytes(told.bytes())?)
}

/// Throws away what arrived while nobody had the port, as the kernel's own drivers do: the end of the last program's
/// conversation would confuse the next one.
fn drop_leftovers(port: &File) {
    // A manager that knows of no users keeps what it likes.
    let Ok(users) = port.devctl(CHR_USERS, ()) else {
        return;
    };
    let has_it = |user: &&PortUser| !user.access.contains(PortAccess::WAITING);
    if users.0.iter().filter(has_it).count() == 1 {
        // Fails if the device is away, and then nothing is there.
        let _ = port.devctl(CHR_FLUSH, FlushQueue::Input);
    }
}

impl Shared {
    fn using(&self) -> MutexGuard<'_, Option<Control>> {
        self.using.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Waits until `fd` is readable, time is over or the owner wants an end.
    fn wait(&self, fd: impl AsFd, limit: Option<Duration>) {
        let mut fds = [
            PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN),
            PollFd::new(&self.wake, PollFlags::IN),
        ];
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let _ = poll(&mut fds, limit.as_ref());
    }
}

fn tell(teller: &Mutex<dyn FnMut(TerminalEvent) + Send>, event: TerminalEvent) {
    let mut tell = teller.lock().unwrap_or_else(PoisonError::into_inner);
    tell(event);
}

/// The thread of a terminal.
struct Keeper {
    shared: Arc<Shared>,
    pty: Arc<Pty>,
    link: Option<Link>,
    tell: Arc<Mutex<dyn FnMut(TerminalEvent) + Send>>,
}

impl Keeper {
    fn run(&mut self) {
        self.tell_ready();
        while !self.shared.is_stopping() {
            self.shared.wait(self.pty.opens(), None);
            while self.pty.take_opens() && !self.shared.is_stopping() {
                self.serve();
            }
        }
    }

    fn tell(&self, event: TerminalEvent) {
        tell(&self.tell, event);
    }

    fn tell_ready(&self) {
        let name = self.link.as_ref().map_or(self.pty.name(), Link::path);
        self.tell(TerminalEvent::Ready(name.to_owned()));
    }

    /// Serves the programs that have the terminal open until the last one has closed it.
    fn serve(&mut self) {
        let mut is_new = true;
        loop {
            let passed = Arc::new(Passed::default());
            let connected = self.connect(&passed, is_new);
            is_new = false;
            let lost = match connected {
                Ok(connection) => {
                    self.tell(TerminalEvent::Opened);
                    let listener = self.listen(connection.control());
                    let end = connection.wait();
                    if let Ok(listener) = listener {
                        let _ = listener.join();
                    }
                    *self.shared.using() = None;
                    match end {
                        End::Closed => return self.tell_closed(&passed),
                        End::Stopped => return,
                        End::Failed(errno) => errno,
                    }
                }
                Err(errno) => errno,
            };
            self.tell(TerminalEvent::Lost(lost));
            if !self.shared.options.hold {
                return self.hang_up();
            }
            self.shared.wait(self.pty.opens(), Some(RETRY));
            if self.shared.is_stopping() || !self.is_open() {
                return;
            }
        }
    }

    /// Hears of wishes of others to have the port while it is in use.
    fn listen(&self, control: Control) -> std::io::Result<JoinHandle<()>> {
        let (teller, keep) = (Arc::clone(&self.tell), self.shared.options.keep);
        std::thread::Builder::new()
            .name("tty wanted".into())
            .spawn(move || {
                // Ends with the use, or with a server that knows of no wishes.
                while let Ok(user) = next_wish(&control) {
                    tell(&teller, TerminalEvent::Wanted(user));
                    if keep {
                        // Fails if it is no longer wanted.
                        let _ = control.port().devctl(CHR_REFUSE, ());
                    }
                }
            })
    }

    fn connect(&self, passed: &Arc<Passed>, is_new: bool) -> Result<Connection> {
        let options = &self.shared.options;
        // The port may let it wait for its turn.
        let namespace = options.namespace.interrupted_by(&self.shared.stop);
        let port = namespace.open(&options.port, OpenFlags::READ_WRITE)?;
        if is_new {
            drop_leftovers(&port);
        }
        let frame = options.frame.map(|Frame(modes)| modes);
        let port = (namespace.endpoint()?, port);
        let connection = Connection::start(Arc::clone(&self.pty), port, frame, Arc::clone(passed))?;
        let control = connection.control();
        if self.shared.is_stopping() {
            control.stop();
        }
        *self.shared.using() = Some(control.clone());
        // The owner may have looked for it before it was there.
        if self.shared.is_stopping() {
            control.stop();
        }
        Ok(connection)
    }

    fn tell_closed(&self, passed: &Passed) {
        self.tell(TerminalEvent::Closed {
            out: passed.out.load(Ordering::Relaxed),
            r#in: passed.r#in.load(Ordering::Relaxed),
        });
    }

    fn is_open(&self) -> bool {
        let mut fds = [PollFd::new(&*self.pty, PollFlags::empty())];
        poll(&mut fds, Some(&Timespec::default())).is_ok()
            && !fds[0].revents().contains(PollFlags::HUP)
    }

    /// Lets the programs see what they see when a device is pulled out, and makes a new terminal for the next ones.
    fn hang_up(&mut self) {
        let renewed = Pty::open().and_then(|pty| {
            pty.set_settings(&self.pty.settings()?)?;
            if let Some(link) = &mut self.link {
                link.point_to(pty.name())?;
            }
            Ok(pty)
        });
        match renewed {
            Ok(pty) => {
                self.pty = Arc::new(pty);
                self.tell_ready();
            }
            Err(errno) => tracing::error!("no new terminal: {errno}"),
        }
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper")
            .field("pty", &self.pty)
            .finish_non_exhaustive()
    }
}
