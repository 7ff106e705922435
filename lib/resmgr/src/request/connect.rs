use std::ops::Range;
use std::sync::Arc;

use abi::connect::{Connect, ConnectStatus, Extra, Redirect, SymlinkReply};
use abi::{Decode, Encode, FileType, OpenFlags, PathFlags, Result};

use super::{Answer, request_type};
use crate::attachments::Attachment;
use crate::attributes::Attributes;
use crate::envelope::Envelope;
use crate::rights::Admitted;

/// What every request by pathname says.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) attachment: Attachment,
    pub(crate) admitted: Admitted,
    pub(crate) path: Range<usize>,
    /// The other path, or the text of a link.
    pub(crate) other: Range<usize>,
    pub(crate) flags: OpenFlags,
    pub(crate) path_flags: PathFlags,
    pub(crate) file_type: FileType,
    pub(crate) mode: u32,
    pub(crate) umask: u32,
    pub(crate) device: u64,
}

impl Target {
    pub(crate) fn new(
        envelope: &Envelope,
        connect: &Connect<'_>,
        attachment: Attachment,
        admitted: Admitted,
    ) -> Self {
        let (other, device): (&[u8], u64) = match connect.extra {
            Extra::Rename { path, .. } | Extra::Link { path, .. } => (path, 0),
            Extra::Symlink { target } => (target, 0),
            Extra::Mknod { rdev } => (&[], rdev),
            Extra::Mount { special, .. } => (special, 0),
            Extra::None | Extra::Combined(_) => (&[], 0),
        };
        // Without the right to make it, a file is opened if it is there.
        let admitted_creates = admitted.denied_creation.is_none();
        let flags = connect.flags.in_force();
        Self {
            attachment,
            admitted,
            path: envelope.range_of(connect.path),
            other: envelope.range_of(other),
            flags: if admitted_creates {
                flags
            } else {
                flags - OpenFlags::CREATE
            },
            path_flags: connect.path_flags,
            file_type: connect.file_type,
            mode: connect.mode,
            umask: connect.umask,
            device,
        }
    }
}

/// Gives a request by pathname what all of them have. It has the fields `envelope` and `target`.
macro_rules! path_methods {
    ($name:ident) => {
        impl $name {
            /// The path below the manager's prefix, without a leading slash; empty for the prefix
            /// itself. Bytes as the client sent them: `..` may be among them.
            #[must_use]
            pub fn path(&self) -> &[u8] {
                self.envelope.part(&self.target.path)
            }

            /// What the prefix was attached with.
            #[must_use]
            pub fn attributes(&self) -> &Arc<Attributes> {
                &self.target.attachment.attributes
            }

            /// Whether the client's pathname ended in a slash or a dot, so that it must name a
            /// directory.
            #[must_use]
            pub fn must_be_directory(&self) -> bool {
                self.target.path_flags.contains(PathFlags::DIR)
            }

            /// Whether rules of the node tell paths inside the prefix apart for this client. A manager must
            /// not follow symbolic links for it then: they would lead past the rules. It refuses them, or
            /// [splices](Self::splice).
            #[must_use]
            pub fn has_inner_rules(&self) -> bool {
                self.target.admitted.has_inner_rules
            }

            /// Sends the client elsewhere (`P32`).
            #[doc(alias = "_IO_CONNECT_RET_LINK")]
            pub fn redirect(self, redirect: &Redirect) -> Answer {
                end(self.envelope, ConnectStatus::Redirect, redirect)
            }

            /// Tells the client that a symbolic link is on the way: it starts again with the text
            /// of the link and the rest of the path.
            pub fn splice(self, symlink: &SymlinkReply) -> Answer {
                end(self.envelope, ConnectStatus::Symlink, symlink)
            }
        }
    };
}
pub(crate) use path_methods;

/// Answers a connect message with something other than its success.
pub(crate) fn end(envelope: Envelope, status: ConnectStatus, body: &impl Encode) -> Answer {
    match body.to_bytes() {
        Ok(bytes) => envelope.reply(status.status(), &bytes),
        Err(overflow) => envelope.fail(overflow.into()),
    }
    Answer::given()
}

