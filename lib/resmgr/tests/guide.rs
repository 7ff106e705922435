//! The managers of `docs/resmgr.md`: they compile, they work, and the page says the same.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use abi::devctl::{Devctl, class};
use abi::flags::mode::S_IFREG;
use abi::io::{Entries, Entry, Read, ReadDirectory, Request};
use abi::{Errno, OpenFlags, Result};
use resmgr::testing::{TestFile, TestManager};
use resmgr::{
    Answer, Attributes, DevctlRequest, OpenFile, OpenRequest, Opening, ReadDirectoryRequest,
    ReadRequest, Resource, WaitQueue, WriteRequest, posix,
};

const PAGE: &str = include_str!("../../../docs/resmgr.md");
const THIS: &str = include_str!("guide.rs");

// guide: begin
#[derive(Default)]
struct Mailbox {
    letters: Mutex<VecDeque<Vec<u8>>>,
    readers: WaitQueue<ReadRequest>,
}

impl Resource for Mailbox {
    fn read(&self, _file: &OpenFile, read: ReadRequest) -> Answer {
        let mut letters = self.letters.lock().unwrap();
        match letters.pop_front() {
            Some(letter) => read.data(&letter),
            // Under the lock, so that no letter is missed.
            None => self.readers.park(read),
        }
    }

    fn write(&self, _file: &OpenFile, mut write: WriteRequest) -> Answer {
        let mut letters = self.letters.lock().unwrap();
        match write.unwritten() {
            Ok(letter) => letters.push_back(letter.to_vec()),
            Err(errno) => return write.fail(errno),
        }
        if let Some(reader) = self.readers.take() {
            let letter = letters.pop_front().unwrap_or_default();
            let _ = reader.data(&letter);
        }
        write.accept_all()
    }
}
// guide: end

// guide: begin
/// Makes the lamp so bright.
pub const LAMP_SET: Devctl<u8, ()> = Devctl::to_device(class::PRIVATE, 1, 1);
/// How bright the lamp is.
pub const LAMP_GET: Devctl<(), u8> = Devctl::from_device(class::PRIVATE, 2, 1);
// guide: end

#[derive(Default)]
struct Lamp(Mutex<u8>);

impl Lamp {
    fn set(&self, level: u8) -> Result {
        *self.0.lock().unwrap() = level;
        Ok(())
    }

    fn get(&self) -> Result<u8> {
        Ok(*self.0.lock().unwrap())
    }
}

impl Resource for Lamp {
    // guide: begin
    fn devctl(&self, file: &OpenFile, devctl: DevctlRequest) -> Answer {
        devctl
            .on(LAMP_SET, |level| self.set(level))
            .on(LAMP_GET, |()| self.get())
            .otherwise(|devctl| posix::devctl::default(file, devctl))
    }
    // guide: end
}

// guide: begin
struct Numbers;

struct Number(String);

impl Resource for Numbers {
    fn open(&self, open: OpenRequest) -> Answer {
        if open.path().is_empty() {
            return posix::open::default(open);
        }
        let text = std::str::from_utf8(open.path())
            .unwrap_or_default()
            .to_owned();
        if !text.parse::<u8>().is_ok_and(|number| number < 100) {
            return open.fail(Errno::ENOENT);
        }
        let attributes = Arc::new(Attributes::file(0o444).size(text.len() as u64));
        open.accept_as(Opening::new().attributes(attributes).state(Number(text)))
    }

    fn read(&self, file: &OpenFile, read: ReadRequest) -> Answer {
        match file.state::<Number>() {
            Some(number) => read.slice(number.0.as_bytes()),
            None => read.fail(Errno::EISDIR),
        }
    }

