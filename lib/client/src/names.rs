//! What can be done to a path.

mod attributes;
mod combined;

use abi::connect::{CombinedReply, ConnectType, Extra, Opened};
use abi::flags::mode;
use abi::io::{Request, Stat};
use abi::system::{Reply as NodeReply, Request as NodeRequest, Stat as NodeStat, Unlink};
use abi::{Candidate, Decode, Encode, Errno, Nd, OpenFlags, Result};
use paths::{Pathname, WalkOptions};

use crate::request::{Deed, Doer};
use crate::{File, Namespace};

/// Errors of every call by path, besides its own: `ENOENT` nobody knows the path, `EACCES`, `ELOOP` more than 16
/// redirects and links, `ENAMETOOLONG`, `EHOSTDOWN` and `EHOSTUNREACH` the node does not answer, `ESRCH` the server
/// died meanwhile. With several servers for a path they are combined as P33 and P34 say.
impl Namespace {
    /// Opens a path. With [`OpenFlags::CREATE`] what is made may be read and written by everybody, less the umask.
    ///
    /// # Errors
    /// `EISDIR` a directory (see [`read_directory`](Self::read_directory)), `EROFS`, `EEXIST`, `EBUSY`.
    pub fn open(&self, path: impl AsRef<[u8]>, flags: OpenFlags) -> Result<File> {
        self.open_with_mode(path, flags, 0o666 & !self.umask())
    }

