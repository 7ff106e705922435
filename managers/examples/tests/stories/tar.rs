//! A tar archive, made by the tar of this system, as a tree; and archives that are none.
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::example::Example;
use client::{Errno, OpenFlags};

const TAR: &str = env!("CARGO_BIN_EXE_slashnet-tar");

/// A directory with files, links, and names longer than a header holds.
fn plant(root: &Path) -> String {
    let long = "long-".repeat(45);
    let deep = format!("deep/{long}/{long}");
    fs::create_dir_all(root.join(&deep)).unwrap();
    fs::write(root.join(&deep).join("leaf"), b"found").unwrap();
    fs::write(root.join("small"), b"some bytes").unwrap();
    fs::set_permissions(root.join("small"), fs::Permissions::from_mode(0o640)).unwrap();
    let big: Vec<u8> = (0..300_000_u32)
        .map(|number| (number % 251) as u8)
        .collect();
    fs::write(root.join("big"), big).unwrap();
    fs::hard_link(root.join("small"), root.join("twin")).unwrap();
    symlink("deep/../small", root.join("link")).unwrap();
    deep
}

fn pack(root: &Path, format: &str, archive: &Path) {
    let packed = Command::new("tar")
        .args([
            format!("--format={format}"),
            "--mode=a+rX".into(),
            "-cf".into(),
        ])
        .arg(archive)
        .arg("-C")
        .arg(root)
        .arg(".")
        .status();
    assert!(packed.unwrap().success());
}

#[test]
fn what_tar_packed_is_read_in_place_and_cannot_be_changed() {
    let space = tempfile::tempdir().unwrap();
    let root = space.path().join("tree");
    fs::create_dir(&root).unwrap();
    let deep = plant(&root);
    for format in ["gnu", "pax"] {
        let archive = space.path().join(format);
        pack(&root, format, &archive);
        let example = Example::start(TAR, &[archive.to_str().unwrap()], "/tar");
        let far = &example.far;
        let mut bytes = vec![0; 400_000];
        let mut read = |name: &str| {
            let file = far.open(format!("/net/lab2/tar/{name}"), OpenFlags::READ);
            let count = file.and_then(|file| file.read(&mut bytes))?;
            client::Result::Ok(bytes[..count].to_vec())
        };
        for name in ["small", "twin", "link", &format!("{deep}/leaf"), "big"] {
            let real = fs::read(root.join(name)).unwrap();
            let packed = read(name).map_err(|errno| panic!("{format} {name}: {errno:?}"));
            assert!(packed == Ok(real), "{format} {name}");
        }
        assert_eq!(read("nothing"), Err(Errno::ENOENT));
        assert_eq!(read("small/more"), Err(Errno::ENOTDIR));
        let stat = far.stat("/net/lab2/tar/small").unwrap();
        assert_eq!((stat.mode & 0o7777, stat.nlink), (0o644, 2));
        let directory = far.read_directory("/net/lab2/tar").unwrap();
        let mut names: Vec<_> = directory.map(|entry| entry.unwrap().name).collect();
        names.sort();
        assert_eq!(names, [&b"big"[..], b"deep", b"link", b"small", b"twin"]);
        let write = far.open("/net/lab2/tar/small", OpenFlags::WRITE);
        assert_eq!(write.map(drop), Err(Errno::EROFS));
        assert_eq!(far.unlink("/net/lab2/tar/small"), Err(Errno::ENOSYS));
    }
}

#[test]
fn an_archive_that_is_broken_is_refused_with_the_place() {
    let space = tempfile::tempdir().unwrap();
    let (root, archive) = (space.path().join("tree"), space.path().join("archive"));
    fs::create_dir(&root).unwrap();
    plant(&root);
    pack(&root, "gnu", &archive);
    let good = fs::read(&archive).unwrap();
    let refused = |bytes: &[u8]| {
        fs::write(&archive, bytes).unwrap();
        let output = Command::new(TAR).arg(&archive).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let mut flipped = good.clone();
    flipped[0] ^= 1;
    assert!(refused(&flipped).contains("the block at byte 0 is no header"));
    let mut long = good;
    long[124..136].copy_from_slice(b"77777777777\0");
    let sum: u64 = (0..512_usize)
        .map(|at| {
            if (148..156).contains(&at) {
                32
            } else {
                u64::from(long[at])
            }
        })
        .sum();
    long[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    assert!(refused(&long).contains("is longer than the archive"));
    let usage = Command::new(TAR).output().unwrap();
    assert_eq!(usage.status.code(), Some(2));
}
