//! Manual pages and shell completion, from the one definition of the command line.

use std::fs;
use std::path::Path;

use clap::{Arg, Command, CommandFactory};
use clap_complete::Shell;

use crate::command::Cli;
use crate::failure::{During, Outcome};
use crate::output;

/// Prints the completion script for `shell`.
pub(crate) fn completion(shell: Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut shown(&Cli::command()), "slashnet", &mut script);
    script.extend_from_slice(names_for(shell).as_bytes());
    output::write(&script)
}

/// What asks for names while somebody types.
const fn names_for(shell: Shell) -> &'static str {
    match shell {
        Shell::Bash => include_str!("complete.bash"),
        Shell::Zsh => include_str!("complete.zsh"),
        Shell::Fish => include_str!("complete.fish"),
        _ => "",
    }
}

/// The command without what is not for people: scripts would offer it.
fn shown(command: &Command) -> Command {
    let options = command
        .get_arguments()
        .filter(|option| !option.is_hide_set());
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    let about = command.get_about().cloned().unwrap_or_default();
    // Names live as long as this process, which ends with the script.
    let name: &'static str = command.get_name().to_owned().leak();
    Command::new(name)
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(command.get_version().is_none())
        .about(about)
        .args(options.cloned())
        .subcommands(verbs.map(shown))
}

/// Writes `slashnet.1` and one page for each verb into `dir`.
pub(crate) fn pages(dir: &Path) -> Outcome {
    // `slashnet help` says what the pages say and needs none.
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    write_pages(&command, "slashnet", dir)
}

fn write_pages(command: &Command, name: &str, dir: &Path) -> Outcome {
    let path = dir.join(format!("{name}.1"));
    let mut text = Vec::new();
    // No date: the same sources must give the same pages.
    // A page is long, so what the short help leaves out stands in it.
    let whole = command.clone().mut_args(|arg| arg.hide_short_help(false));
    let manual = clap_mangen::Man::new(whole)
        .title(name.to_uppercase())
        .date("")
        .source("slashnet")
        .manual("User commands");
    manual.render(&mut text).during(path.display())?;
    let text = with_values(with_notes(&String::from_utf8_lossy(&text)), command);
    fs::write(&path, text + SEE_ALSO).during(path.display())?;
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        write_pages(verb, &format!("{name}-{}", verb.get_name()), dir)?;
    }
    Ok(())
}

/// The synopsis with what each option takes: `[--root PATH]`.
fn with_values(page: String, command: &Command) -> String {
    let takes_value = |option: &&Arg| option.get_action().takes_values();
    command
        .get_arguments()
        .filter(takes_value)
        .fold(page, |page, option| {
            let (Some(long), Some([value, ..])) = (option.get_long(), option.get_value_names())
            else {
                return page;
            };
            let long = format!("\\fB\\-\\-{}\\fR", long.replace('-', "\\-"));
            let value = value.replace('-', "\\-");
            let with_value = match option.is_require_equals_set() {
                true => format!("{long}[=\\fI{value}\\fR]]"),
                false => format!("{long} \\fI{value}\\fR]"),
            };
            // The first place is that in the synopsis.
            page.replacen(&format!("{long}]"), &with_value, 1)
        })
}

/// What follows the help stands in lines that must not be filled, under a title that says what it is.
fn with_notes(page: &str) -> String {
    let Some((before, rest)) = page.split_once(".SH EXTRA\n") else {
        return page.to_owned();
    };
    let end = rest.find("\n.SH ").map_or(rest.len(), |end| end + 1);
    let (notes, after) = rest.split_at(end);
    format!("{before}.SH NOTES\n.nf\n{}\n.fi\n{after}", notes.trim_end())
}

const SEE_ALSO: &str = "\
.SH \"SEE ALSO\"
.BR slashnet (1),
.BR slashnet.toml (5),
.BR slashnet (7)
";
