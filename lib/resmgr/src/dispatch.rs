//! What a server does with messages and pulses, whatever brought them.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use abi::{Errno, MessageKind, Pulse};

use crate::attachments::Attachments;
use crate::envelope::{Buffer, Carrier, Envelope, Hub};
use crate::request::{Answer, RawRequest};
use crate::{connect, io};

/// Serves a pulse.
pub(crate) type OnPulse = Box<dyn Fn(&Pulse) + Send + Sync>;
/// Serves a message that is none of this protocol.
pub(crate) type OnMessage = Box<dyn Fn(RawRequest) -> Answer + Send + Sync>;

/// Numbers of messages that a program may give a meaning of its own; those below belong to this protocol.
pub(crate) const OWN_KINDS: RangeInclusive<u16> = 0x200..=u16::MAX;

pub(crate) struct Dispatch {
    pub(crate) attachments: Attachments,
    pub(crate) hub: Arc<Hub>,
    pub(crate) pulses: HashMap<i8, OnPulse>,
    pub(crate) messages: Vec<(RangeInclusive<u16>, OnMessage)>,
}

impl std::fmt::Debug for Dispatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatch")
            .field("attachments", &self.attachments)
            .finish_non_exhaustive()
    }
}

impl Dispatch {
    /// Without prefixes.
    pub(crate) fn new(message_bytes: usize) -> Self {
        Self {
            attachments: Attachments::default(),
            hub: Hub::new(message_bytes),
            pulses: HashMap::new(),
            messages: Vec::new(),
        }
    }

    /// Serves one message to its answer.
    pub(crate) fn message(&self, carrier: Carrier, buffer: Buffer, received: usize) {
        let envelope = Envelope::new(carrier, buffer, received, Arc::clone(&self.hub));
        // A handler that panics costs its client an EIO, not the manager its life.
        let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = match MessageKind::of(envelope.message()) {
                Ok(MessageKind::Connect) => connect::route(self, envelope),
                Ok(kind) => io::route(kind, envelope),
                Err(abi::Malformed::Unknown) => self.own_message(envelope),
                // qnx: R2
                Err(_) => refuse(envelope, Errno::EINVAL),
            };
        }));
        if served.is_err() {
            tracing::error!("a handler panicked; its client got EIO");
        }
    }

    /// A message that is none of this protocol.
    fn own_message(&self, envelope: Envelope) -> Answer {
        let number = envelope
            .message()
            .first_chunk()
            .map(|two| u16::from_le_bytes(*two));
        let handler = number.and_then(|number| {
            let mut handlers = self.messages.iter();
            handlers.find(|(numbers, _)| numbers.contains(&number))
        });
        match handler {
            Some((_, serve)) => serve(RawRequest::new(envelope)),
            // qnx: R2
            None => refuse(envelope, Errno::ENOSYS),
        }
    }

    /// Handles one pulse.
    pub(crate) fn pulse(&self, pulse: &Pulse) {
        match pulse.code {
            // qnx: R15
            Pulse::UNBLOCK => {
                let errno = match pulse.subtype {
                    0 => Errno::EINTR,
                    number => Errno::from_wire(number),
                };
                if !self.hub.parked.interrupt(pulse.value, errno) {
                    for resource in self.attachments.resources() {
                        resource.unblock(pulse.value);
                    }
                }
            }
            // qnx: R14
            Pulse::DISCONNECT => {
                self.hub.parked.forget(|place| place.sender == pulse.sender);
                self.hub.bindings.unbind_client(pulse.sender);
            }
            code => match self.pulses.get(&code) {
                Some(serve) => {
                    let served = std::panic::AssertUnwindSafe(|| serve(pulse));
                    if std::panic::catch_unwind(served).is_err() {
                        tracing::error!(code, "the handler of a pulse panicked");
                    }
                }
                None => tracing::debug!(code, "a pulse that nobody asked for"),
            },
        }
    }
}

pub(crate) fn refuse(envelope: Envelope, errno: Errno) -> Answer {
    envelope.fail(errno);
    Answer::given()
}
