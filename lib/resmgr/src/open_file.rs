//! What one open holds.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use abi::credentials::Credentials;
use abi::{Handle, OpenFlags};

use crate::attributes::Attributes;
use crate::locks::{Identity, Locks};
use crate::resource::Resource;
use crate::rights::FileRights;
use crate::wait_queue::lock;

/// One open of a resource: flags, file offset and the manager's own state.
///
/// Shared by all descriptors that were duplicated from it, on whatever node they are (`R45`).
/// Thread safe.
#[doc(alias = "iofunc_ocb_t")]
#[doc(alias = "ocb")]
pub struct OpenFile {
    flags: AtomicU32,
    offset: Mutex<u64>,
    attributes: Arc<Attributes>,
    state: Option<Box<dyn Any + Send + Sync>>,
    opener: Arc<Credentials>,
    connections: AtomicU32,
    /// Set once a connection has led here.
    was_bound: AtomicBool,
    locks: Arc<Locks>,
    identity: Identity,
    number: u64,
}

impl OpenFile {
    pub(crate) fn new(
        flags: OpenFlags,
        attributes: Arc<Attributes>,
        state: Option<Box<dyn Any + Send + Sync>>,
        opener: Arc<Credentials>,
        (locks, identity): (Arc<Locks>, Option<Identity>),
    ) -> Self {
        let flags = AtomicU32::new(flags.bits());
        let shared = Identity::Shared(Arc::as_ptr(&attributes).addr());
        let number = locks.number();
        Self {
            flags,
            offset: Mutex::new(0),
            attributes,
            state,
            opener,
            connections: AtomicU32::new(0),
            was_bound: AtomicBool::new(false),
            locks,
            identity: identity.unwrap_or(shared),
            number,
        }
    }

    /// How it was opened, with later changes of the flags that may change.
    #[must_use]
    pub fn flags(&self) -> OpenFlags {
        OpenFlags::from_bits_truncate(self.flags.load(Ordering::Relaxed))
    }

    /// The flags that may change while a file is open.
    pub const CHANGEABLE: OpenFlags = OpenFlags::APPEND
        .union(OpenFlags::NONBLOCK)
        .union(OpenFlags::SYNC)
        .union(OpenFlags::DSYNC);

    /// Changes those of [`Self::CHANGEABLE`]; the others stay as they are.
    pub fn set_flags(&self, flags: OpenFlags) {
        let changed =
            self.flags().difference(Self::CHANGEABLE) | flags.intersection(Self::CHANGEABLE);
        self.flags.store(changed.bits(), Ordering::Relaxed);
    }

    /// Whether it answers EAGAIN instead of waiting.
    #[must_use]
    pub fn is_nonblocking(&self) -> bool {
        self.flags().contains(OpenFlags::NONBLOCK)
    }

    /// Whether it was opened for reading.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.flags().contains(OpenFlags::READ)
    }

    /// Whether it was opened for writing.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.flags().contains(OpenFlags::WRITE)
    }

    /// The file offset in bytes. While it is held no other read or write moves it, so two threads
    /// of a client never get the same bytes.
    pub fn offset(&self) -> MutexGuard<'_, u64> {
        lock(&self.offset)
    }

    /// Where a read or write happens: at `offset`, or at the file's own offset, which then moves.
    pub fn cursor(&self, offset: Option<u64>) -> Cursor<'_> {
        match offset {
            Some(position) => Cursor {
                position,
                own: None,
            },
            None => {
                let own = self.offset();
                Cursor {
                    position: *own,
                    own: Some(own),
                }
            }
        }
    }

    /// What is known of the resource, shared with its other open files.
    #[must_use]
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// The manager's state of this open, as given to [`Opening::state`](crate::Opening::state).
    #[must_use]
    pub fn state<T: 'static>(&self) -> Option<&T> {
        self.state.as_ref()?.downcast_ref()
    }

    /// How many connections lead to it: one, and one more for each duplicate.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn locks(&self) -> &Locks {
        &self.locks
    }

    /// Which file it is, as far as locks are concerned.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// Tells it apart from all other open files of the server.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// One more connection leads here.
    pub(crate) fn connect(&self) {
        self.connections.fetch_add(1, Ordering::SeqCst);
        self.was_bound.store(true, Ordering::SeqCst);
    }

    /// One connection less leads here.
    pub(crate) fn disconnect(&self) {
        self.connections.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether the last connection is gone, so that nobody waits for what is still under way.
    pub(crate) fn is_closed(&self) -> bool {
        self.was_bound.load(Ordering::SeqCst) && self.connections.load(Ordering::SeqCst) == 0
    }

    /// Who opened it.
    #[must_use]
    pub fn opener(&self) -> &Credentials {
        &self.opener
    }
}

impl std::fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let offset = self.offset.try_lock().map(|offset| *offset).ok();
        f.debug_struct("OpenFile")
            .field("flags", &self.flags())
            .field("offset", &offset)
            .finish_non_exhaustive()
    }
}

/// The position of one read or write; holds the file's offset if it is that.
#[derive(Debug)]
pub struct Cursor<'f> {
    position: u64,
    own: Option<MutexGuard<'f, u64>>,
}

impl Cursor<'_> {
    /// The position in bytes.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Goes on by `bytes`.
    pub fn advance(&mut self, bytes: usize) {
        self.move_to(self.position.saturating_add(bytes as u64));
    }

    /// Goes to `position`, as an append does.
    pub fn move_to(&mut self, position: u64) {
        self.position = position;
        if let Some(own) = &mut self.own {
            **own = position;
        }
    }
}

/// An open file and the resource it belongs to; tells the resource when nobody holds it any more
/// (`R13`).
pub(crate) struct Opened {
    pub(crate) file: OpenFile,
    pub(crate) resource: Arc<dyn Resource>,
    /// The prefix it was opened by.
    pub(crate) handle: Handle,
    pub(crate) rights: FileRights,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.file.locks.closed(self.file.identity, self.file.number);
        self.resource.close(&self.file);
    }
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.file.fmt(f)
    }
}
