//! A command in a mount namespace of its own, in which a door of the node stands for the node.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountPropagationFlags, mount_bind, mount_bind_recursive, mount_change};
use rustix::process::{getegid, geteuid};
use rustix::thread::UnshareFlags;

use crate::command::ConfinedOptions;
use crate::failure::{During, Failure, Outcome};
use crate::notation::printable;

/// The type of file system that mounts of the path space have.
const MOUNT_TYPE: &str = "fuse.slashnet";

/// This program again, which makes the namespace before it becomes the command: only a process with one thread can.
pub(super) fn command(
    node: &Path,
    door: &Path,
    shown: &Path,
    words: &[OsString],
) -> Outcome<Command> {
    let own = std::env::current_exe().during("slashnet")?;
    let mut command = Command::new(own);
    command.arg("confined").arg("--node").arg(node);
    command.arg("--door").arg(door);
    let mounts = fs::read_to_string("/proc/self/mountinfo").during("/proc/self/mountinfo")?;
    for point in mount_points(&mounts) {
        command.arg("--show").arg(point.join(shown));
        command.arg("--at").arg(point);
    }
    command.arg("--").args(words);
    Ok(command)
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
        mount_bind_recursive(from, at).during(from.display())?;
        if here.as_ref().is_some_and(|here| here.starts_with(at)) {
            std::env::set_current_dir(at).during(at.display())?;
        }
    }
    mount_bind(&options.door, &options.node).during(options.door.display())?;
    let mut command = super::command(&options.command);
    let error = command.env("SLASHNET_DIR", &options.node).exec();
    Err(Failure::new(
        printable(options.command[0].as_encoded_bytes()),
        error,
    ))
}

#[expect(unsafe_code, reason = "no crate here carries it as a safe call")]
fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: users and mounts are unshared; no descriptor table is.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Where the path space is mounted, from the kernel's table: fields 5 and, behind a lone hyphen, the type.
fn mount_points(table: &str) -> Vec<PathBuf> {
    let point = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        if after.split(' ').next() != Some(MOUNT_TYPE) {
            return None;
        }
        let field = before.split(' ').nth(4)?;
        Some(PathBuf::from(OsString::from_vec(unescaped(field))))
    };
    table.lines().filter_map(point).collect()
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

    #[test]
    fn mounts_of_the_path_space_are_found_in_the_kernels_table() {
        let table = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            90 22 0:51 / /net rw,nosuid shared:1 - fuse.slashnet slashnet rw\n\
            91 22 0:52 / /home/a\\040b/net rw - fuse.slashnet slashnet rw\n\
            92 22 0:53 / /mnt rw - fuse.sshfs slashnet rw\n";
        let points = [PathBuf::from("/net"), PathBuf::from("/home/a b/net")];
        assert_eq!(mount_points(table), points);
    }
}