    /// As [`open`](Self::open), with exactly these permissions for what is made.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with_mode(
        &self,
        path: impl AsRef<[u8]>,
        flags: OpenFlags,
        mode: u32,
    ) -> Result<File> {
        let mode = mode::S_IFREG | mode & mode::PERMISSIONS;
        let deed = Deed {
            flags,
            mode,
            ..Deed::default()
        };
        let mut file = None;
        self.create(path.as_ref(), &deed, &mut |doer| {
            let (line, candidate, body) = doer.opened()?;
            let opened = Opened::from_bytes(&body)?;
            file = Some(File::new(line, candidate, opened, flags));
            Ok(())
        })?;
        file.ok_or(Errno::EBADMSG)
    }

    /// As [`open_with_mode`](Self::open_with_mode), and the attributes with the same exchange.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_and_stat(
        &self,
        path: impl AsRef<[u8]>,
        flags: OpenFlags,
        mode: u32,
    ) -> Result<(File, Stat)> {
        let io = Request::Stat.to_bytes()?;
        let deed = Deed {
            subtype: ConnectType::Combine,
            flags,
            mode: mode::S_IFREG | mode & mode::PERMISSIONS,
            extra: Extra::Combined(&io),
            ..Deed::default()
        };
        let mut result = None;
        self.create(path.as_ref(), &deed, &mut |doer| {
            let (line, candidate, body) = doer.opened()?;
            let reply = CombinedReply::from_bytes(&body)?;
            let opened = reply.opened.ok_or(Errno::EBADMSG)?;
            let file = File::new(line, candidate, opened, flags);
            let stat = Stat::from_bytes(reply.body)?;
            result = Some((file, placed(stat, &candidate)));
            Ok(())
        })?;
        result.ok_or(Errno::EBADMSG)
    }

    /// Attributes of what the path leads to. One exchange with the server (R20).
    ///
    /// # Errors
    /// None of its own.
    pub fn stat(&self, path: impl AsRef<[u8]>) -> Result<Stat> {
        self.stat_as(path.as_ref(), 0)
    }

    /// As [`stat`](Self::stat), of a symbolic link itself.
    ///
    /// # Errors
    /// None of its own.
    pub fn lstat(&self, path: impl AsRef<[u8]>) -> Result<Stat> {
        self.stat_as(path.as_ref(), mode::S_IFLNK)
    }

    /// As [`lstat`](Self::lstat), and the server that said it; none of a directory or link of a process manager.
    ///
    /// # Errors
    /// None of its own.
    pub fn lstat_and_server(&self, path: impl AsRef<[u8]>) -> Result<(Stat, Option<Candidate>)> {
        self.stat_at(path.as_ref(), mode::S_IFLNK)
    }

    fn stat_as(&self, path: &[u8], link: u32) -> Result<Stat> {
        self.stat_at(path, link).map(|(stat, _)| stat)
    }

    fn stat_at(&self, path: &[u8], link: u32) -> Result<(Stat, Option<Candidate>)> {
        self.combined(path, &Request::Stat, link, &mut |done| match done {
            Combined::Server {
                candidate, body, ..
            } => {
                let stat = placed(Stat::from_bytes(body)?, &candidate);
                Ok((stat, Some(candidate)))
            }
            Combined::Manager { nd, path } => Ok((self.tree_stat(nd, path)?, None)),
        })
    }

    /// The text of a symbolic link.
    ///
    /// # Errors
    /// `EINVAL` it is something else.
    pub fn readlink(&self, path: impl AsRef<[u8]>) -> Result<Vec<u8>> {
        let deed = Deed::change(ConnectType::Readlink);
        let mut text = None;
        self.perform(path.as_ref(), &deed, &mut |doer| {
            text = Some(match doer {
                Doer::Server { body, .. } => body,
                Doer::Manager { nd, path } => self.tree_link(nd, &path)?,
            });
            Ok(())
        })?;
        text.ok_or(Errno::EBADMSG)
    }

    /// Makes a symbolic link with the text `target`.
    ///
    /// # Errors
    /// `EEXIST`, `EROFS`, `ENOSYS` the server has none (see
    /// [`link_process_manager`](Self::link_process_manager)).
    pub fn symlink(&self, target: impl AsRef<[u8]>, path: impl AsRef<[u8]>) -> Result {
        let deed = Deed {
            mode: mode::S_IFLNK | 0o777,
            extra: Extra::Symlink {
                target: target.as_ref(),
            },
            ..Deed::change(ConnectType::Symlink)
        };
        self.make(path.as_ref(), &deed)
    }

    /// Makes a directory with exactly these permissions.
    ///
    /// # Errors
    /// `EEXIST`, `EROFS`, `ENOSPC`, `ENOSYS` the server cannot.
    pub fn mkdir(&self, path: impl AsRef<[u8]>, mode: u32) -> Result {
        self.mknod(path, mode::S_IFDIR | mode & mode::PERMISSIONS, 0)
    }

    /// Makes a file, pipe or device; its kind and permissions are in `mode`.
    ///
    /// # Errors
    /// As [`mkdir`](Self::mkdir); `EPERM` for a device.
    #[doc(alias = "mkfifo")]
    pub fn mknod(&self, path: impl AsRef<[u8]>, mode: u32, rdev: u64) -> Result {
        let extra = Extra::Mknod { rdev };
        self.make(
            path.as_ref(),
            &Deed {
                mode,
                extra,
                ..Deed::change(ConnectType::Mknod)
            },
        )
    }

    /// Removes a name that is no directory; also a symbolic link or sticky prefix of the process manager (P46).
    ///
    /// # Errors
    /// `EISDIR` or `EPERM` a directory, `EBUSY` a prefix in use, `EROFS`.
    pub fn unlink(&self, path: impl AsRef<[u8]>) -> Result {
        self.remove(path.as_ref(), 0)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `ENOTDIR`, `ENOTEMPTY`, `EBUSY`, `EROFS`.
    pub fn rmdir(&self, path: impl AsRef<[u8]>) -> Result {
        self.remove(path.as_ref(), mode::S_IFDIR)
    }

    fn remove(&self, path: &[u8], mode: u32) -> Result {
        let deed = Deed {
            mode,
            ..Deed::change(ConnectType::Unlink)
        };
        let is_directory = mode == mode::S_IFDIR;
        let outcome = self.perform(path, &deed, &mut |doer| match doer {
            Doer::Server { .. } => Ok(()),
            Doer::Manager { nd, path } if nd == Nd::LOCAL => self.remove_name(path, is_directory),
            Doer::Manager { .. } => Err(Errno::EPERM),
        });
        match outcome {
            // Nobody who serves the path can remove it: then its name is what is meant, such as a sticky prefix whose
            // server is gone.
            Err(error @ (Errno::ENOSYS | Errno::ENOENT | Errno::ESRCH | Errno::ENXIO)) => {
                let removed = self.remove_name(path.to_vec(), is_directory);
                match removed {
                    Ok(()) => Ok(()),
                    Err(Errno::EBUSY) if error == Errno::ENOSYS => removed,
                    Err(_) => Err(error),
                }
            }
            outcome => outcome,
        }
    }

    /// Removes a symlink or sticky prefix of the own process manager.
    fn remove_name(&self, mut path: Vec<u8>, is_directory: bool) -> Result {
        if is_directory && !path.ends_with(b"/") {
            path.push(b'/');
        }
        match self.ask(&NodeRequest::Unlink(Unlink { path }))? {
            NodeReply::Done => Ok(()),
            _ => Err(Errno::EBADMSG),
        }
    }

    /// Gives what is at `from` the path `to`, replacing what is there.
    ///
    /// # Errors
    /// `EXDEV` the two belong to different servers (P37), `ENOTEMPTY`, `EISDIR`, `ENOTDIR`, `EROFS`.
    pub fn rename(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result {
        let (candidate, old) = self.owner(from.as_ref())?;
        let extra = Extra::Rename {
            path: &old,
            handle: candidate.handle,
        };
        self.pair(ConnectType::Rename, candidate, extra, to.as_ref())
    }

    /// Gives what is at `existing` the path `new` too.
    ///
    /// # Errors
    /// `EXDEV` the two belong to different servers (P37), `EEXIST`, `EPERM` a directory, `EROFS`, `ENOSYS`.
    pub fn link(&self, existing: impl AsRef<[u8]>, new: impl AsRef<[u8]>) -> Result {
        let (candidate, old) = self.owner(existing.as_ref())?;
        let extra = Extra::Link {
            path: &old,
            handle: candidate.handle,
        };
        self.pair(ConnectType::Link, candidate, extra, new.as_ref())
    }

    fn pair(
        &self,
        subtype: ConnectType,
        candidate: Candidate,
        extra: Extra<'_>,
        path: &[u8],
    ) -> Result {
        let deed = Deed::change(subtype);
        let options = WalkOptions {
            same_server: Some(candidate),
            ..deed.options
        };
        self.make(
            path,
            &Deed {
                extra,
                options,
                ..deed
            },
        )
    }

    /// Who has the path, and what the path is called there.
    fn owner(&self, path: &[u8]) -> Result<(Candidate, Vec<u8>)> {
        self.combined(
            path,
            &Request::Stat,
            mode::S_IFLNK,
            &mut |done| match done {
                Combined::Server {
                    candidate, path, ..
                } => Ok((candidate, path.to_vec())),
                Combined::Manager { .. } => Err(Errno::EXDEV),
            },
        )
    }

    /// A deed that only a server can do.
    fn make(&self, path: &[u8], deed: &Deed<'_>) -> Result {
        self.create(path, deed, &mut |doer| match doer {
            Doer::Server { .. } => Ok(()),
            // A directory of a manager's tree is there already.
            Doer::Manager { .. } => Err(Errno::EEXIST),
        })
    }

    /// A deed that may make a name. Where only a manager's tree is, nothing can be made (P53), and saying that the
    /// name does not exist would mislead.
    fn create(
        &self,
        path: &[u8],
        deed: &Deed<'_>,
        accept: &mut dyn FnMut(Doer) -> Result,
    ) -> Result {
        let outcome = self.perform(path, deed, accept);
        let makes = !deed.subtype.opens() || deed.flags.contains(OpenFlags::CREATE);
        if outcome != Err(Errno::ENOENT) || !makes {
            return outcome;
        }
        let parent = Pathname::parse(path)?.parent();
        let in_tree = self
            .stat(parent.as_bytes())
            .is_ok_and(|stat| stat.dev == TREE_DEVICE);
        match (in_tree, deed.options.same_server) {
            (true, None) => Err(Errno::EROFS),
            (true, Some(_)) => Err(Errno::EXDEV),
            (false, _) => outcome,
        }
    }

    fn combined<T>(
        &self,
        path: &[u8],
        request: &Request<'_>,
        link: u32,
        take: &mut dyn FnMut(Combined<'_>) -> Result<T>,
    ) -> Result<T> {
        self.combined_as(path, request, OpenFlags::empty(), link, take)
    }

    /// One I/O message to what is at a path: open, message and close in one exchange (R20). `link` is `S_IFLNK` if a
    /// symbolic link itself is meant (P63).
    fn combined_as<T>(
        &self,
        path: &[u8],
        request: &Request<'_>,
        flags: OpenFlags,
        link: u32,
        take: &mut dyn FnMut(Combined<'_>) -> Result<T>,
    ) -> Result<T> {
        let io = request.to_bytes()?;
        let xattr = matches!(request, Request::Xattr(_));
        let deed = Deed {
            subtype: ConnectType::CombineClose,
            flags,
            mode: link,
            extra: Extra::Combined(&io),
            options: WalkOptions {
                no_follow: link != 0,
                ..WalkOptions::default()
            },
            room: Deed::default().room
                + if xattr {
                    abi::limits::XATTR_VALUE_MAX
                } else {
                    0
                },
        };
        let mut result = None;
        self.perform(path, &deed, &mut |doer| {
            result = Some(match &doer {
                Doer::Server {
                    candidate,
                    path,
                    body,
                    ..
                } => {
                    let body = CombinedReply::from_bytes(body)?.body;
                    take(Combined::Server {
                        candidate: *candidate,
                        path,
                        body,
                    })?
                }
                Doer::Manager { nd, path } => take(Combined::Manager { nd: *nd, path })?,
            });
            Ok(())
        })?;
        result.ok_or(Errno::EBADMSG)
    }

    fn describe(&self, nd: Nd, path: &[u8]) -> Result<abi::system::Description> {
        match self.ask(&NodeRequest::Stat(NodeStat {
            nd,
            path: path.to_vec(),
        }))? {
            NodeReply::Described(description) => Ok(description),
            _ => Err(Errno::EBADMSG),
        }
    }

    /// A directory or symlink of a prefix tree.
    fn tree_stat(&self, nd: Nd, path: &[u8]) -> Result<Stat> {
        let description = self.describe(nd, path)?;
        Ok(Stat {
            node: nd,
            dev: TREE_DEVICE,
            ino: description.inode,
            mode: description.mode,
            nlink: description.links,
            size: description.target.len() as u64,
            block_size: 4096,
            ..Stat::default()
        })
    }

    fn tree_link(&self, nd: Nd, path: &[u8]) -> Result<Vec<u8>> {
        let description = self.describe(nd, path)?;
        if mode::is_symlink(description.mode) {
            Ok(description.target)
        } else {
            Err(Errno::EINVAL)
        }
    }
}

/// Who answered a combined message.
enum Combined<'a> {
    Server {
        candidate: Candidate,
        path: &'a [u8],
        body: &'a [u8],
    },
    Manager {
        nd: Nd,
        path: &'a [u8],
    },
}

/// A server's attributes with what only the client knows: where the server is.
pub(crate) fn placed(stat: Stat, candidate: &Candidate) -> Stat {
    let own = u64::from(candidate.pid.0) << 32 | u64::from(candidate.handle.0);
    Stat {
        node: candidate.nd,
        dev: if stat.dev == 0 { own } else { stat.dev },
        ..stat
    }
}

/// The device that directories of managers are on: no server's process has the number 1.
const TREE_DEVICE: u64 = 1 << 32;
