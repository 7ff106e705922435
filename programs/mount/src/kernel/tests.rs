//! The kernel's side against the real kernel: root mounts a toy file system and real programs use it.

use super::channel::Channel;
use super::device::mount_by_helper;
use super::device::{Mounted, mount};
use super::reply::{self, OPEN_DIRECT_IO, OPEN_NONSEEKABLE};
use super::request::Operation;
use super::*;
use rustix::fd::OwnedFd;
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Two files whose reads never end by themselves: `device` ends at any signal, `file` only for a killed reader. `hello`,
/// which answers. And `stuckN` of a server of their own that never answers a read, with `cached` of another one: their reads
/// are those of the page cache.
struct Toy {
    reading: Mutex<Sender<u64>>,
}

#[derive(Clone, Default)]
struct Token(Arc<(Mutex<bool>, Condvar)>);

const NAMES: [&[u8]; 3] = [b"device", b"file", b"hello"];
const HELLO: &[u8] = b"hello, kernel\n";
const VALIDITY: Validity = Validity {
    entry: Duration::from_secs(1),
    attributes: Duration::from_secs(1),
};

/// Numbers of the files of the server that is stuck, and that of `cached`.
const STUCK: std::ops::Range<u64> = 100..1000;
const CACHED: u64 = 1000;

fn number(name: &[u8]) -> Option<u64> {
    if name == b"cached" {
        return Some(CACHED);
    }
    if let Some(stuck) = name.strip_prefix(b"stuck") {
        let at: u64 = std::str::from_utf8(stuck).ok()?.parse().ok()?;
        return Some(STUCK.start + at).filter(|number| STUCK.contains(number));
    }
    let at = NAMES.iter().position(|known| *known == name)?;
    Some(at as u64 + 2)
}

fn attributes(node: u64) -> FileAttributes {
    FileAttributes {
        ino: node,
        mode: if node == 1 { 0o040_755 } else { 0o100_644 },
        links: 1,
        size: match node {
            4 | CACHED => HELLO.len() as u64,
            _ if STUCK.contains(&node) => 4096,
            _ => 0,
        },
        block_size: 4096,
        ..FileAttributes::default()
    }
}

impl Handler for Toy {
    type Token = Token;
    type Server = bool;

    fn server(&self, header: &Header) -> bool {
        STUCK.contains(&header.node)
    }

    fn token(&self) -> Token {
        Token::default()
    }

    fn trigger(&self, token: &Token) {
        *token.0.0.lock().unwrap() = true;
        token.0.1.notify_all();
    }

    fn ends_at_any_signal(&self, _header: &Header, operation: &Operation<'_>) -> bool {
        matches!(operation, Operation::Read { handle: 2, .. })
    }

    fn handle(
        &self,
        header: &Header,
        operation: &Operation<'_>,
        token: &Token,
        transfer: &mut Vec<u8>,
        _early: &mut dyn FnMut(Answer),
    ) -> Result<Answer, i32> {
        match operation {
            Operation::Lookup { name } => {
                let node = number(name).ok_or(2)?;
                Ok(reply::entry(node, &attributes(node), VALIDITY))
            }
            Operation::GetAttr { .. } => Ok(reply::attributes(&attributes(header.node), VALIDITY)),
            Operation::Open { .. } if header.node >= STUCK.start => {
                Ok(reply::opened(header.node, 0))
            }
            Operation::Open { .. } => Ok(reply::opened(
                header.node,
                OPEN_DIRECT_IO | OPEN_NONSEEKABLE,
            )),
            Operation::Read {
                handle: 4 | CACHED,
                offset: 0,
                ..
            } => {
                transfer.clear();
                transfer.extend_from_slice(HELLO);
                Ok(Answer::Transferred(HELLO.len()))
            }
            Operation::Read { handle: 4, .. } => Ok(Answer::Transferred(0)),
            Operation::Read { handle, .. } => {
                self.reading.lock().unwrap().send(*handle).unwrap();
                let mut triggered = token.0.0.lock().unwrap();
                while !*triggered {
                    triggered = token.0.1.wait(triggered).unwrap();
                }
                Err(4)
            }
            Operation::Flush { .. } | Operation::Release { .. } => Ok(Answer::Empty),
            _ => Err(38),
        }
    }

