//! The mount point, and the device that belongs to it.

use super::mount_table::mounted_type;
use crate::error::{Error, MountPoint};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use std::ffi::{CString, OsStr, OsString};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The file system type as `mount` and `/proc/self/mountinfo` show it.
pub(crate) const TYPE: &str = "fuse.slashnet";

/// A mount that exists. Dropping it unmounts, lazily if files are still open.
#[derive(Debug)]
pub(crate) struct Mounted {
    point: PathBuf,
    by_helper: bool,
    gone: bool,
}

/// Mounts at `point`, directly where this process may, else through `fusermount3`. `shared` lets other users in;
/// `source` is what the kernel's table says is mounted.
pub(crate) fn mount(
    point: &Path,
    source: &OsStr,
    shared: bool,
) -> Result<(Mounted, OwnedFd), Error> {
    let point = usable_mount_point(point)?;
    let (fuse, by_helper) = match mount_directly(&point, source, shared) {
        Ok(fuse) => (fuse, false),
        Err(Errno::PERM | Errno::ACCESS) => (mount_by_helper(&point, source, shared)?, true),
        Err(Errno::NOENT | Errno::NXIO | Errno::NODEV) => return Err(Error::NoFuse),
        Err(errno) => {
            return Err(Error::Mount {
                point,
                errno: errno.into(),
            });
        }
    };
    Ok((
        Mounted {
            point,
            by_helper,
            gone: false,
        },
        fuse,
    ))
}

impl Mounted {
    #[cfg(test)]
    pub(super) const fn by_helper(point: PathBuf) -> Self {
        Self {
            point,
            by_helper: true,
            gone: false,
        }
    }

    pub(crate) fn point(&self) -> &Path {
        &self.point
    }

    /// Takes the mount away now, lazily if it is busy. A second call does nothing.
    pub(crate) fn unmount(&mut self) -> Result<(), Error> {
        if std::mem::replace(&mut self.gone, true) {
            return Ok(());
        }
        unmount(&self.point, self.by_helper)
    }

    /// Somebody else has unmounted: there is nothing left to take away.
    pub(crate) fn forget(&mut self) {
        self.gone = true;
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            tracing::warn!(%error, "cannot unmount");
        }
    }
}

/// Where it is set how far the kernel reads ahead of readers of the file system mounted at `point`, in KiB.
pub(super) fn readahead_setting(point: &Path) -> std::io::Result<std::fs::File> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
    // The device is known without asking the file system, which nobody may be able to answer yet.
    let flags = AtFlags::STATX_DONT_SYNC | AtFlags::SYMLINK_NOFOLLOW;
    let stat = statx(CWD, point, flags, StatxFlags::TYPE)?;
    let (major, minor) = (stat.stx_dev_major, stat.stx_dev_minor);
    let setting = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    std::fs::OpenOptions::new().write(true).open(setting)
}

