use std::marker::PhantomData;
use std::ops::Range;

use abi::devctl::{Argument, Devctl};
use abi::{Encode, Errno, Result};

use super::{Answer, request_type};
use crate::envelope::Envelope;

/// A client controls the device.
///
/// ```
/// use abi::devctl::{Devctl, class};
/// use resmgr::{Answer, DevctlRequest, OpenFile, posix};
///
/// const LAMP_GET: Devctl<(), u8> = Devctl::from_device(class::PRIVATE, 2, 1);
///
/// fn devctl(file: &OpenFile, devctl: DevctlRequest) -> Answer {
///     devctl
///         .on(LAMP_GET, |()| Ok(7))
///         .otherwise(|devctl| posix::devctl::default(file, devctl))
/// }
/// ```
#[doc(alias = "io_devctl_t")]
#[derive(Debug)]
pub struct DevctlRequest {
    envelope: Envelope,
    dcmd: u32,
    argument: Range<usize>,
}

request_type!(DevctlRequest, keeps_bytes);

impl DevctlRequest {
    pub(crate) fn new(envelope: Envelope, dcmd: u32, argument: Range<usize>) -> Self {
        Self {
            envelope,
            dcmd,
            argument,
        }
    }

    /// The number of the control.
    #[must_use]
    pub fn dcmd(&self) -> u32 {
        self.dcmd
    }

    /// The encoded argument.
    #[must_use]
    pub fn argument(&self) -> &[u8] {
        self.envelope.part(&self.argument)
    }

    /// If this is `control`, answers with what `serve` makes of its argument.
    pub fn on<A: Argument, R: Argument + 'static>(
        self,
        control: Devctl<A, R>,
        serve: impl FnOnce(A) -> Result<R>,
    ) -> DevctlChoice {
        self.take(control, |call, argument| call.finish(serve(argument)))
    }

    /// If this is `control`, hands it over with its argument, to be answered now or later.
    pub fn take<A: Argument, R: Argument + 'static>(
        self,
        control: Devctl<A, R>,
        serve: impl FnOnce(DevctlCall<R>, A) -> Answer,
    ) -> DevctlChoice {
        if self.dcmd != control.dcmd() {
            return DevctlChoice::Open(self);
        }
        let answer = match A::from_bytes(self.argument()) {
            Ok(argument) => {
                let call = DevctlCall {
                    envelope: self.envelope,
                    reply: PhantomData,
                };
                serve(call, argument)
            }
            // The client's constant says something else than ours.
            Err(_) => self.fail(Errno::EINVAL),
        };
        DevctlChoice::Answered(answer)
    }

    /// Answers with a status and raw bytes, for controls without a typed constant.
    pub fn reply(self, status: i64, bytes: &[u8]) -> Answer {
        self.envelope.reply(status, bytes);
        Answer::given()
    }

    /// Refuses the request.
    pub fn fail(self, errno: Errno) -> Answer {
        self.envelope.fail(errno);
        Answer::given()
    }
}

/// A control that may have been answered by one of several `on`.
#[derive(Debug)]
#[must_use = "end the choice with `otherwise`"]
#[allow(
    clippy::large_enum_variant,
    reason = "lives for one expression; a box would cost more"
)]
pub enum DevctlChoice {
    /// None of those before was the one.
    Open(DevctlRequest),
    /// One of those before was the one.
    Answered(Answer),
}

impl DevctlChoice {
    /// See [`DevctlRequest::on`].
    pub fn on<A: Argument, R: Argument + 'static>(
        self,
        control: Devctl<A, R>,
        serve: impl FnOnce(A) -> Result<R>,
    ) -> Self {
        match self {
            Self::Open(devctl) => devctl.on(control, serve),
            answered @ Self::Answered(_) => answered,
        }
    }

    /// See [`DevctlRequest::take`].
    pub fn take<A: Argument, R: Argument + 'static>(
        self,
        control: Devctl<A, R>,
        serve: impl FnOnce(DevctlCall<R>, A) -> Answer,
    ) -> Self {
        match self {
            Self::Open(devctl) => devctl.take(control, serve),
            answered @ Self::Answered(_) => answered,
        }
    }

    /// What happens to all other controls.
    pub fn otherwise(self, serve: impl FnOnce(DevctlRequest) -> Answer) -> Answer {
        match self {
            Self::Open(devctl) => serve(devctl),
            Self::Answered(answer) => answer,
        }
    }
}

/// A control of a known type, to be answered with an `R`.
pub struct DevctlCall<R> {
    envelope: Envelope,
    reply: PhantomData<fn(R)>,
}

request_type!(DevctlCall<R>);

impl<R> std::fmt::Debug for DevctlCall<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DevctlCall")
            .field("envelope", &self.envelope)
            .finish_non_exhaustive()
    }
}

impl<R: Encode> DevctlCall<R> {
    /// Answers with `reply`.
    pub fn reply(mut self, reply: &R) -> Answer {
        match reply.write_to(self.envelope.scratch()) {
            Ok(len) => self.envelope.reply_scratch(0, len),
            Err(overflow) => self.envelope.fail(overflow.into()),
        }
        Answer::given()
    }

    /// Answers with the value, or refuses.
    pub fn finish(self, result: Result<R>) -> Answer {
        match result {
            Ok(reply) => self.reply(&reply),
            Err(errno) => self.fail(errno),
        }
    }
}
