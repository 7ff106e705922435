//! A command in a mount namespace of its own, in which a door of the node stands for the node.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind, mount_bind_recursive, mount_change,
};
use rustix::process::{getegid, geteuid};
use rustix::thread::UnshareFlags;

use crate::command::ConfinedOptions;
use crate::failure::{During, Failure, Outcome};
use crate::output;

/// The type of file system that mounts of the path space have.
const MOUNT_TYPE: &str = "fuse.slashnet";

/// What a command sees in place of the whole node.
pub(super) struct Confinement<'a> {
    /// The node's directory, and the door's that stands for it.
    pub(super) node: &'a Path,
    pub(super) door: &'a Path,
    /// The root, relative to what a mount of the node shows.
    pub(super) root: &'a Path,
    /// The node's directory is a door's itself, and so is what its mounts show.
    pub(super) is_nested: bool,
}

impl Confinement<'_> {
    /// This program again, which makes the namespace before it becomes the command: only a process with one thread can.
    pub(super) fn command(&self, words: &[OsString]) -> Outcome<Command> {
        let own = std::env::current_exe().during("slashnet")?;
        let mut command = Command::new(own);
        command.arg("confined").arg("--node").arg(self.node);
        command.arg("--door").arg(self.door);
        let mounts = fs::read_to_string("/proc/self/mountinfo").during("/proc/self/mountinfo")?;
        let node = self.node.canonicalize();
        let node = node.during(self.node.display())?;
        for mount in mounts_of(&mounts, &node) {
            match self.shown_of(&mount) {
                Some(part) => {
                    command.arg("--show").arg(mount.point.join(part));
                    command.arg("--at").arg(mount.point);
                }
                None => {
                    command.arg("--hide").arg(mount.point);
                }
            }
        }
        command.arg("--").args(words);
        Ok(command)
    }

    /// Where the root is in what a mount shows; none if it cannot be seen there.
    fn shown_of<'a>(&'a self, mount: &'a Mounted) -> Option<&'a Path> {
        let shows = mount.shows.strip_prefix("/").unwrap_or(&mount.shows);
        if self.is_nested {
            // What is not narrowed is of somebody who sees more.
            return Some(self.root).filter(|_| shows != Path::new(""));
        }
        match self.root.strip_prefix(shows) {
            Ok(rest) => Some(rest),
            Err(_) => shows.starts_with(self.root).then_some(Path::new("")),
        }
    }
}

/// Makes the namespace and becomes the command. Comes back only with an error.
pub(crate) fn enter(options: &ConfinedOptions) -> Outcome {
    let (uid, gid) = (geteuid(), getegid());
    let mut flags = UnshareFlags::NEWNS;
    if !uid.is_root() {
        flags |= UnshareFlags::NEWUSER;
    }
    unshare(flags).map_err(|error| {
        Failure::new(
            "namespace",
            format!("{error}: this system lets only root make one; --without-namespace goes on without, for programs that do not look for another way in"),
        )
    })?;
    if !uid.is_root() {
        // The same user and group as outside, so that files and the node see no other.
        let write = |file: &str, text: String| fs::write(file, text).during(file);
        write("/proc/self/setgroups", "deny".to_owned())?;
        write(
            "/proc/self/uid_map",
            format!("{uid} {uid} 1", uid = uid.as_raw()),
        )?;
        write(
            "/proc/self/gid_map",
            format!("{gid} {gid} 1", gid = gid.as_raw()),
        )?;
    }
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).during("mounts")?;
    let here = std::env::current_dir().ok();
    for (from, at) in options.show.iter().zip(&options.at) {
        if let Err(error) = mount_bind_recursive(from, at) {
            // What this user may not enter, the command may not either.
            if error != Errno::ACCESS {
                let why = Failure::new(from.display(), error);
                output::remark(&format!("{} shows nothing: {why}", at.display()));
            }
            hide(at)?;
        }
        if here.as_ref().is_some_and(|here| here.starts_with(at)) {
            std::env::set_current_dir(at).during(at.display())?;
        }
    }
    options.hide.iter().try_for_each(|at| hide(at))?;
    mount_bind(&options.door, &options.node).during(options.door.display())?;
    let mut command = super::command(&options.command);
    let error = command.env("SLASHNET_DIR", &options.node).exec();
    Err(super::not_started(&options.command[0], error))
}

