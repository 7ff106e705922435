//! An open file: a connection to its server.

mod stream;
mod submitting;
mod waiting;

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use abi::connect::Opened;
use abi::devctl::{ALL_GETFLAGS, ALL_SETFLAGS, Devctl};
use abi::io::{
    Info, Lseek, Offset, Read, ReadDirectory, Request, Space, SpaceFlags, Stat, Statvfs, Sync,
    Truncate, Whence,
};
use abi::{Candidate, Decode, Encode, Errno, Nd, OpenFlags, Result};
use ipc::{Reply, SendOptions};

use crate::Namespace;
use crate::carrier::Line;
use crate::names::placed;
use submitting::CLOSE_LIMIT;
pub use submitting::Closing;

/// An open file, device or service, on this node or another one.
///
/// It may be used by many threads at once; the offset is the server's and shared by all of them. Calls block
/// until the server answers and end with `ESRCH`, `EHOSTDOWN` or the like when the server or the way to it
/// is gone. Dropping it closes it. In a forked child every call fails with `EBADF`.
///
/// Errors of every call, besides its own: those of a send (I22, I69), and what the server answers.
pub struct File {
    line: Arc<dyn Line>,
    candidate: Candidate,
    opened: Opened,
    flags: OpenFlags,
    closed: AtomicBool,
}

/// Most bytes moved by one message. Larger reads and writes of a file are several.
pub const TRANSFER_MAX: usize = 1 << 20;

impl File {
    /// Opens a path with the process's own [`Namespace`].
    ///
    /// # Errors
    /// As [`Namespace::open`]; `ENOENT` or `ECONNREFUSED` if there is no node daemon.
    pub fn open(path: impl AsRef<[u8]>, flags: OpenFlags) -> Result<Self> {
        Namespace::global()?.open(path, flags)
    }

