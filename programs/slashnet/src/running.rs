//! The `slashnet up` that runs in a directory: it holds a lock on `up.pid` there for as long as it lives.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::failure::{During, Failure, Outcome};

const FILE: &str = "up.pid";

/// The proof that no other `slashnet up` runs in a directory.
#[derive(Debug)]
pub(crate) struct Alone {
    _locked: File,
    path: PathBuf,
}

impl Alone {
    /// Claims the directory until it is dropped.
    pub(crate) fn in_directory(dir: &Path) -> Outcome<Self> {
        let path = dir.join(FILE);
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .during(path.display())?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let pid = fs::read_to_string(&path).unwrap_or_default();
            let why = format!("slashnet up runs here already as process {}", pid.trim());
            return Err(Failure::new(dir.display(), why));
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .during(path.display())?;
        Ok(Self {
            _locked: file,
            path,
        })
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// One that runs, as others see it.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) pid: u32,
    /// Readable once it has ended.
    pub(crate) process: OwnedFd,
    pub(crate) since: SystemTime,
}

impl Running {
    /// The one in `dir`, if one runs there.
    pub(crate) fn in_directory(dir: &Path) -> Outcome<Option<Self>> {
        let path = dir.join(FILE);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.during(path.display())?,
        };
        // A lock that others may share: two who ask at the same time do not take each other for a node.
        let is_held = || flock(&file, FlockOperation::NonBlockingLockShared).is_err();
        if !is_held() {
            return Ok(None);
        }
        let since = file.metadata().and_then(|about| about.modified());
        let text = io::read_to_string(&file).during(path.display())?;
        let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw) else {
            return Err(Failure::new(path.display(), "is being written, try again"));
        };
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
            return Ok(None);
        };
        // Its number may have been given to another process before it was looked up.
        if !is_held() {
            return Ok(None);
        }
        Ok(Some(Self {
            pid: pid.as_raw_nonzero().get().unsigned_abs(),
            process,
            since: since.during(path.display())?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_the_lock_runs_and_a_file_that_was_left_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let running = || Running::in_directory(dir.path()).unwrap();
        assert!(running().is_none());
        let alone = Alone::in_directory(dir.path()).unwrap();
        assert_eq!(running().unwrap().pid, std::process::id());
        assert!(Alone::in_directory(dir.path()).is_err());
        drop(alone);
        fs::write(dir.path().join(FILE), "1\n").unwrap();
        assert!(running().is_none());
    }
}
