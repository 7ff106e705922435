//! The command line: the one definition that parsing, help, man pages and completions share.

pub(crate) mod examples;
mod names;
mod rights;
mod serial;

use std::ffi::OsString;
use std::path::PathBuf;

use abi::system::Detect;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use examples::{
    COMPLETION_EXAMPLES, CP_EXAMPLES, EXPORT_SYNTAX, FIND_EXAMPLES, FIRST_STEPS, INVITE_EXAMPLES,
    LINKS_EXAMPLES, LN_EXAMPLES, LS_EXAMPLES, MOUNT_EXAMPLES, NODE_EXAMPLES, PORT_EXAMPLES,
    PREFIXES_EXAMPLES, RUN_EXAMPLES, SERIAL_SYNTAX, SERVE_EXPORT_EXAMPLES, SERVE_RFC2217_EXAMPLES,
    SERVE_SERIAL_EXAMPLES, STATUS_EXAMPLES, TREE_EXAMPLES, TTY_EXAMPLES, UP_EXAMPLES, WHO_EXAMPLES,
    WRITE_EXAMPLES,
};

pub(crate) use names::{
    ConfinedOptions, FindOptions, FindType, LnOptions, LsOptions, PrefixesOptions, RmOptions,
    RunOptions, StatOptions, TreeOptions, WhoOptions,
};
pub(crate) use rights::{RightsOptions, RightsVerb, WhyOptions};
pub(crate) use serial::{BrokerOptions, PortOptions, Rfc2217Options, TtyOptions};

use crate::demo::DemoOptions;
use crate::machine;
use crate::offer::{ExportOffer, SerialOffer};
use crate::table::TableOptions;

/// Every device, file and service of every machine, under one path: /net/NODE/...
#[derive(Debug, Parser)]
#[command(
    name = "slashnet",
    version,
    about = "Every device, file and service of every machine, under one path: /net/NODE/...",
    after_help = FIRST_STEPS,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalOptions,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Options that every verb understands.
#[derive(Debug, Clone, Args)]
pub(crate) struct GlobalOptions {
    /// State and sockets of the node to use, when several run on one machine
    #[arg(long, global = true, env = "SLASHNET_DIR", value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,

    /// What to log: error, warn, info, debug, trace, or a filter such as host=debug,warn
    #[arg(
        long,
        global = true,
        env = "SLASHNET_LOG",
        value_name = "FILTER",
        value_parser = crate::logging::checked,
        hide_short_help = true
    )]
    pub(crate) log: Option<String>,

    /// Process id of the supervisor that this process must not outlive
    #[arg(long, hide = true, value_name = "PID")]
    pub(crate) supervised: Option<i32>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make this machine a node: daemon, resource managers and mount in one command
    #[command(after_help = UP_EXAMPLES)]
    Up(UpOptions),
    /// Stop what `slashnet up` runs, and wait until it has ended
    Down,
    /// Show the node on one screen: since when, mounts, links, peers, managers
    #[command(after_help = STATUS_EXAMPLES)]
    Status(TableOptions),
    /// Run the node daemon alone
    #[command(after_help = NODE_EXAMPLES)]
    Node(NodeOptions),
    /// Run one resource manager alone
    #[command(subcommand)]
    Serve(ServeVerb),
    /// Mount the path space at DIR, for programs that know nothing of Slashnet
    #[command(after_help = MOUNT_EXAMPLES)]
    Mount(MountOptions),
    /// Print a code with which another machine can join, once
    #[command(after_help = INVITE_EXAMPLES)]
    Invite(InviteOptions),
    /// Trust the node that printed CODE, and be trusted by it
    Join(JoinOptions),
    /// Trust a node no longer, and end its sessions
    Forget(ForgetOptions),
    /// List the nodes this one knows
    Nodes(TableOptions),
    /// List the network links this node uses, and how other nodes are reached over them
    #[command(after_help = LINKS_EXAMPLES)]
    Links(LinksOptions),
    /// List which processes of this node talk to which processes anywhere
    Sessions(TableOptions),
    /// List the processes that use this node
    Ps(TableOptions),
    /// List who owns which path: nd, pid, chid, handle, type, path
    #[command(after_help = PREFIXES_EXAMPLES)]
    Prefixes(PrefixesOptions),
    /// List a directory
    #[command(after_help = LS_EXAMPLES)]
    Ls(LsOptions),
    /// Draw what is below a path
    #[command(after_help = TREE_EXAMPLES)]
    Tree(TreeOptions),
    /// Find names below a path
    #[command(after_help = FIND_EXAMPLES)]
    Find(FindOptions),
    /// Show which manager, process, channel and node serve a path, the first one first
    #[command(after_help = WHO_EXAMPLES)]
    Who(WhoOptions),
    /// Print files and devices to standard output
    Cat(CatOptions),
    /// Copy files, also between nodes; a side that exists under /net or a manager is Slashnet's
    #[command(after_help = CP_EXAMPLES)]
    Cp(CpOptions),
    /// Print everything known about a path
    Stat(StatOptions),
    /// Write standard input, or TEXT, into a file or device
    #[command(after_help = WRITE_EXAMPLES)]
    Write(WriteOptions),
    /// Remove files, or empty directories with -d
    Rm(RmOptions),
    /// Make directories
    Mkdir(PathsOptions),
    /// Rename within one manager
    Mv(FromToOptions),
    /// Make a link in the process manager (-sP), as `ln -sP` does under QNX
    #[command(after_help = LN_EXAMPLES)]
    Ln(LnOptions),
    /// Show how a serial port is set and who has it, or take it over from them
    #[command(after_help = PORT_EXAMPLES)]
    Port(PortOptions),
    /// Give programs of this machine a terminal that is a port of any node
    #[command(after_help = TTY_EXAMPLES)]
    Tty(TtyOptions),
    /// Run a command that can open ports by their paths, or with a part of the path space for its whole
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunOptions),
    /// Serve the preload library of `run`
    #[command(hide = true)]
    PreloadBroker(BrokerOptions),
    /// Become the command of `run --root`
    #[command(hide = true)]
    Confined(ConfinedOptions),
    /// List or change who may do what on this node
    #[command(after_help = rights::RIGHTS_EXAMPLES, args_conflicts_with_subcommands = true)]
    Rights(RightsOptions),
    /// Say whether a user of a node may do something here, and which rule decides it
    #[command(after_help = rights::WHY_EXAMPLES)]
    Why(WhyOptions),
    /// Show how something works, step by step
    #[command(subcommand)]
    Trace(TraceVerb),
    /// Show everything on this one machine: two nodes, two links, a serial port, no root needed
    Demo(DemoOptions),
    /// Print a completion script for a shell
    #[command(after_help = COMPLETION_EXAMPLES)]
    Completion {
        /// For which shell
        shell: Shell,
    },
    /// Print what the last word of a command line may become
    #[command(hide = true)]
    Complete(CompleteOptions),
    /// Print the version
    Version,
    /// Write the manual pages of all verbs into DIR
    #[command(hide = true)]
    Man {
        /// Where the pages go; it must exist
        dir: PathBuf,
    },
    /// The other side of the demo's measurements
    #[command(hide = true)]
    Peer(PeerOptions),
}

