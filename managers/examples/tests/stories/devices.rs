//! The counter and the time, from their own node and from another.
use std::time::Duration;

use crate::example::Example;
use client::{Errno, OpenFlags, Selector};
use resmgr::abi::io::Events;
use slashnet_examples::{TIME_PERIOD_GET, TIME_PERIOD_SET};

fn text(namespace: &client::Namespace, path: &str) -> String {
    let mut space = [0; 100];
    let count = namespace.read(path, &mut space).unwrap();
    String::from_utf8(space[..count].to_vec()).unwrap()
}

#[test]
fn the_counter_counts_opens_of_all_nodes_and_is_set_by_writing() {
    let example = Example::start(env!("CARGO_BIN_EXE_slashnet-counter"), &[], "/dev/counter");
    let path = "/net/lab2/dev/counter";
    assert_eq!(text(&example.near, "/dev/counter"), "0\n");
    assert_eq!(text(&example.far, path), "1\n");
    let file = example.far.open(path, OpenFlags::READ_WRITE).unwrap();
    assert_eq!(file.write(b"41\n"), Ok(3));
    assert_eq!(file.write(b"many"), Err(Errno::EINVAL));
    let mut space = [0; 10];
    assert_eq!(file.read(&mut space), Ok(2));
    assert_eq!(&space[..2], b"2\n", "an open has counted once and for all");
    assert_eq!(file.read(&mut space), Ok(0));
    assert_eq!(text(&example.near, "/dev/counter"), "41\n");
}

// qnx: R50, R52
#[test]
fn the_time_comes_at_once_and_then_with_every_tick() {
    let time = env!("CARGO_BIN_EXE_slashnet-time");
    let example = Example::start(time, &[], "/dev/time");
    let path = "/net/lab2/dev/time";
    let files: Vec<_> = [&example.near, &example.far]
        .into_iter()
        .zip(["/dev/time", path])
        .map(|(namespace, path)| namespace.open(path, OpenFlags::READ).unwrap())
        .collect();
    assert_eq!(files[0].devctl(TIME_PERIOD_GET, ()), Ok(1000));
    // Long enough that no tick comes by itself.
    files[0].devctl(TIME_PERIOD_SET, 3_600_000).unwrap();
    assert_eq!(files[0].devctl(TIME_PERIOD_SET, 0), Err(Errno::EINVAL));
    let selector = Selector::new();
    let watched: Vec<_> = files
        .iter()
        .map(|file| selector.add(file, Events::INPUT).unwrap())
        .collect();
    let mut space = [0; 100];
    for file in &files {
        while file.events(Events::INPUT).unwrap().contains(Events::INPUT) {
            assert!(file.read(&mut space).unwrap() > 10);
        }
    }
    let quick = example
        .far
        .open(path, OpenFlags::READ | OpenFlags::NONBLOCK);
    let quick = quick.unwrap();
    assert!(quick.read(&mut space).is_ok());
    assert_eq!(quick.read(&mut space), Err(Errno::EAGAIN));
    // A wait that is ended from outside, then a tick that both are told of.
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| files[0].read(&mut [0; 100]));
        files[1].devctl(TIME_PERIOD_SET, 20).unwrap();
        assert!(reading.join().unwrap().is_ok());
    });
    let mut told = std::collections::BTreeSet::new();
    while told.len() < 2 {
        for (which, events) in selector.wait(Some(Duration::from_secs(60))).unwrap() {
            assert_eq!(events, Events::INPUT);
            told.insert(which);
        }
    }
    assert_eq!(told.into_iter().collect::<Vec<_>>(), watched);
}
