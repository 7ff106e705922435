//! What a verb returns when it cannot do what was asked, and how the user hears of it.

use std::fmt::{Display, Formatter};
use std::io::{self, Write};
use std::process::ExitCode;

use abi::Errno;

/// The result of a verb.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// A refusal or failure: printed once, by `main`, as `slashnet: what: why`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    text: String,
    status: u8,
}

impl Failure {
    /// The thing named `what` could not be had or done because of `why`. Exit status 1.
    pub(crate) fn new(what: impl Display, why: impl Explain) -> Self {
        let (what, why) = (what.to_string(), why.explain());
        let hint = link_policy_hint(&what, &why);
        Self {
            text: format!("{what}: {why}{hint}"),
            status: 1,
        }
    }

    /// The same, and what it means for the user.
    pub(crate) fn and(mut self, more: impl Display) -> Self {
        self.text = format!("{}; {more}", self.text);
        self
    }

    /// The same with another exit status.
    pub(crate) const fn with_status(mut self, status: u8) -> Self {
        self.status = status;
        self
    }

    /// The command itself makes no sense. Exit status 2.
    pub(crate) fn usage(what: impl Display, why: impl Explain) -> Self {
        Self {
            text: format!("{what}: {}", why.explain()),
            status: 2,
        }
    }

    /// An error whose text names the thing already. Exit status 1.
    pub(crate) fn whole(error: impl Display) -> Self {
        Self {
            text: error.to_string(),
            status: 1,
        }
    }

    /// The command line was refused with this text by its parser. Exit status 2.
    pub(crate) fn refused(text: &str) -> Self {
        let text = text
            .strip_prefix("error: ")
            .unwrap_or(text)
            .trim_end()
            .to_owned();
        Self { text, status: 2 }
    }

    /// What went wrong was printed already. Exit status 1.
    pub(crate) const fn said() -> Self {
        Self {
            text: String::new(),
            status: 1,
        }
    }

    /// As [`said`](Self::said), with another exit status.
    pub(crate) fn said_with(status: i32) -> Self {
        Self {
            text: String::new(),
            status: u8::try_from(status).unwrap_or(1),
        }
    }

    /// Prints the failure to standard error and gives the exit status.
    pub(crate) fn report(&self) -> ExitCode {
        if !self.text.is_empty() {
            // Nobody is left to be told if standard error is a terminal that was closed.
            let _ = writeln!(io::stderr(), "slashnet: {self}");
        }
        ExitCode::from(self.status)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// What may be wrong with the link policy in a path, if there is one.
fn link_policy_hint(path: &str, why: &str) -> &'static str {
    let below_net = path.strip_prefix("/net/").unwrap_or_default();
    if !below_net.split('/').any(|node| node.contains('~')) {
        return "";
    }
    let is = |errno: Errno| errno.text() == why;
    if is(Errno::EINVAL) {
        " (behind '~' stands loadbalance, preferred:LINK, exclusive:LINK or exclusive-wait:LINK)"
    } else if is(Errno::ENOENT) {
        " (or no link of that name: 'slashnet links' shows them)"
    } else if is(Errno::ENETDOWN) {
        " ('slashnet links' shows why)"
    } else {
        ""
    }
}

/// Says in plain words why something failed.
pub(crate) trait Explain {
    /// The reason, without a trailing full stop and without numbers that only a kernel knows.
    fn explain(&self) -> String;
}

impl Explain for &str {
    fn explain(&self) -> String {
        (*self).to_owned()
    }
}

impl Explain for String {
    fn explain(&self) -> String {
        self.clone()
    }
}

impl Explain for Errno {
    fn explain(&self) -> String {
        let text = self.text();
        if text.is_empty() {
            self.name().to_owned()
        } else {
            text.to_owned()
        }
    }
}

impl Explain for rustix::io::Errno {
    fn explain(&self) -> String {
        io::Error::from(*self).explain()
    }
}

impl Explain for io::Error {
    fn explain(&self) -> String {
        let text = self.to_string();
        match text.rfind(" (os error ") {
            Some(end) => uncapitalised(&text[..end]),
            None => text,
        }
    }
}

impl Explain for Failure {
    fn explain(&self) -> String {
        self.text.clone()
    }
}

impl<E: Explain> Explain for &E {
    fn explain(&self) -> String {
        (*self).explain()
    }
}

/// Adds to an error what was being done.
pub(crate) trait During<T> {
    /// Names the thing that could not be had or done.
    fn during(self, what: impl Display) -> Outcome<T>;
}

impl<T, E: Explain> During<T> for Result<T, E> {
    fn during(self, what: impl Display) -> Outcome<T> {
        self.map_err(|why| Failure::new(what, why))
    }
}

/// `No such file` as `no such file`, but `I/O error` stays: it is a word of its own.
fn uncapitalised(text: &str) -> String {
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if second.is_lowercase() => first
            .to_lowercase()
            .chain(text[first.len_utf8()..].chars())
            .collect(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operating_system_error_reads_like_a_sentence_part() {
        let refused = io::Error::from_raw_os_error(2);
        assert_eq!(
            Failure::new("/net/lab2/x", refused).to_string(),
            "/net/lab2/x: no such file or directory"
        );
        assert_eq!(
            io::Error::other("I/O went wrong").explain(),
            "I/O went wrong"
        );
    }

    #[test]
    fn a_path_with_a_link_policy_is_refused_with_a_hint() {
        let said = |path: &str, errno: Errno| Failure::new(path, errno).to_string();
        let down = said("/net/lab2~exclusive:eth1/srv", Errno::ENETDOWN);
        assert!(
            down.ends_with("network is down ('slashnet links' shows why)"),
            "{down}"
        );
        assert!(said("/net/lab2~exclusive:x/srv", Errno::ENOENT).contains("no link of that name"));
        assert!(said("/net/lab2~fast", Errno::EINVAL).contains("preferred:LINK"));
        for plain in ["/net/lab2/srv", "/home/a~b"] {
            assert!(said(plain, Errno::ENOENT).ends_with("no such file or directory"));
        }
        assert!(said("/net/lab2~exclusive:x/srv", Errno::EACCES).ends_with("denied"));
    }

    #[test]
    fn usage_and_failure_have_different_exit_statuses() {
        assert_eq!(Failure::new("a", "b").status, 1);
        assert_eq!(Failure::usage("a", "b").status, 2);
    }
}
