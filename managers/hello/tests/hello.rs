//! The program itself, on a real node, read from that node and from another.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::Read;
use std::process::{Child, Command};

use abi::{Errno, OpenFlags};
use client::Namespace;
use testkit::{Cluster, until};

/// The program; killed when dropped.
struct Hello(Child);

impl Drop for Hello {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn thirteen_lines_are_a_device_of_all_nodes_until_they_end() {
    let lab = Cluster::start(["lab1", "lab2"]);
    let program = Command::new(env!("CARGO_BIN_EXE_slashnet-hello"))
        .env("SLASHNET_DIR", lab["lab2"].directory())
        .spawn();
    let mut hello = Hello(program.unwrap());
    let near = Namespace::of(&lab["lab2"].endpoint());
    let far = Namespace::of(&lab["lab1"].endpoint());
    until("the path is there", || near.stat("/dev/hello").is_ok());
    for (namespace, path) in [(&near, "/dev/hello"), (&far, "/net/lab2/dev/hello")] {
        let mut file = namespace.open(path, OpenFlags::READ).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello, world\n");
        assert_eq!(
            namespace.stat(path).unwrap().mode,
            abi::flags::mode::S_IFCHR | 0o444
        );
        // qnx: P46
        assert_eq!(namespace.unlink(path), Err(Errno::ENOSYS));
    }
    let open = far.open("/net/lab2/dev/hello", OpenFlags::READ).unwrap();
    hello.0.kill().unwrap();
    let dead = open.read(&mut [0; 10]);
    assert!(matches!(dead, Err(Errno::ESRCH | Errno::EBADF)), "{dead:?}");
    until("the path is gone", || {
        far.stat("/net/lab2/dev/hello") == Err(Errno::ENOENT)
    });
    assert_eq!(near.stat("/dev/hello"), Err(Errno::ENOENT));
}
