//! How often a mount asks for a listing that it knows already.

// Setting up a story: what cannot be set up fails the test.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use abi::devctl::{BrokenLeases, DIRECTORY_LEASE, LEASE_NEWS};
use abi::io::{Entry, Stat};
use client::Namespace;
use mount::{Mount, Options};
use resmgr::{
    Answer, Attributes, DevctlCall, DevctlRequest, OpenFile, ReadDirectoryRequest, Resource,
    Server, WaitQueue,
};
use slashnet_scenarios::until;
use testkit::Cluster;

/// A directory that never changes, and counts how often it is listed.
struct Counting {
    listed: Arc<AtomicU32>,
    news: WaitQueue<DevctlCall<BrokenLeases>>,
}

const NAMES: [&str; 3] = ["one", "two", "three"];

impl Resource for Counting {
    fn devctl(&self, _file: &OpenFile, devctl: DevctlRequest) -> Answer {
        devctl
            .on(DIRECTORY_LEASE, |()| Ok(1))
            .take(LEASE_NEWS, |call, ()| self.news.park(call))
            .otherwise(|devctl| devctl.fail(abi::Errno::ENOTTY))
    }

    fn read_directory(&self, _file: &OpenFile, mut read: ReadDirectoryRequest) -> Answer {
        self.listed.fetch_add(1, Ordering::Relaxed);
        for (number, name) in (7..).zip(NAMES) {
            let stat = Stat {
                ino: number,
                mode: 0o100_644,
                nlink: 1,
                ..Stat::default()
            };
            read.add(&Entry {
                ino: number,
                next: number,
                mode: stat.mode,
                name: name.as_bytes(),
                stat: Some(stat),
            });
        }
        read.finish(Ok(true))
    }
}

#[test]
fn a_directory_that_was_learnt_for_lookups_is_listed_without_asking_again() {
    let cluster = Cluster::start(["lab1", "lab2"]);
    let listed = Arc::new(AtomicU32::new(0));
    let counting = Counting {
        listed: Arc::clone(&listed),
        news: WaitQueue::new(),
    };
    let server = Server::new(&cluster["lab2"].endpoint()).unwrap();
    let attributes = Attributes::directory(0o755);
    let running = server.attach("/still", attributes, counting).unwrap();
    let _running = running.start().unwrap();
    let place = tempfile::tempdir().unwrap();
    let namespace = Namespace::of(&cluster["lab1"].endpoint());
    let mount = Mount::start(Options::new(namespace, place.path().join("net"))).unwrap();
    let still = place.path().join("net/lab2/still");
    // The lease ends after a second without news, so everything is in one story that is short.
    until("it is leased", || {
        assert!(fs::metadata(still.join("none")).is_err());
        mount.leased_directories() > 0
    });
    let before = listed.load(Ordering::Relaxed);
    let names = fs::read_dir(&still).unwrap();
    assert_eq!(names.count(), NAMES.len());
    assert_eq!((before, listed.load(Ordering::Relaxed)), (1, 1));
}
