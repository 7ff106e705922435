//! What a node costs that nobody asks anything. Alone in its file, so that no other test is measured with it.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use std::path::Path;

use support::node;

#[test]
fn an_idle_node_is_small() {
    // The node runs as a thread here, so the whole test process is an upper bound.
    let directory = tempfile::tempdir().unwrap();
    let _lab1 = node(directory.path(), "lab1", &["127.0.74.1"]);
    let kib = resident_kib(Path::new("/proc/self/status"));
    assert!(kib < 20 * 1024, "{kib} KiB resident");
}

fn resident_kib(status: &Path) -> u64 {
    let text = std::fs::read_to_string(status).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_ascii_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}
