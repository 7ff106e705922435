//! Two machines that trust each other.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use tempfile::TempDir;

use super::{Up, run, text};

/// Two nodes that trust each other; lab2 exports a directory as `/srv`.
pub(crate) struct Lab {
    temporary: TempDir,
    pub(crate) lab1: Up,
    pub(crate) lab2: Up,
}

impl Lab {
    pub(crate) fn start() -> Self {
        let temporary = tempfile::tempdir().expect("a directory");
        let srv = temporary.path().join("srv");
        open_directory(&srv);
        let export = format!("{}=/srv", srv.display());
        let (dir1, dir2) = (temporary.path().join("lab1"), temporary.path().join("lab2"));
        let lab1 = Up::start(&dir1, &["--name", "lab1"]);
        let lab2 = Up::start(&dir2, &["--name", "lab2", "--export", &export]);
        lab1.wait_for("node lab1 is up");
        lab2.wait_for("node lab2 is up");
        let code = text(&run(&dir1, &["invite"]));
        assert_eq!(
            text(&run(&dir2, &["join", code.trim()])),
            "joined lab1: /net/lab1\n"
        );
        Self {
            temporary,
            lab1,
            lab2,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.temporary.path().join(name)
    }

    /// Runs a command on lab1.
    pub(crate) fn lab1(&self, arguments: &[&str]) -> Output {
        run(&self.path("lab1"), arguments)
    }
}

/// Makes a directory into which everybody may write: root of one node is nobody on another, and the tests may be run by
/// root.
pub(crate) fn open_directory(path: &Path) {
    fs::create_dir(path).expect("made");
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("opened");
}
