//! The mount against the real kernel and real programs; behind it a world of two nodes in memory.

// A broken expectation is to end the test, also in what the tests share.
#![allow(clippy::unwrap_used)]

use client::testing::{FileServer, LAB2, Node, World};
use mount::{Mount, Options};
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

struct Fixture {
    mount: Option<Mount>,
    world: Arc<World>,
    files: Arc<FileServer>,
    directory: tempfile::TempDir,
}

/// How long the mounts of these tests believe what they know.
const FRESH: Duration = Duration::from_millis(200);
/// Far more than anything here takes, and far less than a hang.
const LIMIT: Duration = Duration::from_secs(20);

impl Fixture {
    fn new() -> Self {
        let world = World::new();
        world.serve(LAB2, 50, "/dev/ser1", &[("", Node::Device(Vec::new()))]);
        world.serve(LAB2, 52, "/other", &[("", Node::Directory)]);
        let tree = [
            ("", Node::Directory),
            ("hello", Node::File(b"hello\n".to_vec())),
            ("sub", Node::Directory),
        ];
        let files = world.serve(LAB2, 51, "/srv", &tree);
        let directory = tempfile::tempdir().unwrap();
        let mut options = Options::new(world.namespace(), directory.path().join("net"));
        options.fresh = FRESH;
        let mount = Some(Mount::start(options).unwrap());
        Self {
            mount,
            world,
            files,
            directory,
        }
    }

    fn point(&self) -> PathBuf {
        self.directory.path().join("net")
    }

    fn lab2(&self, path: &str) -> PathBuf {
        self.point().join("lab2").join(path)
    }

    fn server_has(&self, path: &str) -> Option<Node> {
        self.files
            .files
            .lock()
            .unwrap()
            .get(path.as_bytes())
            .cloned()
    }

    fn server_gets(&self, path: &str, node: Node) {
        self.files
            .files
            .lock()
            .unwrap()
            .insert(path.as_bytes().to_vec(), node);
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn run(program: &str, arguments: &[&Path]) -> (bool, String) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

fn within_limit(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::yield_now();
    }
}

#[test]
fn the_tree_of_nodes_is_listed_from_the_top() {
    let fixture = Fixture::new();
    assert_eq!(names(&fixture.point()), ["lab2"]);
    assert_eq!(names(&fixture.lab2("")), ["dev", "net", "other", "srv"]);
    assert_eq!(names(&fixture.lab2("srv")), ["hello", "sub"]);
    assert!(fs::metadata(fixture.lab2("dev")).unwrap().is_dir());
    let unknown = fs::metadata(fixture.point().join("lab9")).unwrap_err();
    assert_eq!(unknown.kind(), std::io::ErrorKind::NotFound);
    let (listed, text) = run("ls", &[Path::new("-lR"), &fixture.point().join("lab2/srv")]);
    assert!(listed && text.contains("hello"), "{text}");
}

#[test]
fn files_are_made_changed_and_removed() {
    let fixture = Fixture::new();
    let file = fixture.lab2("srv/new");
    fs::write(&file, "one").unwrap();
    assert_eq!(fixture.server_has("new"), Some(Node::File(b"one".to_vec())));
    OpenOptions::new()
        .append(true)
        .open(&file)
        .unwrap()
        .write_all(b" two")
        .unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "one two");
    fs::write(&file, "x").unwrap();
    assert_eq!(fs::metadata(&file).unwrap().len(), 1);
    fs::rename(&file, fixture.lab2("srv/sub/moved")).unwrap();
    assert_eq!(
        fixture.server_has("sub/moved"),
        Some(Node::File(b"x".to_vec()))
    );
    fs::rename(fixture.lab2("srv/sub"), fixture.lab2("srv/dir")).unwrap();
    assert_eq!(fs::read(fixture.lab2("srv/dir/moved")).unwrap(), b"x");
    symlink("dir/moved", fixture.lab2("srv/link")).unwrap();
    assert_eq!(
        fs::read_link(fixture.lab2("srv/link")).unwrap(),
        Path::new("dir/moved")
    );
    assert_eq!(fs::read(fixture.lab2("srv/link")).unwrap(), b"x");
    fs::remove_file(fixture.lab2("srv/link")).unwrap();
    fs::remove_file(fixture.lab2("srv/dir/moved")).unwrap();
    fs::remove_dir(fixture.lab2("srv/dir")).unwrap();
    assert_eq!(names(&fixture.lab2("srv")), ["hello"]);
}

