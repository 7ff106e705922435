//! Standard output, for programs whose reader may go away.

use std::io::{self, ErrorKind, Write};

use crate::failure::{Failure, Outcome};

/// Writes `bytes` to standard output. A reader that went away (`slashnet ls | head -1`) is no
/// error worth a message, but it ends the program.
pub(crate) fn write(bytes: &[u8]) -> Outcome {
    let mut standard_output = io::stdout().lock();
    standard_output
        .write_all(bytes)
        .and_then(|()| standard_output.flush())
        .map_err(|error| {
            if error.kind() == ErrorKind::BrokenPipe {
                Failure::said()
            } else {
                Failure::new("standard output", error)
            }
        })
}

/// Writes a remark beside the result to standard error.
pub(crate) fn remark(text: &str) {
    // Nobody is left to be told if standard error is a terminal that was closed.
    let _ = writeln!(io::stderr(), "slashnet: {text}");
}

/// Writes `text` and a line end.
pub(crate) fn line(text: impl AsRef<str>) -> Outcome {
    let mut bytes = text.as_ref().as_bytes().to_vec();
    bytes.push(b'\n');
    write(&bytes)
}