/// Covers a mount with an empty directory.
fn hide(at: &Path) -> Outcome {
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("slashnet", at, "tmpfs", flags, Some(c"mode=555")).during(at.display())
}

#[expect(unsafe_code, reason = "no crate here carries it as a safe call")]
fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: users and mounts are unshared; no descriptor table is.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// One mount of a node's path space.
#[derive(Debug, PartialEq, Eq)]
struct Mounted {
    point: PathBuf,
    /// The part of what was mounted first that is seen here.
    shows: PathBuf,
}

/// Where the path space of the node in the directory `node` is mounted, from the kernel's table: field 4 is the part, 5
/// the place; behind a lone hyphen stand type and source. What lies under another mount is not seen by anybody.
fn mounts_of(table: &str, node: &Path) -> Vec<Mounted> {
    let path = |field: &str| PathBuf::from(OsString::from_vec(unescaped(field)));
    let mut on_top = BTreeMap::new();
    for line in table.lines() {
        let Some((before, after)) = line.split_once(" - ") else {
            continue;
        };
        let mut fields = before.split(' ').skip(3).map(path);
        let (Some(shows), Some(point)) = (fields.next(), fields.next()) else {
            continue;
        };
        let mut about = after.split(' ');
        let is_ours = about.next() == Some(MOUNT_TYPE)
            && about.next().map(path).is_some_and(|source| source == node);
        on_top.insert(point, is_ours.then_some(shows));
    }
    let ours = |(point, shows): (PathBuf, Option<PathBuf>)| {
        Some(Mounted {
            point,
            shows: shows?,
        })
    };
    on_top.into_iter().filter_map(ours).collect()
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
        90 22 0:51 / /net rw,nosuid shared:1 - fuse.slashnet /run/slashnet rw\n\
        91 22 0:52 / /home/a\\040b/net rw - fuse.slashnet /run/slashnet rw\n\
        92 22 0:53 / /home/other/net rw - fuse.slashnet /run/user/7/slashnet rw\n\
        93 22 0:54 / /covered rw - fuse.slashnet /run/slashnet rw\n\
        94 22 0:55 / /covered rw - tmpfs tmpfs rw\n\
        95 22 0:56 / /mnt rw - fuse.sshfs /run/slashnet rw\n\
        96 22 0:51 /lab2/srv /srv rw - fuse.slashnet /run/slashnet rw\n";

    fn mounted(point: &str, shows: &str) -> Mounted {
        Mounted {
            point: point.into(),
            shows: shows.into(),
        }
    }

    #[test]
    fn mounts_of_one_node_are_found_in_the_kernels_table_where_they_can_be_seen() {
        let expected = [
            mounted("/home/a b/net", "/"),
            mounted("/net", "/"),
            mounted("/srv", "/lab2/srv"),
        ];
        assert_eq!(mounts_of(TABLE, Path::new("/run/slashnet")), expected);
    }

    #[test]
    fn a_mount_shows_the_root_or_what_it_has_of_it_or_nothing() {
        let confinement = |root, is_nested| Confinement {
            node: Path::new("/run/slashnet"),
            door: Path::new("/run/slashnet/views/7"),
            root: Path::new(root),
            is_nested,
        };
        let shown = |root, is_nested, shows| {
            let mount = mounted("/net", shows);
            let part = confinement(root, is_nested);
            part.shown_of(&mount).map(Path::to_owned)
        };
        let some = |part: &str| Some(PathBuf::from(part));
        assert_eq!(shown("lab2/srv/a", false, "/"), some("lab2/srv/a"));
        assert_eq!(shown("lab2/srv/a", false, "/lab2/srv"), some("a"));
        assert_eq!(shown("lab2/srv", false, "/lab2/srv/a"), some(""));
        assert_eq!(shown("lab2/srv", false, "/lab3"), None);
        assert_eq!(shown("a", true, "/lab2/srv"), some("a"));
        assert_eq!(shown("a", true, "/"), None);
    }
}
