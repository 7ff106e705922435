//! What a manager implements: one method per operation, each with a default.

use abi::Errno;

use crate::open_file::OpenFile;
use crate::posix;
use crate::request::{
    AllocateRequest, Answer, ChmodRequest, ChownRequest, DevctlRequest, InfoRequest, LinkRequest,
    LinkTextRequest, LockRequest, MakeNodeRequest, MountRequest, NotifyRequest, OpenRequest,
    OwnRequest, PathconfRequest, ReadDirectoryRequest, ReadLinkRequest, ReadRequest, RenameRequest,
    SeekRequest, SetTimesRequest, StatRequest, StatvfsRequest, SymlinkRequest, SyncRequest,
    TruncateRequest, UnlinkRequest, WriteRequest, XattrRequest,
};

/// A resource that clients open by a pathname: a device, a service, or a whole tree.
///
/// Override what differs from a POSIX file with the given [`Attributes`](crate::Attributes); the
/// defaults do the rest, permission checks included. Each method consumes its request into an
/// [`Answer`]: answered, refused, or parked in a [`WaitQueue`](crate::WaitQueue).
///
/// Methods run on the threads of the [`Server`](crate::Server), several at the same time, also for
/// one open file. They may block, but a wait of unknown length belongs into a wait queue, or at
/// least into [`blocking`](crate::blocking).
pub trait Resource: Send + Sync + 'static {
    // What is done to a pathname.

    /// Opens the path. The default checks the rights of the caller and opens the resource itself.
    #[doc(alias = "iofunc_open")]
    fn open(&self, open: OpenRequest) -> Answer {
        posix::open::default(open)
    }

    /// Removes a name or an empty directory. The default answers ENOSYS, as do the following ones.
    fn unlink(&self, unlink: UnlinkRequest) -> Answer {
        unlink.fail(Errno::ENOSYS)
    }

    /// Gives something another name.
    fn rename(&self, rename: RenameRequest) -> Answer {
        rename.fail(Errno::ENOSYS)
    }

    /// Makes a directory, a pipe or a device node.
    fn make_node(&self, make: MakeNodeRequest) -> Answer {
        make.fail(Errno::ENOSYS)
    }

    /// Reads the text of a symbolic link. The default answers EINVAL: it is not one.
    fn read_link(&self, read: ReadLinkRequest) -> Answer {
        read.fail(Errno::EINVAL)
    }

    /// Makes another name for a file.
    fn link(&self, link: LinkRequest) -> Answer {
        link.fail(Errno::ENOSYS)
    }

    /// Makes a symbolic link.
    fn symlink(&self, symlink: SymlinkRequest) -> Answer {
        symlink.fail(Errno::ENOSYS)
    }

    /// Serves something at the path.
    fn mount(&self, mount: MountRequest) -> Answer {
        mount.fail(Errno::ENOSYS)
    }

    // What is done to an open file.

    /// Reads bytes. The default is at the end of the file: 0 bytes.
    #[doc(alias = "iofunc_read_default")]
    fn read(&self, file: &OpenFile, read: ReadRequest) -> Answer {
        posix::read::default(file, read)
    }

    /// Writes bytes. The default accepts and forgets them.
    #[doc(alias = "iofunc_write_default")]
    fn write(&self, file: &OpenFile, write: WriteRequest) -> Answer {
        posix::write::default(file, write)
    }

    /// Tells the attributes.
    #[doc(alias = "iofunc_stat_default")]
    fn stat(&self, file: &OpenFile, stat: StatRequest) -> Answer {
        posix::stat::default(file, stat)
    }

    /// Moves the file offset.
    #[doc(alias = "iofunc_lseek_default")]
    fn seek(&self, file: &OpenFile, seek: SeekRequest) -> Answer {
        posix::seek::default(file, seek)
    }

    /// Controls the device. The default knows the flags of the open file and refuses the rest
    /// with ENOTTY.
    #[doc(alias = "iofunc_devctl_default")]
    fn devctl(&self, file: &OpenFile, devctl: DevctlRequest) -> Answer {
        posix::devctl::default(file, devctl)
    }

    /// Changes the permission bits.
    #[doc(alias = "iofunc_chmod_default")]
    fn chmod(&self, file: &OpenFile, chmod: ChmodRequest) -> Answer {
        posix::chmod::default(file, chmod)
    }

    /// Changes owner and group.
    #[doc(alias = "iofunc_chown_default")]
    fn chown(&self, file: &OpenFile, chown: ChownRequest) -> Answer {
        posix::chown::default(file, chown)
    }

    /// Changes the times.
    #[doc(alias = "iofunc_utime_default")]
    fn set_times(&self, file: &OpenFile, times: SetTimesRequest) -> Answer {
        posix::times::default(file, times)
    }

    /// Makes what was written durable. The default has nothing to do.
    #[doc(alias = "iofunc_sync_default")]
    fn sync(&self, _file: &OpenFile, sync: SyncRequest) -> Answer {
        sync.done()
    }

    /// Sets the length. The default answers EINVAL, as for a device.
    fn truncate(&self, _file: &OpenFile, truncate: TruncateRequest) -> Answer {
        truncate.fail(Errno::EINVAL)
    }

    /// Reserves or frees space. The default answers ENODEV, as for a device.
    fn allocate(&self, _file: &OpenFile, allocate: AllocateRequest) -> Answer {
        allocate.fail(Errno::ENODEV)
    }

    /// Lists a directory. The default answers ENOTDIR.
    fn read_directory(&self, _file: &OpenFile, read: ReadDirectoryRequest) -> Answer {
        read.fail(Errno::ENOTDIR)
    }

    /// Tells about the file system. The default answers ENOSYS.
    fn statvfs(&self, _file: &OpenFile, statvfs: StatvfsRequest) -> Answer {
        statvfs.fail(Errno::ENOSYS)
    }

    /// Reads and changes extended attributes. The default answers EOPNOTSUPP.
    fn xattr(&self, _file: &OpenFile, xattr: XattrRequest) -> Answer {
        xattr.fail(Errno::EOPNOTSUPP)
    }

    /// Locks of ranges and of the whole file. The default keeps them for all clients of the server.
    #[doc(alias = "iofunc_lock_default")]
    fn lock(&self, file: &OpenFile, lock: LockRequest) -> Answer {
        posix::lock::default(file, lock)
    }

    /// Readiness. The default says that files and directories are always ready, and answers ENOSYS
    /// for devices: only they know; see [`Notices`](crate::Notices).
    #[doc(alias = "iofunc_notify")]
    fn notify(&self, file: &OpenFile, notify: NotifyRequest) -> Answer {
        posix::notify::default(file, notify)
    }

    /// A message of the manager's own. The default answers ENOSYS.
    #[doc(alias = "_IO_MSG")]
    fn message(&self, _file: &OpenFile, message: OwnRequest) -> Answer {
        message.fail(Errno::ENOSYS)
    }

    /// Limits. The default knows the names and paths of this protocol.
    fn pathconf(&self, file: &OpenFile, pathconf: PathconfRequest) -> Answer {
        posix::info::pathconf(file, pathconf)
    }

    /// Reads the text of the symbolic link that is open itself. The default answers EINVAL.
    fn link_text(&self, _file: &OpenFile, read: LinkTextRequest) -> Answer {
        read.fail(Errno::EINVAL)
    }

    /// Facts about the open file itself.
    fn info(&self, file: &OpenFile, info: InfoRequest) -> Answer {
        posix::info::default(file, info)
    }

    /// The last descriptor of the open file is gone, its client dead or alive (`R13`, `R14`).
    /// There is nobody to answer.
    fn close(&self, _file: &OpenFile) {}

    /// A client wants to give up a request that is in no wait queue (`R15`); `message` is that of
    /// the request. For managers that block by means of their own; they answer EINTR soon.
    fn unblock(&self, message: u64) {
        let _ = message;
    }
}
