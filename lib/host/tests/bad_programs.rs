//! Programs that die in the worst moment, do not read, or bring what nobody wants.
#![allow(missing_docs)]
#![allow(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::os::fd::AsFd;

use abi::system::{self, Attach, OpenSession, Reply, Request, Resolve};
use abi::{AttachFlags, ChannelId, Errno, FileType, Handle, Nd, Pid};
use rustix::net::{SendFlags, send};
use support::{Program, node, until};

fn attach(path: &[u8]) -> Request {
    Request::Attach(Attach {
        path: path.to_vec(),
        flags: AttachFlags::empty(),
        file_type: FileType::ANY,
        channel: ChannelId(1),
        handle: Handle(0),
    })
}

fn resolve(path: &[u8]) -> Request {
    Request::Resolve(Resolve::any(Nd::LOCAL, path))
}

#[test]
fn a_dead_process_is_noticed_even_if_its_child_still_holds_the_socket() {
    let lab = tempfile::tempdir().unwrap();
    let lab1 = node(lab.path(), "lab1", &["127.0.75.1"]);
    let (mut watcher, _) = Program::connect(lab1.directory());
    let (ours, theirs) = rustix::pipe::pipe().unwrap();
    // SAFETY: the child uses its own memory only and leaves by a signal; the grandchild only sleeps.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // Nobody is left behind if the test fails half-way.
        // SAFETY: only sets a timer.
        unsafe { libc::alarm(60) };
        let (mut program, _) = Program::connect(lab1.directory());
        program.ask(&attach(b"/dev/x"));
        // SAFETY: as above.
        let grandchild = unsafe { libc::fork() };
        if grandchild == 0 {
            // SAFETY: only sets a timer; the one of the parent is not inherited.
            unsafe { libc::alarm(60) };
            // The pipe's end dies with whoever has it last; the socket stays here.
            drop(theirs);
            loop {
                // SAFETY: waits for a signal and touches nothing.
                unsafe { libc::pause() };
            }
        }
        let _ = rustix::io::write(&theirs, &grandchild.cast_unsigned().to_le_bytes());
        loop {
            // SAFETY: waits for a signal and touches nothing.
            unsafe { libc::pause() };
        }
    }
    drop(theirs);
    let mut number = [0; 4];
    assert_eq!(rustix::io::read(&ours, &mut number).unwrap(), 4);
    let grandchild = i32::from_le_bytes(number);
    assert!(matches!(
        watcher.ask(&resolve(b"/dev/x")),
        Reply::Resolved(_)
    ));
    // SAFETY: our own child, which nobody has waited for yet.
    assert_eq!(unsafe { libc::kill(child, libc::SIGKILL) }, 0);
    let gone = || matches!(watcher.ask(&resolve(b"/dev/x")), Reply::Error(_)).then_some(());
    until("the prefix of the dead process is gone", gone);
    // SAFETY: the grandchild still sleeps, because nothing else ends it; our child is waited for once.
    unsafe {
        assert_eq!(
            libc::kill(grandchild, libc::SIGKILL),
            0,
            "the grandchild held the socket all the time"
        );
        assert_eq!(libc::waitpid(child, std::ptr::null_mut(), 0), child);
    }
}

#[test]
fn a_program_that_does_not_read_is_disconnected_and_others_go_on() {
    let lab = tempfile::tempdir().unwrap();
    let lab1 = node(lab.path(), "lab1", &["127.0.75.2"]);
    let (mut other, _) = Program::connect(lab1.directory());
    let (deaf, _) = Program::connect(lab1.directory());
    let bytes = system::packet(7, &resolve(b"/net")).unwrap();
    let mut sent = 0_u32;
    while send(deaf.socket(), &bytes, SendFlags::NOSIGNAL).is_ok() {
        sent += 1;
        assert!(sent < 1_000_000, "the node keeps answers for ever");
    }
    assert!(
        sent > 1024,
        "{sent}: a burst is no reason to be disconnected"
    );
    assert!(matches!(other.ask(&resolve(b"/net")), Reply::Resolved(_)));
}

#[test]
fn descriptors_that_nobody_wants_are_closed() {
    let lab = tempfile::tempdir().unwrap();
    let lab1 = node(lab.path(), "lab1", &["127.0.75.3"]);
    let (mut program, _) = Program::connect(lab1.directory());
    let open = Request::OpenSession(OpenSession {
        nd: Nd::LOCAL,
        pid: Pid(4_000_000),
        identity: None,
        sockets: vec![],
    });
    for request in [resolve(b"/net"), open] {
        // The other end of the pipe tells when every copy of this one is closed.
        let (reading, writing) = rustix::pipe::pipe().unwrap();
        let parts = [writing.as_fd()];
        let reply = program.ask_with(&request, &parts);
        assert!(
            matches!(reply, Reply::Resolved(_))
                || matches!(reply, Reply::Error(r) if r.errno == Errno::ESRCH)
        );
        drop(writing);
        assert_eq!(
            rustix::io::read(&reading, &mut [0; 1]).unwrap(),
            0,
            "end of the pipe"
        );
    }
}

#[test]
fn a_shutdown_ends_the_node_and_removes_its_socket() {
    let lab = tempfile::tempdir().unwrap();
    let lab1 = node(lab.path(), "lab1", &["127.0.75.4"]);
    let (mut program, _) = Program::connect(lab1.directory());
    assert!(lab1.is_running());
    assert_eq!(program.ask(&Request::Shutdown), Reply::Done);
    assert!(program.receive().is_none());
    until("the node has ended", || (!lab1.is_running()).then_some(()));
    assert!(!lab1.directory().join(system::SOCKET_NAME).exists());
}
