//! An example as a process, on one of two real nodes.

use std::process::{Child, Command};

use client::Namespace;
use testkit::{Cluster, until};

/// Two nodes, and the program on the second.
pub(crate) struct Example {
    /// Sees the program from its own node.
    pub(crate) near: Namespace,
    /// Sees the program from the other node.
    pub(crate) far: Namespace,
    /// As `far`, in another client as far as the program can tell.
    pub(crate) other: Namespace,
    program: Child,
    _nodes: Cluster,
}

impl Example {
    /// Starts `program` and waits until it serves `path`.
    pub(crate) fn start(program: &str, arguments: &[&str], path: &str) -> Self {
        let nodes = Cluster::start(["lab1", "lab2"]);
        let child = Command::new(program)
            .args(arguments)
            .env("SLASHNET_DIR", nodes["lab2"].directory())
            .spawn();
        let example = Self {
            near: Namespace::of(&nodes["lab2"].endpoint()),
            far: Namespace::of(&nodes["lab1"].endpoint()),
            other: Namespace::of(&nodes["lab1"].endpoint()),
            program: child.unwrap(),
            _nodes: nodes,
        };
        until("the path is there", || example.near.stat(path).is_ok());
        example
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
