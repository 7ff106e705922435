//! `docs/protocol` is enough to write the other end: `tests/other_end`, which was written from it in another language,
//! uses files of a node that does not know the difference.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use export_manager::ExportOptions;
use resmgr::{Answer, Attributes, OpenFile, ReadRequest, Resource, Running, Server};
use slashnet_scenarios::actor::Actor;
use tempfile::TempDir;
use testkit::Cluster;

struct Hello;

impl Resource for Hello {
    fn read(&self, _file: &OpenFile, read: ReadRequest) -> Answer {
        read.slice(b"hello, world\n")
    }
}

/// lab2 has `/dev/hello`, and `tree` as `/srv`; the other end is a program on lab1.
struct Lab {
    cluster: Cluster,
    tree: TempDir,
    _serving: [Running; 2],
}

/// What the other end counted when it was done.
struct Counts {
    lost: u32,
    repeated: u32,
    pulled: u32,
    keys: u32,
}

impl Lab {
    fn new() -> Self {
        let cluster = Cluster::start(["lab1", "lab2"]);
        let tree = tempfile::tempdir().unwrap();
        // Who is root on lab1 is nobody on lab2.
        fs::set_permissions(tree.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let offer = ExportOptions {
            directory: tree.path().to_owned(),
            prefix: "/srv".to_owned(),
            read_only: false,
        };
        let export = export_manager::serve(&cluster["lab2"].endpoint(), &[offer]).unwrap();
        let hello = Server::new(&cluster["lab2"].endpoint())
            .unwrap()
            .attach("/dev/hello", Attributes::device(0o444), Hello)
            .unwrap();
        Self {
            cluster,
            tree,
            _serving: [export, hello.start().unwrap()],
        }
    }

    /// Lets the other end play its story, and looks at what is in the files afterwards.
    fn play(&self, options: &[&str]) -> Counts {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../other_end/other_end.py");
        let mut command = Command::new("python3");
        command
            .arg("-B")
            .arg(script)
            .args(options)
            .arg(self.cluster["lab1"].directory())
            .arg("lab2");
        let other = Actor::run(command);
        for told in [
            "page: 36864 bytes of lab1,",
            "device: 13 bytes,",
            "megabyte: 1048576 bytes there and back,",
            "lines: 200 lines, each once,",
            "missing: ENOENT,",
        ] {
            let line = other.line();
            assert!(line.starts_with(told), "{line}");
        }
        let [lost, repeated, pulled, keys] =
            ["lost", "repeated", "pulled", "keys"].map(|word| other.numbers(word)[0]);
        assert_eq!(other.line(), "done");
        assert!(fs::read(self.tree.path().join("megabyte")).unwrap() == pattern(1 << 20));
        let lines = fs::read_to_string(self.tree.path().join("lines")).unwrap();
        let mut lines: Vec<&str> = lines.lines().collect();
        lines.sort_unstable();
        let said: Vec<String> = (0..200).map(|number| format!("line {number:03}")).collect();
        assert_eq!(lines, said);
        Counts {
            lost,
            repeated,
            pulled,
            keys,
        }
    }
}

/// The content that the other end writes.
fn pattern(len: u32) -> Vec<u8> {
    (0..len)
        .map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

#[test]
fn a_program_written_from_the_pages_alone_uses_files_of_another_node() {
    let counts = Lab::new().play(&[]);
    assert!(counts.pulled > 0, "a long message is pulled");
}

#[test]
fn it_loses_every_seventh_packet_and_everything_is_still_done_once() {
    let counts = Lab::new().play(&["--lose", "7", "--packet", "1232", "--key", "64"]);
    assert!(counts.lost > 100 && counts.repeated > 0);
    assert!(counts.keys > 1, "keys have changed on the way");
}

#[test]
fn it_reads_and_writes_the_bytes_that_the_pages_show() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../other_end/shown.py");
    let run = Command::new("python3").arg("-B").arg(script).status();
    assert!(run.unwrap().success());
}
