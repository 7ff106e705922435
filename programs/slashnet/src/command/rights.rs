//! The command line of `rights` and `why`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::table::TableOptions;

/// Options of `rights`.
#[derive(Debug, Args)]
pub(crate) struct RightsOptions {
    #[command(flatten)]
    pub(crate) table: TableOptions,
    #[command(subcommand)]
    pub(crate) verb: Option<RightsVerb>,
}

/// What to do with the rules.
#[derive(Debug, Subcommand)]
pub(crate) enum RightsVerb {
    /// List the rules in the order in which they are tried
    List(TableOptions),
    /// Add a rule, behind those that were added before
    #[command(after_help = RULE_SYNTAX)]
    Add {
        /// Make it this number of the list, so that it is tried before those with higher numbers
        #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
        at: Option<u16>,
        /// The rule, such as: allow pi@lab1 read,write /dev/ser1
        #[arg(required = true, num_args = 1.., value_name = "RULE")]
        rule: Vec<String>,
    },
    /// Remove the rule of this number
    Remove {
        /// As in the list; those of the config file cannot be removed here
        #[arg(value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
        number: u16,
    },
    /// Take the rules of a file instead of those that came from the config file before
    Reload {
        /// A config file (.toml), or rules one in a line
        #[arg(value_name = "FILE")]
        config: PathBuf,
    },
    /// Say whether the rules in a file make sense, without using them
    Check {
        /// A config file (.toml), or rules one in a line
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// List what was refused to whom because of a rule
    Denials(TableOptions),
}

/// Options of `why`.
#[derive(Debug, Args)]
pub(crate) struct WhyOptions {
    /// Who, such as pi@lab1; without @NODE a user of this node
    #[arg(value_name = "USER@NODE")]
    pub(crate) who: String,
    /// What: look, list, read, write, create, remove, change, lock, devctl, attach or link
    #[arg(value_name = "OPERATION")]
    pub(crate) operation: String,
    /// Where, on this node
    #[arg(value_name = "PATH")]
    pub(crate) path: OsString,
    /// Print a JSON object instead of sentences
    #[arg(long)]
    pub(crate) json: bool,
}

const RULE_SYNTAX: &str = "\
A rule is: allow|deny USER@NODE OPERATIONS PATH [as USER]
  USER        a user of this machine, a number, or * for everybody
  NODE        a node's name, the beginning of names as in lab*, or * for every
              node but this one
  OPERATIONS  all, or some of list,read,write,create,remove,change,lock,devctl;
              and attach,link
  PATH        this path and everything below it
  as USER     who the client is there to file permissions

The first rule that fits decides; without one, file permissions do. More in
docs/rights.md.

Examples:
  slashnet rights add allow pi@lab1 read,write,devctl /dev/ser1
  slashnet rights add deny '*@*' all /dev
  slashnet rights add --at 1 allow root@lab1 all /srv as backup";

/// What stands below the help of `rights`.
pub(super) const RIGHTS_EXAMPLES: &str = "\
Examples:
  slashnet rights
  slashnet rights add allow pi@lab1 read,write,devctl /dev/ser1
  slashnet rights remove 2
  slashnet why pi@lab1 write /dev/ser1";

/// What stands below the help of `why`.
pub(super) const WHY_EXAMPLES: &str = "\
Exit status: 0 it may be done, 1 it may not, 2 that cannot be told: the question
makes no sense, or nobody here can answer it.

Examples:
  slashnet why pi@lab1 write /dev/ser1
  slashnet why 1000 attach /dev/mine --json";
