//! Options of the verbs about names and of `run`.

use std::ffi::OsString;
use std::path::PathBuf;

use abi::flags::mode::{S_IFDIR, S_IFLNK, S_IFMT};
use clap::{Args, ValueEnum};

use crate::name_map::NameMap;
use crate::table::TableOptions;

/// Options of `prefixes`.
#[derive(Debug, Args)]
pub(crate) struct PrefixesOptions {
    /// Ask the process manager of this node
    #[arg(short, long, value_name = "NODE")]
    pub(crate) node: Option<String>,
    #[command(flatten)]
    pub(crate) table: TableOptions,
}

/// How names are shown by all that list them.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct ShownOptions {
    /// Show who serves each name: node, process, channel and handle
    #[arg(short, long)]
    pub(crate) who: bool,
    #[command(flatten)]
    pub(crate) table: TableOptions,
}

/// How far those go that list what is below a path.
#[derive(Debug, Args)]
pub(crate) struct DescentOptions {
    /// Go down so many levels and no further
    #[arg(short = 'L', long, value_name = "LEVELS",
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub(crate) levels: Option<usize>,
    #[command(flatten)]
    pub(crate) shown: ShownOptions,
    /// Where to begin
    #[arg(value_name = "PATH", default_value = "/")]
    pub(crate) paths: Vec<OsString>,
}

/// Options of `ls`.
#[derive(Debug, Args)]
pub(crate) struct LsOptions {
    /// Show type, permissions, owner, size and time as well
    #[arg(short, long)]
    pub(crate) long: bool,
    /// Show names that begin with a dot as well
    #[arg(short, long)]
    pub(crate) all: bool,
    /// List what is in directories too, all the way down
    #[arg(short = 'R', long, conflicts_with = "directory")]
    pub(crate) recursive: bool,
    /// Show a directory itself, not what is in it
    #[arg(short, long)]
    pub(crate) directory: bool,
    #[command(flatten)]
    pub(crate) shown: ShownOptions,
    /// What to list
    #[arg(value_name = "PATH", default_value = "/")]
    pub(crate) paths: Vec<OsString>,
}

/// Options of `tree`.
#[derive(Debug, Args)]
pub(crate) struct TreeOptions {
    /// Show names that begin with a dot as well
    #[arg(short, long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) descent: DescentOptions,
}

/// Options of `find`.
#[derive(Debug, Args)]
pub(crate) struct FindOptions {
    /// Only names that match, with * for any letters, ? for one, [a-z] for one of several
    #[arg(short, long, value_name = "PATTERN")]
    pub(crate) name: Option<glob::Pattern>,
    /// Only directories (d), links (l), or everything else (f)
    #[arg(short = 't', long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<FindType>,
    #[command(flatten)]
    pub(crate) descent: DescentOptions,
}

/// What `find` finds and `tree` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FindType {
    /// Directories
    D,
    /// Symbolic links
    L,
    /// Everything else
    F,
}

impl FindType {
    /// Of a kind as in `st_mode`.
    pub(crate) const fn of(mode: u32) -> Self {
        match mode & S_IFMT {
            S_IFDIR => Self::D,
            S_IFLNK => Self::L,
            _ => Self::F,
        }
    }

    /// As on the command line.
    pub(crate) const fn letter(self) -> &'static str {
        match self {
            Self::D => "d",
            Self::L => "l",
            Self::F => "f",
        }
    }
}

/// Options of `who`.
#[derive(Debug, Args)]
pub(crate) struct WhoOptions {
    #[command(flatten)]
    pub(crate) table: TableOptions,
    /// Whose servers to show
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<OsString>,
}

/// Options of `stat`.
#[derive(Debug, Args)]
pub(crate) struct StatOptions {
    /// Follow symbolic links
    #[arg(short = 'L', long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) shown: ShownOptions,
    /// What to look at
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<OsString>,
}

/// Options of `rm`.
#[derive(Debug, Args)]
pub(crate) struct RmOptions {
    /// Remove empty directories
    #[arg(short, long)]
    pub(crate) directory: bool,
    /// What to remove
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<OsString>,
}

/// Options of `ln`.
#[derive(Debug, Args)]
pub(crate) struct LnOptions {
    /// Make a symbolic link
    #[arg(short, long)]
    pub(crate) symbolic: bool,
    /// Make it in the process manager's table, where it needs no file system
    #[arg(short = 'P', long)]
    pub(crate) process_manager: bool,
    /// What the link stands for
    pub(crate) target: OsString,
    /// The path that shall be a link
    pub(crate) path: OsString,
}

/// Options of `run`.
#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    /// Let the command see this part of the path space only: PATH is its '/', and is seen where /net is mounted
    #[arg(long, value_name = "PATH")]
    pub(crate) root: Option<OsString>,
    /// Hide nothing from programs that look for another way in; needs no namespaces
    #[arg(long, requires = "root")]
    pub(crate) without_namespace: bool,
    /// Let the command find the port PATH under another name; repeat it for more
    #[arg(long = "map", value_name = "NAME=PATH")]
    pub(crate) names: Vec<NameMap>,
    /// Load no library into the command, so that it opens ports only where they are mounted
    #[arg(long, conflicts_with = "names")]
    pub(crate) no_preload: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// Options of the hidden `confined`.
#[derive(Debug, Args)]
pub(crate) struct ConfinedOptions {
    /// The node's directory
    #[arg(long, value_name = "DIR")]
    pub(crate) node: PathBuf,
    /// What stands for it
    #[arg(long, value_name = "DIR")]
    pub(crate) door: PathBuf,
    /// The root, relative to what a mount of the node shows
    #[arg(long, value_name = "DIR")]
    pub(crate) root: PathBuf,
    /// The node's directory is a door's itself
    #[arg(long)]
    pub(crate) nested: bool,
    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}
