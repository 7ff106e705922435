//! Serial ports on the command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use serial_manager::terminal::Frame;

use crate::name_map::NameMap;

/// Options of the hidden `preload-broker`.
#[derive(Debug, Args)]
pub(crate) struct BrokerOptions {
    /// The process that its programs descend from
    #[arg(long, value_name = "PID")]
    pub(crate) program: i32,
    /// A name that stands for a port
    #[arg(long = "map", value_name = "NAME=PATH")]
    pub(crate) names: Vec<NameMap>,
    /// This is the process that serves
    #[arg(long)]
    pub(crate) serving: bool,
}

/// Options of `tty`.
#[derive(Debug, Args)]
pub(crate) struct TtyOptions {
    /// The port, such as /net/lab2/dev/ser1
    #[arg(value_name = "PORT")]
    pub(crate) port: OsString,
    /// Name the terminal so, by a symbolic link that is removed at the end
    #[arg(long, value_name = "PATH")]
    pub(crate) link: Option<PathBuf>,
    /// Size and parity of a frame, such as 7e1, which programs cannot set on a pseudo terminal [default: as
    /// the port is set]
    #[arg(long, value_name = "FRAME")]
    pub(crate) frame: Option<Frame>,
    /// Let programs keep the terminal while the port is away; bytes under way may be lost
    /// [default: hang up, as if an adapter was pulled out]
    #[arg(long)]
    pub(crate) hold: bool,
    /// Refuse when somebody wants to take the port over
    #[arg(long)]
    pub(crate) keep: bool,
    /// Print what happens as JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `serve rfc2217`.
#[derive(Debug, Args)]
pub(crate) struct Rfc2217Options {
    /// Where to listen; further ports get the TCP ports behind it. There is no authentication:
    /// whoever reaches it has the ports
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:2217")]
    pub(crate) listen: std::net::SocketAddr,
    /// The ports, such as /net/lab2/dev/ser1
    #[arg(required = true, value_name = "PORT")]
    pub(crate) ports: Vec<OsString>,
}

/// Options of `port`.
#[derive(Debug, Args)]
pub(crate) struct PortOptions {
    /// The port, such as /net/lab2/dev/ser1
    #[arg(value_name = "PORT")]
    pub(crate) port: OsString,
    /// Make those who are in the way lose it, unless one of them refuses; it is kept for you for 10 seconds
    #[arg(long)]
    pub(crate) take_over: bool,
    /// How long they may think it over, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5, requires = "take_over",
          value_parser = clap::value_parser!(u32).range(1..=60))]
    pub(crate) patience: u32,
    /// Do not ask them; only for the superuser, the port's owner, and who takes it from himself
    #[arg(long, requires = "take_over")]
    pub(crate) force: bool,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
