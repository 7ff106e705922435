use abi::Encode;
use abi::io::{self, LockRange};

use super::{Answer, request_type};
use crate::envelope::Envelope;

/// A request that is answered by one encoded value, with its arguments, if it has any, in another.
macro_rules! query {
    ($(#[$doc:meta])* $name:ident $(($arguments:ty))? -> $reply:ty) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            envelope: Envelope,
            $(arguments: $arguments,)?
        }

        request_type!($name);

        impl $name {
            pub(crate) fn new(envelope: Envelope $(, arguments: $arguments)?) -> Self {
                Self { envelope, $(arguments: std::convert::identity::<$arguments>(arguments),)? }
            }

            $(
                /// What is asked for.
                #[must_use]
                pub fn arguments(&self) -> $arguments {
                    self.arguments
                }
            )?

            /// Answers with `reply`.
            pub fn reply(self, reply: &$reply) -> Answer {
                answer(self.envelope, reply)
            }

            /// Answers with the value, or refuses.
            pub fn finish(self, result: abi::Result<$reply>) -> Answer {
                match result {
                    Ok(reply) => self.reply(&reply),
                    Err(errno) => self.fail(errno),
                }
            }
        }
    };
}

query! {
    /// A client asks for the attributes.
    #[doc(alias = "io_stat_t")]
    StatRequest -> io::Stat
}

query! {
    /// A client moves the file offset; the reply is the new one.
    #[doc(alias = "io_lseek_t")]
    SeekRequest(io::Lseek) -> u64
}

query! {
    /// A client asks about the file system.
    StatvfsRequest -> io::Statvfs
}

query! {
    /// A client asks for a limit; -1 is "none".
    #[doc(alias = "io_pathconf_t")]
    PathconfRequest(io::Pathconf) -> i64
}

query! {
    /// A client asks about the open file itself.
    #[doc(alias = "io_fdinfo_t")]
    InfoRequest -> io::Info
}

query! {
    /// A client locks or unlocks a range, or asks who does.
    #[doc(alias = "io_lock_t")]
    LockRequest(io::Lock) -> LockRange
}

/// A client reads the text of the symbolic link that it has open.
#[derive(Debug)]
pub struct LinkTextRequest {
    envelope: Envelope,
}

request_type!(LinkTextRequest);

impl LinkTextRequest {
    pub(crate) fn new(envelope: Envelope) -> Self {
        Self { envelope }
    }

    /// Answers with the text.
    pub fn text(self, text: &[u8]) -> Answer {
        self.envelope.reply(text.len() as i64, text);
        Answer::given()
    }
}

impl LockRequest {
    /// Answers that the range is locked or unlocked.
    pub fn done(self) -> Answer {
        self.envelope.reply(0, &[]);
        Answer::given()
    }

    /// Like [`done`](Self::done), and tells whether the client was there to have it.
    ///
    /// # Errors
    /// ESRCH if not: it died or gave up, and must not be left with a lock.
    pub fn deliver_done(self) -> abi::Result {
        self.envelope.deliver(0, &[])
    }

    /// The client process, as this server numbers them.
    pub(crate) fn client(&self) -> abi::SenderId {
        self.envelope.place().sender
    }

    pub(crate) fn opened(&self) -> Option<&std::sync::Arc<crate::open_file::Opened>> {
        self.envelope.file.as_ref()
    }
}

/// Replies with an encoded value; none of them is larger than a stack buffer.
fn answer(envelope: Envelope, reply: &impl Encode) -> Answer {
    let mut space = [0; 256];
    match reply.write_to(&mut space) {
        Ok(len) => envelope.reply(0, &space[..len]),
        Err(overflow) => envelope.fail(overflow.into()),
    }
    Answer::given()
}