fn unmount(point: &Path, by_helper: bool) -> Result<(), Error> {
    let failed = |errno: Errno| Error::Unmount {
        point: point.to_owned(),
        errno: errno.into(),
    };
    if !by_helper {
        match rustix::mount::unmount(point, UnmountFlags::NOFOLLOW) {
            Ok(()) => return Ok(()),
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let lazily = UnmountFlags::NOFOLLOW | UnmountFlags::DETACH;
        return rustix::mount::unmount(point, lazily).map_err(failed);
    }
    for lazily in [&[][..], &["-z"]] {
        let mut helper = Command::new(HELPER);
        helper.args(["-u", "-q"]).args(lazily).arg("--").arg(point);
        helper
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if helper.status().is_ok_and(|status| status.success()) {
            return Ok(());
        }
    }
    Err(failed(Errno::BUSY))
}

/// The real path of a directory that nothing is mounted on. Makes the directory if it is missing, and clears away a
/// dead mount that an earlier run of ours has left.
fn usable_mount_point(point: &Path) -> Result<PathBuf, Error> {
    let refuse = |why: MountPoint| Error::MountPoint {
        point: point.to_owned(),
        why,
    };
    if rustix::fs::stat(point).is_err_and(|errno| errno == Errno::NOTCONN) {
        let dead = real_path_of_dead(point);
        if mounted_type(&dead).is_some_and(|kind| kind == TYPE) {
            unmount(&dead, !rustix::process::geteuid().is_root())?;
        }
    }
    match rustix::fs::stat(point) {
        Ok(_) => {}
        Err(Errno::NOENT) => {
            std::fs::create_dir(point).map_err(|error| refuse(MountPoint::Missing(error)))?;
        }
        Err(errno) => return Err(refuse(MountPoint::Unusable(errno.into()))),
    }
    let real = point
        .canonicalize()
        .map_err(|error| refuse(MountPoint::Unusable(error)))?;
    if !real.is_dir() {
        return Err(refuse(MountPoint::NotADirectory));
    }
    if let Some(kind) = mounted_type(&real) {
        return Err(refuse(MountPoint::Busy(kind)));
    }
    if real
        .read_dir()
        .is_ok_and(|mut entries| entries.next().is_some())
    {
        tracing::warn!(
            "{} is not empty: what is in it cannot be reached while this is mounted",
            real.display()
        );
    }
    Ok(real)
}

/// As [`Path::canonicalize`], which fails at a dead mount: only what is above it is looked at.
fn real_path_of_dead(point: &Path) -> PathBuf {
    let (Some(above), Some(name)) = (point.parent(), point.file_name()) else {
        return point.to_owned();
    };
    let above = if above.as_os_str().is_empty() {
        Path::new(".")
    } else {
        above
    };
    above
        .canonicalize()
        .map_or_else(|_| point.to_owned(), |above| above.join(name))
}

fn mount_directly(point: &Path, source: &OsStr, shared: bool) -> rustix::io::Result<OwnedFd> {
    let fuse = rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let mut options = format!(
        "fd={},rootmode=40000,user_id={},group_id={}",
        fuse.as_raw_fd(),
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw()
    );
    if shared {
        options.push_str(",allow_other");
    }
    let options = CString::new(options).map_err(|_| Errno::INVAL)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount(source, point, TYPE, flags, Some(options.as_c_str()))?;
    Ok(fuse)
}

/// Debian's set-uid helper mounts for ordinary users and passes the device back over a socket.
pub(super) fn mount_by_helper(
    point: &Path,
    source: &OsStr,
    shared: bool,
) -> Result<OwnedFd, Error> {
    let (ours, theirs) = UnixStream::pair().map_err(Error::Helper)?;
    let mut options = OsString::from("subtype=slashnet,nosuid,nodev,fsname=");
    options.push(OsStr::from_bytes(&in_options(source.as_bytes())));
    if shared {
        options.push(",allow_other");
    }
    let mut helper = Command::new(HELPER);
    helper.arg("-o").arg(&options).arg("--").arg(point);
    // The helper writes to the descriptor this variable names: its standard input is ours to choose.
    helper.env("_FUSE_COMMFD", "0").stdin(OwnedFd::from(theirs));
    helper.stdout(Stdio::null()).stderr(Stdio::piped());
    let child = helper.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::NoHelper,
        _ => Error::Helper(error),
    })?;
    // The command object still holds its end of the socket, which must close for an early end to be seen.
    drop(helper);
    let fuse = receive_descriptor(ours.as_fd());
    let output = child.wait_with_output().map_err(Error::Helper)?;
    match fuse {
        Ok(Some(fuse)) => Ok(fuse),
        _ => Err(Error::HelperSaid(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        )),
    }
}

/// As the helper reads it: a comma would end the option.
fn in_options(text: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(text.len());
    for &byte in text {
        if matches!(byte, b',' | b'\\') {
            escaped.push(b'\\');
        }
        escaped.push(byte);
    }
    escaped
}

fn receive_descriptor(socket: BorrowedFd<'_>) -> rustix::io::Result<Option<OwnedFd>> {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let mut byte = [0; 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    loop {
        let parts = &mut [IoSliceMut::new(&mut byte)];
        match recvmsg(socket, parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    let descriptor = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok(descriptor)
}

const HELPER: &str = "fusermount3";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_of_a_source_do_not_end_the_option() {
        assert_eq!(in_options(br"/run/a,b\c"), br"/run/a\,b\\c");
    }

    #[test]
    fn a_dead_mount_is_found_in_the_table_also_by_a_relative_path_or_through_a_link() {
        let temporary = tempfile::tempdir().unwrap();
        let real = temporary.path().canonicalize().unwrap();
        let link = real.join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert_eq!(real_path_of_dead(&link.join("net")), real.join("net"));
        let here = std::env::current_dir().unwrap().canonicalize().unwrap();
        assert_eq!(real_path_of_dead(Path::new("net")), here.join("net"));
        assert_eq!(real_path_of_dead(Path::new("/")), Path::new("/"));
    }

    #[test]
    fn a_busy_or_unusable_mount_point_is_refused_by_name() {
        let busy = usable_mount_point(Path::new("/proc"))
            .unwrap_err()
            .to_string();
        assert_eq!(
            busy,
            "/proc: cannot mount here: a proc file system is mounted here already"
        );
        let file = usable_mount_point(Path::new("/proc/version"))
            .unwrap_err()
            .to_string();
        assert_eq!(file, "/proc/version: cannot mount here: not a directory");
        let missing = usable_mount_point(Path::new("/proc/no/such"))
            .unwrap_err()
            .to_string();
        assert!(missing.ends_with("no such file or directory"), "{missing}");
    }
}
