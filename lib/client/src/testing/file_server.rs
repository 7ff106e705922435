//! A server with files in memory.

use std::collections::BTreeMap;
use std::io::{IoSlice, IoSliceMut};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use abi::connect::{
    CombinedReply, Connect, ConnectStatus, ConnectType, Extra, Opened, SymlinkReply,
};
use abi::devctl::ALL_GETFLAGS;
use abi::flags::mode;
use abi::io::{Entry, LISTING_END, Request, Stat, push_entry};
use abi::{Decode, Encode, Errno, Gid, Incarnation, Nd, OpenFlags, Result, Uid};
use ipc::{Cause, Delivery, Failure, Pending, Reply, SendOptions};

use super::World;
use crate::carrier::Line;

/// A file of a [`FileServer`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A directory; what is in it are the paths below it.
    Directory,
    /// A file.
    File(Vec<u8>),
    /// A symbolic link.
    Link(Vec<u8>),
    /// A device that gives back what was written.
    Device(Vec<u8>),
}

/// A server of a tree of files, by path below its prefix; the prefix itself is the empty path.
#[derive(Debug)]
pub struct FileServer {
    /// The files.
    pub files: Mutex<BTreeMap<Vec<u8>, Node>>,
    /// Answers every connect message with this, if there is something.
    pub refusal: Mutex<Option<Errno>>,
    /// There is no space left for another write.
    pub full: AtomicBool,
    /// The node does not answer any more: what is under way ends when its session does.
    pub cut_off: AtomicBool,
    dead: AtomicBool,
    /// Something was written to a device.
    written: Condvar,
}

impl FileServer {
    pub(super) fn new(files: BTreeMap<Vec<u8>, Node>) -> Self {
        Self {
            files: Mutex::new(files),
            refusal: Mutex::new(None),
            full: AtomicBool::new(false),
            cut_off: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            written: Condvar::new(),
        }
    }

    pub(super) fn die(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }
}

/// A connection to a [`FileServer`].
pub(super) struct FakeLine {
    world: Arc<World>,
    nd: Nd,
    server: Arc<FileServer>,
    /// The path of the open file.
    open: Mutex<Option<Vec<u8>>>,
}

impl FakeLine {
    pub(super) const fn new(world: Arc<World>, nd: Nd, server: Arc<FileServer>) -> Self {
        Self {
            world,
            nd,
            server,
            open: Mutex::new(None),
        }
    }
}

