//! A port on a pty pair that can be unplugged, for the tests of the manager.
#![allow(dead_code, reason = "each test file uses a part")]

use std::io::{Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use abi::OpenFlags;
use resmgr::Attributes;
use resmgr::testing::{TestClient, TestFile, TestManager};
use rustix::pty::OpenptFlags;
use serial_manager::{Moving, PortOptions};
use tempfile::TempDir;

pub(crate) const BOTH: OpenFlags = OpenFlags::READ_WRITE;

/// A device behind a path that can be unplugged and plugged in again.
pub(crate) struct Bench {
    pub(crate) directory: TempDir,
    /// The device's end of the line.
    pub(crate) device: Option<std::fs::File>,
    _moving: Moving,
    pub(crate) manager: TestManager,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with("9600")
    }

    /// With these options of the port.
    pub(crate) fn with(options: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let device = plug_in(&directory.path().join("tty"));
        let (moving, resource) =
            serial_manager::open(&options_with(directory.path(), options)).unwrap();
        let manager = TestManager::new(Attributes::device(0o666), resource);
        Self {
            directory,
            device: Some(device),
            _moving: moving,
            manager,
        }
    }

    pub(crate) fn client(&self) -> TestClient {
        self.manager.client(5, 5)
    }

    pub(crate) fn open(&self) -> TestFile {
        self.client().open("", BOTH).unwrap()
    }

    pub(crate) fn device(&self) -> &std::fs::File {
        self.device.as_ref().unwrap()
    }

    /// The device sends bytes to the port.
    pub(crate) fn send(&self, bytes: &[u8]) {
        self.device().write_all(bytes).unwrap();
    }

    /// The device takes so many bytes from the port.
    pub(crate) fn take(&self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.device().read_exact(&mut bytes).unwrap();
        bytes
    }

    pub(crate) fn unplug(&mut self) {
        // The name first: its pseudo terminal may be another test's as soon as it is free.
        std::fs::remove_file(self.directory.path().join("tty")).unwrap();
        self.device = None;
    }

    pub(crate) fn plug_in(&mut self) {
        self.device = Some(plug_in(&self.directory.path().join("tty")));
    }
}

pub(crate) fn options(directory: &Path) -> PortOptions {
    options_with(directory, "9600")
}

fn options_with(directory: &Path, options: &str) -> PortOptions {
    let text = format!(
        "{}=/dev/ser1,mode=666,{options}",
        directory.join("tty").display()
    );
    text.parse().unwrap()
}

/// A new pty; its terminal is reached by `path`.
pub(crate) fn plug_in(path: &Path) -> std::fs::File {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let device = rustix::pty::openpt(flags).unwrap();
    rustix::pty::grantpt(&device).unwrap();
    rustix::pty::unlockpt(&device).unwrap();
    let name = rustix::pty::ptsname(&device, Vec::new()).unwrap();
    symlink(PathBuf::from(name.to_str().unwrap()), path).unwrap();
    device.into()
}