#[test]
fn the_machines_own_programs_copy_and_move_through_it() {
    let fixture = Fixture::new();
    let data: Vec<u8> = (0..3_000_000u32).map(|at| (at % 253) as u8).collect();
    let source = fixture.directory.path().join("source");
    fs::write(&source, &data).unwrap();
    let copy = fixture.lab2("srv/copy");
    assert_eq!(run("cp", &[&source, &copy]), (true, String::new()));
    assert_eq!(run("cmp", &[&source, &copy]), (true, String::new()));
    // From one server to another there is no rename: `mv` copies.
    let moved = fixture.lab2("other/moved");
    let refused = fs::rename(&copy, &moved).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::CrossesDevices);
    assert_eq!(run("mv", &[&copy, &moved]), (true, String::new()));
    assert_eq!(run("cmp", &[&source, &moved]), (true, String::new()));
    assert!(fixture.server_has("copy").is_none());
    assert_eq!(run("rm", &[&moved]), (true, String::new()));
    assert_eq!(names(&fixture.lab2("other")), [""; 0]);
}

#[test]
fn a_write_of_another_node_is_seen_in_time_also_by_a_file_held_open() {
    let fixture = Fixture::new();
    let path = fixture.lab2("srv/hello");
    let open = fs::File::open(&path).unwrap();
    let mut space = [0; 64];
    assert_eq!(open.read_at(&mut space, 0).unwrap(), 6);
    fixture.server_gets("hello", Node::File(b"longer than before\n".to_vec()));
    fixture.server_gets("appeared", Node::File(Vec::new()));
    let written = Instant::now();
    within_limit("the new length", || {
        fs::metadata(&path).unwrap().len() == 19
    });
    within_limit("the new name", || {
        names(&fixture.lab2("srv")).contains(&"appeared".into())
    });
    within_limit("the new data", || {
        let count = open.read_at(&mut space, 0).unwrap();
        &space[..count] == b"longer than before\n"
    });
    // Twice the promise, so that a busy machine does not fail the test.
    assert!(written.elapsed() < 2 * FRESH + Duration::from_secs(1));
}

#[test]
fn a_name_that_was_missing_appears_in_time() {
    let fixture = Fixture::new();
    assert!(!fixture.lab2("srv/late").exists());
    fixture.server_gets("late", Node::File(Vec::new()));
    within_limit("the new name", || fixture.lab2("srv/late").exists());
}

#[test]
fn a_device_echoes_and_its_blocked_reader_can_write_and_be_killed() {
    let fixture = Fixture::new();
    let port = fixture.lab2("dev/ser1");
    assert!(fs::metadata(&port).unwrap().is_file());
    let mut both = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&port)
        .unwrap();
    let mut reader = both.try_clone().unwrap();
    // The same open file is read by one thread and written by another.
    let echo = std::thread::spawn(move || {
        let mut space = [0; 16];
        let count = reader.read(&mut space).unwrap();
        space[..count].to_vec()
    });
    let mount = fixture.mount.as_ref().unwrap();
    within_limit("the blocked read", || mount.requests_in_work() == 1);
    both.write_all(b"ATZ\r").unwrap();
    assert_eq!(echo.join().unwrap(), b"ATZ\r");

    let mut cat = Command::new("cat")
        .arg(&port)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    within_limit("the blocked read", || mount.requests_in_work() == 1);
    cat.kill().unwrap();
    within_limit("the end of the killed reader", || {
        cat.try_wait().unwrap().is_some()
    });
    within_limit("the end of its request", || mount.requests_in_work() == 0);
}

#[test]
fn long_directories_are_listed_completely_also_with_attributes() {
    let fixture = Fixture::new();
    let expected: Vec<String> = (0..500)
        .map(|at| format!("a-longish-file-name-{at:04}"))
        .collect();
    for (at, name) in expected.iter().enumerate() {
        fixture.server_gets(&format!("sub/{name}"), Node::File(vec![0; at]));
    }
    assert_eq!(names(&fixture.lab2("srv/sub")), expected);
    let (listed, text) = run("ls", &[Path::new("-l"), &fixture.lab2("srv/sub")]);
    assert!(listed);
    assert_eq!(text.lines().count(), 501);
    for entry in fs::read_dir(fixture.lab2("srv/sub")).unwrap() {
        let entry = entry.unwrap();
        let at: u64 = entry.file_name().to_str().unwrap()[20..].parse().unwrap();
        assert_eq!(entry.metadata().unwrap().len(), at);
    }
}

#[test]
fn what_streams_into_a_file_is_there_for_everybody_at_once() {
    let fixture = Fixture::new();
    let data: Vec<u8> = (0..4_000_000u32).map(|at| (at % 241) as u8).collect();
    let path = fixture.lab2("srv/stream");
    let mut writer = fs::File::create(&path).unwrap();
    for piece in data.chunks(100_000) {
        writer.write_all(piece).unwrap();
        let length = writer.metadata().unwrap().len();
        assert_eq!(fs::metadata(&path).unwrap().len(), length);
    }
    assert!(fs::read(&path).unwrap() == data);
    drop(writer);
    assert!(fixture.server_has("stream") == Some(Node::File(data)));
}

