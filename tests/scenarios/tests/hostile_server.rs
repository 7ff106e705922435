//! A server of another node that does not keep to what is agreed on, and a mount that its users go on working with.

// Setting up a story: what cannot be set up fails the test.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use abi::devctl::{BrokenLeases, DIRECTORY_LEASE, LEASE_NEWS};
use abi::io::Entry;
use client::Namespace;
use mount::{Mount, Options};
use resmgr::{
    Answer, Attributes, DevctlCall, DevctlRequest, OpenFile, ReadDirectoryRequest, Resource,
    Server, WaitQueue,
};
use slashnet_scenarios::{PATIENCE, until};
use testkit::Cluster;

/// What a hostile server does.
#[derive(Clone, Copy, PartialEq)]
enum Evil {
    /// It leases a directory to nobody, and refuses nobody.
    NeverLeases,
    /// It tells all the time that leases have ended which nobody has.
    TellsWithoutEnd,
    /// Its directory goes on with the same name for ever.
    ListsWithoutEnd,
}

struct Hostile {
    evil: Evil,
    asked: Arc<AtomicU32>,
    leases: WaitQueue<DevctlCall<u64>>,
    news: WaitQueue<DevctlCall<BrokenLeases>>,
}

impl Resource for Hostile {
    fn devctl(&self, _file: &OpenFile, devctl: DevctlRequest) -> Answer {
        devctl
            .take(DIRECTORY_LEASE, |call, ()| match self.evil {
                Evil::NeverLeases => self.leases.park(call),
                _ => call.reply(&1),
            })
            .take(LEASE_NEWS, |call, ()| {
                self.asked.fetch_add(1, Ordering::Relaxed);
                match self.evil {
                    Evil::TellsWithoutEnd => call.reply(&BrokenLeases { numbers: vec![7] }),
                    _ => self.news.park(call),
                }
            })
            .otherwise(|devctl| devctl.fail(abi::Errno::ENOTTY))
    }

    fn read_directory(&self, _file: &OpenFile, mut read: ReadDirectoryRequest) -> Answer {
        if self.evil == Evil::ListsWithoutEnd {
            let entry = Entry {
                ino: 1,
                next: 1,
                mode: 0o040_000,
                name: b".",
                stat: None,
            };
            read.add(&entry);
        }
        read.end()
    }
}

/// lab2 has a hostile server at `/evil`; the story looks at it through a mount on lab1.
fn story(evil: Evil, tell: impl FnOnce(&std::path::Path, &Mount, &AtomicU32)) {
    let cluster = Cluster::start(["lab1", "lab2"]);
    let asked = Arc::new(AtomicU32::new(0));
    let hostile = Hostile {
        evil,
        asked: Arc::clone(&asked),
        leases: WaitQueue::new(),
        news: WaitQueue::new(),
    };
    let server = Server::new(&cluster["lab2"].endpoint()).unwrap();
    let attributes = Attributes::directory(0o755);
    let running = server.attach("/evil", attributes, hostile).unwrap().start();
    let _running = running.unwrap();
    let place = tempfile::tempdir().unwrap();
    let namespace = Namespace::of(&cluster["lab1"].endpoint());
    let mount = Mount::start(Options::new(namespace, place.path().join("net"))).unwrap();
    tell(&place.path().join("net/lab2/evil"), &mount, &asked);
}

#[test]
fn a_lease_that_is_never_granted_or_refused_keeps_no_lookup_waiting() {
    story(Evil::NeverLeases, |evil, mount, asked| {
        let begun = Instant::now();
        for name in ["a", "b", "c", "d"] {
            let missing = fs::metadata(evil.join(name)).unwrap_err();
            assert_eq!(missing.kind(), ErrorKind::NotFound);
        }
        assert!(begun.elapsed() < PATIENCE);
        assert!(asked.load(Ordering::Relaxed) > 0, "no lease was tried");
        assert_eq!(mount.leased_directories(), 0);
    });
}

#[test]
fn a_server_that_tells_news_without_end_is_not_listened_to() {
    story(Evil::TellsWithoutEnd, |evil, mount, asked| {
        until("a lease was tried", || {
            let _ = fs::metadata(evil.join("a"));
            asked.load(Ordering::Relaxed) > 0
        });
        until("it is over", || mount.leased_directories() == 0);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(1) {
            let _ = fs::metadata(evil.join("b"));
        }
        let asked = asked.load(Ordering::Relaxed);
        assert!(asked < 200, "asked {asked} times");
    });
}

#[test]
fn a_directory_without_end_is_an_error() {
    story(Evil::ListsWithoutEnd, |evil, _, _| {
        let outcome: Result<Vec<_>, _> = fs::read_dir(evil).and_then(Iterator::collect);
        assert!(outcome.is_err(), "{outcome:?}");
    });
}
