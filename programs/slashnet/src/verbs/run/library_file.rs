//! The preload library as a file, which the system's loader asks for.
//!
//! Programs that a program starts look for it by its path, long after everything else of `run` may have ended. So the path
//! must never lead to what another user has made: the directories on the way are root's or this user's, and the file
//! stays. It is made once for each version of the library; one that no `run` has used for long goes when the next is made.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{OFlags, StatVfsMountFlags};
use rustix::process::geteuid;
use sha2::{Digest, Sha256};

use crate::failure::{During, Failure, Outcome};

const LIBRARY: &[u8] = include_bytes!(env!("SLASHNET_PRELOAD"));
/// Bits of the mode of what others may change.
const OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;
/// How long after the last `run` of its version a library goes. Programs that were begun then start others that look for it,
/// and few live that long.
const UNUSED: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// The file of the library; makes it if it is not there.
pub(super) fn path() -> Outcome<PathBuf> {
    let mut why = Failure::new("preload library", "no directory for it: set XDG_CACHE_HOME");
    for directory in places() {
        match place(&directory, LIBRARY) {
            Ok(path) => return Ok(path),
            Err(error) => why = error.and("another XDG_CACHE_HOME, or '--no-preload', avoids it"),
        }
    }
    Err(why)
}

/// Where it may be, the best first: where this user keeps what can be made anew.
fn places() -> Vec<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let home = variable("HOME").map(|home| Path::new(&home).join(".cache"));
    let own = match geteuid().is_root() {
        true => [Some("/var/cache".into()), None],
        false => [home, variable("XDG_RUNTIME_DIR").map(PathBuf::from)],
    };
    let chosen = variable("XDG_CACHE_HOME").map(PathBuf::from);
    let all = [chosen].into_iter().chain(own).flatten();
    all.map(|place| place.join("slashnet")).collect()
}

fn place(directory: &Path, library: &[u8]) -> Outcome<PathBuf> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)
        .during(directory.display())?;
    let directory = directory.canonicalize().during(directory.display())?;
    check(&directory)?;
    let sum = Sha256::digest(library);
    let sum: String = sum[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let path = directory.join(format!("preload-{sum}.so"));
    if !holds(&path, library).during(path.display())? {
        let mut file = tempfile::NamedTempFile::new_in(&directory).during(directory.display())?;
        file.write_all(library).during(directory.display())?;
        let readable = Permissions::from_mode(0o444);
        file.as_file()
            .set_permissions(readable)
            .during(directory.display())?;
        file.persist(&path)
            .map_err(|error| error.error)
            .during(path.display())?;
        remove_unused(&directory);
    }
    Ok(path)
}

