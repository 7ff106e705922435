//! Running other programs, with errors that say which command it was.

use crate::Outcome;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The repository's top folder, wherever the command was started.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// A command that knows its own text.
pub(crate) struct Program {
    command: Command,
    text: String,
}

impl Program {
    /// `program`, started in the repository's top folder.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(&program);
        command.current_dir(root());
        Self {
            text: program.as_ref().to_string_lossy().into_owned(),
            command,
        }
    }

    pub(crate) fn args<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, arguments: I) -> Self {
        for argument in arguments {
            self.text.push(' ');
            self.text.push_str(&argument.as_ref().to_string_lossy());
            self.command.arg(argument);
        }
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn without_env(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    pub(crate) fn input_from_nowhere(mut self) -> Self {
        self.command.stdin(Stdio::null());
        self
    }

    /// Runs it with this process's own output; any exit status but 0 is an error.
    pub(crate) fn run(mut self) -> Outcome {
        let status = self
            .command
            .status()
            .map_err(|error| format!("{}: {error}", self.text))?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("{}: {status}", self.text))
        }
    }

    /// Runs it and returns what it printed. What it complains of goes into the error: what it printed there, or else all it
    /// printed.
    pub(crate) fn output(mut self) -> Outcome<String> {
        let output = self
            .command
            .output()
            .map_err(|error| format!("{}: {error}", self.text))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        // A script that joins both, for a reader of its own, complains where it prints.
        let said = [&output.stderr, &output.stdout];
        let complaint = said.into_iter().find(|said| !said.trim_ascii().is_empty());
        let complaint = complaint
            .map(|said| String::from_utf8_lossy(said))
            .unwrap_or_default();
        Err(format!(
            "{}: {}: {}",
            self.text,
            output.status,
            complaint.trim()
        ))
    }

    pub(crate) fn into_command(self) -> Command {
        self.command
    }
}

/// Cargo as a person at the terminal starts it: what `cargo xtask` tells this process of its own package would have
/// crates whose build scripts look at it, and all above them, be built anew in turn.
pub(crate) fn cargo<const N: usize>(arguments: [&str; N]) -> Program {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let own = std::env::vars_os().filter_map(|(name, _)| {
        let name = name.into_string().ok()?;
        (name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")).then_some(name)
    });
    own.fold(Program::new(cargo), |program, name| {
        program.without_env(&name)
    })
    .args(arguments)
}

/// Builds programs of ours as users get them. All of them are asked for in one way, so that cargo chooses the same
/// features each time and has nothing to build twice.
pub(crate) fn build(programs: &[&str]) -> Outcome {
    cargo(["build", "--release", "--quiet"])
        .args(["-p", "slashnet-programs", "-p", "slashnet-bench"])
        .args(programs.iter().flat_map(|program| ["--bin", program]))
        .run()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_what_a_command_complained_of_wherever_it_printed_it() {
        let complaint = |script| {
            Program::new("sh")
                .args(["-c", script])
                .output()
                .unwrap_err()
        };
        let joined = complaint("exec 2>&1; echo first; echo cannot >&2; exit 3");
        assert!(
            joined.ends_with("exit status: 3: first\ncannot"),
            "{joined}"
        );
        let apart = complaint("echo first; echo cannot >&2; exit 3");
        assert!(apart.ends_with("exit status: 3: cannot"), "{apart}");
    }
}
