//! `slashnet cat`: files and devices to standard output.

use std::os::unix::ffi::OsStrExt;

use abi::OpenFlags;

use crate::command::{CatOptions, GlobalOptions};
use crate::failure::{During, Outcome};
use crate::notation::printable;
use crate::{daemon, output};

/// Large enough that a slow way costs little, small enough that a device's bytes show at once.
const CHUNK: usize = 256 << 10;

/// Prints one file after the other.
pub(crate) fn run(global: &GlobalOptions, options: &CatOptions) -> Outcome {
    let namespace = daemon::namespace(global)?;
    let mut chunk = vec![0; CHUNK];
    for path in &options.paths {
        let shown = printable(path.as_bytes());
        let file = namespace
            .open(path.as_bytes(), OpenFlags::READ)
            .during(&shown)?;
        let mut left = options.count.unwrap_or(u64::MAX);
        while left > 0 {
            let room = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
            let length = file.read(&mut chunk[..room]).during(&shown)?;
            if length == 0 {
                break;
            }
            output::write(&chunk[..length])?;
            left -= length as u64;
        }
    }
    Ok(())
}
