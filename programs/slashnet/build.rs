//! Builds the preload library, which the command carries inside: one installed file is the rule, and a library of its
//! own is the only thing that the system's loader takes.

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// What the library is made of.
const SOURCES: [&str; 3] = ["lib/preload", "core/preload", "Cargo.lock"];
/// Settings of the build that are for the command and not for its library.
const NOT_INHERITED: [&str; 4] = [
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTFLAGS",
    "RUSTC_WORKSPACE_WRAPPER",
    "CLIPPY_ARGS",
];

fn main() {
    let root = variable("CARGO_MANIFEST_DIR").join("../..");
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    let (place, target) = (variable("OUT_DIR").join("preload"), variable("TARGET"));
    let mut cargo = Command::new(variable("CARGO"));
    cargo
        .args(["rustc", "--release", "--quiet", "--manifest-path"])
        .arg(root.join("lib/preload/Cargo.toml"))
        .arg("--target-dir")
        .arg(&place)
        .arg("--target")
        .arg(&target)
        .args(["--", "-C", "strip=symbols"])
        // It runs inside other programs: small, and never unwinding into them.
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_LTO", "fat")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1");
    for name in NOT_INHERITED {
        cargo.env_remove(name);
    }
    match cargo.status() {
        Ok(status) if status.success() => {}
        Ok(status) => fail(&format!("the preload library was not built: {status}")),
        Err(error) => fail(&format!("cargo: {error}")),
    }
    let library = place.join(target).join("release/libslashnet_preload.so");
    println!("cargo::rustc-env=SLASHNET_PRELOAD={}", library.display());
}

fn variable(name: &str) -> PathBuf {
    env::var_os(name).unwrap_or_default().into()
}

fn fail(why: &str) {
    println!("cargo::error={why}");
}
