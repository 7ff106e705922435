//! Whether a program can be given the preload library, from its file.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, FileKind, ReadCache};

use super::{NOT_EXECUTABLE, NOT_FOUND};
use crate::failure::{During, Failure, Outcome};
use crate::notation::printable;

/// Interpreters of interpreters that the kernel follows.
const SCRIPTS_MAX: usize = 5;
/// How much of a script's first line the kernel reads.
const FIRST_LINE_MAX: u64 = 256;

/// Checks that the library can be loaded into `program`, or into what runs it.
pub(super) fn check(program: &OsStr) -> Outcome {
    let path = find(program)?;
    let file = fs::metadata(&path).map_err(|error| super::not_started(&path, error))?;
    if !file.is_file() || file.permissions().mode() & 0o111 == 0 {
        let denied = std::io::ErrorKind::PermissionDenied;
        return Err(super::not_started(&path, denied.into()));
    }
    check_chain(path).map_err(|refusal| refusal.with_status(NOT_EXECUTABLE))
}

/// The same of the file and, if it is a script, of what runs it.
fn check_chain(mut path: PathBuf) -> Outcome {
    for _ in 0..=SCRIPTS_MAX {
        check_rights(&path)?;
        match interpreter_of_script(&path)? {
            Some(interpreter) => path = interpreter,
            None => return check_file(&path),
        }
    }
    Err(Failure::new(
        path.display(),
        "too many scripts run by scripts",
    ))
}

/// The file that the shell would run.
fn find(program: &OsStr) -> Outcome<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return Ok(program.into());
    }
    let directories = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&directories)
        .map(|directory| directory.join(program))
        .find(|path| {
            fs::metadata(path)
                .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        })
        .ok_or_else(|| {
            let none = Failure::new(printable(program.as_bytes()), "command not found");
            none.with_status(NOT_FOUND)
        })
}

/// The kernel loads no library that the user names into a program with more rights than the user.
fn check_rights(path: &Path) -> Outcome {
    let file = fs::metadata(path).during(path.display())?;
    let raised = |what: &str| {
        let why = format!(
            "{what}, and into such programs the system loads no library of the user's; \
             give it a terminal made by 'slashnet tty'"
        );
        Err(Failure::new(path.display(), why))
    };
    let (user, group) = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    if file.mode() & 0o4000 != 0 && file.uid() != user {
        return raised("it runs with its owner's rights (setuid)");
    }
    if file.mode() & 0o2000 != 0 && file.gid() != group {
        return raised("it runs with its group's rights (setgid)");
    }
    let capabilities = rustix::fs::getxattr(path, "security.capability", &mut [0u8; 64][..]);
    if user != 0 && capabilities.is_ok() {
        return raised("it runs with rights of its own (file capabilities)");
    }
    Ok(())
}

fn interpreter_of_script(path: &Path) -> Outcome<Option<PathBuf>> {
    let mut first = Vec::new();
    let file = File::open(path).during(path.display())?;
    file.take(FIRST_LINE_MAX)
        .read_to_end(&mut first)
        .during(path.display())?;
    let Some(line) = first.strip_prefix(b"#!") else {
        return Ok(None);
    };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut words = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let interpreter = words.next().unwrap_or_default();
    // `#!/usr/bin/env python3` runs what comes behind it.
    if Path::new(OsStr::from_bytes(interpreter)).file_name() == Some(OsStr::new("env"))
        && let Some(program) = words.find(|word| !word.starts_with(b"-") && !word.contains(&b'='))
    {
        return find(&OsString::from_vec(program.to_vec())).map(Some);
    }
    Ok(Some(PathBuf::from(OsString::from_vec(
        interpreter.to_vec(),
    ))))
}