/// Which manager to run alone.
#[derive(Debug, Subcommand)]
pub(crate) enum ServeVerb {
    /// Offer terminal devices
    #[command(after_help = SERVE_SERIAL_EXAMPLES)]
    Serial {
        /// Device, path and options
        #[arg(required = true, value_name = SERIAL_SYNTAX)]
        offers: Vec<SerialOffer>,
    },
    /// Let programs that speak RFC 2217 (Telnet with COM port control) use ports
    #[command(after_help = SERVE_RFC2217_EXAMPLES)]
    Rfc2217(Rfc2217Options),
    /// Offer directories
    #[command(after_help = SERVE_EXPORT_EXAMPLES)]
    Export {
        /// Directory, path and options
        #[arg(required = true, value_name = EXPORT_SYNTAX)]
        offers: Vec<ExportOffer>,
    },
}

/// What can be traced.
#[derive(Debug, Subcommand)]
pub(crate) enum TraceVerb {
    /// Show who was asked in an open, which path each one saw, and what it answered
    Open {
        /// The path to open
        path: OsString,
        #[command(flatten)]
        table: TableOptions,
    },
}

/// Name and links of a node.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct NodeOptions {
    /// Name of this node [default: the first label of the host name]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Network interface or address to use, such as eth0, ethernet:eth0 or 192.0.2.7, with options;
    /// repeat it for more links [default: every interface that is up, except loopback]
    #[arg(long = "link", value_name = "LINK[,OPTION...]")]
    pub(crate) links: Vec<String>,

    /// How fast a broken way is to be found: fast in 30 ms, default in 100 ms, relaxed in 500 ms
    #[arg(long, value_name = "SPEED", value_parser = detection())]
    pub(crate) detect: Option<Detect>,

    /// Let all traffic of all programs pass through the daemon's one port, for firewalls
    #[arg(long)]
    pub(crate) one_port: bool,

    /// UDP port of the daemon on every link [default: 41000]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,

    /// A rule of rights, after those that were made while the node ran; repeat it for more
    #[arg(long = "right", value_name = "RULE", value_parser = crate::users::rule)]
    pub(crate) rights: Vec<String>,

    /// Read options from a TOML file; options given here replace what the file says
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Options of `up`.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct UpOptions {
    #[command(flatten)]
    pub(crate) node: NodeOptions,

    /// Offer a terminal device under a path; repeat it for more
    #[arg(long = "serial", value_name = SERIAL_SYNTAX)]
    pub(crate) serials: Vec<SerialOffer>,

    /// Offer a directory under a path, read-only with ',ro'; repeat it for more
    #[arg(long = "export", value_name = EXPORT_SYNTAX)]
    pub(crate) exports: Vec<ExportOffer>,

    /// Mount the path space at DIR [default: /net for root, ~/net otherwise]
    #[arg(long, value_name = "DIR", conflicts_with = "no_mount")]
    pub(crate) mount: Option<PathBuf>,

    /// Mount nothing
    #[arg(long)]
    pub(crate) no_mount: bool,

    /// Go to the background as soon as everything runs
    #[arg(long)]
    pub(crate) detach: bool,

    /// This is the background process of --detach
    #[arg(long, hide = true)]
    pub(crate) detached: bool,
}

