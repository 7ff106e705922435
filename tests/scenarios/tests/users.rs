//! Users of one node at a server of another: each is seen as who he is.

// Setting up a story: what cannot be set up fails the test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use abi::{Errno, Gid, OpenFlags, Uid};
use client::Namespace;
use resmgr::{Attributes, Resource, Running, Server};
use slashnet_scenarios::actor::Actor;
use tempfile::TempDir;
use testkit::Cluster;

struct Anything;

impl Resource for Anything {}

/// lab2 has a device `/dev/of-UID` for each owner, which its owner alone may open.
struct Lab {
    program: PathBuf,
    cluster: Cluster,
    _devices: Running,
    _place: TempDir,
}

fn lab(owners: &[u32]) -> Lab {
    let cluster = Cluster::start(["lab1", "lab2"]);
    // Everybody may reach the sockets and the program, as where a system is installed.
    let everybody = || Permissions::from_mode(0o755);
    fs::set_permissions(cluster["lab1"].directory().parent().unwrap(), everybody()).unwrap();
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), everybody()).unwrap();
    let program = place.path().join("actor");
    fs::copy(env!("CARGO_BIN_EXE_slashnet-actor"), &program).unwrap();
    let server = Server::new(&cluster["lab2"].endpoint()).unwrap();
    let devices = owners.iter().fold(server, |server, &owner| {
        let attributes = Attributes::device(0o600).owner(Uid(owner), Gid(owner));
        server
            .attach(&format!("/dev/of-{owner}"), attributes, Anything)
            .unwrap()
    });
    Lab {
        program,
        cluster,
        _devices: devices.start().unwrap(),
        _place: place,
    }
}

impl Lab {
    /// A program on `node` that opens a path again and again, run by this user.
    fn opener(&self, node: &str, path: &str, uid: u32) -> Actor {
        self.opener_as(node, path, uid, None)
    }

    /// The same, which says that it opens for another user.
    fn opener_as(&self, node: &str, path: &str, uid: u32, other: Option<u32>) -> Actor {
        let directory: &Path = self.cluster[node].directory();
        let mut command = Command::new(&self.program);
        command.arg("open").arg(directory).arg(path);
        command.args(other.map(|other| other.to_string()));
        if rustix::process::geteuid().is_root() {
            command.uid(uid).gid(uid);
        }
        let actor = Actor::run(command);
        assert_eq!(actor.line(), "ready");
        actor
    }
}

#[test]
fn every_user_opens_his_own_devices_of_another_node_and_no_others() {
    let me = rustix::process::geteuid();
    let users = if me.is_root() {
        vec![1234, 1235]
    } else {
        vec![me.as_raw()]
    };
    let owners = [users[0], users[0] + 1];
    let lab = lab(&owners);
    for (node, prefix) in [("lab1", "/net/lab2"), ("lab2", ""), ("lab2", "/net/lab2")] {
        for owner in owners {
            let path = format!("{prefix}/dev/of-{owner}");
            only_its_owner_opens(&lab, node, &path, owner, &users);
        }
    }
}

fn only_its_owner_opens(lab: &Lab, node: &str, path: &str, owner: u32, users: &[u32]) {
    // At the same time, so that one's session could be taken for another's.
    let mut openers: Vec<_> = users
        .iter()
        .map(|user| (*user, lab.opener(node, path, *user)))
        .collect();
    for _ in 0..2 {
        for (user, opener) in &mut openers {
            opener.order("open");
            let expected = if *user == owner { "done" } else { "EACCES" };
            assert_eq!(opener.line(), expected, "{user} from {node}: {path}");
        }
    }
}

#[test]
fn only_the_node_s_owner_may_speak_for_others_and_root_is_nobody_on_another_node() {
    let me = rustix::process::geteuid();
    let owner = me.as_raw() + 1000;
    let lab = lab(&[owner, 0]);
    let path = format!("/net/lab2/dev/of-{owner}");
    let answer = |uid, path: &str| {
        let mut opener = lab.opener_as("lab1", path, uid, Some(owner));
        opener.order("open");
        opener.line()
    };
    // Who runs a node has its keys and could say anything.
    assert_eq!(answer(me.as_raw(), &path), "done");
    assert_eq!(answer(me.as_raw(), "/net/lab2/dev/of-0"), "EACCES");
    if me.is_root() {
        assert_eq!(answer(owner + 1, &path), "EPERM");
    }
    let open = |node: &str, path: &str| {
        let namespace = Namespace::of(&lab.cluster[node].endpoint());
        namespace.open(path, OpenFlags::READ).map(drop)
    };
    assert_eq!(open("lab1", "/net/lab2/dev/of-0"), Err(Errno::EACCES));
    let at_home = if me.is_root() {
        Ok(())
    } else {
        Err(Errno::EACCES)
    };
    assert_eq!(open("lab2", "/dev/of-0"), at_home);
}