    pub(crate) const fn new(
        line: Arc<dyn Line>,
        candidate: Candidate,
        opened: Opened,
        flags: OpenFlags,
    ) -> Self {
        Self {
            line,
            candidate,
            opened,
            flags,
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) const fn line(&self) -> &Arc<dyn Line> {
        &self.line
    }

    /// The node of the server.
    #[must_use]
    pub const fn node(&self) -> Nd {
        self.candidate.nd
    }

    /// The server, as the path was resolved.
    #[must_use]
    pub const fn server(&self) -> &Candidate {
        &self.candidate
    }

    /// What the server said when it opened the file. Its size is that of then.
    #[must_use]
    pub const fn opened(&self) -> &Opened {
        &self.opened
    }

    /// How it was opened.
    #[must_use]
    pub const fn flags(&self) -> OpenFlags {
        self.flags
    }

    /// Reads from the file's offset and moves it. 0 bytes are the end of the file.
    ///
    /// # Errors
    /// `EBADF` not open for reading, `EISDIR`, `EAGAIN` nothing there and opened with `NONBLOCK`.
    pub fn read(&self, into: &mut [u8]) -> Result<usize> {
        self.read_from(None, into, &SendOptions::default())
    }

    /// As [`read`](Self::read), with a deadline, an interrupt or a priority.
    ///
    /// # Errors
    /// As [`read`](Self::read); `ETIMEDOUT` and `EINTR` when it was ended early and nothing was read.
    pub fn read_with(&self, into: &mut [u8], options: &SendOptions<'_>) -> Result<usize> {
        self.read_from(None, into, options)
    }

    /// Reads from `offset` and leaves the file's own offset alone.
    ///
    /// # Errors
    /// As [`read`](Self::read); `ESPIPE` for what has no offsets.
    #[doc(alias = "pread")]
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize> {
        self.read_from(Some(offset), into, &SendOptions::default())
    }

    /// As [`read_at`](Self::read_at), with a deadline, an interrupt or a priority.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at) and [`read_with`](Self::read_with).
    pub fn read_at_with(
        &self,
        offset: u64,
        into: &mut [u8],
        options: &SendOptions<'_>,
    ) -> Result<usize> {
        self.read_from(Some(offset), into, options)
    }

    /// Writes at the file's offset and moves it. Less than given is written only if an error came in between
    /// or the server took less.
    ///
    /// # Errors
    /// `EBADF` not open for writing, `ENOSPC`, `EAGAIN` no room and opened with `NONBLOCK`.
    pub fn write(&self, bytes: &[u8]) -> Result<usize> {
        self.write_to(None, bytes, &SendOptions::default())
    }

    /// As [`write`](Self::write), with a deadline, an interrupt or a priority.
    ///
    /// # Errors
    /// As [`write`](Self::write); `ETIMEDOUT` and `EINTR` when it was ended early and nothing was written.
    pub fn write_with(&self, bytes: &[u8], options: &SendOptions<'_>) -> Result<usize> {
        self.write_to(None, bytes, options)
    }

    /// Writes at `offset` and leaves the file's own offset alone.
    ///
    /// # Errors
    /// As [`write`](Self::write); `ESPIPE` for what has no offsets.
    #[doc(alias = "pwrite")]
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<usize> {
        self.write_to(Some(offset), bytes, &SendOptions::default())
    }

    /// As [`write_at`](Self::write_at), with a deadline, an interrupt or a priority.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at) and [`write_with`](Self::write_with).
    pub fn write_at_with(
        &self,
        offset: u64,
        bytes: &[u8],
        options: &SendOptions<'_>,
    ) -> Result<usize> {
        self.write_to(Some(offset), bytes, options)
    }

    /// Moves the file's offset; returns the new one.
    ///
    /// # Errors
    /// `EINVAL` before the start, `ESPIPE` for what has no offsets.
    #[doc(alias = "lseek")]
    pub fn seek(&self, offset: i64, whence: Whence) -> Result<u64> {
        let mut body = [0; 8];
        let request = Request::Lseek(Lseek { offset, whence });
        self.ask(&request, &mut body, &SendOptions::default())
    }

    /// The file's attributes.
    ///
    /// # Errors
    /// None of its own.
    #[doc(alias = "fstat")]
    pub fn stat(&self) -> Result<Stat> {
        let mut body = [0; Stat::ENCODED_LEN];
        let stat = self.ask(&Request::Stat, &mut body, &SendOptions::default())?;
        Ok(placed(stat, &self.candidate))
    }

    /// Facts about the file system that the file is on.
    ///
    /// # Errors
    /// `ENOSYS` for what is not on a file system.
    #[doc(alias = "fstatvfs")]
    pub fn statvfs(&self) -> Result<Statvfs> {
        self.ask(&Request::Statvfs, &mut [0; 128], &SendOptions::default())
    }

    /// Facts about the open file itself.
    ///
    /// # Errors
    /// None of its own.
    pub fn info(&self) -> Result<Info> {
        self.ask(&Request::Info, &mut [0; 64], &SendOptions::default())
    }

    /// Sets the length.
    ///
    /// # Errors
    /// `EBADF` or `EINVAL` not open for writing, `EFBIG`.
    #[doc(alias = "ftruncate")]
    pub fn truncate(&self, size: u64) -> Result {
        self.order(&Request::Truncate(Truncate { size }))
    }

    /// Reserves or frees the space of a range.
    ///
    /// # Errors
    /// `ENOSYS` or `EOPNOTSUPP` if the server does not do that, `ENOSPC`.
    #[doc(alias = "fallocate")]
    pub fn allocate(&self, flags: SpaceFlags, offset: u64, len: u64) -> Result {
        self.order(&Request::Space(Space { flags, offset, len }))
    }

    /// Makes written data and attributes durable. Blocks until the server says that they are.
    ///
    /// # Errors
    /// `EIO` the data is lost, `EINVAL` the server cannot.
    #[doc(alias = "fsync")]
    pub fn sync_all(&self) -> Result {
        self.order(&Request::Sync(Sync { data_only: false }))
    }

    /// As [`sync_all`](Self::sync_all), without the attributes that reading back does not need.
    ///
    /// # Errors
    /// As [`sync_all`](Self::sync_all).
    #[doc(alias = "fdatasync")]
    pub fn sync_data(&self) -> Result {
        self.order(&Request::Sync(Sync { data_only: true }))
    }

    /// Controls the device.
    ///
    /// # Errors
    /// `ENOTTY` the device has no such control, `EBADMSG` it answered with something else.
    pub fn devctl<Req: Encode, Rep>(&self, control: Devctl<Req, Rep>, argument: Req) -> Result<Rep>
    where
        Rep: for<'a> Decode<'a>,
    {
        self.devctl_with(control, argument, &SendOptions::default())
    }

    /// As [`devctl`](Self::devctl), with a deadline, an interrupt or a priority.
    ///
    /// # Errors
    /// As [`devctl`](Self::devctl); `ETIMEDOUT` and `EINTR` when it was ended early.
    pub fn devctl_with<Req: Encode, Rep>(
        &self,
        control: Devctl<Req, Rep>,
        argument: Req,
        options: &SendOptions<'_>,
    ) -> Result<Rep>
    where
        Rep: for<'a> Decode<'a>,
    {
        let data = argument.to_bytes()?;
        let request = Request::Devctl {
            dcmd: control.dcmd(),
            data: &data,
        };
        let mut body = vec![0; abi::limits::DEVCTL_MAX];
        let reply = self
            .call(&request, &mut body, options)
            .map_err(|errno| match errno {
                Errno::ENOSYS => Errno::ENOTTY,
                other => other,
            })?;
        Ok(Rep::from_bytes(filled(&body, &reply))?)
    }

    /// Whether reads and writes that would wait fail with `EAGAIN` instead.
    ///
    /// # Errors
    /// As [`devctl`](Self::devctl).
    pub fn set_nonblocking(&self, nonblocking: bool) -> Result {
        let mut flags = self.devctl(ALL_GETFLAGS, ())?;
        flags.set(OpenFlags::NONBLOCK, nonblocking);
        self.devctl(ALL_SETFLAGS, flags)
    }

    /// Sends a message of the manager's own: number `number` of the protocol `manager`. Returns the status of the manager's own
    /// and how much of `reply` was filled.
    ///
    /// # Errors
    /// `ENOSYS` the manager does not speak that protocol.
    #[doc(alias = "_IO_MSG")]
    pub fn message(
        &self,
        (manager, number): (u16, u16),
        data: &[u8],
        reply: &mut [u8],
        options: &SendOptions<'_>,
    ) -> Result<Reply> {
        let mut header = [0; Request::MESSAGE_HEADER_LEN];
        let message = Request::Message {
            manager,
            number,
            data: &[],
        };
        message.write_to(&mut header)?;
        let request = [IoSlice::new(&header), IoSlice::new(data)];
        let room = &mut [IoSliceMut::new(reply)];
        Ok(self.line.send(&request, room, options)?)
    }

    /// Entries of a directory into `space`, from `cookie` on. The reply is to be decoded by [`abi::io::Entries`].
    pub(crate) fn read_directory(
        &self,
        cookie: u64,
        with_stat: bool,
        space: &mut [u8],
        options: &SendOptions<'_>,
    ) -> Result<Reply> {
        let nbytes = u32::try_from(space.len()).unwrap_or(u32::MAX);
        let request = Request::ReadDirectory(ReadDirectory {
            cookie,
            nbytes,
            with_stat,
        });
        self.call(&request, space, options)
    }

    /// Sends any message to the open file. Returns the reply's status and how much of `body` was filled.
    ///
    /// # Errors
    /// What the server answers.
    pub fn call(
        &self,
        request: &Request<'_>,
        body: &mut [u8],
        options: &SendOptions<'_>,
    ) -> Result<Reply> {
        let message = request.to_bytes()?;
        let request = [IoSlice::new(&message)];
        Ok(self
            .line
            .send(&request, &mut [IoSliceMut::new(body)], options)?)
    }

    /// As [`call`](Self::call), for a change of attributes: the attributes after it, if the server tells them along.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn change(&self, request: &Request<'_>, options: &SendOptions<'_>) -> Result<Option<Stat>> {
        let mut body = [0; 256];
        let len = self.call(request, &mut body, options)?.len;
        let told = body.get(..len).filter(|told| !told.is_empty());
        let stat = told.and_then(|told| Stat::from_bytes(told).ok());
        Ok(stat.map(|stat| placed(stat, &self.candidate)))
    }

