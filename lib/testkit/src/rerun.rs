//! Tests that need another process than the one they are in: with namespaces, rights or limits of its own.
#![allow(
    clippy::panic,
    reason = "everything here is for tests, which fail by panicking"
)]

use std::process::Command;

/// Says that this is the other process.
const INSIDE: &str = "SLASHNET_TEST_INSIDE";

/// Runs the test `name` of this program once more, by `command`, which must end by running the program and the
/// arguments behind it, as `unshare --net` and `prlimit --nofile=100` do. In that process runs `body`.
///
/// ```no_run
/// // In the test `a_network_of_ones_own_has_no_route`:
/// let unshare = ["unshare", "--user", "--map-root-user", "--net"];
/// slashnet_testkit::rerun::inside("a_network_of_ones_own_has_no_route", &unshare, || {
///     let routes = std::fs::read_to_string("/proc/net/route").unwrap();
///     assert_eq!(routes.lines().count(), 1, "the heading");
/// });
/// ```
///
/// `name` is the whole path of the test in its program. Blocks until the other process has ended; its output is in the
/// panic.
///
/// # Panics
/// If the command cannot be run, if the test fails there, or if there is no test of that name.
pub fn inside(name: &str, command: &[&str], body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let [program, arguments @ ..] = command else {
        panic!("no command to run {name} by");
    };
    let output = Command::new(program)
        .args(arguments)
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{errors}"
    );
}
