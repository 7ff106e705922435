//! What is said on one connection, and done at its port.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use abi::devctl::{
    CHR_FLUSH, CHR_LINE_STATUS, CHR_MODEM_GET, CHR_MODEM_SET, CHR_SET_BREAK, CHR_TCGETATTR,
    CHR_TCSETATTR, FlushQueue, LineErrors, ModemLines, ModemSet, SetTermios, When,
};
use abi::{Errno, Result};
use client::File;
use telnet::{ComPort, Control, Item, Message, ModemState, Options, Parser, Purge, Side, option};

use super::connection::Connection;
use crate::com_port;

const CHUNK: usize = 4096;
/// How often the wires of the port are looked at.
const WIRES_LOOK: Duration = Duration::from_millis(100);
/// How long a change of settings waits for earlier bytes to leave.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);
/// Telnet's break, for clients without COM port control.
const BREAK: u8 = 243;
/// Milliseconds of that; 0 is the port's own length.
const BREAK_MS: u32 = 0;
const SIGNATURE: &[u8] = concat!("Slashnet ", env!("CARGO_PKG_VERSION")).as_bytes();

/// A connection that has its port. The port is closed when the last of its threads has ended.
#[derive(Debug)]
pub(super) struct Session {
    connection: Arc<Connection>,
    port: File,
    /// Which states the other side wants to be told of; none before it speaks of COM ports.
    line_mask: AtomicU8,
    modem_mask: AtomicU8,
    speaks_com_port: AtomicBool,
}

impl Session {
    /// Serves the connection until its end.
    pub(super) fn run(connection: &Arc<Connection>, port: File) -> Result {
        let session = Arc::new(Self {
            connection: Arc::clone(connection),
            port,
            line_mask: AtomicU8::new(0),
            modem_mask: AtomicU8::new(0xff),
            speaks_com_port: AtomicBool::new(false),
        });
        let (inward, wires) = (Arc::clone(&session), Arc::clone(&session));
        connection.spawn("rfc2217 in", move |_| inward.move_in())?;
        connection.spawn("rfc2217 wires", move |_| wires.watch_wires())?;
        session.hear_all()
    }

    /// From the connection to the port.
    fn hear_all(&self) -> Result {
        let (mut parser, mut options) = (Parser::default(), Options::server());
        let mut out = Vec::new();
        options.open(&mut out);
        self.connection.send(&out)?;
        let mut space = vec![0; CHUNK];
        loop {
            let count = self.connection.receive(&mut space)?;
            if count == 0 {
                return Ok(());
            }
            let mut result = Ok(());
            parser.feed(&space[..count], |item| {
                if result.is_ok() {
                    out.clear();
                    result = self
                        .hear(item, &mut options, &mut out)
                        .and_then(|()| self.connection.send(&out));
                }
            });
            result?;
        }
    }

    fn hear(&self, item: Item<'_>, options: &mut Options, out: &mut Vec<u8>) -> Result {
        match item {
            Item::Data(bytes) => self.write(bytes)?,
            Item::Option(verb, number) => {
                options.hear(verb, number, out);
                self.speaks_com_port
                    .store(options.has_com_port(), Ordering::SeqCst);
            }
            Item::Subnegotiation(option::COM_PORT, said) => {
                if let Some(message) = Message::parse(said).filter(|said| said.side == Side::Client)
                {
                    self.serve(&message.said, out)?;
                }
            }
            Item::Command(BREAK) => {
                self.port.devctl(abi::devctl::CHR_SEND_BREAK, BREAK_MS)?;
            }
            Item::Subnegotiation(..) | Item::Command(_) => {}
        }
        Ok(())
    }

