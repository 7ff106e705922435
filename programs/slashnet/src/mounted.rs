//! Mounts of the path space, as the kernel's table has them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use crate::failure::{During, Outcome};

/// The type of file system that mounts of the path space have.
const MOUNT_TYPE: &str = "fuse.slashnet";

/// One mount of a node's path space.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mounted {
    /// The kernel's number for it.
    pub(crate) id: u64,
    pub(crate) point: PathBuf,
    /// The part of what was mounted first that is seen here.
    pub(crate) shows: PathBuf,
    /// Who mounted it, which the kernel says; the rest of what is mounted is that user's word.
    pub(crate) owner: u32,
}

impl Mounted {
    /// Whether root or the user of this process mounted it.
    pub(crate) fn is_ours(&self) -> bool {
        self.owner == 0 || self.owner == rustix::process::geteuid().as_raw()
    }

    /// The top of the mount, if it can be seen: not by way of a symbolic link, and nothing else in its place.
    pub(crate) fn top(&self) -> Outcome<Option<OwnedFd>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::NO_SYMLINKS;
        let top = match openat2(CWD, &self.point, flags, Mode::empty(), resolve) {
            Ok(top) => top,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => return Ok(None),
            Err(error) => return Err(error).during(self.point.display()),
        };
        let about = format!("/proc/self/fdinfo/{}", top.as_raw_fd());
        let about = fs::read_to_string(&about).during(about)?;
        let mut lines = about.lines();
        let id = lines.find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
        Ok((id == Some(self.id)).then_some(top))
    }
}

/// The mounts of the node in the directory `node`, by root or the user of this process.
pub(crate) fn of(node: &Path) -> Outcome<Vec<Mounted>> {
    let mut mounts = whosever(node)?;
    mounts.retain(Mounted::is_ours);
    Ok(mounts)
}

/// What any user has mounted as if it were that node's.
pub(crate) fn whosever(node: &Path) -> Outcome<Vec<Mounted>> {
    let table = fs::read_to_string("/proc/self/mountinfo").during("/proc/self/mountinfo")?;
    let node = node.canonicalize().during(node.display())?;
    Ok(mounts_of(&table, &node))
}

/// Where the path space of the node in the directory `node` is mounted, from the kernel's table: field 1 is the number, 4
/// the part, 5 the place; behind a lone hyphen stand type, source and options. What lies under another mount is not seen
/// by anybody.
fn mounts_of(table: &str, node: &Path) -> Vec<Mounted> {
    let mut on_top = BTreeMap::new();
    for line in table.lines() {
        if let Some((point, mounted)) = row(line, node) {
            on_top.insert(point, mounted);
        }
    }
    on_top.into_values().flatten().collect()
}

/// What a line of the table has mounted where, if that is of the node.
fn row(line: &str, node: &Path) -> Option<(PathBuf, Option<Mounted>)> {
    let path = |field: &str| PathBuf::from(OsString::from_vec(unescaped(field)));
    let (before, after) = line.split_once(" - ")?;
    let mut fields = before.split(' ');
    let id = fields.next()?.parse().ok()?;
    let mut fields = fields.skip(2).map(path);
    let (shows, point) = (fields.next()?, fields.next()?);
    let mut about = after.split(' ');
    let is_of_node = about.next() == Some(MOUNT_TYPE) && about.next().map(path)? == node;
    let mut options = about.next().unwrap_or_default().split(',');
    let owner = options.find_map(|option| option.strip_prefix("user_id=")?.parse().ok());
    let mounted = is_of_node.then(|| Mounted {
        id,
        point: point.clone(),
        shows,
        owner: owner.unwrap_or(u32::MAX),
    });
    Some((point, mounted))
}

/// The kernel writes blanks, line ends and backslashes as three octal digits.
fn unescaped(field: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let octal = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match (byte, octal) {
            (b'\\', Some(escaped)) => {
                bytes.push(escaped);
                rest = &after[3..];
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
        90 22 0:51 / /net rw,nosuid shared:1 - fuse.slashnet /run/slashnet rw,user_id=0,group_id=0\n\
        91 22 0:52 / /home/a\\040b/net rw - fuse.slashnet /run/slashnet rw,user_id=1000,group_id=7\n\
        92 22 0:53 / /home/other/net rw - fuse.slashnet /run/user/7/slashnet rw\n\
        93 22 0:54 / /covered rw - fuse.slashnet /run/slashnet rw\n\
        94 22 0:55 / /covered rw - tmpfs tmpfs rw\n\
        95 22 0:56 / /mnt rw - fuse.sshfs /run/slashnet rw\n\
        96 22 0:51 /lab2/srv /srv rw - fuse.slashnet /run/slashnet rw\n";

    fn mounted(id: u64, point: &str, shows: &str, owner: u32) -> Mounted {
        Mounted {
            id,
            point: point.into(),
            shows: shows.into(),
            owner,
        }
    }

    #[test]
    fn mounts_of_one_node_are_found_in_the_kernels_table_where_they_can_be_seen() {
        let expected = [
            mounted(91, "/home/a b/net", "/", 1000),
            mounted(90, "/net", "/", 0),
            mounted(96, "/srv", "/lab2/srv", u32::MAX),
        ];
        let found = mounts_of(TABLE, Path::new("/run/slashnet"));
        assert_eq!(found, expected);
        assert!(found[1].is_ours() && !found[2].is_ours());
    }

    #[test]
    fn a_mount_is_found_only_where_it_is_itself() {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = table.lines().find(|line| line.contains(" /proc "));
        let id: u64 = line.unwrap().split(' ').next().unwrap().parse().unwrap();
        let place = tempfile::tempdir().unwrap();
        let link = place.path().join("link");
        std::os::unix::fs::symlink("/proc", &link).unwrap();
        let is_there = |id, point: &Path| {
            let mount = mounted(id, point.to_str().unwrap(), "/", 0);
            mount.top().unwrap().is_some()
        };
        assert!(is_there(id, Path::new("/proc")));
        assert!(!is_there(id + 1, Path::new("/proc")), "another mount");
        assert!(!is_there(id, &link), "by way of a link");
        assert!(!is_there(id, &place.path().join("gone")));
    }
}
