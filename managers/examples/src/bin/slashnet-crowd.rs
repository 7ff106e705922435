//! A client that opens many files of a manager, locks some of them, waits for others, and holds them all. It says so line by
//! line, and ends when it is killed: for tests of what a manager keeps of clients that die.

use std::io::Write;
use std::process::ExitCode;
use std::thread;

use client::{Errno, Namespace, OpenFlags, Result, Selector, SendOptions};
use resmgr::abi::io::{Events, Lock, LockCommand, LockKind, LockRange, LockStyle};

fn crowd(path: &str, count: u64) -> Result {
    let namespace = Namespace::global()?;
    let selector = Selector::new();
    let mut files = Vec::new();
    for number in 0..count {
        let path = format!("{path}/{}", number % PATHS);
        let file = namespace.open(&path, OpenFlags::READ_WRITE)?;
        match number % 8 {
            0..3 => lock(&file, number)?,
            3 => drop(selector.add(&file, Events::INPUT)?),
            4 if number < READERS * 8 => {
                let waiting = namespace.open(&path, OpenFlags::READ)?;
                thread::spawn(move || waiting.read(&mut [0; 1]));
            }
            _ => {}
        }
        files.push(file);
        if number % 10 == 9 {
            let mut output = std::io::stdout();
            let told = writeln!(output, "{}", number + 1).and_then(|()| output.flush());
            told.map_err(|_| Errno::EPIPE)?;
        }
    }
    loop {
        selector.wait(None)?;
    }
}

/// Takes a byte or, if somebody has it, goes on without.
fn lock(file: &client::File, number: u64) -> Result {
    let lock = Lock {
        command: LockCommand::Set,
        style: [LockStyle::Process, LockStyle::OpenFile, LockStyle::Flock][number as usize % 3],
        range: LockRange {
            kind: LockKind::Write,
            start: number,
            len: 1,
            ..LockRange::default()
        },
    };
    match file.lock(lock, &SendOptions::default()) {
        Ok(_) | Err(Errno::EAGAIN) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, count] = arguments.as_slice() else {
        eprintln!("usage: slashnet-crowd PATH COUNT");
        return ExitCode::from(2);
    };
    let Ok(count) = count.parse() else {
        eprintln!("slashnet-crowd: {count}: no number");
        return ExitCode::from(2);
    };
    match crowd(path, count) {
        Ok(()) => ExitCode::SUCCESS,
        Err(errno) => {
            eprintln!("slashnet-crowd: {path}: {}", errno.text());
            ExitCode::FAILURE
        }
    }
}

/// Files that are opened again and again, so that locks of many clients meet.
const PATHS: u64 = 16;
/// Reads that wait, each with a thread.
const READERS: u64 = 4;
