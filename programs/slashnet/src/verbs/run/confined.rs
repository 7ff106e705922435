//! A command in a mount namespace of its own, in which a door of the node stands for the node.

use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind, mount_bind_recursive, mount_change,
};
use rustix::process::{getegid, geteuid};
use rustix::thread::UnshareFlags;

use crate::command::ConfinedOptions;
use crate::failure::{During, Failure, Outcome};
use crate::mounted::{self, Mounted};
use crate::output;

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
        command.arg("--root").arg(self.root);
        if self.is_nested {
            command.arg("--nested");
        }
        command.arg("--").args(words);
        Ok(command)
    }

    /// Covers each mount with the root, or with nothing where that is not to be seen. Mounts are covered as they are open:
    /// another user could make a link of the way to one. One that is not to be seen any more lies under another.
    fn narrow_mounts(&self) -> Outcome {
        let here = std::env::current_dir().ok();
        for mount in mounted::whosever(self.node)? {
            let point = mount.point.display();
            let Some(top) = mount.top()? else { continue };
            // What another user has mounted may be anything.
            let part = self.shown_of(&mount).filter(|_| mount.is_ours());
            match part.map(|part| show(&top, part)) {
                Some(Ok(())) => {}
                // What this user may not enter, the command may not either.
                Some(Err(Errno::ACCESS)) | None => hide(&top).during(point)?,
                Some(Err(error)) => {
                    let why = Failure::new(self.root.display(), error);
                    output::remark(&format!("{point} shows nothing: {why}"));
                    hide(&top).during(point)?;
                }
            }
            if here
                .as_ref()
                .is_some_and(|here| here.starts_with(&mount.point))
            {
                std::env::set_current_dir(&mount.point).during(mount.point.display())?;
            }
        }
        Ok(())
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
    let confinement = Confinement {
        node: &options.node,
        door: &options.door,
        root: &options.root,
        is_nested: options.nested,
    };
    confinement.narrow_mounts()?;
    mount_bind(&options.door, &options.node).during(options.door.display())?;
    let mut command = super::command(&options.command);
    let error = command.env("SLASHNET_DIR", &options.node).exec();
    Err(super::not_started(&options.command[0], error))
}

/// Covers the top of a mount with a part of it, to which no link leads.
fn show(top: &OwnedFd, part: &Path) -> rustix::io::Result<()> {
    let part = if part == Path::new("") {
        Path::new(".")
    } else {
        part
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    let part = openat2(top, part, flags, Mode::empty(), resolve)?;
    mount_bind_recursive(path_of(&part), path_of(top))
}

/// Covers a directory with an empty one.
fn hide(at: &OwnedFd) -> rustix::io::Result<()> {
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("slashnet", path_of(at), "tmpfs", flags, Some(c"mode=555"))
}

/// The name of what is open, whatever has become of its path.
fn path_of(open: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", open.as_raw_fd())
}

#[expect(unsafe_code, reason = "no crate here carries it as a safe call")]
fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: users and mounts are unshared; no descriptor table is.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn mounted(point: &str, shows: &str) -> Mounted {
        Mounted {
            id: 0,
            point: point.into(),
            shows: shows.into(),
            owner: 0,
        }
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