    /// Closes the file and says whether the server did. Dropping does the same silently.
    ///
    /// # Errors
    /// What became of data that the server had not written yet, such as `EIO` or `ENOSPC`.
    pub fn close(self) -> Result {
        self.closed.store(true, Ordering::Relaxed);
        self.order(&Request::Close)
    }

    fn order(&self, request: &Request<'_>) -> Result {
        self.call(request, &mut [], &SendOptions::default())
            .map(drop)
    }

    fn ask<T: for<'a> Decode<'a>>(
        &self,
        request: &Request<'_>,
        body: &mut [u8],
        options: &SendOptions<'_>,
    ) -> Result<T> {
        let reply = self.call(request, body, options)?;
        Ok(T::from_bytes(filled(body, &reply))?)
    }

    fn read_from(
        &self,
        offset: Offset,
        into: &mut [u8],
        options: &SendOptions<'_>,
    ) -> Result<usize> {
        let mut done = 0;
        while let Some(rest) = into
            .get_mut(done..)
            .filter(|rest| !rest.is_empty() || done == 0)
        {
            let wanted = rest.len().min(TRANSFER_MAX);
            let Some(space) = rest.get_mut(..wanted) else {
                break;
            };
            let at = offset.map(|offset| offset + done as u64);
            let count = match self.read_once(at, space, options) {
                Ok(count) => count,
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            };
            done += count;
            // A device answers with what it has; asking it again could wait.
            if count < wanted || wanted == 0 || self.opened.direct {
                break;
            }
        }
        Ok(done)
    }

