use abi::io;
use abi::{Encode, Errno, Result};

use super::{Answer, request_type};
use crate::envelope::Envelope;

/// A request that is answered by "done" or an error, with the arguments in one value.
macro_rules! change {
    ($(#[$doc:meta])* $name:ident($arguments:ty)) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            envelope: Envelope,
            arguments: $arguments,
        }

        request_type!($name);

        impl $name {
            pub(crate) fn new(envelope: Envelope, arguments: $arguments) -> Self {
                Self { envelope, arguments }
            }

            /// What is asked for.
            #[must_use]
            pub fn arguments(&self) -> $arguments {
                self.arguments
            }

            /// Answers that it is done.
            pub fn done(self) -> Answer {
                self.envelope.reply(0, &[]);
                Answer::given()
            }

            /// Answers that it is done, and with the attributes as they are now: who changes them often asks next.
            pub fn done_telling(self, stat: &io::Stat) -> Answer {
                match stat.to_bytes() {
                    Ok(body) => {
                        self.envelope.reply(0, &body);
                        Answer::given()
                    }
                    Err(_) => self.done(),
                }
            }

            /// Answers done, or refuses.
            pub fn finish(self, result: Result) -> Answer {
                match result {
                    Ok(()) => self.done(),
                    Err(errno) => self.fail(errno),
                }
            }
        }
    };
}

change! {
    /// A client changes the permission bits.
    #[doc(alias = "io_chmod_t")]
    ChmodRequest(io::Chmod)
}

change! {
    /// A client changes owner and group.
    #[doc(alias = "io_chown_t")]
    ChownRequest(io::Chown)
}

change! {
    /// A client changes the times.
    #[doc(alias = "io_utime_t")]
    SetTimesRequest(io::Utime)
}

change! {
    /// A client sets the length.
    TruncateRequest(io::Truncate)
}

change! {
    /// A client reserves or frees space.
    #[doc(alias = "io_space_t")]
    AllocateRequest(io::Space)
}

change! {
    /// A client wants what it wrote to be durable.
    #[doc(alias = "io_sync_t")]
    SyncRequest(io::Sync)
}

impl ChmodRequest {
    /// The new permission bits, without the file type.
    #[must_use]
    pub fn permissions(&self) -> u32 {
        self.arguments.mode & abi::flags::mode::PERMISSIONS
    }
}

impl TruncateRequest {
    /// The new length in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.arguments.size
    }

    /// Whether the file was opened for writing, without which the answer is EBADF or EINVAL.
    ///
    /// # Errors
    /// EINVAL, as `ftruncate` answers.
    pub fn verify(&self, file: &crate::OpenFile) -> Result {
        if file.is_writable() {
            Ok(())
        } else {
            Err(Errno::EINVAL)
        }
    }
}