    fn answers_at_once(
        &self,
        _header: &Header,
        _operation: &Operation<'_>,
        _answer: &mut dyn FnMut(Answer),
    ) -> bool {
        false
    }

    fn forget(&self, _node: u64, _lookups: u64) {}
}

struct Fixture {
    /// Absent once ended: the last reference closes the device.
    session: Option<Arc<Session<Toy>>>,
    mounted: Mounted,
    reading: Receiver<u64>,
    _directory: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (mounted, fuse) = mount(directory.path(), "slashnet".as_ref(), false).unwrap();
        Self::serving(directory, mounted, fuse)
    }

    fn serving(directory: tempfile::TempDir, mounted: Mounted, fuse: OwnedFd) -> Self {
        let (sender, reading) = channel();
        let toy = Toy {
            reading: Mutex::new(sender),
        };
        let session = Session::start(Arc::new(Channel::new(fuse).unwrap()), toy, 1 << 20).unwrap();
        Self {
            session: Some(session),
            mounted,
            reading,
            _directory: directory,
        }
    }

    fn session(&self) -> &Session<Toy> {
        self.session.as_deref().unwrap()
    }

    fn end(&mut self) {
        self.mounted.unmount().unwrap();
        if let Some(session) = self.session.take() {
            session.stop();
            session.wait();
        }
    }

    fn cat(&self, name: &str) -> Child {
        // A shell that starts these tests in the background has SIGINT ignored, and that is inherited.
        let mut cat = Command::new("env");
        cat.args(["--default-signal=INT", "cat"]);
        cat.arg(self.mounted.point().join(name))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        cat.spawn().unwrap()
    }

    /// `cat` of a file whose reads block, once it is blocked.
    fn blocked(&self, name: &str) -> Child {
        let child = self.cat(name);
        self.reading.recv_timeout(LIMIT).unwrap();
        child
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.end();
    }
}

/// Far more than anything here takes, and far less than a hang.
const LIMIT: Duration = Duration::from_secs(10);

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn ends(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "the reader is stuck");
        std::thread::yield_now();
    }
}

#[test]
fn a_real_program_reads_through_the_mount() {
    let fixture = Fixture::new();
    let output = fixture.cat("hello").wait_with_output().unwrap();
    assert_eq!(output.stdout, HELLO);
    let missing = fixture.cat("missing").wait_with_output().unwrap();
    assert!(!missing.status.success());
}

#[test]
fn ctrl_c_ends_a_blocked_read_of_a_device_and_of_a_file() {
    let fixture = Fixture::new();
    for name in ["device", "file"] {
        let mut child = fixture.blocked(name);
        signal(&child, Signal::INT);
        assert!(!ends(&mut child).success());
    }
}

#[test]
fn a_killed_reader_goes_at_once() {
    let fixture = Fixture::new();
    for name in ["device", "file"] {
        let mut child = fixture.blocked(name);
        signal(&child, Signal::KILL);
        assert!(!ends(&mut child).success());
    }
}

#[test]
fn a_harmless_signal_does_not_disturb_a_file_but_the_next_deadly_one_does() {
    let fixture = Fixture::new();
    let path = fixture.mounted.point().join("file");
    let mut shell = Command::new("sh");
    // The shell keeps its handler while it reads by itself.
    shell
        .args([
            "-c",
            "trap 'echo caught' USR1; read line < \"$0\"; echo read ended",
        ])
        .arg(path);
    let mut child = shell.stdout(Stdio::piped()).spawn().unwrap();
    fixture.reading.recv_timeout(LIMIT).unwrap();
    signal(&child, Signal::USR1);
    assert_eq!(fixture.session().in_work(), 1);
    signal(&child, Signal::KILL);
    ends(&mut child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"");
}

