//! Normalised pathnames.

use alloc::vec::Vec;

use abi::limits::{NAME_MAX, PATH_MAX};
use abi::{Errno, PathFlags, Result};

/// An absolute path without empty, `.` and `..` components; the root is `/`.
///
/// Components are bytes, compared exactly (P1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pathname {
    bytes: Vec<u8>,
    flags: PathFlags,
}

impl Pathname {
    /// The root of a process manager.
    #[must_use]
    pub fn root() -> Self {
        Self {
            bytes: Vec::from(*b"/"),
            flags: PathFlags::DIR,
        }
    }

    /// Normalises `path` (P30). A path without a leading slash starts at the root.
    ///
    /// `..` is resolved textually and stays at the root when it is there. How the path ended is kept
    /// in [`Self::flags`].
    ///
    /// # Errors
    /// `ENOENT` for an empty path (P36), `ENAMETOOLONG` beyond [`PATH_MAX`] bytes or for a component
    /// beyond [`NAME_MAX`] bytes, `EINVAL` for a zero byte.
    pub fn parse(path: &[u8]) -> Result<Self> {
        Self::parse_below(b"/", path)
    }

    /// As [`Self::parse`], but a path without a leading slash starts at `directory`.
    ///
    /// # Errors
    /// As [`Self::parse`]; the length of the two together counts.
    pub fn parse_below(directory: &[u8], path: &[u8]) -> Result<Self> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        let mut normal = Self {
            bytes: Vec::with_capacity(path.len() + 1),
            flags: PathFlags::DIR,
        };
        if path.first() != Some(&b'/') {
            check(directory)?;
            normal.append(directory)?;
        }
        check(path)?;
        normal.append(path)?;
        if normal.bytes.is_empty() {
            normal.bytes.push(b'/');
            normal.flags |= PathFlags::DIR;
        }
        Ok(normal)
    }

    fn append(&mut self, path: &[u8]) -> Result {
        for component in path.split(|&byte| byte == b'/') {
            self.flags = match component {
                b"" => PathFlags::DIR,
                b"." => PathFlags::DIR | PathFlags::DOT,
                b".." => {
                    let parent = self
                        .bytes
                        .iter()
                        .rposition(|&byte| byte == b'/')
                        .unwrap_or(0);
                    self.bytes.truncate(parent);
                    PathFlags::DIR | PathFlags::DOTDOT
                }
                name if name.len() > NAME_MAX => return Err(Errno::ENAMETOOLONG),
                name => {
                    self.bytes.push(b'/');
                    self.bytes.extend_from_slice(name);
                    PathFlags::empty()
                }
            };
        }
        if self.bytes.len() > PATH_MAX {
            Err(Errno::ENAMETOOLONG)
        } else {
            Ok(())
        }
    }

    /// What this path of a client whose root is `root` is called without that root (P42).
    ///
    /// # Errors
    /// `ENAMETOOLONG` if the two together are too long.
    pub fn below_root(self, root: &Self) -> Result<Self> {
        if root.is_root() {
            return Ok(self);
        }
        if self.is_root() {
            return Ok(root.clone().with_flags(self.flags));
        }
        if root.bytes.len() + self.bytes.len() > PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        Ok(Self {
            bytes: [root.as_bytes(), self.as_bytes()].concat(),
            flags: self.flags,
        })
    }

    /// Whether this is `directory` or lies below it.
    #[must_use]
    pub fn is_within(&self, directory: &Self) -> bool {
        let rest = self.bytes.strip_prefix(directory.as_bytes());
        directory.is_root() || rest.is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
    }

    /// The whole path, with a leading slash and without a trailing one.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The whole path by value.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// What the path looked like before it was normalised.
    #[must_use]
    pub const fn flags(&self) -> PathFlags {
        self.flags
    }

    /// The same path with other flags.
    #[must_use]
    pub const fn with_flags(mut self, flags: PathFlags) -> Self {
        self.flags = flags;
        self
    }

    /// Whether this is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.bytes == b"/"
    }

    /// The components from the root on; none for the root.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.bytes
            .split(|&byte| byte == b'/')
            .filter(|name| !name.is_empty())
    }

    /// The last component, or `None` for the root.
    #[must_use]
    pub fn name(&self) -> Option<&[u8]> {
        self.components().next_back()
    }

    /// The directory that holds this path; the root's is the root.
    #[must_use]
    pub fn parent(&self) -> Self {
        let end = self
            .bytes
            .iter()
            .rposition(|&byte| byte == b'/')
            .unwrap_or(0);
        if end == 0 {
            return Self::root();
        }
        Self {
            bytes: self.bytes[..end].to_vec(),
            flags: PathFlags::DIR,
        }
    }
}

fn check(path: &[u8]) -> Result {
    if path.len() > PATH_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    if path.contains(&0) {
        Err(Errno::EINVAL)
    } else {
        Ok(())
    }
}

/// What of `path` follows a prefix of `prefix_len` bytes, without a leading slash.
///
/// `None` if `prefix_len` is not the end of a component of `path`.
#[must_use]
pub fn below(path: &[u8], prefix_len: u16) -> Option<&[u8]> {
    let rest = path.get(usize::from(prefix_len)..)?;
    match rest.first() {
        None => Some(rest),
        Some(b'/') => Some(&rest[1..]),
        Some(_) => None,
    }
}

