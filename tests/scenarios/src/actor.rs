//! Another process of a story: the program `slashnet-actor` in one of its roles.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use abi::{ChannelId, Pid};
use ipc::Connection;
use testkit::Member;

use crate::PATIENCE;

/// A running actor; killed when dropped.
#[derive(Debug)]
pub struct Actor {
    child: Child,
    orders: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Actor {
    /// Starts `program` with these arguments; what it prints is to be read line by line.
    pub fn start<A: AsRef<OsStr>>(program: &Path, arguments: &[A]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments);
        Self::run(command)
    }

    /// Starts `program` in a role on a node.
    pub fn on(node: &Member, program: &str, role: &str, more: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.arg(role).arg(node.directory()).args(more);
        Self::run(command)
    }

    /// Starts a command that runs an actor in the end.
    pub fn run(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let orders = child.stdin.take();
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            orders,
            lines,
        }
    }

    /// The next line that it prints; waits for it.
    pub fn line(&self) -> String {
        let line = self.lines.recv_timeout(PATIENCE);
        line.unwrap_or_else(|_| panic!("the actor says nothing"))
    }

    /// The next line, which must begin with `word`; returns the numbers behind it.
    pub fn numbers(&self, word: &str) -> Vec<u32> {
        let line = self.line();
        let rest = line.strip_prefix(word);
        let rest = rest.unwrap_or_else(|| panic!("the actor says {line}, not {word}"));
        rest.split_whitespace()
            .map(|number| number.parse().unwrap())
            .collect()
    }

    /// Where it serves: waits until it says so, which it does once.
    pub fn place(&self) -> (Pid, ChannelId) {
        let numbers = self.numbers("ready ");
        (Pid(numbers[0]), ChannelId(numbers[1]))
    }

    /// Gives it an order: one line on its standard input.
    pub fn order(&mut self, line: &str) {
        let orders = self.orders.as_mut().unwrap();
        writeln!(orders, "{line}").unwrap();
    }

    /// Its process id.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Ends it by SIGKILL and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many messages an actor that counts has executed, and how many of them more than once.
#[must_use]
pub fn tally(connection: &Connection) -> (i64, u64) {
    let mut again = [1; 8];
    let question = u64::MAX.to_le_bytes();
    let answer = connection.send(&question, &mut again).unwrap();
    (answer.status, u64::from_le_bytes(again))
}
