//! What is mounted where, as the kernel tells.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The type of the file system mounted exactly at `point`, if one is.
pub(super) fn mounted_type(point: &Path) -> Option<String> {
    let table = std::fs::read("/proc/self/mountinfo").ok()?;
    let mut found = None;
    for line in table.split(|&byte| byte == b'\n') {
        let mut fields = line.split(|&byte| byte == b' ');
        let Some(at) = fields.nth(4) else { continue };
        if unescaped(at) != point.as_os_str().as_bytes() {
            continue;
        }
        // Optional fields end with a lone dash; the type follows. The last line wins: it is on top.
        let kind = fields.skip_while(|field| *field != b"-").nth(1);
        found = kind.map(|kind| String::from_utf8_lossy(kind).into_owned());
    }
    found
}

/// Undoes the octal escapes of `/proc/self/mountinfo` (blank, tab, newline, backslash).
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, behind)) = rest.split_first() {
        let digits = (first == b'\\')
            .then(|| behind.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match digits {
            Some(byte) => {
                plain.push(byte);
                rest = behind.get(3..).unwrap_or_default();
            }
            None => {
                plain.push(first);
                rest = behind;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_the_mount_table_are_undone() {
        assert_eq!(unescaped(br"/a\040b\134c"), b"/a b\\c");
        assert_eq!(unescaped(br"/tail\0"), br"/tail\0");
    }

    #[test]
    fn a_mounted_directory_is_known_by_its_type() {
        assert_eq!(mounted_type(Path::new("/proc")).as_deref(), Some("proc"));
        assert_eq!(mounted_type(Path::new("/proc/self")), None);
    }
}
