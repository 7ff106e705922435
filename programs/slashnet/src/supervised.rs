//! The side of a supervised child: it says when it is ready and dies with its supervisor.

use std::ffi::CStr;
use std::io::{self, Write};

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use crate::failure::{During, Failure, Outcome};

/// What a child prints on its standard output once it does its work.
pub(crate) const READY: &str = "ready";

/// Ends this process by SIGTERM as soon as `supervisor` is gone, however it went.
pub(crate) fn tie_to(supervisor: i32) -> Outcome {
    set_parent_process_death_signal(Some(Signal::TERM)).during("supervision")?;
    if getppid().map(Pid::as_raw_pid) == Some(supervisor) {
        Ok(())
    } else {
        Err(Failure::new(
            "supervision",
            "the supervisor ended before this process began",
        ))
    }
}

/// Names this process for `ps` and `top`, which would all show the program's name otherwise.
pub(crate) fn call_it(name: &'static CStr) {
    // A name is a convenience: a kernel without it changes nothing else.
    let _ = rustix::thread::set_name(name);
}

/// Tells the supervisor (or the person who started this part alone) that the work is being done.
pub(crate) fn announce_ready() -> Outcome {
    let mut standard_output = io::stdout().lock();
    writeln!(standard_output, "{READY}")
        .and_then(|()| standard_output.flush())
        .during("standard output")
}
