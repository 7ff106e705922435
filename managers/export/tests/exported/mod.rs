//! A tree in a new directory and its clients, for several tests.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test uses a part"
)]

use std::path::Path;

use abi::connect::{ConnectType, Extra};
use abi::flags::mode::S_IFDIR;
use abi::io::{Entries, Read, ReadDirectory, Request, Stat};
use abi::{Decode, Handle, OpenFlags, Result};
use export_manager::{Export, Tree};
use resmgr::Attributes;
use resmgr::testing::{TestClient, TestFile, TestManager};
use tempfile::TempDir;

pub const READ: OpenFlags = OpenFlags::READ;
pub const WRITE: OpenFlags = OpenFlags::WRITE;
pub const BOTH: OpenFlags = OpenFlags::READ_WRITE;
pub const CREATE: OpenFlags = OpenFlags::CREATE;
pub const PATH: OpenFlags = OpenFlags::PATH;
pub const NOFOLLOW: OpenFlags = OpenFlags::NOFOLLOW;

pub fn serve(directory: &Path, read_only: bool) -> TestManager {
    let tree = Tree::open(directory, read_only).unwrap();
    TestManager::new(Attributes::directory(0o755), Export::new(tree))
}

/// A tree in a new directory, and a client of the user that runs the test.
pub fn exported() -> (TempDir, TestClient) {
    let directory = tempfile::tempdir().unwrap();
    let manager = serve(directory.path(), false);
    (directory, me(&manager))
}

pub fn me(manager: &TestManager) -> TestClient {
    manager.client(
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    )
}

pub fn stat_of(client: &TestClient, path: &str, flags: OpenFlags) -> Result<Stat> {
    let (_, body) = client.combined(path, PATH | flags, &Request::Stat)?;
    Ok(Stat::from_bytes(&body)?)
}

pub fn names_in(client: &TestClient, path: &str, nbytes: u32) -> Vec<String> {
    let directory = client.open(path, READ | OpenFlags::DIRECTORY).unwrap();
    let (mut names, mut cookie) = (Vec::new(), 0);
    loop {
        let list = ReadDirectory {
            cookie,
            nbytes,
            with_stat: false,
        };
        let (count, body) = directory.ask(&Request::ReadDirectory(list)).unwrap();
        if count == 0 {
            return names;
        }
        for entry in Entries::new(&body) {
            let entry = entry.unwrap();
            names.push(String::from_utf8(entry.name.to_vec()).unwrap());
            cookie = entry.next;
        }
    }
}

pub fn unlink(client: &TestClient, path: &str) -> Result {
    client
        .path(ConnectType::Unlink, path, 0, Extra::None)
        .map(drop)
}

pub fn rmdir(client: &TestClient, path: &str) -> Result {
    client
        .path(ConnectType::Unlink, path, S_IFDIR, Extra::None)
        .map(drop)
}

pub fn mkdir(client: &TestClient, path: &str, mode: u32) -> Result {
    client
        .path(ConnectType::Mknod, path, S_IFDIR | mode, Extra::None)
        .map(drop)
}

pub fn rename(client: &TestClient, old: &str, new: &str) -> Result {
    let extra = Extra::Rename {
        path: old.as_bytes(),
        handle: Handle(1),
    };
    client.path(ConnectType::Rename, new, 0, extra).map(drop)
}

pub fn read_at(file: &TestFile, offset: u64, nbytes: u32) -> Result<Vec<u8>> {
    file.ask(&Request::Read(Read {
        nbytes,
        offset: Some(offset),
    }))
    .map(|(_, bytes)| bytes)
}
