//! Mounts of the path space, as the kernel's table has them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::failure::{During, Outcome};

/// The type of file system that mounts of the path space have.
const MOUNT_TYPE: &str = "fuse.slashnet";

/// One mount of a node's path space.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mounted {
    pub(crate) point: PathBuf,
    /// The part of what was mounted first that is seen here.
    pub(crate) shows: PathBuf,
}

/// The mounts of the node in the directory `node`.
pub(crate) fn of(node: &Path) -> Outcome<Vec<Mounted>> {
    let table = fs::read_to_string("/proc/self/mountinfo").during("/proc/self/mountinfo")?;
    let node = node.canonicalize().during(node.display())?;
    Ok(mounts_of(&table, &node))
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
}
