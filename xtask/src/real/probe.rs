//! What a shell cannot do to files, done in the directory that is given.

use crate::Outcome;
use rustix::fs::{
    FallocateFlags, FlockOperation, Mode, OFlags, SeekFrom, fallocate, fcntl_lock, flock,
};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// Does the part `name`.
pub(crate) fn run(name: &str, arguments: &[String]) -> Outcome {
    match (name, arguments) {
        ("files", [directory]) => files(Path::new(directory)),
        ("count", [file, kind, rounds]) => count(
            file,
            kind,
            rounds.parse().map_err(|_| "a number of rounds")?,
        ),
        _ => Err(format!("no probe {name:?} with {arguments:?}")),
    }
}

type Check = fn(&Path) -> std::io::Result<()>;

fn files(directory: &Path) -> Outcome {
    let checks: [(&str, Check); 8] = [
        ("a file without a name", unlinked),
        ("a file that another one has replaced", replaced),
        ("two names of a file", linked),
        ("holes", holes),
        ("space", space),
        ("O_TMPFILE", temporary),
        ("O_EXCL", exclusive),
        ("a directory without a name", no_directory),
    ];
    for (name, check) in checks {
        let place = directory.join(name.replace(' ', "-"));
        let outcome = fs::create_dir(&place).and_then(|()| check(&place));
        outcome.map_err(|error| format!("{name}: {error}"))?;
    }
    println!("{} things", checks.len());
    Ok(())
}

fn expect(holds: bool, what: &str) -> std::io::Result<()> {
    match holds {
        true => Ok(()),
        false => Err(std::io::Error::other(what.to_owned())),
    }
}

fn open(path: impl AsRef<Path>) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

fn unlinked(place: &Path) -> std::io::Result<()> {
    let mut file = open(place.join("file"))?;
    file.write_all(b"before")?;
    fs::remove_file(place.join("file"))?;
    file.write_all(b" and after")?;
    file.set_permissions(fs::Permissions::from_mode(0o604))?;
    rustix::fs::fchown(&file, None, Some(rustix::fs::Gid::from_raw(1)))?;
    file.set_modified(std::time::UNIX_EPOCH)?;
    file.set_len(9)?;
    let metadata = file.metadata()?;
    expect(metadata.nlink() == 0, "links are left")?;
    expect(metadata.len() == 9, "its length")?;
    expect(metadata.mode() & 0o777 == 0o604, "its mode")?;
    expect(metadata.gid() == 1, "its group")?;
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    expect(text == "before an", "its content")
}

fn replaced(place: &Path) -> std::io::Result<()> {
    fs::write(place.join("old"), "old")?;
    fs::write(place.join("new"), "newer")?;
    let mut file = File::open(place.join("old"))?;
    fs::rename(place.join("new"), place.join("old"))?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    expect(text == "old" && file.metadata()?.len() == 3, "the old one")?;
    expect(fs::read(place.join("old"))? == b"newer", "the new one")
}

fn linked(place: &Path) -> std::io::Result<()> {
    fs::write(place.join("one"), "1")?;
    fs::hard_link(place.join("one"), place.join("two"))?;
    let (one, two) = (
        fs::metadata(place.join("one"))?,
        fs::metadata(place.join("two"))?,
    );
    expect(one.ino() == two.ino(), "inode numbers")?;
    expect(one.nlink() == 2 && two.nlink() == 2, "counts of links")?;
    fs::write(place.join("two"), "22")?;
    expect(fs::metadata(place.join("one"))?.len() == 2, "the length")?;
    fs::remove_file(place.join("one"))?;
    expect(fs::metadata(place.join("two"))?.nlink() == 1, "a count")
}

fn holes(place: &Path) -> std::io::Result<()> {
    let file = open(place.join("file"))?;
    file.set_len(3 << 20)?;
    file.write_all_at(&[1; 4096], 1 << 20)?;
    let seek = |from| rustix::fs::seek(&file, from);
    expect(seek(SeekFrom::Data(0))? == 1 << 20, "the data")?;
    expect(
        seek(SeekFrom::Hole(1 << 20))? == (1 << 20) + 4096,
        "the hole",
    )?;
    expect(seek(SeekFrom::Data(2 << 20)) == Err(Errno::NXIO), "no data")?;
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&file, punch, 1 << 20, 4096)?;
    expect(
        seek(SeekFrom::Data(0)) == Err(Errno::NXIO),
        "a punched hole",
    )?;
    let mut bytes = [7; 16];
    file.read_exact_at(&mut bytes, 1 << 20)?;
    expect(bytes == [0; 16], "what is in a hole")
}

fn space(place: &Path) -> std::io::Result<()> {
    let file = open(place.join("file"))?;
    fallocate(&file, FallocateFlags::empty(), 0, 1 << 20)?;
    let metadata = file.metadata()?;
    expect(metadata.len() == 1 << 20, "the length")?;
    expect(metadata.blocks() * 512 >= 1 << 20, "the space in use")?;
    fallocate(&file, FallocateFlags::KEEP_SIZE, 1 << 20, 1 << 20)?;
    expect(file.metadata()?.len() == 1 << 20, "the length is kept")?;
    let refused = fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, 4096);
    let clean = matches!(refused, Err(Errno::OPNOTSUPP));
    expect(clean, "COLLAPSE_RANGE is refused with EOPNOTSUPP")
}

fn temporary(place: &Path) -> std::io::Result<()> {
    let flags = OFlags::TMPFILE | OFlags::RDWR;
    match rustix::fs::open(place, flags, Mode::RUSR) {
        // Programs fall back to a name of their own.
        Err(Errno::OPNOTSUPP) => Ok(()),
        Err(errno) => Err(errno.into()),
        Ok(file) => File::from(file).write_all(b"x"),
    }
}

fn exclusive(place: &Path) -> std::io::Result<()> {
    let make = || {
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create_new(true)
            .open(place.join("file"))
    };
    make()?;
    let again = make().map(drop).map_err(|error| error.kind());
    expect(again == Err(std::io::ErrorKind::AlreadyExists), "twice")
}

fn no_directory(place: &Path) -> std::io::Result<()> {
    let inner = place.join("inner");
    fs::create_dir(&inner)?;
    let held = File::open(&inner)?;
    fs::remove_dir(&inner)?;
    let below = rustix::fs::openat(&held, "x", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR);
    expect(
        matches!(below, Err(Errno::NOENT)),
        "something was made in it",
    )
}

/// Adds one to the number in a file, `rounds` times, each time under a lock of the whole file.
fn count(path: &str, kind: &str, rounds: u64) -> Outcome {
    let text = |error: std::io::Error| format!("{path}: {error}");
    for _ in 0..rounds {
        let file = open(path).map_err(text)?;
        let lock = |operation| match kind {
            "record" => fcntl_lock(&file, operation),
            _ => flock(&file, operation),
        };
        lock(FlockOperation::LockExclusive).map_err(|errno| text(errno.into()))?;
        // Through the same descriptor: closing any other one of the file would drop a record lock (POSIX).
        let mut bytes = [0; 32];
        let length = file.read_at(&mut bytes, 0).map_err(text)?;
        let number = String::from_utf8_lossy(&bytes[..length]);
        let number: u64 = number
            .trim()
            .parse()
            .map_err(|_| format!("{path} has {number:?}"))?;
        // The same length each time: nobody sees a part of it.
        let next = format!("{:>10}\n", number + 1);
        file.write_all_at(next.as_bytes(), 0).map_err(text)?;
        lock(FlockOperation::Unlock).map_err(|errno| text(errno.into()))?;
    }
    Ok(())
}
