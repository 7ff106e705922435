//! The Debian packages that the tests need, and how to get them.

use crate::Outcome;
use crate::command::Program;
use std::path::Path;

/// A program that a test runs, and the Debian package that has it.
const NEEDED: &[(&str, &str)] = &[
    ("ethtool", "ethtool"),
    ("fusermount3", "fuse3"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("setfattr", "attr"),
    ("fio", "fio"),
    ("sqlite3", "sqlite3"),
    ("rsync", "rsync"),
    ("make", "make"),
    ("cc", "gcc"),
    ("tar", "tar"),
    ("unshare", "util-linux"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mkfs.btrfs", "btrfs-progs"),
    ("losetup", "mount"),
    ("runuser", "util-linux"),
    ("python3", "python3"),
    ("picocom", "picocom"),
    ("minicom", "minicom"),
    ("pyserial-miniterm", "python3-serial"),
    ("sz", "lrzsz"),
    ("gpsd", "gpsd"),
    ("gpspipe", "gpsd-clients"),
    ("ser2net", "ser2net"),
    ("socat", "socat"),
];

/// A module of Python that a test uses, and the Debian package that has it.
const NEEDED_BY_PYTHON: &[(&str, &str)] = &[("cryptography", "python3-cryptography")];

/// Installs what is missing when this may be done (as root, with apt-get), else says what is.
pub(crate) fn install() -> Outcome {
    let programs = NEEDED.iter().filter(|(program, _)| !on_path(program));
    let modules = NEEDED_BY_PYTHON
        .iter()
        .filter(|(module, _)| !python_has(module));
    let missing: Vec<&str> = programs
        .chain(modules)
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() || !on_path("apt-get") {
        return Err(format!(
            "these Debian packages are missing: {}",
            missing.join(" ")
        ));
    }
    update_lists()?;
    install_named(&missing)
}

/// Brings apt's lists up to date, which a fresh machine needs once.
pub(crate) fn update_lists() -> Outcome {
    apt(["-qq", "update"].as_slice())
}

fn install_named(packages: &[&str]) -> Outcome {
    let mut arguments = vec!["-qq", "-y", "--no-install-recommends", "install"];
    arguments.extend(packages);
    apt(&arguments)
}

fn apt(arguments: &[&str]) -> Outcome {
    Program::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .input_from_nowhere()
        .output()
        .map(drop)
}

fn python_has(module: &str) -> bool {
    on_path("python3")
        && Program::new("python3")
            .args(["-c", &format!("import {module}")])
            .input_from_nowhere()
            .output()
            .is_ok()
}

pub(crate) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([
            Path::new("/usr/sbin").to_path_buf(),
            Path::new("/sbin").to_path_buf(),
        ])
        .any(|directory| directory.join(program).exists())
}
