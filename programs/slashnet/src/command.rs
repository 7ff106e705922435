//! The command line: the one definition that parsing, help, man pages and completions share.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::demo::DemoOptions;
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
    /// List the network links this node uses
    Links(TableOptions),
    /// List which processes of this node talk to which processes anywhere
    Sessions(TableOptions),
    /// List the processes that use this node
    Ps(TableOptions),
    /// List who owns which path: nd, pid, chid, handle, type, path
    #[command(after_help = PREFIXES_EXAMPLES)]
    Prefixes(PrefixesOptions),
    /// List a directory
    Ls(LsOptions),
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

    /// Network interface or address to use, such as eth0 or 192.0.2.7; repeat it for more links
    /// [default: every interface that is up, except loopback]
    #[arg(long = "link", value_name = "IF_OR_ADDR")]
    pub(crate) links: Vec<String>,

    /// UDP port of the daemon on every link [default: 41000]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,

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
    /// What `slashnet invite` printed on the other machine; '-' reads it from standard input
    pub(crate) code: String,
}

/// Options of `forget`.
#[derive(Debug, Args)]
pub(crate) struct ForgetOptions {
    /// Name of the node
    pub(crate) node: String,
}

/// Options of `prefixes`.
#[derive(Debug, Args)]
pub(crate) struct PrefixesOptions {
    /// Ask the process manager of this node
    #[arg(short, long, value_name = "NODE")]
    pub(crate) node: Option<String>,
    #[command(flatten)]
    pub(crate) table: TableOptions,
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
    /// Show a directory itself, not what is in it
    #[arg(short, long)]
    pub(crate) directory: bool,
    #[command(flatten)]
    pub(crate) table: TableOptions,
    /// What to list
    #[arg(value_name = "PATH", default_value = "/")]
    pub(crate) paths: Vec<OsString>,
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

/// Options of `stat`.
#[derive(Debug, Args)]
pub(crate) struct StatOptions {
    /// Follow symbolic links
    #[arg(short = 'L', long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) table: TableOptions,
    /// What to look at
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<OsString>,
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

const SERIAL_SYNTAX: &str = "DEVICE=PATH[,OPTION...]";
const EXPORT_SYNTAX: &str = "DIRECTORY=PATH[,ro]";

const FIRST_STEPS: &str = "\
First steps:
  slashnet demo                                   everything on this one machine
  lab1# slashnet up                               this machine is a node; /net is mounted
  lab2# slashnet up --serial /dev/ttyUSB0=/dev/ser1 --export /srv=/srv
  lab1$ slashnet invite                           prints a code that is good once
  lab2$ slashnet join CODE                        the two machines trust each other
  lab1$ ls /net/lab2/srv; echo ATZ > /net/lab2/dev/ser1

Exit status: 0 done, 1 failed, 2 used wrongly. More in slashnet(7).";

const UP_EXAMPLES: &str = "\
Examples:
  slashnet up --link eth0 --link wlan0
  slashnet up --serial /dev/ttyUSB0=/dev/ser1,115200 --export /srv=/srv,ro
  slashnet up --config /etc/slashnet.toml --detach

The parts run as child processes and are restarted if they end. SIGINT, SIGTERM and SIGHUP unmount
and stop them. Serial options: BAUD, FRAME such as 8n1, rtscts, xonxoff, noflow, mode=OCTAL.";

const NODE_EXAMPLES: &str = "\
Examples:
  slashnet node --name lab1 --link 127.77.0.1 --dir /tmp/lab1";

const MOUNT_EXAMPLES: &str = "\
Examples:
  slashnet mount ~/net
  fusermount3 -u ~/net        ends it, as Ctrl-C does";

const INVITE_EXAMPLES: &str = "\
Examples:
  lab1$ slashnet invite
  lab2$ slashnet join CODE";

const PREFIXES_EXAMPLES: &str = "\
Examples:
  slashnet prefixes -n lab2";

const CP_EXAMPLES: &str = "\
A path that begins with '.' or that no resource manager owns is a file of this machine.

Examples:
  slashnet cp firmware.bin /net/lab2/srv/
  slashnet cp -r ./build /net/lab2/srv/";

const WRITE_EXAMPLES: &str = "\
Examples:
  slashnet write /net/lab2/dev/ser1 ATZ
  slashnet write -a /net/lab2/srv/log < today.log";

const LN_EXAMPLES: &str = "\
Examples:
  slashnet ln -sP /net/lab2/dev/ser1 /dev/modem";

const SERVE_SERIAL_EXAMPLES: &str = "\
Examples:
  slashnet serve serial /dev/ttyUSB0=/dev/ser1,115200,8n1,rtscts,mode=660";

const SERVE_EXPORT_EXAMPLES: &str = "\
Examples:
  slashnet serve export /srv=/srv,ro /home/ann=/home/ann";

const COMPLETION_EXAMPLES: &str = "\
Examples:
  slashnet completion bash > ~/.local/share/bash-completion/completions/slashnet";

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
