//! A port that another program shares over TCP (RFC 2217), as a device.
//!
//! Two threads move the bytes between the connection and a pair of sockets, whose other end is what the manager waits
//! for, reads and writes. What the other side says about the port is kept; questions about it cost no round trip.

mod line;

use std::io::ErrorKind::{Interrupted, WouldBlock};
use std::io::{Read as _, Write as _};
use std::mem;
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use abi::devctl::{FlushQueue, ModemLines, Termios as WireTermios, WindowSize};
use abi::{Errno, Result};
use telnet::{ComPort, Control, Item, Message, Options, Parser, Purge, Side, option};

use self::line::Line;
use super::local::output_count;
use super::{Device, ErrorCounts};
use crate::com_port;
use crate::keepalive;
use crate::options::LineOptions;

/// How long the other side may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// How long it may take to answer, and bytes ahead of a question to be on their way.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const CHUNK: usize = 4096;

/// A connection to a shared port. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct RemoteDevice {
    /// Arrived bytes come out of it, written ones go into it.
    ours: UnixStream,
    /// Bytes that the manager has written.
    given: AtomicU64,
    shared: Arc<Shared>,
}

/// What the threads and the manager share.
#[derive(Debug)]
struct Shared {
    connection: TcpStream,
    state: Mutex<State>,
    /// The state has changed.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    options: Options,
    line: Line,
    /// Bytes that were sent.
    sent: u64,
    /// Somebody is sending: commands and bytes do not mix.
    sending: bool,
    lost: bool,
}

