//! A command in a mount namespace of its own, in which a door of the node stands for the node.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

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
        for mount in mounted::of(self.node)? {
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn mounted(point: &str, shows: &str) -> Mounted {
        Mounted {
            point: point.into(),
            shows: shows.into(),
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
