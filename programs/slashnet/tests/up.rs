//! `slashnet up`: one command makes a node, keeps its parts running and stops them all.

mod machine;

use std::fs;
use std::io::{self, Read, Write};
use std::net::UdpSocket;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use machine::{PATIENCE, Up, command, own_address, run, text};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::Value;

/// The number after `pid=` in a line of the log.
fn pid_in(line: &str) -> i32 {
    let digits = line.split("pid=").nth(1).expect("a pid in the log");
    let digits: String = digits.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

#[test]
fn one_command_makes_a_node_with_its_managers_and_a_signal_ends_it_all() {
    let temporary = tempfile::tempdir().expect("a directory");
    let (dir, srv) = (temporary.path().join("node"), temporary.path().join("srv"));
    fs::create_dir(&srv).expect("made");
    fs::write(srv.join("hello"), "hello, world\n").expect("written");
    let export = format!("{}=/srv,ro", srv.display());
    let mut up = Up::start(&dir, &["--name", "alone", "--export", &export]);
    up.wait_for("node alone is up");

    assert_eq!(text(&run(&dir, &["cat", "/srv/hello"])), "hello, world\n");
    assert_eq!(
        text(&run(&dir, &["cat", "/net/alone/srv/hello"])),
        "hello, world\n"
    );
    assert_eq!(text(&run(&dir, &["ls", "/srv"])), "hello\n");
    assert!(text(&run(&dir, &["ls", "/net"])).contains("alone"));
    assert!(text(&run(&dir, &["nodes"])).contains("this node"));
    assert!(text(&run(&dir, &["prefixes"])).contains("/srv"));
    let prefixes = text(&run(&dir, &["prefixes", "--json"]));
    let prefixes: Value = serde_json::from_str(&prefixes).expect("JSON");
    let paths: Vec<_> = prefixes
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| &row["path"])
        .collect();
    assert!(paths.iter().any(|path| *path == "/srv"), "{paths:?}");

    let refused = run(&dir, &["write", "/srv/hello", "x"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(said, "slashnet: /srv/hello: read-only file system\n");
    let unknown = run(&dir, &["cat", "/srv/nothing"]);
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert_eq!(said, "slashnet: /srv/nothing: no such file or directory\n");

    assert_eq!(up.stop(Signal::TERM), Some(0));
    assert!(!dir.join("node.sock").exists());
    assert!(!dir.join("up.pid").exists());
    assert_eq!(run(&dir, &["nodes"]).status.code(), Some(1));
}

#[test]
fn a_killed_daemon_comes_back_and_the_managers_with_it() {
    let temporary = tempfile::tempdir().expect("a directory");
    let (dir, srv) = (temporary.path().join("node"), temporary.path().join("srv"));
    fs::create_dir(&srv).expect("made");
    fs::write(srv.join("hello"), "hello, world\n").expect("written");
    let export = format!("{}=/srv", srv.display());
    let up = Up::start(&dir, &["--name", "alone", "--export", &export]);
    let daemon = pid_in(&up.wait_for("started"));
    up.wait_for("node alone is up");
    let daemon = Pid::from_raw(daemon).expect("a pid");
    kill_process(daemon, Signal::KILL).expect("it runs");
    up.wait_for("was killed by signal 9");
    up.wait_for("restarted");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let output = run(&dir, &["cat", "/srv/hello"]);
        if output.stdout == b"hello, world\n" {
            break;
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(Instant::now() < deadline, "{said}");
    }
}

#[test]
fn a_second_node_in_the_same_directory_is_refused() {
    let temporary = tempfile::tempdir().expect("a directory");
    let dir = temporary.path().join("node");
    let first = Up::start(&dir, &["--name", "first"]);
    first.wait_for("node first is up");
    let mut second = Up::start(&dir, &["--name", "second"]);
    let said = second.wait_for("slashnet up runs here already as process");
    assert!(said.contains(&first.process.id().to_string()), "{said}");
    assert_eq!(second.end(), Some(1));
    assert!(text(&run(&dir, &["nodes"])).contains("first"));
}

#[test]
fn a_detached_node_runs_on_its_own_until_it_is_told_to_end() {
    let temporary = tempfile::tempdir().expect("a directory");
    let dir = temporary.path().join("node");
    let link = own_address();
    let started = run(
        &dir,
        &[
            "up",
            "--no-mount",
            "--name",
            "apart",
            "--link",
            &link,
            "--detach",
        ],
    );
    let said = text(&started);
    let pid = fs::read_to_string(dir.join("up.pid")).expect("a pid file");
    assert!(said.contains(pid.trim()), "{said}");
    assert!(text(&run(&dir, &["nodes"])).contains("apart"));
    let process = Pid::from_raw(pid.trim().parse().expect("a number")).expect("a pid");
    let ended = pidfd_open(process, PidfdFlags::empty()).expect("it runs");
    kill_process(process, Signal::TERM).expect("it runs");
    let patience = Timespec {
        tv_sec: 20,
        tv_nsec: 0,
    };
    let mut interest = [PollFd::new(&ended, PollFlags::IN)];
    assert_eq!(
        poll(&mut interest, Some(&patience)),
        Ok(1),
        "it did not end"
    );
    assert!(!dir.join("up.pid").exists());
    assert!(!dir.join("node.sock").exists());
}

#[test]
fn the_path_space_is_mounted_and_unmounted_or_the_reason_is_given() {
    let temporary = tempfile::tempdir().expect("a directory");
    let (dir, point) = (temporary.path().join("node"), temporary.path().join("net"));
    let mount = point.to_str().expect("plain text");
    let mut up = Up::start_mounting(&dir, &["--name", "alone", "--mount", mount]);
    // Whether FUSE may be used is decided by the machine; either way the answer has to be right.
    if !may_mount() {
        up.wait_for(mount);
        assert_eq!(up.end(), Some(1));
        return;
    }
    let mounting = pid_in(&up.wait_for("part=mount"));
    up.wait_for("node alone is up, mounted at");
    let names = || {
        let nodes = fs::read_dir(&point)?;
        nodes
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<Vec<_>>>()
    };
    assert_eq!(names().expect("a directory"), ["alone"]);

    let mounting = Pid::from_raw(mounting).expect("a pid");
    kill_process(mounting, Signal::KILL).expect("it runs");
    up.wait_for("restarted");
    let deadline = Instant::now() + PATIENCE;
    while !names().is_ok_and(|names| names == ["alone"]) {
        assert!(Instant::now() < deadline, "{:?}", names());
    }
    assert_eq!(up.stop(Signal::INT), Some(0));
    let mounts = fs::read_to_string("/proc/self/mounts").expect("a mount table");
    assert!(!mounts.contains(mount), "{mounts}");
    assert!(!point.exists());
}

/// Whether this machine lets the tests mount: root by itself, others with the help of `fusermount3`, which is root's.
fn may_mount() -> bool {
    const SET_UID: u32 = 0o4000;
    let device = fs::File::options().read(true).write(true).open("/dev/fuse");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let helps = |directory: PathBuf| {
        let helper = fs::metadata(directory.join("fusermount3"));
        helper.is_ok_and(|helper| helper.mode() & SET_UID != 0)
    };
    let helper = || std::env::split_paths(&path).any(helps);
    device.is_ok() && (rustix::process::geteuid().is_root() || helper())
}

#[test]
fn a_mount_says_that_it_hides_what_is_in_its_directory() {
    let temporary = tempfile::tempdir().expect("a directory");
    let (dir, point) = (temporary.path().join("node"), temporary.path().join("net"));
    fs::create_dir(&point).expect("made");
    fs::write(point.join("hidden"), "").expect("written");
    let mount = point.to_str().expect("plain text");
    let mut up = Up::start_mounting(&dir, &["--name", "alone", "--mount", mount]);
    if !may_mount() {
        assert_eq!(up.end(), Some(1));
        return;
    }
    let said = up.wait_for("is not empty");
    assert!(said.contains(mount), "{said}");
    let deadline = Instant::now() + PATIENCE;
    while !point.join("alone").exists() {
        assert!(Instant::now() < deadline, "it is not mounted");
    }
    // The part that mounts speaks before or after the whole says that it is up, so how it ends says nothing here.
    let _ = up.stop(Signal::INT);
    assert!(point.join("hidden").exists());
}

#[test]
fn a_config_file_says_what_options_would_say() {
    let temporary = tempfile::tempdir().expect("a directory");
    let (dir, srv) = (temporary.path().join("node"), temporary.path().join("srv"));
    fs::create_dir(&srv).expect("made");
    fs::write(srv.join("hello"), "hello, world\n").expect("written");
    let config = temporary.path().join("slashnet.toml");
    let file = format!(
        "name = 'file'\ndir = '{}'\nlink = ['{}']\nmount = false\nlog = 'info'\n\
         [[export]]\ndirectory = '{}'\npath = '/srv'\nread-only = true\n",
        dir.display(),
        own_address(),
        srv.display()
    );
    fs::write(&config, file).expect("written");
    let mut up = Up::start_as_configured(&config);
    up.wait_for("node file is up, not mounted");
    assert_eq!(text(&run(&dir, &["cat", "/srv/hello"])), "hello, world\n");
    assert_eq!(
        run(&dir, &["write", "/srv/hello", "x"]).status.code(),
        Some(1)
    );
    assert_eq!(up.stop(Signal::HUP), Some(0));
}

#[test]
fn a_part_that_cannot_start_ends_the_whole_with_its_reason() {
    let temporary = tempfile::tempdir().expect("a directory");
    let dir = temporary.path().join("node");
    let holder = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let taken = holder.local_addr().expect("bound").to_string();
    let cases = [
        (["--serial", "/nonexistent=/dev/ser1"], "/nonexistent: "),
        (["--export", "/nonexistent=/srv"], "/nonexistent: "),
        (["--link", &taken], "another program uses it"),
    ];
    for (arguments, reason) in cases {
        let mut up = Up::start(&dir, &[&["--name", "alone"], arguments.as_slice()].concat());
        let said = up.wait_for("slashnet: ");
        assert!(said.contains(reason), "{said}");
        assert_eq!(up.end(), Some(1));
        assert!(!dir.join("node.sock").exists());
    }
}

#[test]
fn a_link_that_is_not_there_is_waited_for() {
    let temporary = tempfile::tempdir().expect("a directory");
    let dir = temporary.path().join("node");
    let link = ["--link", "nosuchlink0,mtu=9000", "--detect", "fast"];
    let up = Up::start(
        &dir,
        &[["--name", "alone", "--one-port"].as_slice(), &link].concat(),
    );
    let said = up.wait_for("WARN");
    assert!(said.contains("nosuchlink0 is not used yet"), "{said}");
    up.wait_for("is up, not mounted");
    let links = run(&dir, &["links", "--json"]);
    let rows: Value = serde_json::from_slice(&links.stdout).expect("JSON");
    let row = |at: usize, key: &str| rows[at][key].clone();
    assert_eq!(
        (row(0, "state"), row(1, "state")),
        ("up".into(), "down".into())
    );
    assert_eq!(
        (row(1, "name"), row(1, "address")),
        ("nosuchlink0".into(), Value::Null)
    );
}

#[test]
fn a_log_that_cannot_be_written_ends_nothing_and_hinders_no_orderly_end() {
    let temporary = tempfile::tempdir().expect("a directory");
    let dir = temporary.path().join("node");
    // A terminal that was closed refuses lines as this device does.
    let full = fs::File::options()
        .write(true)
        .open("/dev/full")
        .expect("a device");
    let mut up = command(&dir)
        .args(["up", "--no-mount", "--name", "alone", "--link"])
        .arg(own_address())
        .stderr(full)
        .spawn()
        .expect("the program runs");
    let deadline = Instant::now() + PATIENCE;
    while !run(&dir, &["nodes"]).status.success() {
        assert!(Instant::now() < deadline, "{:?}", up.try_wait());
    }
    kill_process(Pid::from_child(&up), Signal::HUP).expect("it runs");
    assert_eq!(up.wait().expect("it ends").code(), Some(0));
    assert!(!dir.join("node.sock").exists());
}

#[test]
fn a_terminal_that_was_stopped_does_not_stop_the_node() {
    let temporary = tempfile::tempdir().expect("a directory");
    let dir = temporary.path().join("node");
    let (_reader, stopped) = full_pipe();
    let mut node = command(&dir)
        .args(["node", "--name", "alone", "--link"])
        .arg(own_address())
        .stdout(Stdio::piped())
        .stderr(stopped)
        .spawn()
        .expect("the program runs");
    let mut ready = [0; 5];
    let out = node.stdout.as_mut().expect("a pipe");
    out.read_exact(&mut ready).expect("it is ready");
    assert!(run(&dir, &["nodes"]).status.success());
    kill_process(Pid::from_child(&node), Signal::TERM).expect("it runs");
    assert_eq!(node.wait().expect("it ends").code(), Some(0));
}

/// A pipe that takes nothing more, and nobody reads: as a terminal that Ctrl-S has stopped.
fn full_pipe() -> (io::PipeReader, io::PipeWriter) {
    let (reader, mut writer) = io::pipe().expect("a pipe");
    let mode = fcntl_getfl(&writer).expect("a pipe");
    fcntl_setfl(&writer, mode | OFlags::NONBLOCK).expect("a pipe");
    while writer.write(&[b'x'; 512]).is_ok() {}
    fcntl_setfl(&writer, mode).expect("a pipe");
    (reader, writer)
}

#[test]
fn down_stops_what_up_runs_and_status_says_whether_a_node_runs() {
    let temporary = tempfile::tempdir().expect("a directory");
    let (dir, srv) = (temporary.path().join("node"), temporary.path().join("srv"));
    fs::create_dir(&srv).expect("made");
    let status = || {
        let output = run(&dir, &["status", "--json"]);
        let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        (output.status.code(), said)
    };
    let (code, said) = status();
    assert_eq!((code, &said["node"]), (Some(3), &Value::Null));
    assert_eq!(run(&dir, &["status"]).status.code(), Some(3));
    let nothing = run(&dir, &["down"]);
    let refused = String::from_utf8_lossy(&nothing.stderr).into_owned();
    assert_eq!(nothing.status.code(), Some(1));
    assert!(refused.contains("no 'slashnet up' runs here"), "{refused}");

    let export = format!("{}=/srv", srv.display());
    let mut up = Up::start(&dir, &["--name", "alone", "--export", &export]);
    up.wait_for("node alone is up");
    let (code, said) = status();
    assert_eq!((code, &said["node"]), (Some(0), &"alone".into()));
    assert_eq!(said["process"], up.process.id());
    assert!(said["started"].as_u64() > Some(1_700_000_000), "{said}");
    assert_eq!(said["links"][0]["state"], "up");
    assert_eq!(said["managers"][0]["paths"][0], "/srv");
    let words = text(&run(&dir, &["status"]));
    assert!(words.starts_with("node     alone, up since 20"), "{words}");
    assert!(words.contains(": /srv\n"), "{words}");

    let stopped = text(&run(&dir, &["down"]));
    let expected = format!(
        "stopped: process {} in {}\n",
        up.process.id(),
        dir.display()
    );
    assert_eq!(stopped, expected);
    // It has ended before down says so.
    let ended = up.process.try_wait().expect("a child");
    assert_eq!(ended.and_then(|status| status.code()), Some(0));
    assert!(!dir.join("node.sock").exists());
    assert_eq!(status().0, Some(3));
}
