//! A socket where a node is expected, and whose it is.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(
    clippy::print_stdout,
    reason = "one process of the test speaks to the other"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use abi::Errno;
use abi::system::SOCKET_NAME;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept, bind, listen, recv, socket_with,
};
use slashnet_ipc::Endpoint;

/// An ordinary user of Debian who owns nothing.
const NOBODY: u32 = 65_534;
const DIRECTORY: &str = "SOCKET_OWNER_DIRECTORY";

/// What this program is when it runs as another user: it takes one client, and ends when that has asked something.
#[test]
fn another_user_listens_where_a_client_looks_for_its_node() {
    match std::env::var_os(DIRECTORY) {
        Some(directory) => take_a_client(Path::new(&directory)),
        None => somebody_listens(),
    }
}

fn take_a_client(directory: &Path) {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    let path = directory.join(SOCKET_NAME);
    bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&socket, 1).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    println!("\nready");
    let client = accept(&socket).unwrap();
    let (_, heard) = recv(&client, &mut [0; 64][..], rustix::net::RecvFlags::empty()).unwrap();
    println!("\nheard {heard}");
}

fn somebody_listens() {
    let is_root = rustix::process::geteuid().is_root();
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // The build directory may be closed to others.
    let program = place.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let directory = place.path().join("node");
    fs::create_dir(&directory).unwrap();
    let mut command = Command::new(&program);
    command
        .args(["--nocapture", "another_user_listens"])
        .env(DIRECTORY, &directory)
        .current_dir("/")
        .stdout(Stdio::piped());
    if is_root {
        chown(&directory, Some(NOBODY), Some(NOBODY)).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut listener = command.spawn().unwrap();
    let mut said = BufReader::new(listener.stdout.take().unwrap());
    let mut line = String::new();
    while line.trim() != "ready" {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "it does not listen");
    }
    let refused = Endpoint::connect(&directory).map(drop).unwrap_err();
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(listener.wait().unwrap().success());
    if is_root {
        assert_eq!(refused, Errno::EACCES);
        assert!(rest.contains("heard 0"), "it was told something: {rest}");
    } else {
        assert_ne!(refused, Errno::EACCES);
        assert!(!rest.contains("heard 0"), "it was told nothing: {rest}");
    }
}
