//! The two ends of a load in the lab: a server that counts what it executed, a client that sends without a
//! break and says when it got on and when it did not. Beside them a plain TCP stream, for comparison.
//!
//! `cargo xtask lab` starts them on the hosts; the times they print are of the machine's monotonic clock, which all
//! its network namespaces share.
#![expect(clippy::print_stdout, reason = "a program that reports")]

mod call;
mod executed;
mod serve;
mod stream;
mod timeline;

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Load between two hosts of the lab.
#[derive(Parser)]
#[command(name = "load")]
struct Options {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Receive messages, remember which, answer
    Serve,
    /// Send messages until standard input ends
    Call(call::CallOptions),
    /// Take TCP connections and what they bring
    Sink { at: SocketAddr },
    /// Send over one TCP connection until standard input ends
    Source {
        to: SocketAddr,
        /// Over as many links as the endpoints of the host allow
        #[arg(long)]
        multipath: bool,
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    let outcome = match Options::parse().role {
        Role::Serve => serve::run(),
        Role::Call(options) => call::run(&options),
        Role::Sink { at } => stream::sink(at),
        Role::Source {
            to,
            multipath,
            seconds,
        } => stream::source(to, multipath, seconds),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What goes wrong here is told to a person; there is nobody to match on it.
type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