    fn read_directory(&self, file: &OpenFile, mut read: ReadDirectoryRequest) -> Answer {
        if file.state::<Number>().is_some() {
            return read.fail(Errno::ENOTDIR);
        }
        for number in read.cookie()..100 {
            let name = number.to_string();
            let entry = Entry {
                ino: number + 2,
                mode: S_IFREG,
                next: number + 1,
                name: name.as_bytes(),
                stat: None,
            };
            if !read.add(&entry) {
                break;
            }
        }
        read.end()
    }
}
// guide: end

/// The marked parts of this file without the indentation of their first lines.
fn marked() -> Vec<String> {
    let mut parts = Vec::new();
    let mut current: Option<(usize, String)> = None;
    for line in THIS.lines() {
        match (line.trim(), &mut current) {
            ("// guide: begin", _) => {
                current = Some((line.len() - line.trim_start().len(), String::new()));
            }
            ("// guide: end", _) => parts.extend(current.take().map(|(_, text)| text)),
            (_, Some((indent, text))) => {
                text.push_str(line.get(*indent..).unwrap_or_default());
                text.push('\n');
            }
            _ => {}
        }
    }
    parts
}

#[test]
fn the_page_shows_these_very_managers() {
    let parts = marked();
    assert_eq!(parts.len(), 4);
    for part in parts {
        assert!(
            PAGE.contains(&part),
            "docs/resmgr.md does not contain:\n{part}"
        );
    }
    let hello = include_str!("../../../managers/hello/src/main.rs");
    let hello = &hello[hello.find("use resmgr").unwrap()..];
    assert!(
        PAGE.contains(hello),
        "docs/resmgr.md does not contain:\n{hello}"
    );
    assert_eq!(hello.lines().count(), 13);
}

fn open(resource: impl Resource, attributes: Attributes, path: &str) -> Result<TestFile> {
    let flags = if path.is_empty() && attributes.lock().is_directory() {
        OpenFlags::READ
    } else {
        OpenFlags::READ_WRITE
    };
    TestManager::new(attributes, resource)
        .client(5, 5)
        .open(path, flags)
}

#[test]
fn letters_wait_for_readers_and_readers_for_letters() {
    let mailbox = open(Mailbox::default(), Attributes::device(0o666), "").unwrap();
    mailbox.write(b"one").unwrap();
    assert_eq!(mailbox.read(9).unwrap(), b"one");
    let waiting = mailbox.start(&Request::Read(Read {
        nbytes: 9,
        offset: None,
    }));
    assert_eq!(waiting.answer(), None);
    mailbox.write(b"two").unwrap();
    assert_eq!(waiting.wait(), Ok((3, b"two".to_vec())));
}

#[test]
fn the_lamp_obeys() {
    let lamp = open(Lamp::default(), Attributes::device(0o666), "").unwrap();
    lamp.devctl(LAMP_SET, &7).unwrap();
    assert_eq!(lamp.devctl(LAMP_GET, &()), Ok(7));
}

#[test]
fn the_directory_of_numbers_is_listed_and_read() {
    let numbers = || TestManager::new(Attributes::directory(0o555), Numbers).client(5, 5);
    assert_eq!(
        numbers()
            .open("42", OpenFlags::READ)
            .unwrap()
            .read(9)
            .unwrap(),
        b"42"
    );
    assert_eq!(
        numbers().open("142", OpenFlags::READ).map(drop),
        Err(Errno::ENOENT)
    );
    let directory = open(Numbers, Attributes::directory(0o555), "").unwrap();
    let (mut names, mut cookie) = (Vec::new(), 0);
    loop {
        let list = ReadDirectory {
            cookie,
            nbytes: 200,
            with_stat: false,
        };
        let (count, body) = directory.ask(&Request::ReadDirectory(list)).unwrap();
        if count == 0 {
            break;
        }
        for entry in Entries::new(&body).map(|entry| entry.unwrap()) {
            names.push(String::from_utf8(entry.name.to_vec()).unwrap());
            cookie = entry.next;
        }
    }
    assert_eq!(
        names,
        (0..100)
            .map(|number: u32| number.to_string())
            .collect::<Vec<_>>()
    );
}
