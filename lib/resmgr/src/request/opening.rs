use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use abi::connect::{ConnectStatus, Opened as OpenedReply, Redirect, SymlinkReply};
use abi::flags::mode;
use abi::{Errno, FileType, OpenFlags, PathFlags};

use rights::Operation;

use super::connect::{Target, end, path_methods};
use super::{Answer, request_type};
use crate::attributes::Attributes;
use crate::envelope::Envelope;
use crate::io;
use crate::locks::Identity;
use crate::open_file::{OpenFile, Opened};

/// A client opens a path.
#[doc(alias = "io_open_t")]
#[derive(Debug)]
pub struct OpenRequest {
    envelope: Envelope,
    target: Target,
    after: After,
}

/// What follows the open in the same message.
#[derive(Clone, Debug)]
pub(crate) enum After {
    /// Nothing: a plain open.
    Stay,
    /// An io message; then the file stays open or not (`R20`).
    Combined {
        message: Range<usize>,
        stays_open: bool,
    },
}

request_type!(OpenRequest, keeps_bytes);
path_methods!(OpenRequest);

/// What an open file is made of; everything has a default.
#[derive(Default)]
pub struct Opening {
    attributes: Option<Arc<Attributes>>,
    state: Option<Box<dyn Any + Send + Sync>>,
    described: Option<OpenedReply>,
    identity: Option<Identity>,
}

impl Opening {
    /// A file with the attributes of the prefix and no state.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With attributes of its own, as managers of directories need.
    #[must_use]
    pub fn attributes(self, attributes: Arc<Attributes>) -> Self {
        Self {
            attributes: Some(attributes),
            ..self
        }
    }

    /// With a value of the manager's own, found again by [`OpenFile::state`].
    #[must_use]
    pub fn state<T: Any + Send + Sync>(self, state: T) -> Self {
        Self {
            state: Some(Box::new(state)),
            ..self
        }
    }

    /// With this told to the client instead of what the attributes say.
    #[must_use]
    pub fn described(self, described: OpenedReply) -> Self {
        Self {
            described: Some(described),
            ..self
        }
    }
}

impl Opening {
    /// The same file as all others of the server that were opened with these two numbers: their locks meet.
    /// Without it, open files with the same attributes are the same file.
    #[must_use]
    pub fn identity(self, device: u64, inode: u64) -> Self {
        Self {
            identity: Some(Identity::Named(device, inode)),
            ..self
        }
    }
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opening")
            .field("described", &self.described)
            .finish_non_exhaustive()
    }
}

impl OpenRequest {
    pub(crate) fn new(envelope: Envelope, target: Target, after: After) -> Self {
        Self {
            envelope,
            target,
            after,
        }
    }

    /// How the path is to be opened.
    #[must_use]
    pub fn flags(&self) -> OpenFlags {
        self.target.flags
    }

    /// Whether bytes are to be read through it.
    #[must_use]
    pub fn is_for_reading(&self) -> bool {
        self.opens_for(OpenFlags::READ)
    }

    /// Whether bytes are to be written through it.
    #[must_use]
    pub fn is_for_writing(&self) -> bool {
        self.opens_for(OpenFlags::WRITE)
    }

    fn opens_for(&self, access: OpenFlags) -> bool {
        !self.flags().contains(OpenFlags::PATH) && self.flags().contains(access)
    }

    /// Whether a symbolic link at the end of the path is meant itself and not what it leads to (`P63`).
    #[must_use]
    pub fn means_link(&self) -> bool {
        let no_follow = OpenFlags::NOFOLLOW.union(OpenFlags::EXCLUSIVE);
        mode::is_symlink(self.mode()) || self.flags().intersects(no_follow)
    }

    /// The type of file that the client asks for.
    #[must_use]
    pub fn file_type(&self) -> FileType {
        self.target.file_type
    }

    /// The mode as the client sent it: with `S_IFLNK` it asks for a symbolic link itself (`P63`).
    #[must_use]
    pub fn mode(&self) -> u32 {
        self.target.mode
    }

    /// Permission bits for a file that the open makes, the client's umask applied.
    #[must_use]
    pub fn permissions(&self) -> u32 {
        self.target.mode & !self.target.umask & mode::PERMISSIONS
    }

    /// Opens with the attributes of the prefix and no state of the manager's own.
    pub fn accept(self) -> Answer {
        self.accept_as(Opening::new())
    }

    /// Opens. An io message that came along is served at once (`R20`).
    #[doc(alias = "iofunc_ocb_attach")]
    pub fn accept_as(self, opening: Opening) -> Answer {
        let Self {
            mut envelope,
            target,
            after,
        } = self;
        let attributes = opening.attributes.unwrap_or(target.attachment.attributes);
        let described = opening.described.unwrap_or_else(|| describe(&attributes));
        let caller = Arc::clone(envelope.credentials());
        let flags = target.flags & KEPT;
        let locks = (Arc::clone(&envelope.hub.locks), opening.identity);
        let file = OpenFile::new(flags, attributes, opening.state, Arc::clone(&caller), locks);
        let opened = Arc::new(Opened {
            file,
            resource: target.attachment.resource,
            handle: target.attachment.handle,
            rights: target.admitted.file,
        });
        envelope.file = Some(Arc::clone(&opened));
        if !matches!(
            after,
            After::Combined {
                stays_open: false,
                ..
            }
        ) {
            let bound = envelope
                .hub
                .bindings
                .bind(envelope.place(), &caller, opened);
            if let Err(errno) = bound {
                envelope.fail(errno);
                return Answer::given();
            }
            if envelope.is_gone() {
                // Its disconnect pulse may have been handled before there was anything to close.
                drop(envelope.hub.bindings.unbind(envelope.place()));
                envelope.forget();
                return Answer::given();
            }
        }
        match after {
            After::Stay => end(envelope, ConnectStatus::Ok, &described),
            After::Combined {
                message,
                stays_open,
            } => {
                let probe = message.is_empty();
                envelope.enter_combined(message, stays_open.then_some(described));
                if probe {
                    envelope.reply(0, &[]);
                    return Answer::given();
                }
                io::dispatch(envelope)
            }
        }
    }

    /// Asks the client to try again for this type of file (`P35`).
    #[doc(alias = "_IO_CONNECT_RET_FTYPE")]
    pub fn retype(self, file_type: FileType) -> Answer {
        end(self.envelope, ConnectStatus::FileType, &file_type)
    }

    /// Refuses the request. ENOENT becomes EACCES for a client that no rule of the node allows to make the file.
    pub fn fail(self, errno: Errno) -> Answer {
        let admitted = &self.target.admitted;
        match (&admitted.denied_creation, errno) {
            (Some(decision), Errno::ENOENT) => {
                let file = &admitted.file;
                file.report(&self.envelope, Operation::Create, *decision);
                self.envelope.fail(Errno::EACCES);
            }
            _ => self.envelope.fail(errno),
        }
        Answer::given()
    }
}

/// Flags that mean something after the open.
const KEPT: OpenFlags = OpenFlags::READ_WRITE
    .union(OpenFile::CHANGEABLE)
    .union(OpenFlags::DIRECTORY)
    .union(OpenFlags::PATH);

fn describe(attributes: &Attributes) -> OpenedReply {
    let fields = attributes.lock();
    let kind = fields.mode & mode::S_IFMT;
    OpenedReply {
        file_type: FileType::FILE,
        mode: fields.mode,
        size: fields.size,
        ino: fields.inode,
        // What a manager makes up may change at any time, so nobody may keep copies of it.
        direct: kind != mode::S_IFDIR,
        block_size: 0,
    }
}