/// Options of `mount`.
#[derive(Debug, Args)]
pub(crate) struct MountOptions {
    /// Where; the directory is made if it is missing
    #[arg(value_name = "DIR")]
    pub(crate) point: PathBuf,

    /// Let other users in; the superuser's mount always does, others need user_allow_other in
    /// /etc/fuse.conf
    #[arg(long)]
    pub(crate) allow_other: bool,

    /// Longest time that another node's completed change may stay unseen, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    pub(crate) cache_ms: u64,
}

/// Options of `invite`.
#[derive(Debug, Args)]
pub(crate) struct InviteOptions {
    /// How long the code is good, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600,
          value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) ttl: u32,
}

/// Options of `join`.
#[derive(Debug, Args)]
pub(crate) struct JoinOptions {
    /// What `slashnet invite` printed on the other machine; '-' reads it from standard input, unseen by 'ps'
    pub(crate) code: String,
}

/// Options of `forget`.
#[derive(Debug, Args)]
pub(crate) struct ForgetOptions {
    /// Name of the node
    pub(crate) node: String,
}

/// Options of `links`.
#[derive(Debug, Args)]
pub(crate) struct LinksOptions {
    /// Print it again and again, every so many seconds [default: 1]; Ctrl-C ends it
    #[arg(short, long, value_name = "SECONDS", num_args = 0..=1, require_equals = true,
          default_missing_value = "1", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) watch: Option<u32>,
    #[command(flatten)]
    pub(crate) table: TableOptions,
}

/// Options of `cat`.
#[derive(Debug, Args)]
pub(crate) struct CatOptions {
    /// Stop after this many bytes of each file, which a device may need: it has no end
    #[arg(short, long, value_name = "BYTES")]
    pub(crate) count: Option<u64>,
    /// What to print
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<OsString>,
}

/// Options of `cp`.
#[derive(Debug, Args)]
pub(crate) struct CpOptions {
    /// Copy directories and what is in them
    #[arg(short, long)]
    pub(crate) recursive: bool,
    /// What to copy; more than one needs a directory as target
    #[arg(required = true, num_args = 1.., value_name = "SOURCE")]
    pub(crate) sources: Vec<OsString>,
    /// Where to
    #[arg(required = true, value_name = "TARGET")]
    pub(crate) target: OsString,
}

/// Options of `write`.
#[derive(Debug, Args)]
pub(crate) struct WriteOptions {
    /// Add to the end of a file
    #[arg(short, long)]
    pub(crate) append: bool,
    /// Where to write; a file is created, and made empty unless -a is given
    pub(crate) path: OsString,
    /// What to write, with a line end after it [default: standard input as it is]
    pub(crate) text: Option<OsString>,
}

/// Some paths.
#[derive(Debug, Args)]
pub(crate) struct PathsOptions {
    /// One or more paths
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<OsString>,
}

/// Two paths.
#[derive(Debug, Args)]
pub(crate) struct FromToOptions {
    /// The path as it is
    pub(crate) from: OsString,
    /// The path as it shall be
    pub(crate) to: OsString,
}

/// Options of the hidden `complete`.
#[derive(Debug, Args)]
pub(crate) struct CompleteOptions {
    /// The words behind `slashnet`, the last one as far as it is typed
    #[arg(last = true, value_name = "WORD")]
    pub(crate) words: Vec<OsString>,
}

/// Options of the hidden `peer`.
#[derive(Debug, Args)]
pub(crate) struct PeerOptions {
    /// Answer every message at this path
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Option<String>,
    /// Answer every datagram at this address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) udp: Option<std::net::SocketAddr>,
    /// Run on this CPU only
    #[arg(long, value_name = "CPU")]
    pub(crate) cpu: Option<usize>,
}

fn detection() -> impl TypedValueParser<Value = Detect> {
    PossibleValuesParser::new(["fast", "default", "relaxed"])
        .map(|word| machine::detection(&word).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_and_option_is_explained() {
        fn check(command: &clap::Command) {
            assert!(
                command.get_about().is_some(),
                "{} says nothing",
                command.get_name()
            );
            for argument in command.get_arguments() {
                let explained = argument.get_help().is_some();
                assert!(explained, "{} of {}", argument.get_id(), command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
