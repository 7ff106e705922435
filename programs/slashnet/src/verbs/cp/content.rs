//! The bytes of a file that is copied, and the holes between them.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;

use abi::Errno;
use abi::flags::mode::is_regular;
use abi::io::Whence;

use super::Place;
use crate::failure::{During, Failure, Outcome};

/// Bytes that are moved at once.
const CHUNK: usize = 1 << 20;
/// Bytes in a block of [`Content::is_sparse`], whatever the file system has.
const BLOCK: u64 = 512;

/// An open file, here or there.
pub(super) enum Content {
    /// A file of this machine.
    Here(fs::File),
    /// A file of the path space.
    There(client::File),
}

impl Content {
    /// Whether a regular file has less on its disk than its length says.
    fn is_sparse(&self) -> io::Result<bool> {
        let (mode, size, blocks) = match self {
            Self::Here(file) => {
                let known = file.metadata()?;
                (known.mode(), known.size(), known.blocks())
            }
            Self::There(file) => {
                let known = file.stat()?;
                (known.mode, known.size, known.blocks)
            }
        };
        Ok(is_regular(mode) && blocks.saturating_mul(BLOCK) < size)
    }

    fn is_regular(&self) -> io::Result<bool> {
        Ok(match self {
            Self::Here(file) => file.metadata()?.is_file(),
            Self::There(file) => is_regular(file.stat()?.mode),
        })
    }

    fn length(&self) -> io::Result<u64> {
        Ok(match self {
            Self::Here(file) => file.metadata()?.size(),
            Self::There(file) => file.stat()?.size,
        })
    }

    fn seek(&self, to: Whence, at: u64) -> abi::Result<u64> {
        match self {
            Self::Here(file) => {
                let to = match to {
                    Whence::Data => rustix::fs::SeekFrom::Data(at),
                    Whence::Hole => rustix::fs::SeekFrom::Hole(at),
                    _ => rustix::fs::SeekFrom::Start(at),
                };
                rustix::fs::seek(file, to).map_err(|error| io::Error::from(error).into())
            }
            Self::There(file) => file.seek(i64::try_from(at).map_err(|_| Errno::EOVERFLOW)?, to),
        }
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        match self {
            Self::Here(file) => file.set_len(length),
            Self::There(file) => Ok(file.truncate(length)?),
        }
    }

    /// The next bytes that are no hole, from `at` on: where they begin and end. None if there are only holes.
    fn next_data(&self, at: u64) -> abi::Result<Option<(u64, u64)>> {
        let begin = match self.seek(Whence::Data, at) {
            Err(Errno::ENXIO) => return Ok(None),
            begin => begin?,
        };
        let end = self.seek(Whence::Hole, begin)?;
        Ok((begin < end).then_some((begin, end)))
    }
}

impl Read for Content {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Here(file) => Read::read(file, into),
            Self::There(file) => Read::read(file, into),
        }
    }
}

impl Write for Content {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Here(file) => Write::write(file, bytes),
            Self::There(file) => Write::write(file, bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Here(file) => Write::flush(file),
            Self::There(file) => Write::flush(file),
        }
    }
}

/// Copies everything and leaves out what is a hole, where both sides know holes. Counts the bytes that the target took.
pub(super) fn copy(
    (source, reader): (&Place, &mut Content),
    (target, writer): (&Place, &mut Content),
    copied: &mut u64,
) -> Outcome {
    if !reader.is_sparse().during(source)? || !writer.is_regular().during(target)? {
        return pour((source, reader), (target, writer), copied);
    }
    // A file system that cannot tell where holes are has an error for an answer.
    let Ok(mut data) = reader.next_data(0) else {
        return pour((source, reader), (target, writer), copied);
    };
    let mut at = 0;
    while let Some((begin, end)) = data {
        reader.seek(Whence::Set, begin).during(source)?;
        writer.seek(Whence::Set, begin).during(target)?;
        pour(
            (source, &mut reader.take(end - begin)),
            (target, writer),
            copied,
        )?;
        at = end;
        data = reader.next_data(at).during(source)?;
    }
    let length = reader.length().during(source)?.max(at);
    writer.set_length(length).during(target)
}

/// Copies to the end, and counts the bytes that the target took.
fn pour(
    (source, reader): (&Place, &mut dyn Read),
    (target, writer): (&Place, &mut dyn Write),
    copied: &mut u64,
) -> Outcome {
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = match reader.read(&mut chunk) {
            Ok(0) => return writer.flush().during(target),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failure::new(source, error)),
        };
        writer.write_all(&chunk[..length]).during(target)?;
        *copied += length as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn holes_stay_holes_and_what_lies_between_them_is_copied() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        let length = 64 << 20;
        let file = fs::File::create(&from).unwrap();
        file.write_all_at(b"begin", 0).unwrap();
        file.write_all_at(b"middle", length / 2).unwrap();
        file.set_len(length).unwrap();
        let places = (Place::Here(from.clone()), Place::Here(to.clone()));
        let mut reader = Content::Here(fs::File::open(&from).unwrap());
        let mut writer = Content::Here(fs::File::create(&to).unwrap());
        let mut copied = 0;
        copy(
            (&places.0, &mut reader),
            (&places.1, &mut writer),
            &mut copied,
        )
        .unwrap();
        assert!(copied < length / 4, "{copied} bytes were moved");
        assert!(fs::metadata(&to).unwrap().blocks() * BLOCK < length / 4);
        assert_eq!(fs::read(&to).unwrap(), fs::read(&from).unwrap());
    }

    #[test]
    fn a_copy_that_fails_says_how_much_of_it_is_there() {
        /// Takes five bytes.
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let room = 5 - self.0;
                self.0 += room.min(bytes.len());
                match room {
                    0 => Err(io::ErrorKind::StorageFull.into()),
                    room => Ok(room.min(bytes.len())),
                }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        /// Three bytes at a time.
        struct Slow<'a>(&'a [u8]);
        impl Read for Slow<'_> {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                let length = self.0.len().min(3);
                self.0.read(&mut into[..length])
            }
        }
        let (source, target) = (Place::Here("from".into()), Place::Here("to".into()));
        let mut copied = 0;
        let failed = pour(
            (&source, &mut Slow(b"sevenbytes")),
            (&target, &mut Full(0)),
            &mut copied,
        );
        assert!(failed.is_err());
        assert_eq!(copied, 3);
        pour(
            (&source, &mut Slow(b"five.")),
            (&target, &mut Full(0)),
            &mut copied,
        )
        .unwrap();
    }
}
