//! Sending pulses.

use abi::{Credentials, Errno, Pulse, Result, Uid};
use transport::{SendError, SessionKey};

use crate::client::Route;
use crate::clock;
use crate::meta::Kind;
use crate::regions::{Purpose, Source, Target};
use crate::server::{BY_LIBRARY, DEFAULT_PRIORITY, NOT_DONE};
use crate::shared::{Shared, State};
use crate::wait::Outcome;

impl Shared {
    pub(crate) fn pulse(&self, route: &Route, priority: i16, code: i8, value: u64) -> Result {
        let priority = match priority {
            -1 => DEFAULT_PRIORITY,
            1..=255 => priority as u8,
            _ => return Err(Errno::EINVAL),
        };
        if code < 0 {
            return Err(Errno::EINVAL);
        }
        let mut state = self.enter()?;
        let kind = Kind::Pulse {
            code,
            subtype: 0,
            value,
        };
        let client = state.sessions.client(route.session).ok_or(Errno::EBADF)?;
        if client.pulses >= PULSES_MAX {
            return Err(Errno::EAGAIN);
        }
        let attachment = client
            .attachments
            .get(&route.attachment)
            .ok_or(Errno::EBADF)?;
        if let Some(errno) = attachment.refused {
            return Err(errno);
        }
        let request = state
            .request(route, kind, priority, 0, 0)
            .ok_or(Errno::EBADF)?;
        let now = clock::now();
        let op = match state.transport.send(now, route.session, request) {
            Ok(op) => op,
            Err(SendError::NoSlot) => return Err(Errno::EAGAIN),
            Err(SendError::Closed | SendError::TooLong) => return Err(Errno::EBADF),
            Err(SendError::NoLane) => return Err(Errno::ENETDOWN),
        };
        state.sessions.started(route.session);
        let purpose = Purpose::Pulse(route.attachment);
        state
            .regions
            .add_op(op, Source::EMPTY, Target::EMPTY, purpose);
        if let Some(client) = state.sessions.client(route.session) {
            client.pulses += 1;
            if let Some(attachment) = client.attachments.get_mut(&route.attachment) {
                attachment.pulses_sent = attachment.pulses_sent.wrapping_add(1);
            }
        }
        state.pump(now);
        self.settle(state);
        Ok(())
    }
}

impl State {
    /// A pulse has been taken or refused.
    pub(crate) fn pulse_ended(&mut self, session: SessionKey, attachment: u32, outcome: Outcome) {
        let Some(client) = self.sessions.client(session) else {
            return;
        };
        client.pulses = client.pulses.saturating_sub(1);
        if let Outcome::Refused { errno } = outcome
            && let Some(attachment) = client.attachments.get_mut(&attachment)
        {
            attachment.refused = Some(Errno::from_wire(errno & !(BY_LIBRARY | NOT_DONE)));
        }
    }
}

/// Pulses of one process that may wait at one server process (I50).
const PULSES_MAX: u32 = 512;

/// The user of this process.
pub(crate) fn own_user() -> Uid {
    Uid(rustix::process::geteuid().as_raw())
}

/// I51: the superuser and the server's own user may; negative codes are the system's.
pub(crate) fn may_pulse(sender: &Credentials, own: Uid, pulse: Pulse) -> Result {
    if pulse.is_system() {
        return Err(Errno::EINVAL);
    }
    if sender.is_root() || sender.uid == own {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

#[cfg(test)]
mod tests {
    use abi::{Gid, Nd, Pid, SenderId};

    use super::*;

    // qnx: I51
    #[test]
    fn pulses_are_taken_from_the_superuser_and_the_servers_own_user() {
        let own = Uid(1000);
        let allowed = |user, node, code| {
            let pulse = Pulse {
                code,
                subtype: 0,
                value: 7,
                sender: SenderId::default(),
                priority: 10,
            };
            let sender = Credentials::new(node, Pid(1), Uid(user), Gid(user));
            may_pulse(&sender, own, pulse)
        };
        for node in [Nd::LOCAL, Nd(2)] {
            assert_eq!(allowed(0, node, 1), Ok(()));
            assert_eq!(allowed(1000, node, 1), Ok(()));
            assert_eq!(allowed(1001, node, 1), Err(Errno::EPERM));
            assert_eq!(allowed(0, node, Pulse::UNBLOCK), Err(Errno::EINVAL));
        }
    }
}
