//! The device's end of a serial line, and exact counts of bytes.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// A new device; its terminal is reached by `path` until somebody removes that.
#[must_use]
pub fn plug_in(path: &Path) -> File {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let device = openpt(flags).unwrap();
    grantpt(&device).unwrap();
    unlockpt(&device).unwrap();
    let name = ptsname(&device, Vec::new()).unwrap();
    symlink(name.to_str().unwrap(), path).unwrap();
    device.into()
}

/// Waits for exactly so many bytes of a device or a terminal.
#[must_use]
pub fn take(mut from: &File, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    from.read_exact(&mut bytes).unwrap();
    bytes
}

/// Waits for exactly so many bytes of a file in the path space.
#[must_use]
pub fn read_exactly(file: &client::File, count: usize) -> Vec<u8> {
    let mut all = vec![0; count];
    let mut have = 0;
    while have < count {
        let more = file.read(&mut all[have..]).unwrap();
        assert!(more > 0, "the file ends after {have} of {count} bytes");
        have += more;
    }
    all
}

/// Joins two devices: what one is given, the other sends. Ends with either of the lines.
pub fn join(one: File, other: File) {
    let back = (other.try_clone().unwrap(), one.try_clone().unwrap());
    for (mut from, mut to) in [(one, other), back] {
        // An error is the end of a line, which a device has when it is unplugged.
        std::thread::spawn(move || std::io::copy(&mut from, &mut to));
    }
}
