//! Takes a lab away whose maker has ended in any way, by Ctrl-C or worse.

use super::host::Lab;
use crate::Outcome;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// A process that waits for the end of this one. Dropped in an orderly way, it does nothing.
pub(crate) struct Guard(Child);

impl Guard {
    pub(crate) fn start() -> Outcome<Self> {
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        Command::new(own)
            .args(["lab", "guard"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // A group of its own, which no Ctrl-C reaches.
            .process_group(0)
            .spawn()
            .map(Self)
            .map_err(|error| format!("lab guard: {error}"))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The life of that process.
pub(crate) fn wait() -> Outcome {
    std::io::stdin()
        .read_to_end(&mut Vec::new())
        .map_err(|error| error.to_string())?;
    Lab::remove()
}
