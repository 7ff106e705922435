//! Telnet (RFC 854) with COM port control (RFC 2217): serial ports over TCP, as other programs do it.
//!
//! Both sides of the protocol are here, as pure state: [`Parser`] takes a stream apart, [`Options`] answers offers,
//! [`ComPort`] is what is said about a port. Data are bytes in both directions (RFC 856), whether or not the other side
//! agreed to that: nobody who shares a port wants its line ends changed.
//!
//! There is no authentication in this protocol, and nothing is encrypted.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod com_port;
mod options;
mod parser;

pub use com_port::{ComPort, Control, Message, ModemState, Parity, Purge, Side};
pub use options::{Options, Verb, option};
pub use parser::{Item, Parser, SUBNEGOTIATION_MAX, push_data};

/// Interpret as command.
pub(crate) const IAC: u8 = 255;
/// Begins a subnegotiation.
pub(crate) const SB: u8 = 250;
/// Ends it.
pub(crate) const SE: u8 = 240;