#[test]
fn a_full_disk_is_told_at_the_latest_when_the_file_is_synced_or_closed() {
    let fixture = Fixture::new();
    let mut writer = fs::File::create(fixture.lab2("srv/stream")).unwrap();
    let piece = vec![1; 100_000];
    writer.write_all(&piece).unwrap();
    fixture
        .files
        .full
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let told = (0..3).find_map(|_| writer.write_all(&piece).err());
    let told = told.or_else(|| writer.sync_all().err()).unwrap();
    assert_eq!(told.kind(), std::io::ErrorKind::StorageFull);
    let refused = fs::write(fixture.lab2("srv/small"), "x").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::StorageFull);
}

#[test]
fn an_open_file_survives_its_name() {
    let fixture = Fixture::new();
    let path = fixture.lab2("srv/hello");
    let open = fs::File::open(&path).unwrap();
    let ino = open.metadata().unwrap().ino();
    fs::rename(&path, fixture.lab2("srv/renamed")).unwrap();
    assert_eq!(
        fs::metadata(fixture.lab2("srv/renamed")).unwrap().nlink(),
        1
    );
    assert_eq!(
        fs::metadata(&path).unwrap_err().kind(),
        std::io::ErrorKind::NotFound
    );
    assert_ne!(ino, 0);
}

#[test]
fn a_dead_server_gives_errors_and_its_successor_serves_on() {
    let fixture = Fixture::new();
    let path = fixture.lab2("srv/hello");
    fs::read(&path).unwrap();
    fixture.world.kill(LAB2, 51);
    within_limit("an error", || fs::read(&path).is_err());
    let again = [
        ("", Node::Directory),
        ("hello", Node::File(b"again".to_vec())),
    ];
    fixture.world.serve(LAB2, 53, "/srv", &again);
    within_limit("the successor", || {
        fs::read(&path).is_ok_and(|data| data == b"again")
    });
}

#[test]
fn a_mount_point_in_use_is_refused_with_its_reason() {
    let fixture = Fixture::new();
    let options = Options::new(fixture.world.namespace(), fixture.point());
    let refused = Mount::start(options).unwrap_err().to_string();
    assert!(
        refused.contains("a fuse.slashnet file system is mounted here already"),
        "{refused}"
    );
    let missing = fixture.directory.path().join("no/such/place");
    let options = Options::new(fixture.world.namespace(), missing);
    assert!(
        Mount::start(options)
            .unwrap_err()
            .to_string()
            .contains("does not exist")
    );
}

#[test]
fn stopping_unmounts_also_under_a_blocked_reader() {
    let mut fixture = Fixture::new();
    let mount = fixture.mount.take().unwrap();
    let mut cat = Command::new("cat")
        .arg(fixture.lab2("dev/ser1"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    within_limit("the blocked read", || mount.requests_in_work() == 1);
    mount.stop().unwrap();
    within_limit("the end of the reader", || {
        cat.try_wait().unwrap().is_some()
    });
    assert_eq!(names(&fixture.point()), [""; 0]);
}

#[test]
fn pages_changed_all_over_a_mapped_file_reach_a_slow_server_however_many_they_are() {
    const SIZE: usize = 32 << 20;
    const STEP: usize = 8192;
    // More than may be at work and wait for this server if programs asked for it.
    const MANY: usize = 1000;
    let script = format!(
        "import mmap, sys\n\
         with open(sys.argv[1], 'w+b') as file:\n\
         \x20   file.truncate({SIZE})\n\
         \x20   with mmap.mmap(file.fileno(), {SIZE}) as pages:\n\
         \x20       for at in range(0, {SIZE}, {STEP}): pages[at] = 1\n\
         \x20       print('changed', flush=True)\n\
         \x20       sys.stdin.readline()\n\
         \x20       pages.flush()\n"
    );
    let fixture = Fixture::new();
    let mut program = Command::new("python3")
        .args([
            "-c".as_ref(),
            Path::new(&script),
            &fixture.lab2("srv/mapped"),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 8];
    let mut output = program.stdout.take().unwrap();
    output.read_exact(&mut said).unwrap();
    let busy = fixture.files.files.lock().unwrap();
    drop(program.stdin.take());
    within_limit("so many pages on their way", || {
        fixture.mount.as_ref().unwrap().requests_in_work() >= MANY
    });
    drop(busy);
    assert!(program.wait().unwrap().success(), "flushed");
    let Some(Node::File(bytes)) = fixture.server_has("mapped") else {
        panic!("no file");
    };
    let lost = (0..SIZE).step_by(STEP).filter(|at| bytes[*at] != 1).count();
    assert_eq!(lost, 0);
}