    fn read_once(
        &self,
        offset: Offset,
        into: &mut [u8],
        options: &SendOptions<'_>,
    ) -> Result<usize> {
        let nbytes = u32::try_from(into.len()).unwrap_or(u32::MAX);
        let mut message = [0; 32];
        let length = Request::Read(Read { nbytes, offset }).write_to(&mut message)?;
        let request = [IoSlice::new(message.get(..length).unwrap_or_default())];
        let room = into.len();
        let reply = self
            .line
            .send(&request, &mut [IoSliceMut::new(into)], options)?;
        let count = usize::try_from(reply.status).map_err(|_| Errno::EBADMSG)?;
        if count > room || count > reply.len {
            return Err(Errno::EBADMSG);
        }
        Ok(count)
    }

    fn write_to(&self, offset: Offset, bytes: &[u8], options: &SendOptions<'_>) -> Result<usize> {
        let mut done = 0;
        loop {
            let rest = bytes.get(done..).unwrap_or_default();
            let piece = rest.get(..TRANSFER_MAX).unwrap_or(rest);
            let at = offset.map(|offset| offset + done as u64);
            match self.write_once(at, piece, options) {
                Ok(count) => done += count,
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => return Ok(done),
            }
            if done >= bytes.len() || piece.len() < TRANSFER_MAX || done % TRANSFER_MAX != 0 {
                return Ok(done);
            }
        }
    }

    fn write_once(&self, offset: Offset, bytes: &[u8], options: &SendOptions<'_>) -> Result<usize> {
        let mut header = [0; Request::WRITE_HEADER_LEN];
        Request::Write { offset, data: &[] }.write_to(&mut header)?;
        let request = [IoSlice::new(&header), IoSlice::new(bytes)];
        let reply = self.line.send(&request, &mut [], options)?;
        match usize::try_from(reply.status) {
            Ok(count) if count <= bytes.len() => Ok(count),
            _ => Err(Errno::EBADMSG),
        }
    }
}

/// What a reply has filled of its buffer.
fn filled<'a>(body: &'a [u8], reply: &Reply) -> &'a [u8] {
    body.get(..reply.len).unwrap_or(body)
}

impl Drop for File {
    fn drop(&mut self) {
        if self.closed.load(Ordering::Relaxed) || self.line.is_dead() {
            return;
        }
        let deadline = Instant::now().checked_add(CLOSE_LIMIT);
        let options = SendOptions {
            deadline,
            ..SendOptions::default()
        };
        let _ = self.call(&Request::Close, &mut [], &options);
    }
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("File")
            .field("server", &self.candidate)
            .field("flags", &self.flags)
            .finish_non_exhaustive()
    }
}
