//! Tests of `core/` on a big-endian machine: s390x under qemu's user-mode emulation, from Debian
//! packages unpacked under `target/big-endian`, so nothing is installed.
//!
//! Debian's `rustc-web` carries the compiler's sources, from which `-Z build-std` makes a standard
//! library for the target.

use crate::command::{Program, cargo, root};
use crate::{Outcome, packages};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

const TARGET: &str = "s390x-unknown-linux-gnu";
const CROSS: &str = "s390x-linux-gnu";
const CRATES: &[&str] = &[
    "slashnet-abi",
    "slashnet-paths",
    "slashnet-transport",
    "slashnet-node",
];
const PACKAGES: &[&str] = &[
    "rustc-web",
    "libstd-rust-web-dev",
    "libstd-rust-web-1.96",
    "libllvm22",
    "rust-web-src",
    "qemu-user-static",
    "gcc-12-s390x-linux-gnu",
    "gcc-12-s390x-linux-gnu-base",
    "cpp-12-s390x-linux-gnu",
    "binutils-s390x-linux-gnu",
    "libc6-dev-s390x-cross",
    "libc6-s390x-cross",
    "linux-libc-dev-s390x-cross",
    "libgcc-12-dev-s390x-cross",
    "libgcc-s1-s390x-cross",
];

/// Unpacks the tools when they are not there, builds the tests of `core/` and runs them.
pub(crate) fn run() -> Outcome {
    let place = Place::new();
    if !place.ready_mark().exists() {
        place.set_up()?;
    }
    for package in CRATES {
        println!("-- {package} on {TARGET}");
        place.test(package)?;
    }
    Ok(())
}

/// Where the unpacked tools are.
struct Place {
    directory: PathBuf,
    root: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = root().join("target/big-endian");
        Self {
            root: directory.join("root"),
            directory,
        }
    }

    /// Exists when `set_up` came to its end, so that a broken one is made again.
    fn ready_mark(&self) -> PathBuf {
        self.directory.join("ready")
    }

    fn set_up(&self) -> Outcome {
        let debs = self.directory.join("debs");
        for directory in [&debs, &self.root] {
            fs::create_dir_all(directory).map_err(|error| name(directory, &error))?;
        }
        if rustix::process::geteuid().is_root() {
            packages::update_lists()?;
        }
        let mut download = Program::new("apt-get")
            .args(["-qq", "-o", "APT::Sandbox::User=root", "download"])
            .args(PACKAGES)
            .into_command();
        let status = download
            .current_dir(&debs)
            .status()
            .map_err(|error| error.to_string())?;
        if !status.success() {
            return Err(format!("apt-get download {}: {status}", PACKAGES.join(" ")));
        }
        for entry in fs::read_dir(&debs).map_err(|error| name(&debs, &error))? {
            let deb = entry.map_err(|error| name(&debs, &error))?.path();
            Program::new("dpkg-deb")
                .args([Path::new("-x"), &deb, &self.root])
                .run()?;
        }
        fs::remove_dir_all(&debs).map_err(|error| name(&debs, &error))?;
        self.link_sources()?;
        self.write_compiler()?;
        fs::write(self.ready_mark(), "").map_err(|error| name(&self.ready_mark(), &error))
    }

    /// `-Z build-std` looks for the sources in the compiler's own tree.
    fn link_sources(&self) -> Outcome {
        let from = self.root.join("usr/src");
        let sources = fs::read_dir(&from)
            .map_err(|error| name(&from, &error))?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.join("library").is_dir())
            .ok_or_else(|| format!("{}: no sources of the standard library", from.display()))?;
        let parent = self.root.join("usr/lib/rustlib/src");
        fs::create_dir_all(&parent).map_err(|error| name(&parent, &error))?;
        let link = parent.join("rust");
        if link.is_symlink() {
            fs::remove_file(&link).map_err(|error| name(&link, &error))?;
        }
        symlink(sources, &link).map_err(|error| name(&link, &error))
    }

    /// A compiler driver that knows where the unpacked headers and libraries are.
    fn write_compiler(&self) -> Outcome {
        let root = self.root.display();
        let text = format!(
            "#!/bin/sh\nexec {root}/usr/bin/{CROSS}-gcc-12 --sysroot={root} \
             -B{root}/usr/lib/gcc-cross/{CROSS}/12 -B{root}/usr/{CROSS}/lib \
             -L{root}/usr/{CROSS}/lib -isystem {root}/usr/{CROSS}/include \"$@\"\n"
        );
        let path = self.compiler();
        fs::write(&path, text).map_err(|error| name(&path, &error))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .map_err(|error| name(&path, &error))
    }

    fn compiler(&self) -> PathBuf {
        self.directory.join("gcc")
    }

    fn test(&self, package: &str) -> Outcome {
        let root = self.root.display();
        let path = std::env::var("PATH").unwrap_or_default();
        let runner = format!("{root}/usr/bin/qemu-s390x-static -L {root}/usr/{CROSS}");
        cargo([
            "test",
            "--quiet",
            "--lib",
            "--tests",
            "-Z",
            "build-std",
            "--target",
            TARGET,
        ])
        .args(["--package", package])
        .env("CARGO_TARGET_DIR", self.directory.join("build"))
        .env("RUSTC", self.root.join("usr/bin/rustc"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env(
            "LD_LIBRARY_PATH",
            format!("{root}/usr/lib/x86_64-linux-gnu:{root}/usr/lib/llvm-22/lib"),
        )
        .env("PATH", format!("{root}/usr/bin:{path}"))
        .env("CC_s390x_unknown_linux_gnu", self.compiler())
        .env(
            "CARGO_TARGET_S390X_UNKNOWN_LINUX_GNU_LINKER",
            self.compiler(),
        )
        .env(
            "CARGO_TARGET_S390X_UNKNOWN_LINUX_GNU_RUSTFLAGS",
            "-C linker-flavor=gcc",
        )
        .env("CARGO_TARGET_S390X_UNKNOWN_LINUX_GNU_RUNNER", runner)
        .run()
    }
}

fn name(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}