impl Line for FakeLine {
    fn send(
        &self,
        request: &[IoSlice<'_>],
        reply: &mut [IoSliceMut<'_>],
        options: &SendOptions<'_>,
    ) -> core::result::Result<Reply, Failure> {
        let failure = |errno, delivery, cause| Failure {
            errno,
            delivery,
            cause,
            peer: Incarnation(1),
        };
        if self.server.dead.load(Ordering::SeqCst) {
            return Err(failure(Errno::ESRCH, Delivery::NotDone, Cause::Server));
        }
        if self.server.cut_off.load(Ordering::SeqCst) {
            return Err(failure(Errno::ESRCH, Delivery::Unknown, Cause::Node));
        }
        let message: Vec<u8> = request
            .iter()
            .flat_map(|part| part.iter().copied())
            .collect();
        let refused = |errno| failure(errno, Delivery::Unknown, Cause::Answer);
        let (status, body) = self.serve(&message, options).map_err(refused)?;
        let mut rest = body.as_slice();
        for part in reply {
            let count = part.len().min(rest.len());
            part[..count].copy_from_slice(&rest[..count]);
            rest = &rest[count..];
        }
        Ok(Reply {
            status,
            len: body.len() - rest.len(),
        })
    }

    fn submit(
        &self,
        _request: Vec<u8>,
        _reply: Vec<u8>,
        _options: &SendOptions<'_>,
    ) -> core::result::Result<Pending, Failure> {
        Err(Failure {
            errno: Errno::ENOSYS,
            delivery: Delivery::NotDone,
            cause: Cause::Local,
            peer: Incarnation(1),
        })
    }

    fn duplicate(&self) -> Result<Arc<dyn Line>> {
        let (world, server) = (Arc::clone(&self.world), Arc::clone(&self.server));
        Ok(Arc::new(Self::new(world, self.nd, server)))
    }

    fn is_dead(&self) -> bool {
        false
    }
}

impl FakeLine {
    fn serve(&self, message: &[u8], options: &SendOptions<'_>) -> Result<(i64, Vec<u8>)> {
        if let Ok(connect) = Connect::from_bytes(message) {
            self.world.note(self.nd, "connect");
            if let Some(errno) = *self.server.refusal.lock().unwrap() {
                return Err(errno);
            }
            return self.connect(&connect, options);
        }
        let request = Request::parse(message)?;
        self.world.note(self.nd, &format!("{:?}", request.kind()));
        let path = self.open.lock().unwrap().clone().ok_or(Errno::EBADF)?;
        self.io(&path, &request, options)
    }

    /// The link on the way to `path`, if there is one.
    fn link_on_way(&self, connect: &Connect<'_>) -> Option<SymlinkReply> {
        let files = self.server.files.lock().unwrap();
        let itself = mode::is_symlink(connect.mode) || !connect.subtype.opens();
        files.iter().find_map(|(at, node)| {
            let Node::Link(target) = node else {
                return None;
            };
            let rest = match connect.path.strip_prefix(at.as_slice())? {
                [] if itself => return None,
                [] => Vec::new(),
                [b'/', rest @ ..] => rest.to_vec(),
                _ => return None,
            };
            Some(SymlinkReply {
                target: target.clone(),
                rest,
            })
        })
    }

    fn connect(&self, connect: &Connect<'_>, options: &SendOptions<'_>) -> Result<(i64, Vec<u8>)> {
        if let Some(link) = self.link_on_way(connect) {
            return Ok((ConnectStatus::Symlink.status(), link.to_bytes()?));
        }
        let path = connect.path;
        match (connect.subtype, connect.extra) {
            (ConnectType::Open, _) => Ok((0, self.open(connect)?.to_bytes()?)),
            (ConnectType::Combine | ConnectType::CombineClose, Extra::Combined(io)) => {
                let opened = self.open(connect)?;
                let stays = connect.subtype == ConnectType::Combine;
                let (status, body) = match io {
                    [] => (0, Vec::new()),
                    io => self.io(path, &Request::parse(io)?, options)?,
                };
                let opened = stays.then_some(opened);
                Ok((
                    0,
                    CombinedReply {
                        opened,
                        status,
                        body: &body,
                    }
                    .to_bytes()?,
                ))
            }
            (ConnectType::Readlink, _) => match self.find(path)? {
                Node::Link(target) => Ok((0, target)),
                _ => Err(Errno::EINVAL),
            },
            (ConnectType::Mknod, _) if mode::is_directory(connect.mode) => {
                self.make(path, Node::Directory)
            }
            (ConnectType::Symlink, Extra::Symlink { target }) => {
                self.make(path, Node::Link(target.to_vec()))
            }
            (ConnectType::Rename, Extra::Rename { path: old, .. }) => {
                let mut files = self.server.files.lock().unwrap();
                let below = [old, b"/"].concat();
                let moved: Vec<Vec<u8>> = files
                    .keys()
                    .filter(|name| *name == old || name.starts_with(&below))
                    .cloned()
                    .collect();
                if moved.is_empty() {
                    return Err(Errno::ENOENT);
                }
                for name in moved {
                    let node = files.remove(&name).unwrap();
                    files.insert([path, &name[old.len()..]].concat(), node);
                }
                Ok((0, Vec::new()))
            }
            (ConnectType::Unlink, _) => {
                let is_directory = self.find(path)? == Node::Directory;
                match (is_directory, mode::is_directory(connect.mode)) {
                    (true, false) => Err(Errno::EISDIR),
                    (false, true) => Err(Errno::ENOTDIR),
                    _ => {
                        self.server.files.lock().unwrap().remove(path);
                        Ok((0, Vec::new()))
                    }
                }
            }
            _ => Err(Errno::ENOSYS),
        }
    }

    fn find(&self, path: &[u8]) -> Result<Node> {
        self.server
            .files
            .lock()
            .unwrap()
            .get(path)
            .cloned()
            .ok_or(Errno::ENOENT)
    }

    fn make(&self, path: &[u8], node: Node) -> Result<(i64, Vec<u8>)> {
        if self.find(path).is_ok() {
            return Err(Errno::EEXIST);
        }
        self.server
            .files
            .lock()
            .unwrap()
            .insert(path.to_vec(), node);
        Ok((0, Vec::new()))
    }

    fn open(&self, connect: &Connect<'_>) -> Result<Opened> {
        let path = connect.path;
        let flags = connect.flags;
        match self.find(path) {
            Ok(_) if flags.contains(OpenFlags::CREATE | OpenFlags::EXCLUSIVE) => {
                return Err(Errno::EEXIST);
            }
            Ok(Node::File(_)) if flags.contains(OpenFlags::TRUNCATE) => {
                self.server
                    .files
                    .lock()
                    .unwrap()
                    .insert(path.to_vec(), Node::File(Vec::new()));
            }
            Err(_) if flags.contains(OpenFlags::CREATE) => {
                self.make(path, Node::File(Vec::new()))?;
            }
            found => drop(found?),
        }
        if connect.subtype.stays_open() {
            *self.open.lock().unwrap() = Some(path.to_vec());
        }
        let mode = self.stat(path)?.mode;
        let direct = mode & mode::S_IFMT == mode::S_IFCHR;
        Ok(Opened {
            mode,
            direct,
            ..Opened::default()
        })
    }

    fn stat(&self, path: &[u8]) -> Result<Stat> {
        let (mode, size) = match self.find(path)? {
            Node::Directory => (mode::S_IFDIR | 0o755, 0),
            Node::File(data) => (mode::S_IFREG | 0o644, data.len()),
            Node::Link(target) => (mode::S_IFLNK | 0o777, target.len()),
            Node::Device(_) => (mode::S_IFCHR | 0o666, 0),
        };
        // Distinct for distinct names, and the same each time.
        let ino = path.iter().fold(7, |ino: u64, byte| {
            ino.wrapping_mul(31).wrapping_add(u64::from(*byte))
        });
        let (uid, gid) = owner()?;
        Ok(Stat {
            mode,
            size: size as u64,
            nlink: 1,
            ino,
            uid,
            gid,
            ..Stat::default()
        })
    }

    fn io(
        &self,
        path: &[u8],
        request: &Request<'_>,
        options: &SendOptions<'_>,
    ) -> Result<(i64, Vec<u8>)> {
        match request {
            Request::Stat => Ok((0, self.stat(path)?.to_bytes()?)),
            Request::Close
            | Request::Sync(_)
            | Request::Utime(_)
            | Request::Chmod(_)
            | Request::Chown(_) => Ok((0, Vec::new())),
            Request::Read(read) => {
                let at = usize::try_from(read.offset.unwrap_or(0)).unwrap();
                self.read(path, at, read.nbytes as usize, options)
            }
            Request::Write { .. } if self.server.full.load(Ordering::SeqCst) => Err(Errno::ENOSPC),
            Request::Write { offset, data } => {
                let mut files = self.server.files.lock().unwrap();
                match files.get_mut(path) {
                    Some(Node::File(file)) => {
                        let start = usize::try_from(offset.unwrap_or(0)).unwrap();
                        file.resize(file.len().max(start + data.len()), 0);
                        file[start..start + data.len()].copy_from_slice(data);
                    }
                    Some(Node::Device(echo)) => echo.extend_from_slice(data),
                    _ => return Err(Errno::EISDIR),
                }
                self.server.written.notify_all();
                Ok((data.len() as i64, Vec::new()))
            }
            Request::Truncate(truncate) => {
                let mut files = self.server.files.lock().unwrap();
                let Some(Node::File(file)) = files.get_mut(path) else {
                    return Err(Errno::EISDIR);
                };
                file.resize(usize::try_from(truncate.size).unwrap(), 0);
                Ok((0, Vec::new()))
            }
            Request::ReadDirectory(read) => self.list(path, read.cookie, read.nbytes),
            Request::Devctl { dcmd, .. } if *dcmd == ALL_GETFLAGS.dcmd() => {
                Ok((0, OpenFlags::READ.to_bytes()?))
            }
            _ => Err(Errno::ENOSYS),
        }
    }

    fn read(
        &self,
        path: &[u8],
        at: usize,
        count: usize,
        options: &SendOptions<'_>,
    ) -> Result<(i64, Vec<u8>)> {
        let mut files = self.server.files.lock().unwrap();
        loop {
            match files.get_mut(path) {
                Some(Node::File(data)) => {
                    let start = at.min(data.len());
                    let end = (start + count).min(data.len());
                    return Ok(((end - start) as i64, data[start..end].to_vec()));
                }
                Some(Node::Device(echo)) if !echo.is_empty() => {
                    let taken: Vec<u8> = echo.drain(..count.min(echo.len())).collect();
                    return Ok((taken.len() as i64, taken));
                }
                Some(Node::Device(_)) => {}
                _ => return Err(Errno::EISDIR),
            }
            if options.interrupt.is_some_and(ipc::Interrupt::is_triggered) {
                return Err(Errno::EINTR);
            }
            // An interrupt cannot wake this, so it is looked for now and then.
            files = self
                .server
                .written
                .wait_timeout(files, Duration::from_millis(5))
                .unwrap()
                .0;
        }
    }

    fn list(&self, path: &[u8], cookie: u64, nbytes: u32) -> Result<(i64, Vec<u8>)> {
        let below = if path.is_empty() {
            Vec::new()
        } else {
            [path, b"/"].concat()
        };
        let files = self.server.files.lock().unwrap();
        let names: Vec<Vec<u8>> = files
            .keys()
            .filter_map(|name| name.strip_prefix(below.as_slice()))
            .filter(|name| !name.is_empty() && !name.contains(&b'/'))
            .map(<[u8]>::to_vec)
            .collect();
        drop(files);
        let mut body = Vec::new();
        let mut count = 0;
        let from = usize::try_from(cookie).unwrap();
        // Two at a time, so that listings take several messages.
        for (at, name) in names.iter().enumerate().skip(from).take(2) {
            let stat = self.stat(&[below.as_slice(), name].concat())?;
            let (ino, mode, next) = (stat.ino, stat.mode, at as u64 + 1);
            let entry = Entry {
                ino,
                mode,
                next,
                name,
                stat: Some(stat),
            };
            if !push_entry(&mut body, nbytes, &entry)? {
                break;
            }
            count += 1;
        }
        let end = match from as i64 + count == names.len() as i64 {
            true => LISTING_END,
            false => 0,
        };
        Ok((count | end, body))
    }
}

/// Whom the files belong to: who runs the test, since that is who makes them. Programs like `mv` change what they have made,
/// which the kernel lets an owner do and nobody else.
fn owner() -> Result<(Uid, Gid)> {
    let own = std::fs::metadata("/proc/self").map_err(|_| Errno::EIO)?;
    Ok((Uid(own.uid()), Gid(own.gid())))
}
