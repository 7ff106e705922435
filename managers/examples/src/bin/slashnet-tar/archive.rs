//! Reading the table of a tar archive: POSIX.1-1988 (ustar), long names of GNU, and paths and sizes of POSIX.1-2001 (pax).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Archives are cut into pieces of this many bytes.
const BLOCK: u64 = 512;
/// Longest extra header; paths are the longest thing in them.
const EXTRA_MAX: u64 = 1 << 20;
/// Members of one archive: a bound for memory.
const MEMBERS_MAX: usize = 1 << 20;

/// One thing in an archive.
pub(crate) struct Member {
    /// Without slashes at its ends, `.` and `..`.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) permissions: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) modified: i64,
}

pub(crate) enum Kind {
    Directory,
    /// Where the bytes are in the archive.
    File {
        offset: u64,
        len: u64,
    },
    /// Another name of an earlier member.
    Hard {
        path: Vec<u8>,
    },
    Symlink {
        text: Vec<u8>,
    },
    /// A pipe or device: a name, and nothing behind it.
    Other {
        mode: u32,
    },
}

/// All members in their order.
pub(crate) fn members(archive: &File) -> io::Result<Vec<Member>> {
    let len = archive.metadata()?.len();
    let (mut members, mut at, mut extra) = (Vec::new(), 0, Extra::default());
    while at + BLOCK <= len {
        let mut header = [0; BLOCK as usize];
        archive.read_exact_at(&mut header, at)?;
        if header.iter().all(|byte| *byte == 0) {
            break;
        }
        let header_at = at;
        let wrong = |what: &str| broken(header_at, what);
        if !is_summed(&header) {
            return Err(wrong("is no header"));
        }
        let size = number(&header[124..136]).ok_or_else(|| wrong("has no size"))?;
        let size = extra.size.unwrap_or(size);
        let data = at + BLOCK;
        let padded = size.checked_next_multiple_of(BLOCK);
        let next = padded.and_then(|size| data.checked_add(size));
        at = next
            .filter(|_| size <= len - data)
            .ok_or_else(|| wrong("is longer than the archive"))?;
        let kind = header[156];
        if matches!(kind, b'L' | b'K' | b'x' | b'g') {
            let mut text = vec![0; size.min(EXTRA_MAX) as usize];
            archive.read_exact_at(&mut text, data)?;
            extra.take(kind, &text);
            continue;
        }
        if members.len() == MEMBERS_MAX {
            return Err(wrong("is one member too many"));
        }
        members.extend(member(
            &header,
            kind,
            (data, size),
            std::mem::take(&mut extra),
        ));
    }
    Ok(members)
}

/// What precedes a header and says what did not fit into it.
#[derive(Default)]
struct Extra {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Extra {
    fn take(&mut self, kind: u8, text: &[u8]) {
        match kind {
            b'L' => self.path = Some(until_zero(text).to_vec()),
            b'K' => self.link = Some(until_zero(text).to_vec()),
            b'x' => records(text).for_each(|(key, value)| match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => self.size = decimal(value),
                _ => {}
            }),
            // What holds for the whole archive: comments and the like.
            _ => {}
        }
    }
}

/// The records `LENGTH KEY=VALUE\n` of pax.
fn records(mut text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let space = text.iter().position(|byte| *byte == b' ')?;
        let len = decimal(&text[..space])? as usize;
        let record = text.get(space + 1..len)?.strip_suffix(b"\n")?;
        text = &text[len..];
        let equals = record.iter().position(|byte| *byte == b'=')?;
        Some((&record[..equals], &record[equals + 1..]))
    })
}

fn member(
    header: &[u8; BLOCK as usize],
    kind: u8,
    (offset, len): (u64, u64),
    extra: Extra,
) -> Option<Member> {
    let named = extra.path.unwrap_or_else(|| {
        let (prefix, name) = (until_zero(&header[345..500]), until_zero(&header[..100]));
        match prefix {
            [] => name.to_vec(),
            _ if &header[257..262] != b"ustar" => name.to_vec(),
            prefix => [prefix, name].join(&b'/'),
        }
    });
    let link = extra
        .link
        .unwrap_or_else(|| until_zero(&header[157..257]).to_vec());
    let is_directory = kind == b'5' || named.ends_with(b"/");
    let kind = match kind {
        _ if is_directory => Kind::Directory,
        0 | b'0' | b'7' => Kind::File { offset, len },
        b'1' => Kind::Hard {
            path: clean(&link)?,
        },
        b'2' => Kind::Symlink { text: link },
        b'3' => Kind::Other { mode: 0o020_000 },
        b'4' => Kind::Other { mode: 0o060_000 },
        b'6' => Kind::Other { mode: 0o010_000 },
        _ => return None,
    };
    let field = |range: std::ops::Range<usize>| number(&header[range]).unwrap_or(0);
    Some(Member {
        path: clean(&named)?,
        kind,
        permissions: field(100..108) as u32 & 0o7777,
        uid: field(108..116) as u32,
        gid: field(116..124) as u32,
        modified: i64::try_from(field(136..148)).unwrap_or(0),
    })
}

/// A path as the tree has it; `None` for one that leads out of it, or nowhere.
fn clean(path: &[u8]) -> Option<Vec<u8>> {
    let parts: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    if parts.is_empty() || parts.contains(&&b".."[..]) {
        return None;
    }
    Some(parts.join(&b'/'))
}

/// Whether the header's sum is right: that of its bytes, with spaces in place of the sum.
fn is_summed(header: &[u8; BLOCK as usize]) -> bool {
    let sum: u64 = header
        .iter()
        .enumerate()
        .map(|(at, byte)| {
            u64::from(if (148..156).contains(&at) {
                b' '
            } else {
                *byte
            })
        })
        .sum();
    number(&header[148..156]) == Some(sum)
}

/// Octal digits, or GNU's binary form for what is larger.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let (head, tail) = field.split_at(field.len() - 8);
        let is_small = head[0] == 0x80 && head[1..].iter().all(|byte| *byte == 0);
        let value = tail
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte));
        return is_small.then_some(value);
    }
    let text = std::str::from_utf8(until_zero(field)).ok()?.trim();
    u64::from_str_radix(text, 8).ok()
}

fn decimal(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn until_zero(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn broken(at: u64, what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the block at byte {at} {what}"),
    )
}
