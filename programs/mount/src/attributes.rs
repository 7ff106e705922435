//! A server's attributes as the kernel takes them.

use abi::flags::mode;
use abi::io::{SetTime, Stat, Statvfs, TimeSpec};

use crate::kernel::reply::Space;
use crate::kernel::request::When;
use crate::kernel::{FileAttributes, MAX_TRANSFER};

/// What the kernel is told of a file.
pub(crate) fn of(stat: &Stat) -> FileAttributes {
    FileAttributes {
        ino: inode(stat),
        size: stat.size,
        blocks: stat.blocks,
        accessed: (stat.atime.seconds, stat.atime.nanos),
        modified: (stat.mtime.seconds, stat.mtime.nanos),
        changed: (stat.ctime.seconds, stat.ctime.nanos),
        mode: visible_mode(stat),
        links: stat.nlink,
        uid: stat.uid.0,
        gid: stat.gid.0,
        rdev: u32::try_from(stat.rdev).unwrap_or(0),
        block_size: block_size(stat),
    }
}

/// What programs take as the size of a good read or write: `cp`, `cat` and stdio follow it, and over a network a large
/// one is good (NFS says the same).
fn block_size(stat: &Stat) -> u32 {
    match mode::is_regular(stat.mode) {
        true => stat.block_size.max(MAX_TRANSFER as u32),
        false => stat.block_size,
    }
}

/// A manager's device is shown as a plain file: the kernel would open a device node on this machine instead of asking
/// us. A node on a disk belongs to a driver of that other machine and is never opened from here, so it is shown as what it
/// is (the mount says `nodev`).
pub(crate) const fn visible_mode(stat: &Stat) -> u32 {
    match stat.mode & mode::S_IFMT {
        mode::S_IFCHR | mode::S_IFBLK if !is_node_of_a_disk(stat) => {
            mode::S_IFREG | (stat.mode & !mode::S_IFMT)
        }
        0 => mode::S_IFREG | stat.mode,
        _ => stat.mode,
    }
}

/// A manager's device has no number of a driver and was never made.
const fn is_node_of_a_disk(stat: &Stat) -> bool {
    stat.rdev != 0 || stat.btime.seconds != 0
}

/// The kind in a listing; 0 if it takes a look at the file to know.
pub(crate) const fn listed_kind(file_mode: u32, stat: Option<&Stat>) -> u32 {
    match (stat, file_mode & mode::S_IFMT) {
        (Some(stat), _) => visible_mode(stat),
        (None, 0 | mode::S_IFCHR | mode::S_IFBLK) => 0,
        (None, _) => file_mode,
    }
}

/// Whether a read may wait for as long as it likes.
pub(crate) const fn is_device(file_mode: u32) -> bool {
    matches!(
        file_mode & mode::S_IFMT,
        mode::S_IFCHR | mode::S_IFBLK | mode::S_IFIFO | 0
    )
}

/// One number for file, device and node, because all of the mount is one device to `cp`, `tar` and `find`: equal
/// numbers of two nodes would look like hard links.
pub(crate) fn inode(stat: &Stat) -> u64 {
    // A multiplication by an odd number and a shifted xor mix without losing anything (splitmix64).
    let mix = |seed: u64, word: u64| {
        let mut x = (seed ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    mix(mix(mix(0, u64::from(stat.node.node())), stat.dev), stat.ino).max(2)
}

pub(crate) fn space(statvfs: &Statvfs) -> Space {
    Space {
        blocks: statvfs.blocks,
        free: statvfs.blocks_free,
        available: statvfs.blocks_available,
        files: statvfs.files,
        files_free: statvfs.files_free,
        block_size: statvfs.block_size,
        fragment_size: statvfs.fragment_size,
        name_max: statvfs.name_max,
    }
}

pub(crate) fn set_time(when: Option<When>) -> SetTime {
    match when {
        None => SetTime::Keep,
        Some(When::Now) => SetTime::Now,
        Some(When::At {
            seconds,
            nanoseconds,
        }) => SetTime::At(TimeSpec {
            seconds,
            nanos: nanoseconds,
        }),
    }
}

/// Whether the mode bits let a user with these groups do what `wanted` says (4 read, 2 write, 1 execute).
pub(crate) fn allows(stat: &Stat, uid: u32, groups: &[u32], wanted: u32) -> bool {
    let wanted = wanted & 0o7;
    if uid == 0 {
        return wanted & 1 == 0 || stat.mode & 0o111 != 0 || mode::is_directory(stat.mode);
    }
    let shift = if stat.uid.0 == uid {
        6
    } else if groups.contains(&stat.gid.0) {
        3
    } else {
        0
    };
    (stat.mode >> shift) & wanted == wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::{Gid, Nd, Uid};

    #[test]
    fn a_device_is_shown_as_a_file_that_is_known_to_be_one() {
        let shown = |mode, rdev| {
            visible_mode(&Stat {
                mode,
                rdev,
                ..Stat::default()
            })
        };
        assert_eq!(shown(0o020_666, 0), 0o100_666);
        assert_eq!(
            shown(0o020_666, 0x501),
            0o020_666,
            "a driver's, not a manager's"
        );
        assert_eq!(shown(0o040_755, 0), 0o040_755);
        assert_eq!(shown(0o120_777, 0), 0o120_777);
        assert!(is_device(0o020_666) && !is_device(0o100_644));
    }

    #[test]
    fn files_of_different_nodes_are_never_taken_for_links() {
        let stat = Stat {
            ino: 77,
            dev: 5,
            ..Stat::default()
        };
        let elsewhere = Stat {
            node: Nd(2),
            ..stat
        };
        let other_device = Stat { dev: 6, ..stat };
        assert_ne!(inode(&stat), inode(&elsewhere));
        assert_ne!(inode(&stat), inode(&other_device));
        // The link policy in the upper half is not part of the node.
        assert_eq!(
            inode(&Stat {
                node: Nd::new(2, 3),
                ..stat
            }),
            inode(&elsewhere)
        );
    }

    #[test]
    fn access_follows_owner_group_and_others() {
        let stat = Stat {
            mode: 0o100_640,
            uid: Uid(10),
            gid: Gid(20),
            ..Stat::default()
        };
        assert!(allows(&stat, 10, &[], 6));
        assert!(allows(&stat, 11, &[20], 4));
        assert!(!allows(&stat, 11, &[20], 2));
        assert!(!allows(&stat, 11, &[21], 4));
        assert!(allows(&stat, 0, &[], 6));
        assert!(!allows(&stat, 0, &[], 1));
    }
}