/// `directory` and `relative` with one slash between them; an empty `relative` adds nothing.
#[must_use]
pub fn join(directory: &[u8], relative: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(directory.len() + 1 + relative.len());
    whole.extend_from_slice(directory.strip_suffix(b"/").unwrap_or(directory));
    let relative = relative.strip_prefix(b"/").unwrap_or(relative);
    if !relative.is_empty() {
        whole.push(b'/');
        whole.extend_from_slice(relative);
    }
    if whole.is_empty() {
        whole.push(b'/');
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const DIR: PathFlags = PathFlags::DIR;

    // qnx: P30
    #[test]
    fn paths_become_normal_and_remember_how_they_ended() {
        let dot = PathFlags::DIR | PathFlags::DOT;
        let dotdot = PathFlags::DIR | PathFlags::DOTDOT;
        let none = PathFlags::empty();
        let rows: &[(&[u8], &[u8], PathFlags)] = &[
            (b"/", b"/", DIR),
            (b"//", b"/", DIR),
            (b"/dev/ser1", b"/dev/ser1", none),
            (b"//dev///ser1", b"/dev/ser1", none),
            (b"/dev/", b"/dev", DIR),
            (b"/dev//", b"/dev", DIR),
            (b"/dev/.", b"/dev", dot),
            (b"/dev/./ser1", b"/dev/ser1", none),
            (b"/dev/..", b"/", dotdot),
            (b"/dev/../net", b"/net", none),
            (b"/..", b"/", dotdot),
            (b"/../../x", b"/x", none),
            (b"/a/b/../..", b"/", dotdot),
            (b"/.", b"/", dot),
            (b"/...", b"/...", none),
            (b"/..a", b"/..a", none),
            (b"dev/ser1", b"/dev/ser1", none),
            (b"/\xff\xfe", b"/\xff\xfe", none),
        ];
        for (path, normal, flags) in rows {
            let pathname = Pathname::parse(path).unwrap();
            assert_eq!(pathname.as_bytes(), *normal, "{path:?}");
            assert_eq!(pathname.flags(), *flags, "{path:?}");
        }
    }

    // qnx: P30
    #[test]
    fn relative_paths_start_at_the_working_directory() {
        let below = |path: &[u8]| {
            Pathname::parse_below(b"/net/lab2", path)
                .unwrap()
                .into_bytes()
        };
        assert_eq!(below(b"dev"), b"/net/lab2/dev");
        assert_eq!(below(b"../lab3"), b"/net/lab3");
        assert_eq!(below(b"."), b"/net/lab2");
        assert_eq!(below(b"/dev"), b"/dev");
    }

    // qnx: P36
    #[test]
    fn an_empty_path_is_no_path() {
        assert_eq!(Pathname::parse(b""), Err(Errno::ENOENT));
    }

    #[test]
    fn names_of_255_bytes_pass_and_of_256_do_not() {
        let mut path = vec![b'/'];
        path.extend([b'n'; 255]);
        assert_eq!(Pathname::parse(&path).unwrap().name().unwrap().len(), 255);
        path.push(b'n');
        assert_eq!(Pathname::parse(&path), Err(Errno::ENAMETOOLONG));
    }

    #[test]
    fn paths_of_4095_bytes_pass_and_of_4096_do_not() {
        let mut path = b"/a".repeat(2047);
        path.push(b'/');
        assert_eq!(path.len(), 4095);
        assert_eq!(Pathname::parse(&path).unwrap().as_bytes().len(), 4094);
        path.push(b'a');
        assert_eq!(Pathname::parse(&path), Err(Errno::ENAMETOOLONG));
        assert_eq!(
            Pathname::parse(&b"/".repeat(4096)),
            Err(Errno::ENAMETOOLONG)
        );
        let directory = b"/d".repeat(2000);
        let relative = b"r/".repeat(100);
        assert_eq!(
            Pathname::parse_below(&directory, &relative),
            Err(Errno::ENAMETOOLONG)
        );
    }

    #[test]
    fn a_zero_byte_is_refused() {
        assert_eq!(Pathname::parse(b"/dev\0/ser1"), Err(Errno::EINVAL));
    }

    #[test]
    fn parents_and_names_fit_together() {
        let path = Pathname::parse(b"/net/lab2").unwrap();
        assert_eq!(path.name(), Some(&b"lab2"[..]));
        assert_eq!(path.parent().as_bytes(), b"/net");
        assert_eq!(path.parent().parent(), Pathname::root());
        assert_eq!(Pathname::root().parent(), Pathname::root());
        assert_eq!(Pathname::root().name(), None);
    }

    // qnx: P32
    #[test]
    fn what_follows_a_prefix_has_no_leading_slash() {
        assert_eq!(below(b"/net/lab2/dev", 4), Some(&b"lab2/dev"[..]));
        assert_eq!(below(b"/net/lab2/dev", 0), Some(&b"net/lab2/dev"[..]));
        assert_eq!(below(b"/net", 4), Some(&b""[..]));
        assert_eq!(below(b"/", 0), Some(&b""[..]));
        assert_eq!(below(b"/network", 4), None);
        assert_eq!(below(b"/net", 5), None);
    }

    #[test]
    fn joining_puts_one_slash_between() {
        assert_eq!(join(b"/net", b"lab2"), b"/net/lab2");
        assert_eq!(join(b"/net/", b"/lab2"), b"/net/lab2");
        assert_eq!(join(b"/", b"dev"), b"/dev");
        assert_eq!(join(b"/net", b""), b"/net");
        assert_eq!(join(b"/", b""), b"/");
    }
}
