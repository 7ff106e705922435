//! Manual pages and shell completion, from the one definition of the command line.

use std::fs;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use crate::command::Cli;
use crate::failure::{During, Outcome};
use crate::output;

/// Prints the completion script for `shell`.
pub(crate) fn completion(shell: Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "slashnet", &mut script);
    output::write(&script)
}

/// Writes `slashnet.1` and one page for each verb into `dir`.
pub(crate) fn pages(dir: &Path) -> Outcome {
    let mut command = Cli::command();
    command.build();
    write_pages(&command, "slashnet", dir)
}

fn write_pages(command: &Command, name: &str, dir: &Path) -> Outcome {
    let path = dir.join(format!("{name}.1"));
    let mut text = Vec::new();
    // No date: the same sources must give the same pages.
    let manual = clap_mangen::Man::new(command.clone())
        .title(name.to_uppercase())
        .date("");
    manual.render(&mut text).during(path.display())?;
    text.extend_from_slice(SEE_ALSO.as_bytes());
    fs::write(&path, text).during(path.display())?;
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        write_pages(verb, &format!("{name}-{}", verb.get_name()), dir)?;
    }
    Ok(())
}

const SEE_ALSO: &str = "\
.SH \"SEE ALSO\"
.BR slashnet (1),
.BR slashnet.toml (5),
.BR slashnet (7)
";
