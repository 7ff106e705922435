//! Moving the file offset.

use abi::io::{Lseek, OFFSET_MAX, Whence};
use abi::{Errno, Result};

use crate::open_file::OpenFile;
use crate::request::{Answer, SeekRequest};

/// Moves the offset within a file whose length the attributes say.
#[doc(alias = "iofunc_lseek_default")]
pub fn default(file: &OpenFile, seek: SeekRequest) -> Answer {
    let size = file.attributes().lock().size;
    let moved = {
        let mut offset = file.offset();
        target(*offset, size, seek.arguments()).inspect(|new| *offset = *new)
    };
    seek.finish(moved)
}

/// Where a seek leads.
///
/// # Errors
/// EINVAL for a place before the start; EOVERFLOW beyond the largest offset; ENXIO for data or a
/// hole behind the end.
pub fn target(offset: u64, size: u64, seek: Lseek) -> Result<u64> {
    let base = match seek.whence {
        Whence::Set => 0,
        Whence::Current => offset,
        Whence::End => size,
        Whence::Data | Whence::Hole => return hole(size, seek),
    };
    let moved = i128::from(base) + i128::from(seek.offset);
    if moved < 0 {
        return Err(Errno::EINVAL);
    }
    match u64::try_from(moved) {
        Ok(moved) if moved <= OFFSET_MAX => Ok(moved),
        _ => Err(Errno::EOVERFLOW),
    }
}

/// A file without holes: all is data, and the one hole is at the end.
fn hole(size: u64, seek: Lseek) -> Result<u64> {
    let from = u64::try_from(seek.offset).map_err(|_| Errno::ENXIO)?;
    match seek.whence {
        _ if from >= size => Err(Errno::ENXIO),
        Whence::Data => Ok(from),
        _ => Ok(size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeks_count_from_start_offset_or_end_and_never_leave_the_file_space() {
        let cases = [
            (Whence::Set, 5, Ok(5)),
            (Whence::Current, -3, Ok(7)),
            (Whence::Current, -11, Err(Errno::EINVAL)),
            (Whence::End, 1, Ok(101)),
            (Whence::End, -101, Err(Errno::EINVAL)),
            (Whence::End, i64::MAX, Err(Errno::EOVERFLOW)),
            (Whence::Set, i64::MIN, Err(Errno::EINVAL)),
            (Whence::Data, 40, Ok(40)),
            (Whence::Data, 100, Err(Errno::ENXIO)),
            (Whence::Hole, 40, Ok(100)),
            (Whence::Hole, -1, Err(Errno::ENXIO)),
        ];
        for (whence, offset, expected) in cases {
            assert_eq!(
                target(10, 100, Lseek { offset, whence }),
                expected,
                "{whence:?} {offset}"
            );
        }
    }
}