fn check_file(path: &Path) -> Outcome {
    let (theirs, ours) = (Kind::of(path)?, Kind::of(Path::new("/proc/self/exe"))?);
    let because = |why: &str| Err(Failure::new(path.display(), why));
    if (theirs.wide, theirs.machine) != (ours.wide, ours.machine) {
        return because(
            "it is built for another kind of processor than slashnet, so its library cannot be loaded",
        );
    }
    match theirs.loader {
        None => because(
            "it is statically linked, so no library can be loaded into it; \
             give it a terminal made by 'slashnet tty'",
        ),
        Some(loader) if loader.windows(4).any(|part| part == b"musl") => because(
            "it uses another C library than slashnet (musl), so its library cannot be loaded; \
             give it a terminal made by 'slashnet tty'",
        ),
        Some(_) => Ok(()),
    }
}

/// What matters of an executable file.
struct Kind {
    wide: bool,
    machine: u16,
    /// The program that loads libraries.
    loader: Option<Vec<u8>>,
}

impl Kind {
    fn of(path: &Path) -> Outcome<Self> {
        let data = ReadCache::new(File::open(path).during(path.display())?);
        let kind = match FileKind::parse(&data) {
            Ok(FileKind::Elf64) => Self::read::<object::elf::FileHeader64<Endianness>>(&data),
            Ok(FileKind::Elf32) => Self::read::<object::elf::FileHeader32<Endianness>>(&data),
            _ => {
                return Err(Failure::new(
                    path.display(),
                    "it is no program of this system",
                ));
            }
        };
        kind.map_err(|error| Failure::new(path.display(), error.to_string()))
    }

    fn read<H: FileHeader<Endian = Endianness>>(data: &ReadCache<File>) -> object::Result<Self> {
        let header = H::parse(data)?;
        let endian = header.endian()?;
        let mut loader = None;
        for part in header.program_headers(endian, data)? {
            if let Some(path) = part.interpreter(endian, data)? {
                loader = Some(path.to_vec());
            }
        }
        Ok(Self {
            wide: header.is_type_64(),
            machine: header.e_machine(endian),
            loader,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn script(place: &Path, first_line: &str) -> PathBuf {
        let path = place.join("script");
        fs::write(&path, format!("{first_line}\ntrue\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn refusal(path: &Path) -> String {
        check(path.as_os_str()).expect_err("refused").to_string()
    }

    #[test]
    fn programs_and_scripts_that_load_libraries_are_fine() {
        check(OsStr::new("sh")).unwrap();
        let place = tempfile::tempdir().unwrap();
        for line in [
            "#!/bin/sh",
            "#! /bin/sh -e",
            "#!/usr/bin/env sh",
            "#!/usr/bin/env -S sh",
        ] {
            check(script(place.path(), line).as_os_str()).unwrap();
        }
    }

    #[test]
    fn what_cannot_load_a_library_is_refused_with_the_reason() {
        let place = tempfile::tempdir().unwrap();
        let missing = check(OsStr::new("no-such-program")).expect_err("refused");
        assert!(
            missing.to_string().contains("command not found"),
            "{missing}"
        );
        let text = place.path().join("text");
        fs::write(&text, "hello").unwrap();
        assert!(refusal(&text).contains("permission denied"));
        fs::set_permissions(&text, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(refusal(&text).contains("no program of this system"));
        let itself = place.path().join("itself");
        symlink("script", &itself).unwrap();
        let line = format!("#!{}", itself.display());
        assert!(refusal(&script(place.path(), &line)).contains("too many scripts"));
    }

    #[test]
    fn a_program_with_the_rights_of_another_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = script(place.path(), "#!/bin/sh");
        // Only the superuser can give a file away; for others the group is what they are not in.
        let root = rustix::process::geteuid().is_root();
        if root {
            std::os::unix::fs::chown(&path, Some(1), Some(1)).unwrap();
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o6755)).unwrap();
        assert_eq!(check(path.as_os_str()).is_err(), root);
        if root {
            assert!(refusal(&path).contains("setuid"));
        }
    }
}
