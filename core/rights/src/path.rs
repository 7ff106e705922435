//! Pathnames as rules compare them: by whole components, after `.` and doubled slashes are gone.

use alloc::vec::Vec;

use crate::limits::PREFIX_MAX;

/// Whether `path` is `prefix` or below it. Both are normal.
#[must_use]
pub fn is_within(path: &[u8], prefix: &[u8]) -> bool {
    if prefix == b"/" {
        return true;
    }
    match path.strip_prefix(prefix) {
        Some(rest) => rest.is_empty() || rest[0] == b'/',
        None => false,
    }
}

/// Whether `path` is absolute and has nothing in it that normalisation would change.
#[must_use]
pub fn is_normal(path: &[u8]) -> bool {
    let Some(rest) = path.strip_prefix(b"/") else {
        return false;
    };
    rest.is_empty() || rest.split(|&byte| byte == b'/').all(is_plain)
}

/// Whether a rule may be about `path`.
#[must_use]
pub fn is_prefix(path: &[u8]) -> bool {
    path.len() <= PREFIX_MAX && is_normal(path) && !path.contains(&0)
}

/// `rest` below the normal path `prefix`, normal itself. `None` if `rest` climbs: where `..` leads, after a symbolic
/// link, only the manager knows.
#[must_use]
pub fn join(prefix: &[u8], rest: &[u8]) -> Option<Vec<u8>> {
    let mut path = Vec::with_capacity(prefix.len() + rest.len() + 1);
    if prefix != b"/" {
        path.extend_from_slice(prefix);
    }
    for component in rest.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return None,
            component => {
                path.push(b'/');
                path.extend_from_slice(component);
            }
        }
    }
    if path.is_empty() {
        path.push(b'/');
    }
    Some(path)
}

fn is_plain(component: &[u8]) -> bool {
    !matches!(component, b"" | b"." | b"..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_covers_whole_components() {
        let cases: &[(&[u8], &[u8], bool)] = &[
            (b"/dev/ser1", b"/dev", true),
            (b"/dev", b"/dev", true),
            (b"/device", b"/dev", false),
            (b"/", b"/dev", false),
            (b"/anything", b"/", true),
            (b"/", b"/", true),
        ];
        for (path, prefix, expected) in cases {
            assert_eq!(is_within(path, prefix), *expected, "{path:?} {prefix:?}");
        }
    }

    #[test]
    fn ways_of_writing_one_path_are_one_path() {
        for rest in ["a/b", "a//b", "./a/b", "a/./b/", "//a/b"] {
            assert_eq!(
                join(b"/srv", rest.as_bytes()).unwrap(),
                b"/srv/a/b",
                "{rest}"
            );
        }
        assert_eq!(join(b"/srv", b"").unwrap(), b"/srv");
        assert_eq!(join(b"/", b"").unwrap(), b"/");
        assert_eq!(join(b"/", b"x").unwrap(), b"/x");
        assert_eq!(join(b"/srv", b"a/../b"), None);
        assert_eq!(join(b"/srv", b".."), None);
        assert!(join(b"/srv", b"..a/b..").is_some());
    }

    #[test]
    fn only_normal_paths_are_normal() {
        for good in ["/", "/a", "/a/b.c", "/..."] {
            assert!(is_normal(good.as_bytes()), "{good}");
        }
        for bad in ["", "a", "/a/", "//", "/a//b", "/./a", "/a/..", "/."] {
            assert!(!is_normal(bad.as_bytes()), "{bad}");
        }
    }
}
