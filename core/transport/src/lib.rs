//! Messages between two processes over several lanes: a pure state machine.
//!
//! A [`Transport`] holds all sessions of one process. It does no input or output and reads no
//! clock: the shell hands it packets ([`Transport::receive`]) and time, and takes packets
//! ([`Transport::next_link`], [`Transport::transmit`]) and [`Event`]s from it. Bytes of messages
//! stay in the program's memory, reached through [`Memory`].
//!
//! After every call that changes something the shell drains [`Transport::next_link`] and
//! [`Transport::event`], and re-reads [`Transport::timeout`]. No call blocks. A `Transport` is
//! `Send`; it must not be used in a forked child, because a copy would repeat packet numbers.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod choice;
pub mod cipher;
pub mod config;
mod credit;
mod draft;
pub mod event;
pub mod frame;
mod incoming;
mod key_phase;
pub mod keys;
mod lane;
mod lanes;
mod outflow;
mod outgoing;
pub mod packet;
mod policy;
mod protection;
mod queue;
pub mod ranges;
mod rate_model;
mod receiving;
mod recovery;
pub mod replay;
pub mod schedule;
mod sending;
mod session;
mod summary;
mod tail;
#[cfg(test)]
mod tests;
mod timers;
mod transfer;
mod transport;

pub use cipher::{Forged, PacketCipher};
pub use config::{Config, LaneParams, Protection, Role, SessionParams};
pub use event::{
    Buffer, Cause, Delivery, Event, Failure, Gone, IncomingKey, LinkIndex, Memory, Meta, OpKey,
    OpenError, Request, SendError, SessionKey, TransferKey,
};
pub use policy::Policy;
pub use summary::{LaneReason, LaneReport, LaneState, LaneSummary, LaneWord, SessionSummary};
pub use transport::{Arrivals, Transmit, Transport};