/// Removes libraries of other versions. What cannot be removed is tried again with the next version.
fn remove_unused(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let sum = name.to_str().and_then(|name| {
            let name = name.strip_prefix("preload-")?;
            name.strip_suffix(".so")
        });
        let is_library = sum.is_some_and(|sum| sum.len() == 16);
        // Not through a link: the library would never be one.
        let is_old = entry.metadata().is_ok_and(|found| {
            let age = found.modified().map(|used| used.elapsed());
            found.is_file() && matches!(age, Ok(Ok(age)) if age > UNUSED)
        });
        if is_library && is_old {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether a file can be loaded from the directory, and nobody but root and this user can put another in its place.
fn check(directory: &Path) -> Outcome {
    let refused = |at: &Path, why: &str| Err(Failure::new(at.display(), why));
    let confuses = |byte: &u8| matches!(byte, b':' | b'$') || byte.is_ascii_whitespace();
    if directory.as_os_str().as_bytes().iter().any(confuses) {
        return refused(directory, "the system's loader takes no such name");
    }
    for at in directory.ancestors() {
        let found = fs::symlink_metadata(at).during(at.display())?;
        let mine = found.uid() == 0 || found.uid() == geteuid().as_raw();
        // In a sticky directory others cannot touch what is not theirs.
        let shared = found.mode() & OTHERS_WRITE != 0 && found.mode() & STICKY == 0;
        if !mine || shared || at == directory && found.mode() & OTHERS_WRITE != 0 {
            return refused(at, "another user could replace the preload library there");
        }
    }
    let flags = rustix::fs::statvfs(directory)
        .during(directory.display())?
        .f_flag;
    if flags.contains(StatVfsMountFlags::NOEXEC) {
        return refused(directory, "nothing can be loaded from there (noexec)");
    }
    Ok(())
}

/// Whether the file is the library already.
fn holds(path: &Path, library: &[u8]) -> std::io::Result<bool> {
    let mut options = File::options();
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.read(true).custom_flags(flags.bits().cast_signed());
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let found = file.metadata()?;
    if !found.is_file() || found.mode() & OTHERS_WRITE != 0 {
        return Ok(false);
    }
    let mut bytes = Vec::new();
    (&file)
        .take(library.len() as u64 + 1)
        .read_to_end(&mut bytes)?;
    if bytes == library {
        // Fails where root has put it, and what root has put there is root's to remove.
        let _ = file.set_modified(SystemTime::now());
    }
    Ok(bytes == library)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_made_once_and_anew_if_it_is_not_whole() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("cache/slashnet");
        let path = super::place(&directory, b"library").unwrap();
        let number = || fs::metadata(&path).unwrap().ino();
        let first = number();
        assert_eq!(super::place(&directory, b"library").unwrap(), path);
        assert_eq!(number(), first);
        assert_ne!(super::place(&directory, b"another").unwrap(), path);
        fs::remove_file(&path).unwrap();
        fs::write(&path, b"libr").unwrap();
        super::place(&directory, b"library").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"library");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o444);
    }

    #[test]
    fn versions_that_nobody_has_used_for_long_go_with_the_next_and_nothing_else_does() {
        let place = tempfile::tempdir().unwrap();
        let [first, second] =
            [b"first", b"later"].map(|it| super::place(place.path(), it).unwrap());
        let other = place.path().join("preload-notes.so");
        fs::write(&other, "mine").unwrap();
        let long_ago = SystemTime::now() - UNUSED - Duration::from_secs(60);
        let age = |path: &Path| File::open(path).unwrap().set_modified(long_ago).unwrap();
        for path in [&first, &second, &other] {
            age(path);
        }
        super::place(place.path(), b"later").unwrap();
        assert!(first.exists(), "nothing is looked for while nothing is new");
        super::place(place.path(), b"next").unwrap();
        assert!(!first.exists());
        assert!(second.exists(), "it has just been used");
        assert!(other.exists(), "it is none of ours");
    }

    #[test]
    fn what_another_user_could_replace_is_not_loaded() {
        let place = tempfile::tempdir().unwrap();
        let (open, below) = (
            place.path().join("open"),
            place.path().join("open/slashnet"),
        );
        fs::create_dir_all(&below).unwrap();
        for (mode, at) in [(0o777, &open), (0o1777, &below), (0o775, &below)] {
            fs::set_permissions(at, Permissions::from_mode(mode)).unwrap();
            let refused = super::place(&below, b"library").unwrap_err().to_string();
            assert!(refused.contains("another user could replace"), "{refused}");
            fs::set_permissions(at, Permissions::from_mode(0o755)).unwrap();
        }
        if geteuid().is_root() {
            std::os::unix::fs::chown(&open, Some(1), None).unwrap();
            assert!(super::place(&below, b"library").is_err());
            std::os::unix::fs::chown(&open, Some(0), None).unwrap();
        }
        super::place(&below, b"library").unwrap();
    }

    #[test]
    fn a_link_in_place_of_the_file_is_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let path = super::place(place.path(), b"library").unwrap();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert!(super::place(place.path(), b"library").is_err());
    }

    #[test]
    fn a_name_that_the_loader_would_take_apart_is_refused() {
        let place = tempfile::tempdir().unwrap();
        for name in ["a b", "a:b", "$LIB"] {
            assert!(super::place(&place.path().join(name), b"library").is_err());
        }
    }
}