    fn write(&self, mut bytes: &[u8]) -> Result {
        while !bytes.is_empty() {
            let count = self
                .port
                .write_with(bytes, &self.connection.options(None))?;
            bytes = bytes.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Does what is said and adds the answer.
    fn serve(&self, said: &ComPort<'_>, out: &mut Vec<u8>) -> Result {
        let answer = match said {
            ComPort::Signature(b"") => ComPort::Signature(SIGNATURE),
            ComPort::Signature(_) => return Ok(()),
            ComPort::Control(control) => ComPort::Control(self.control(*control)?),
            ComPort::Purge(purge) => {
                let queue = match purge {
                    Purge::Input => FlushQueue::Input,
                    Purge::Output => FlushQueue::Output,
                    Purge::Both => FlushQueue::Both,
                };
                self.port.devctl(CHR_FLUSH, queue)?;
                *said
            }
            ComPort::LineStateMask(mask) => {
                self.line_mask.store(*mask, Ordering::SeqCst);
                *said
            }
            ComPort::ModemStateMask(mask) => {
                self.modem_mask.store(*mask, Ordering::SeqCst);
                *said
            }
            ComPort::Suspend | ComPort::Resume => {
                self.connection.suspend(*said == ComPort::Suspend);
                return Ok(());
            }
            ComPort::LineState(_) | ComPort::ModemState(_) => return Ok(()),
            setting => self.set(setting)?,
        };
        let side = Side::Server;
        Message { side, said: answer }.push(out);
        Ok(())
    }

    /// Changes a setting or is asked about it; what is true afterwards.
    fn set(&self, said: &ComPort<'_>) -> Result<ComPort<'static>> {
        let mut termios = self.port.devctl(CHR_TCGETATTR, ())?;
        if com_port::apply(said, &mut termios) {
            let set = |when| {
                let limit = (when != When::Now).then_some(DRAIN_LIMIT);
                let set = SetTermios { when, termios };
                self.port
                    .devctl_with(CHR_TCSETATTR, set, &self.connection.options(limit))
            };
            match set(When::Drain) {
                Err(Errno::ETIMEDOUT) => set(When::Now),
                // What the port cannot do is told by the answer, which is what it does.
                Err(Errno::EINVAL) => Ok(()),
                result => result,
            }?;
            termios = self.port.devctl(CHR_TCGETATTR, ())?;
        }
        let now = com_port::questions(&termios)?;
        let kind = std::mem::discriminant(said);
        let same = now
            .into_iter()
            .find(|said| std::mem::discriminant(said) == kind);
        same.ok_or(Errno::EINVAL)
    }

    fn control(&self, control: Control) -> Result<Control> {
        match control {
            Control::AskFlow
            | Control::FlowNone
            | Control::FlowSoftware
            | Control::FlowHardware
            | Control::FlowDcd
            | Control::FlowDsr => match self.set(&ComPort::Control(control))? {
                ComPort::Control(now) => Ok(now),
                _ => Err(Errno::EINVAL),
            },
            // The port has one flow control for both directions.
            Control::AskInputFlow
            | Control::InputFlowNone
            | Control::InputFlowSoftware
            | Control::InputFlowHardware
            | Control::InputFlowDtr => Ok(match self.control(Control::AskFlow)? {
                Control::FlowSoftware => Control::InputFlowSoftware,
                Control::FlowHardware => Control::InputFlowHardware,
                _ => Control::InputFlowNone,
            }),
            Control::AskBreak => Ok(Control::BreakOff),
            Control::BreakOn | Control::BreakOff => {
                self.port
                    .devctl(CHR_SET_BREAK, control == Control::BreakOn)?;
                Ok(control)
            }
            Control::AskDtr => self.wire(ModemLines::DTR, Control::DtrOn, Control::DtrOff),
            Control::AskRts => self.wire(ModemLines::RTS, Control::RtsOn, Control::RtsOff),
            Control::DtrOn | Control::DtrOff => {
                self.switch(ModemLines::DTR, control == Control::DtrOn)?;
                Ok(control)
            }
            Control::RtsOn | Control::RtsOff => {
                self.switch(ModemLines::RTS, control == Control::RtsOn)?;
                Ok(control)
            }
        }
    }

    fn wire(&self, line: ModemLines, on: Control, off: Control) -> Result<Control> {
        match self.port.devctl(CHR_MODEM_GET, ()) {
            Ok(lines) if !lines.contains(line) => Ok(off),
            // A port without wires is always ready.
            Ok(_) | Err(Errno::ENOTTY | Errno::EINVAL) => Ok(on),
            Err(errno) => Err(errno),
        }
    }

    fn switch(&self, line: ModemLines, on: bool) -> Result {
        let none = ModemLines::empty();
        let set = if on {
            ModemSet {
                on: line,
                off: none,
            }
        } else {
            ModemSet {
                on: none,
                off: line,
            }
        };
        match self.port.devctl(CHR_MODEM_SET, set) {
            Err(Errno::ENOTTY | Errno::EINVAL) => Ok(()),
            result => result,
        }
    }

    /// From the port to the connection.
    fn move_in(&self) -> Result {
        let mut space = vec![0; CHUNK];
        let mut out = Vec::new();
        while !self.connection.has_ended() {
            let count = match self
                .port
                .read_with(&mut space, &self.connection.options(None))
            {
                Ok(0) => return Err(Errno::EIO),
                Err(Errno::EINTR) => continue,
                count => count?,
            };
            out.clear();
            telnet::push_data(&space[..count], &mut out);
            self.connection.wait_until_resumed();
            self.connection.send(&out)?;
        }
        Ok(())
    }

    /// Tells the other side of the wires, first as they are and then when they change, and of errors.
    fn watch_wires(&self) -> Result {
        let mut told = None;
        while !self.connection.has_ended() {
            if self.speaks_com_port.load(Ordering::SeqCst) {
                let status = self.port.devctl(CHR_LINE_STATUS, ())?;
                self.tell_wires(wires(status.lines), &mut told)?;
                let errors = errors(status.errors) & self.line_mask.load(Ordering::SeqCst);
                if errors != 0 {
                    self.tell(ComPort::LineState(errors))?;
                }
            }
            self.connection.pass(WIRES_LOOK);
        }
        Ok(())
    }

    fn tell_wires(&self, now: u8, told: &mut Option<u8>) -> Result {
        let state = ModemState::of(now, told.unwrap_or(now));
        let changed = (state.0 << 4) & self.modem_mask.load(Ordering::SeqCst);
        if told.is_none() || changed != 0 {
            self.tell(ComPort::ModemState(state))?;
        }
        *told = Some(now);
        Ok(())
    }

    fn tell(&self, said: ComPort<'_>) -> Result {
        let mut out = Vec::new();
        let side = Side::Server;
        Message { side, said }.push(&mut out);
        self.connection.send(&out)
    }
}

fn wires(lines: ModemLines) -> u8 {
    let known = [
        (ModemLines::CTS, ModemState::CTS),
        (ModemLines::DSR, ModemState::DSR),
        (ModemLines::RI, ModemState::RI),
        (ModemLines::CD, ModemState::CD),
    ];
    let on = known.iter().filter(|(line, _)| lines.contains(*line));
    on.fold(0, |all, (_, bit)| all | bit)
}

/// Errors as a UART's line status register has them.
fn errors(errors: LineErrors) -> u8 {
    let known = [
        (LineErrors::OVERRUN | LineErrors::QUEUE, 0x02),
        (LineErrors::PARITY, 0x04),
        (LineErrors::FRAMING, 0x08),
        (LineErrors::BREAK, 0x10),
    ];
    let had = known.iter().filter(|(kind, _)| errors.intersects(*kind));
    had.fold(0, |all, (_, bit)| all | bit)
}
