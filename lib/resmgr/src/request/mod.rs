//! What handlers are given: one owned request per operation, to be consumed into an [`Answer`].
//!
//! Every request has the methods that [`request_type`] lists, beside those of its kind. A request
//! that is dropped instead of consumed answers EIO and is logged.

mod bytes;
mod change;
mod connect;
mod devctl;
mod directory;
mod notify;
mod opening;
mod own;
mod query;
mod raw;
mod xattr;

pub use self::bytes::{ReadRequest, WriteRequest};
pub use self::change::{
    AllocateRequest, ChmodRequest, ChownRequest, SetTimesRequest, SyncRequest, TruncateRequest,
};
pub use self::connect::{
    LinkRequest, MakeNodeRequest, MountRequest, ReadLinkRequest, RenameRequest, SymlinkRequest,
    UnlinkRequest,
};
pub use self::devctl::{DevctlCall, DevctlChoice, DevctlRequest};
pub use self::directory::ReadDirectoryRequest;
pub use self::notify::NotifyRequest;
pub use self::opening::{OpenRequest, Opening};
pub use self::own::OwnRequest;
pub use self::query::{
    InfoRequest, LinkTextRequest, LockRequest, PathconfRequest, SeekRequest, StatRequest,
    StatvfsRequest,
};
pub use self::raw::RawRequest;
pub use self::xattr::XattrRequest;

use std::sync::Arc;

use abi::Errno;

use crate::wait_queue::{Parked, Place};

pub(crate) use self::connect::Target;
pub(crate) use self::notify::Batch;
pub(crate) use self::opening::After;

/// Proof that a request was answered, refused, or parked in a [`WaitQueue`](crate::WaitQueue).
///
/// Only requests make it, so a handler that forgets to answer does not compile.
#[derive(Debug)]
#[must_use = "hand the answer back to the framework"]
pub struct Answer(());

impl Answer {
    pub(crate) fn given() -> Self {
        Self(())
    }
}

/// What all requests have in common; implemented by this crate only.
pub trait Request: sealed::Sealed + Send + std::fmt::Debug + 'static {}

pub(crate) mod sealed {
    use super::{Answer, Arc, Errno, Parked, Place};

    /// What wait queues need of a request.
    pub trait Sealed: Sized {
        fn refuse(self, errno: Errno) -> Answer;
        fn forget(self);
        /// Gives back what a waiting request does not need.
        fn prepare_to_wait(&mut self);
        fn is_nonblocking(&self) -> bool;
        /// Why nobody waits for the answer any longer, or soon will not.
        fn abandoned(&self) -> Option<Errno>;
        fn ticket(&self) -> u64;
        fn place(&self) -> Place;
        fn parked(&self) -> &Arc<Parked>;
    }
}

/// Gives a request type what all of them have. The type has a field `envelope`.
macro_rules! request_type {
    ($name:ident $(<$($arg:ident),*>)?) => {
        request_type!(@common $name $(<$($arg),*>)?, false, false);
        request_type!(@fail $name $(<$($arg),*>)?);
    };
    // For those that a non-blocking file refuses instead of letting them wait.
    ($name:ident, nonblocking) => {
        request_type!(@common $name, false, true);
        request_type!(@fail $name);
    };
    ($name:ident, nonblocking, keeps_bytes) => {
        request_type!(@common $name, true, true);
    };
    (@fail $name:ident $(<$($arg:ident),*>)?) => {
        impl $(<$($arg),*>)? $name $(<$($arg),*>)? {
            /// Refuses the request.
            pub fn fail(self, errno: abi::Errno) -> $crate::request::Answer {
                self.envelope.fail(errno);
                $crate::request::Answer::given()
            }
        }
    };
    // For requests whose bytes are needed until the end; they write `fail` themselves.
    ($name:ident, keeps_bytes) => {
        request_type!(@common $name, true, false);
    };
    (@common $name:ident $(<$($arg:ident),*>)?, $keeps:literal, $nonblocking:literal) => {
        impl $(<$($arg),*>)? $name $(<$($arg),*>)? {
            /// Who asks: ids as this node's daemon vouches for them, mapped for remote users.
            #[must_use]
            pub fn credentials(&self) -> &abi::credentials::Credentials {
                self.envelope.credentials()
            }

            /// The open file it is about; `None` for a request by pathname.
            #[must_use]
            pub fn open_file(&self) -> Option<&$crate::OpenFile> {
                self.envelope.file.as_ref().map(|opened| &opened.file)
            }

            /// Whether the client wants to give up (interrupted, or its time is over): a handler
            /// that blocks without a wait queue looks at this and answers EINTR (`I42`).
            #[must_use]
            pub fn is_unblock_requested(&self) -> bool {
                self.envelope.is_unblock_requested()
            }
        }

        impl $(<$($arg: 'static),*>)? $crate::request::sealed::Sealed
            for $name $(<$($arg),*>)?
        {
            fn refuse(self, errno: abi::Errno) -> $crate::request::Answer {
                self.fail(errno)
            }

            fn forget(self) {
                self.envelope.forget();
            }

            fn prepare_to_wait(&mut self) {
                if !$keeps {
                    self.envelope.shed_buffer();
                }
            }

            fn is_nonblocking(&self) -> bool {
                let file = self.envelope.file.as_ref();
                $nonblocking && file.is_some_and(|opened| opened.file.is_nonblocking())
            }

            fn abandoned(&self) -> Option<abi::Errno> {
                self.envelope.abandoned()
            }

            fn ticket(&self) -> u64 {
                self.envelope.ticket()
            }

            fn place(&self) -> $crate::wait_queue::Place {
                self.envelope.place()
            }

            fn parked(&self) -> &std::sync::Arc<$crate::wait_queue::Parked> {
                &self.envelope.hub.parked
            }
        }

        impl $(<$($arg: 'static),*>)? $crate::request::Request
            for $name $(<$($arg),*>)?
        {}
    };
}
pub(crate) use request_type;
