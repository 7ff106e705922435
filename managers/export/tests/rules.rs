//! Rules of the node and symbolic links of the tree.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod exported;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use abi::Errno;
use exported::{NOFOLLOW, READ, mkdir, serve, stat_of, unlink};

/// Neither the manager's user nor root.
const STRANGER: u32 = 54_321;

#[test]
fn a_link_leads_nobody_past_a_rule_of_the_node() {
    let directory = tempfile::tempdir().unwrap();
    let mode = |path: &Path| fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
    mode(directory.path());
    for name in ["secret", "open"] {
        let path = directory.path().join(name);
        fs::create_dir(&path).unwrap();
        mode(&path);
    }
    fs::write(directory.path().join("secret/x"), "secret").unwrap();
    fs::write(directory.path().join("open/y"), "open").unwrap();
    let link = |text: &str, name: &str| symlink(text, directory.path().join("open").join(name));
    link("../secret", "directory").unwrap();
    link("../secret/x", "file").unwrap();
    link("y", "near").unwrap();
    let manager = serve(directory.path(), false);
    // Somebody whose rights the manager checks itself, if it is not run by root.
    let client = manager.client(STRANGER, STRANGER);
    let paths = ["open/directory/x", "open/file", "open/near"];
    for path in paths {
        assert!(client.open(path, READ).is_ok(), "{path}");
    }
    manager.set_rules("deny *@* read /secret");
    for path in paths {
        let refused = client.open(path, READ).err();
        assert_eq!(
            refused,
            Some(Errno::EACCES),
            "{path}: links are not followed"
        );
    }
    assert!(client.open("open/y", READ).is_ok());
    // The link itself can be looked at, and a client that reads it is decided by where it leads.
    let itself = stat_of(&client, "open/file", NOFOLLOW).unwrap();
    assert!(abi::flags::mode::is_symlink(itself.mode));
    assert_eq!(unlink(&client, "open/directory/x"), Err(Errno::EACCES));
    assert_eq!(
        mkdir(&client, "open/directory/new", 0o755),
        Err(Errno::EACCES)
    );
    manager.set_rules("deny *@* write /");
    for path in paths {
        assert!(
            client.open(path, READ).is_ok(),
            "{path}: all paths are alike"
        );
    }
}
