//! What other programs are to have done before a measurement begins.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Outcome;

/// Far longer than any of them takes.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks. Nothing is measured meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// Looks until `look` succeeds; fails as it does last.
pub(crate) fn success<T>(mut look: impl FnMut() -> Outcome<T>) -> Outcome<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look() {
            Err(_not_yet) if Instant::now() < deadline => std::thread::sleep(LOOK),
            outcome => return outcome,
        }
    }
}

/// Waits until something is mounted at `path`.
pub(crate) fn mount(path: &Path) -> Outcome<()> {
    let text = path.display().to_string();
    success(|| {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let mut points = mounts.lines().map(|line| line.split(' ').nth(1));
        match points.any(|point| point == Some(&text)) {
            true => Ok(()),
            false => Err(format!("nothing was mounted at {text}").into()),
        }
    })
}

/// Waits until somebody listens on a TCP port in the namespace of process `pid`.
pub(crate) fn port(pid: i32, port: u16) -> Outcome<()> {
    let wanted = format!(":{port:04X} ");
    let listens = |line: &str| line.contains(&wanted) && line.contains(" 0A ");
    success(|| {
        let table = fs::read_to_string(format!("/proc/{pid}/net/tcp"))?;
        match table.lines().any(listens) {
            true => Ok(()),
            false => Err(format!("nobody listens on port {port}").into()),
        }
    })
}