impl RemoteDevice {
    /// Connects to `HOST:PORT` and sets the line.
    ///
    /// # Errors
    /// ENOTTY if the other side does not speak RFC 2217, EINVAL for settings it refuses, EHOSTUNREACH for a name that is
    /// none, ETIMEDOUT, and what `connect` answers.
    pub(crate) fn open(place: &str, options: &LineOptions) -> Result<Self> {
        let connection = connect(place)?;
        connection.set_nodelay(true)?;
        connection.set_write_timeout(Some(ANSWER_LIMIT))?;
        keepalive::set(&connection)?;
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let state = State {
            options: Options::client(),
            line: Line::default(),
            sent: 0,
            sending: false,
            lost: false,
        };
        let shared = Arc::new(Shared {
            connection,
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let device = Self {
            ours,
            given: AtomicU64::new(0),
            shared,
        };
        device.start(theirs)?;
        device.agree(options)?;
        Ok(device)
    }

    fn start(&self, theirs: UnixStream) -> Result {
        let for_input = theirs.try_clone()?;
        let spawn = |name: &str, work: Box<dyn FnOnce(&Shared) + Send>| {
            let shared = Arc::clone(&self.shared);
            std::thread::Builder::new()
                .name(name.into())
                .spawn(move || {
                    work(&shared);
                    shared.lose();
                })
                .map_err(|_| Errno::EAGAIN)
        };
        spawn(
            "rfc2217 in",
            Box::new(move |shared| shared.move_in(&for_input)),
        )?;
        spawn(
            "rfc2217 out",
            Box::new(move |shared| shared.move_out(&theirs)),
        )?;
        Ok(())
    }

    /// Agrees on COM port control and sets the line.
    fn agree(&self, options: &LineOptions) -> Result {
        let mut out = Vec::new();
        self.shared.state().options.open(&mut out);
        self.shared.send(&out)?;
        self.shared.wait(|state| {
            if state.options.refuses_com_port() {
                return Some(Err(Errno::ENOTTY));
            }
            state.options.has_com_port().then_some(Ok(()))
        })?;
        self.set_settings(&com_port::of_options(options))?;
        self.set_modem_lines(ModemLines::DTR | ModemLines::RTS, ModemLines::empty())
    }
}

fn connect(place: &str) -> Result<TcpStream> {
    let addresses = place.to_socket_addrs().map_err(|_| Errno::EHOSTUNREACH)?;
    let mut last = Errno::EHOSTUNREACH;
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_LIMIT) {
            Ok(connection) => return Ok(connection),
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lose(&self) {
        self.state().lost = true;
        self.changed.notify_all();
        let _ = self.connection.shutdown(Shutdown::Both);
    }

    /// Waits for the turn to send, which ends when it is dropped.
    fn turn(&self) -> Result<Turn<'_>> {
        let take = |state: &mut State| (!mem::replace(&mut state.sending, true)).then_some(Ok(()));
        self.wait(take).map(|()| Turn(self))
    }

    /// Sends a command. One that is not taken in time has left a part of itself behind, which ends the connection.
    fn send(&self, bytes: &[u8]) -> Result {
        let _turn = self.turn()?;
        (&self.connection).write_all(bytes).map_err(|error| {
            self.lose();
            error.into()
        })
    }

    /// Sends bytes of the line. The other side may hold them as long as its line's flow control does.
    fn send_data(&self, mut bytes: &[u8]) -> Result {
        let _turn = loop {
            match self.turn() {
                Err(Errno::ETIMEDOUT) => {}
                turn => break turn?,
            }
        };
        while !bytes.is_empty() {
            match (&self.connection).write(bytes) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(error) if matches!(error.kind(), WouldBlock | Interrupted) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn say(&self, said: ComPort<'_>) -> Result {
        let mut out = Vec::new();
        Message {
            side: Side::Client,
            said,
        }
        .push(&mut out);
        self.send(&out)
    }

    /// Waits until `done` has an answer.
    fn wait<T>(&self, mut done: impl FnMut(&mut State) -> Option<Result<T>>) -> Result<T> {
        let end = Instant::now() + ANSWER_LIMIT;
        let mut state = self.state();
        loop {
            if let Some(answer) = done(&mut state) {
                return answer;
            }
            if state.lost {
                return Err(Errno::EIO);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Errno::ETIMEDOUT);
            }
            state = match self.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// From the connection to the manager, until either ends.
    fn move_in(&self, manager: &UnixStream) {
        let (mut parser, mut space) = (Parser::default(), vec![0; CHUNK]);
        loop {
            let count = match (&self.connection).read(&mut space) {
                Err(error) if error.kind() == Interrupted => continue,
                Ok(0) | Err(_) => break,
                Ok(count) => count,
            };
            let (mut data, mut answer) = (Vec::new(), Vec::new());
            parser.feed(&space[..count], |item| {
                self.hear(item, &mut data, &mut answer)
            });
            self.changed.notify_all();
            if self.send(&answer).is_err() || (&*manager).write_all(&data).is_err() {
                break;
            }
        }
        let _ = manager.shutdown(Shutdown::Both);
    }

    fn hear(&self, item: Item<'_>, data: &mut Vec<u8>, answer: &mut Vec<u8>) {
        match item {
            Item::Data(bytes) => data.extend_from_slice(bytes),
            Item::Option(verb, number) => self.state().options.hear(verb, number, answer),
            Item::Subnegotiation(option::COM_PORT, said) => {
                if let Some(message) = Message::parse(said).filter(|said| said.side == Side::Server)
                {
                    self.state().line.hear(&message.said);
                }
            }
            Item::Subnegotiation(..) | Item::Command(_) => {}
        }
    }

    /// From the manager to the connection, until either ends.
    fn move_out(&self, manager: &UnixStream) {
        let mut space = vec![0; CHUNK];
        let mut out = Vec::new();
        loop {
            let count = match (&*manager).read(&mut space) {
                Err(error) if error.kind() == Interrupted => continue,
                Ok(0) | Err(_) => break,
                Ok(count) => count,
            };
            out.clear();
            telnet::push_data(&space[..count], &mut out);
            let sent = self
                .wait_until_resumed()
                .and_then(|()| self.send_data(&out));
            self.state().sent += count as u64;
            self.changed.notify_all();
            if sent.is_err() {
                break;
            }
        }
    }

    /// The other side may ask to be sent nothing for a while, without a limit.
    fn wait_until_resumed(&self) -> Result {
        let mut state = self.state();
        while state.line.is_suspended() && !state.lost {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if state.lost { Err(Errno::EIO) } else { Ok(()) }
    }
}

/// The right to send.
struct Turn<'a>(&'a Shared);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.state().sending = false;
        self.0.changed.notify_all();
    }
}

impl RemoteDevice {
    /// Bytes that the manager has written and that are not on their way.
    fn waiting(&self) -> u64 {
        let sent = self.shared.state().sent;
        self.given.load(Ordering::SeqCst).saturating_sub(sent)
    }

    /// Waits until what was written is on its way, ahead of a command.
    fn wait_until_sent(&self) -> Result {
        let given = self.given.load(Ordering::SeqCst);
        self.shared
            .wait(|state| (state.sent >= given).then_some(Ok(())))
    }

    fn control(&self, control: Control) -> Result {
        self.shared.say(ComPort::Control(control))
    }
}

impl Device for RemoteDevice {
    fn read(&self, into: &mut [u8]) -> Result<usize> {
        Ok((&self.ours).read(into)?)
    }

    fn write(&self, bytes: &[u8]) -> Result<usize> {
        let count = (&self.ours).write(bytes)?;
        self.given.fetch_add(count as u64, Ordering::SeqCst);
        Ok(count)
    }

    fn settings(&self) -> Result<WireTermios> {
        Ok(self.shared.state().line.settings)
    }

    fn set_settings(&self, termios: &WireTermios) -> Result {
        self.wait_until_sent()?;
        let mut out = Vec::new();
        let wanted = {
            let mut state = self.shared.state();
            let wanted = com_port::questions(termios)?;
            for said in &wanted {
                let side = Side::Client;
                Message { side, said: *said }.push(&mut out);
            }
            state.line.expect(wanted.len());
            wanted
        };
        self.shared.send(&out)?;
        self.shared.wait(|state| state.line.has_heard())?;
        let mut state = self.shared.state();
        // What the other side has set in place of what it was asked for is told by the next question.
        let refused = !wanted.iter().all(|said| state.line.agrees(said));
        if refused {
            return Err(Errno::EINVAL);
        }
        state.line.take(termios);
        Ok(())
    }

    fn flush(&self, queue: FlushQueue) -> Result {
        self.shared.say(ComPort::Purge(match queue {
            FlushQueue::Input => Purge::Input,
            FlushQueue::Output => Purge::Output,
            FlushQueue::Both => Purge::Both,
        }))?;
        if queue != FlushQueue::Output {
            let mut space = [0; CHUNK];
            while matches!((&self.ours).read(&mut space), Ok(1..)) {}
        }
        Ok(())
    }

    fn set_break(&self, on: bool) -> Result {
        self.wait_until_sent()?;
        self.control(if on {
            Control::BreakOn
        } else {
            Control::BreakOff
        })
    }

    fn output_count(&self) -> Result<u32> {
        let under_way = output_count(&self.shared.connection)?;
        let waiting = u32::try_from(self.waiting()).unwrap_or(u32::MAX);
        Ok(waiting.saturating_add(under_way))
    }

    fn is_transmitter_empty(&self) -> bool {
        true
    }

    fn input_count(&self) -> Result<u32> {
        let count = rustix::io::ioctl_fionread(&self.ours).map_err(super::errno)?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    fn modem_lines(&self) -> Result<ModemLines> {
        Ok(self.shared.state().line.wires())
    }

    fn set_modem_lines(&self, on: ModemLines, off: ModemLines) -> Result {
        if (on | off).intersects(!(ModemLines::DTR | ModemLines::RTS)) {
            return Err(Errno::EINVAL);
        }
        self.wait_until_sent()?;
        let switches = [
            (ModemLines::DTR, Control::DtrOn, Control::DtrOff),
            (ModemLines::RTS, Control::RtsOn, Control::RtsOff),
        ];
        for (line, switch_on, switch_off) in switches {
            if on.contains(line) {
                self.control(switch_on)?;
            } else if off.contains(line) {
                self.control(switch_off)?;
            }
        }
        self.shared.state().line.switch(on, off - on);
        Ok(())
    }

    fn error_counts(&self) -> ErrorCounts {
        self.shared.state().line.errors
    }

    fn window(&self) -> Result<WindowSize> {
        Err(Errno::ENOTTY)
    }

    fn set_window(&self, _size: WindowSize) -> Result {
        Err(Errno::ENOTTY)
    }
}

impl AsFd for RemoteDevice {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ours.as_fd()
    }
}

impl Drop for RemoteDevice {
    fn drop(&mut self) {
        // Ends both threads, which nobody waits for: neither holds what anybody else needs.
        let _ = self.ours.shutdown(Shutdown::Both);
        self.shared.lose();
    }
}
