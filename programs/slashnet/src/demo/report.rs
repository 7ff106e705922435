//! What the demo prints: lines that a person follows and a script checks.
//!
//! Every check is one line that begins with `ok`, `skip` or `FAIL` and the check's name. All other
//! lines are indented or begin with `==`. The last line counts.

use std::cell::Cell;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use crate::failure::{Failure, Outcome};
use crate::notation::duration;

/// The running account.
#[derive(Debug)]
pub(crate) struct Report {
    begun: Instant,
    colours: bool,
    done: Cell<u32>,
    skipped: Cell<u32>,
    failed: Cell<u32>,
}

impl Report {
    /// An empty account; time counts from here.
    pub(crate) fn new() -> Self {
        let colours = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let zero = || Cell::new(0);
        Self {
            begun: Instant::now(),
            colours,
            done: zero(),
            skipped: zero(),
            failed: zero(),
        }
    }

    /// The heading of a chapter.
    pub(crate) fn chapter(&self, title: impl Display) {
        say(&format!("\n{}", self.painted("1", &format!("== {title}"))));
    }

    /// A line, or several, of what is there to see.
    pub(crate) fn show(&self, text: impl Display) {
        text.to_string()
            .lines()
            .for_each(|line| say(&format!("       {line}")));
    }

    /// A check that held.
    pub(crate) fn ok(&self, name: &str, text: impl Display) {
        self.done.set(self.done.get() + 1);
        self.check("32", "ok", name, text);
    }

    /// A check that could not be made here, and why.
    pub(crate) fn skip(&self, name: &str, why: impl Display) {
        self.skipped.set(self.skipped.get() + 1);
        self.check("33", "skip", name, why);
    }

    /// A check that did not hold.
    pub(crate) fn fail(&self, name: &str, why: impl Display) {
        self.failed.set(self.failed.get() + 1);
        self.check("31", "FAIL", name, why);
    }

    /// Whether any check has failed so far.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.get() > 0
    }

    /// The last line, and whether all was well.
    pub(crate) fn close(&self) -> Outcome {
        let (done, skipped, failed) = (self.done.get(), self.skipped.get(), self.failed.get());
        let time = duration(self.begun.elapsed());
        say(&format!(
            "\ndemo: {done} ok, {skipped} skipped, {failed} failed, in {time}"
        ));
        if failed == 0 {
            Ok(())
        } else {
            Err(Failure::said())
        }
    }

    fn check(&self, colour: &str, verdict: &str, name: &str, text: impl Display) {
        say(&format!(
            "{} {name:<14} {text}",
            self.painted(colour, &format!("{verdict:<5}"))
        ));
    }

    fn painted(&self, colour: &str, text: &str) -> String {
        if self.colours {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// A reader who went away is no reason to leave daemons running: the demo goes on to its end.
fn say(line: &str) {
    let mut standard_output = io::stdout().lock();
    let _ = writeln!(standard_output, "{line}").and_then(|()| standard_output.flush());
}