/// A request by pathname that is answered by "done" or an error.
macro_rules! path_change {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            envelope: Envelope,
            target: Target,
        }

        request_type!($name, keeps_bytes);
        path_methods!($name);

        impl $name {
            pub(crate) fn new(envelope: Envelope, target: Target) -> Self {
                Self { envelope, target }
            }

            /// Answers that it is done.
            pub fn done(self) -> Answer {
                self.envelope.reply(ConnectStatus::Ok.status(), &[]);
                Answer::given()
            }

            /// Answers done, or refuses.
            pub fn finish(self, result: Result) -> Answer {
                match result {
                    Ok(()) => self.done(),
                    Err(errno) => self.fail(errno),
                }
            }

            /// Refuses the request.
            pub fn fail(self, errno: abi::Errno) -> Answer {
                self.envelope.fail(errno);
                Answer::given()
            }
        }
    };
}

path_change! {
    /// A client removes a name or an empty directory.
    #[doc(alias = "io_unlink_t")]
    UnlinkRequest
}

path_change! {
    /// A client gives something another name: the new one is [`path`](Self::path).
    #[doc(alias = "io_rename_t")]
    RenameRequest
}

path_change! {
    /// A client makes a directory, a pipe or a device node.
    #[doc(alias = "io_mknod_t")]
    MakeNodeRequest
}

path_change! {
    /// A client makes another name for a file: the new one is [`path`](Self::path).
    #[doc(alias = "io_link_t")]
    LinkRequest
}

path_change! {
    /// A client makes a symbolic link.
    SymlinkRequest
}

path_change! {
    /// A client reads the text of a symbolic link.
    #[doc(alias = "io_readlink_t")]
    ReadLinkRequest
}

impl UnlinkRequest {
    /// Whether an empty directory is to be removed, and nothing else.
    #[doc(alias = "rmdir")]
    #[must_use]
    pub fn is_directory(&self) -> bool {
        abi::flags::mode::is_directory(self.target.mode)
    }
}

impl RenameRequest {
    /// The present name, below the same prefix.
    #[must_use]
    pub fn old_path(&self) -> &[u8] {
        self.envelope.part(&self.target.other)
    }
}

impl LinkRequest {
    /// The present name, below the same prefix.
    #[must_use]
    pub fn old_path(&self) -> &[u8] {
        self.envelope.part(&self.target.other)
    }
}

impl SymlinkRequest {
    /// The text of the link.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        self.envelope.part(&self.target.other)
    }
}

impl MakeNodeRequest {
    /// File type and permissions, the client's umask applied.
    #[must_use]
    pub fn mode(&self) -> u32 {
        self.target.mode & !(self.target.umask & 0o777)
    }

    /// The device number of a device node.
    #[must_use]
    pub fn device(&self) -> u64 {
        self.target.device
    }
}

impl ReadLinkRequest {
    /// Answers with the text of the link.
    pub fn text(self, text: &[u8]) -> Answer {
        self.envelope.reply(ConnectStatus::Ok.status(), text);
        Answer::given()
    }
}

path_change! {
    /// A client mounts something at a path.
    #[doc(alias = "io_mount_t")]
    MountRequest
}

impl MountRequest {
    /// What is to be mounted: a path or a name that the manager understands; may be empty.
    #[must_use]
    pub fn special(&self) -> &[u8] {
        self.extra().0
    }

    /// Which kind of file system.
    #[must_use]
    pub fn kind(&self) -> &[u8] {
        self.extra().1
    }

    /// Options in the words of that kind.
    #[must_use]
    pub fn options(&self) -> &[u8] {
        self.extra().2
    }

    fn extra(&self) -> (&[u8], &[u8], &[u8]) {
        match Connect::from_bytes(self.envelope.message()).map(|connect| connect.extra) {
            Ok(Extra::Mount {
                special,
                kind,
                options,
            }) => (special, kind, options),
            _ => (&[], &[], &[]),
        }
    }
}
