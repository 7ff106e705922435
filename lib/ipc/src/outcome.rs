//! What the end of an operation means to its sender: the table of failures (I22, I69).

use abi::{Errno, Incarnation};

use crate::server::{BY_LIBRARY, NOT_DONE};
use crate::wait::Outcome;
use crate::{Cause, Delivery, Failure, Reply};

/// What the end of an operation means to its sender.
pub(crate) fn answer(outcome: Outcome, late: bool) -> Result<Reply, Failure> {
    let (errno, delivery, cause) = match outcome {
        Outcome::Replied { status, len } => {
            return Ok(Reply {
                status,
                len: usize::try_from(len).unwrap_or(usize::MAX),
            });
        }
        Outcome::Refused { errno } => refused(errno),
        Outcome::Failed(failure) => failed(failure, late),
        Outcome::Done | Outcome::Gone | Outcome::Interrupted | Outcome::Answered => {
            (Errno::EBADF, Delivery::Unknown, Cause::Local)
        }
    };
    Err(Failure {
        errno,
        delivery,
        cause,
        peer: Incarnation(0),
    })
}

/// Whether the library at the server says that the channel is not there, or not any more.
pub(crate) fn is_channel_gone(outcome: Outcome) -> bool {
    let Outcome::Refused { errno } = outcome else {
        return false;
    };
    let number = errno & !(BY_LIBRARY | NOT_DONE);
    errno & BY_LIBRARY != 0 && (number == Errno::ESRCH.number() || number == Errno::EBADF.number())
}

fn refused(number: u16) -> (Errno, Delivery, Cause) {
    let errno = Errno::from_wire(number & !(BY_LIBRARY | NOT_DONE));
    if number & BY_LIBRARY == 0 {
        return (errno, Delivery::Unknown, Cause::Answer);
    }
    let delivery = if number & NOT_DONE == 0 {
        Delivery::Unknown
    } else {
        Delivery::NotDone
    };
    let cause = match errno {
        Errno::EINTR => Cause::Interrupted,
        Errno::ETIMEDOUT => Cause::TimedOut,
        Errno::EBADMSG => Cause::Protocol,
        _ => Cause::Channel,
    };
    (errno, delivery, cause)
}

/// The table of failures: I22, I69.
fn failed(failure: transport::Failure, late: bool) -> (Errno, Delivery, Cause) {
    let delivery = match failure.delivery {
        transport::Delivery::NotDone => Delivery::NotDone,
        transport::Delivery::Unknown => Delivery::Unknown,
    };
    let (errno, cause) = match failure.cause {
        transport::Cause::Link if delivery == Delivery::NotDone => (Errno::EHOSTDOWN, Cause::Link),
        transport::Cause::Link => (Errno::ESRCH, Cause::Link),
        transport::Cause::Node => (Errno::ESRCH, Cause::Node),
        transport::Cause::Server => (Errno::ESRCH, Cause::Server),
        transport::Cause::Cancelled if late => (Errno::ETIMEDOUT, Cause::TimedOut),
        transport::Cause::Cancelled => (Errno::EINTR, Cause::Interrupted),
        transport::Cause::TimedOut => (Errno::ETIMEDOUT, Cause::TimedOut),
        transport::Cause::Protocol => (Errno::EBADMSG, Cause::Protocol),
        transport::Cause::Closed => (Errno::EBADF, Cause::Local),
    };
    (errno, delivery, cause)
}
