//! `slashnet write`: into a file or device.

use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;

use abi::OpenFlags;

use crate::command::{GlobalOptions, WriteOptions};
use crate::daemon;
use crate::failure::{During, Outcome};
use crate::notation::printable;

const CHUNK: usize = 256 << 10;

/// Writes the text given, or standard input to its end.
pub(crate) fn run(global: &GlobalOptions, options: &WriteOptions) -> Outcome {
    let path = options.path.as_bytes();
    let shown = printable(path);
    let namespace = daemon::namespace(global)?;
    let end = if options.append {
        OpenFlags::APPEND
    } else {
        OpenFlags::TRUNCATE
    };
    let flags = OpenFlags::WRITE | OpenFlags::CREATE | end;
    let mut file = namespace.open(path, flags).during(&shown)?;
    if let Some(text) = &options.text {
        return file
            .write_all(&[text.as_bytes(), b"\n"].concat())
            .during(&shown);
    }
    let mut input = std::io::stdin().lock();
    let mut chunk = vec![0; CHUNK];
    loop {
        match input.read(&mut chunk).during("standard input")? {
            0 => return file.close().during(&shown),
            length => file.write_all(&chunk[..length]).during(&shown)?,
        }
    }
}
