//! Tests of the crates that contain `unsafe` under the address sanitizer, which the compiler carries.

use crate::Outcome;
use crate::command::{cargo, root};

const CRATES: &[&str] = &["slashnet-drivers", "slashnet-ipc"];
/// Naming the target keeps build scripts and macros free of the sanitizer.
const TARGET: &str = if cfg!(target_arch = "aarch64") {
    "aarch64-unknown-linux-gnu"
} else {
    "x86_64-unknown-linux-gnu"
};

/// Builds into a directory of its own: every object differs.
pub(crate) fn run() -> Outcome {
    let mut program = cargo(["test", "--quiet", "--lib", "--tests", "--target", TARGET]);
    for name in CRATES {
        program = program.args(["--package", name]);
    }
    // A model of the rings switches between stacks of its own, which the sanitizer says it cannot follow, and has no
    // memory for it to watch: the model's cells stand for it.
    program = program.args(["--", "--skip", "ring_model"]);
    program
        .env("CARGO_TARGET_DIR", root().join("target/sanitizer"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Zsanitizer=address")
        // Endpoints of a whole process live as long as it does.
        .env("ASAN_OPTIONS", "detect_leaks=0")
        .run()
}