#[test]
fn blocked_reads_block_nobody_else() {
    let fixture = Fixture::new();
    let mut blocked: Vec<Child> = (0..20).map(|_| fixture.blocked("device")).collect();
    let output = fixture.cat("hello").wait_with_output().unwrap();
    assert_eq!(output.stdout, HELLO);
    for child in &mut blocked {
        signal(child, Signal::KILL);
        ends(child);
    }
}

/// More than the kernel would have in flight by itself.
#[test]
fn a_server_that_never_answers_a_read_holds_up_its_own_readers_only() {
    let fixture = Fixture::new();
    let names: Vec<String> = (0..40).map(|at| format!("stuck{at}")).collect();
    let mut blocked: Vec<Child> = names.iter().map(|name| fixture.blocked(name)).collect();
    let output = fixture.cat("cached").wait_with_output().unwrap();
    assert_eq!(output.stdout, HELLO);
    for child in &mut blocked {
        signal(child, Signal::KILL);
        ends(child);
    }
}

#[test]
fn the_mount_can_be_taken_away_under_a_blocked_reader() {
    let mut fixture = Fixture::new();
    let mut child = fixture.blocked("device");
    let mut unseen = fixture.blocked("file");
    fixture.end();
    assert!(!ends(&mut child).success());
    assert!(!ends(&mut unseen).success());
}

#[test]
fn an_unmount_from_outside_ends_the_session() {
    let mut fixture = Fixture::new();
    let point = fixture.mounted.point();
    match rustix::mount::unmount(point, rustix::mount::UnmountFlags::empty()) {
        Err(rustix::io::Errno::PERM) => {
            let mut helper = Command::new("fusermount3");
            assert!(helper.arg("-u").arg(point).status().unwrap().success());
        }
        unmounted => unmounted.unwrap(),
    }
    fixture.session().wait();
    assert!(fixture.session().is_unmounted());
    fixture.mounted.forget();
}

#[test]
fn ordinary_users_mount_and_unmount_through_the_helper() {
    let directory = tempfile::tempdir().unwrap();
    let point = directory.path().canonicalize().unwrap();
    let fuse = mount_by_helper(&point, "a,b".as_ref(), false).unwrap();
    let mounted = Mounted::by_helper(point.clone());
    let table = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let line = format!("a,b {} fuse.slashnet ", point.display());
    assert!(
        table.lines().any(|known| known.starts_with(&line)),
        "{table}"
    );
    let mut fixture = Fixture::serving(directory, mounted, fuse);
    let output = fixture.cat("hello").wait_with_output().unwrap();
    assert_eq!(output.stdout, HELLO);
    // Also while somebody is blocked in it.
    let mut child = fixture.blocked("device");
    fixture.end();
    assert!(!ends(&mut child).success());
    assert_eq!(std::fs::read_dir(&point).unwrap().count(), 0);
    let refused = mount_by_helper(Path::new("/proc/self"), "slashnet".as_ref(), false)
        .unwrap_err()
        .to_string();
    assert!(!refused.is_empty());
}

#[test]
fn a_mount_that_a_killed_run_has_left_is_cleared_away() {
    let directory = tempfile::tempdir().unwrap();
    let (mounted, fuse) = mount(directory.path(), "slashnet".as_ref(), false).unwrap();
    // As after SIGKILL: the device is closed and nobody unmounts.
    drop(fuse);
    std::mem::forget(mounted);
    let dead = std::fs::read_dir(directory.path()).unwrap_err();
    assert_eq!(
        dead.raw_os_error(),
        Some(rustix::io::Errno::NOTCONN.raw_os_error())
    );
    let (mounted, fuse) = mount(directory.path(), "slashnet".as_ref(), false).unwrap();
    let fixture = Fixture::serving(directory, mounted, fuse);
    let output = fixture.cat("hello").wait_with_output().unwrap();
    assert_eq!(output.stdout, HELLO);
}
