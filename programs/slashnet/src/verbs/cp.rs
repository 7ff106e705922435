//! `slashnet cp`: between this machine's files and the path space, and within either.

mod content;

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use abi::Nd;
use abi::OpenFlags;
use abi::flags::mode::{PERMISSIONS, is_directory, is_regular, is_symlink};
use abi::system::{Reply, Request, Resolve};
use client::Namespace;

use self::content::Content;
use crate::command::{CpOptions, GlobalOptions};
use crate::daemon;
use crate::failure::{During, Failure, Outcome};
use crate::notation::printable;

/// A tree deeper than this has a loop in it.
const DEPTH_MAX: usize = 256;

/// Copies every source to the target.
pub(crate) fn run(global: &GlobalOptions, options: &CpOptions) -> Outcome {
    let namespace = daemon::namespace(global)?;
    let copier = Copier {
        namespace: &namespace,
        recursive: options.recursive,
        has_left_out: Cell::new(false),
    };
    let target = copier.place(&options.target)?;
    let into = copier
        .kind(&target, Links::Followed)
        .is_ok_and(is_directory);
    if options.sources.len() > 1 && !into {
        return Err(Failure::usage(
            &target,
            "more than one source needs a directory as target",
        ));
    }
    for source in &options.sources {
        let source = copier.place(source)?;
        let target = if into {
            target.below(&source.last_name()?)
        } else {
            target.clone()
        };
        copier.refuse_itself(&source, &target)?;
        copier.copy(&source, &target, 0)?;
    }
    match copier.has_left_out.get() {
        true => Err(Failure::said()),
        false => Ok(()),
    }
}

/// A path here or there.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// A file of this machine.
    Here(PathBuf),
    /// A path of the path space.
    There(Vec<u8>),
}

impl Place {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Here(path) => path.as_os_str().as_bytes(),
            Self::There(path) => path,
        }
    }

    fn below(&self, name: &[u8]) -> Self {
        match self {
            Self::Here(path) => Self::Here(path.join(OsStr::from_bytes(name))),
            Self::There(path) => {
                let slash: &[u8] = if path.ends_with(b"/") { b"" } else { b"/" };
                Self::There([path, slash, name].concat())
            }
        }
    }

    fn last_name(&self) -> Outcome<Vec<u8>> {
        let path = Path::new(OsStr::from_bytes(self.bytes()));
        let name = path.file_name().map(|name| name.as_bytes().to_vec());
        name.ok_or_else(|| Failure::usage(self, "has no last name to copy to"))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&printable(self.bytes()))
    }
}

/// What a symbolic link stands for.
#[derive(Debug, Clone, Copy)]
enum Links {
    /// What it leads to.
    Followed,
    /// Itself.
    Kept,
}

struct Copier<'a> {
    namespace: &'a Namespace,
    recursive: bool,
    /// Something below a directory was not copied, and the reason was said.
    has_left_out: Cell<bool>,
}

impl Copier<'_> {
    /// An absolute path that somebody owns is the path space's; all others are this machine's.
    fn place(&self, path: &OsStr) -> Outcome<Place> {
        let bytes = path.as_bytes();
        if !bytes.starts_with(b"/") {
            return Ok(Place::Here(path.into()));
        }
        let question = Resolve::any(Nd::LOCAL, bytes);
        let endpoint = self.namespace.endpoint().during(printable(bytes))?;
        let owned = match endpoint.request(&Request::Resolve(question)) {
            Ok(Reply::Resolved(resolved)) => !resolved.candidates.is_empty(),
            Ok(Reply::Symlink(_)) => true,
            _ => false,
        };
        Ok(if owned {
            Place::There(bytes.to_vec())
        } else {
            Place::Here(path.into())
        })
    }

    /// What becomes of links that are copied.
    const fn links(&self) -> Links {
        match self.recursive {
            true => Links::Kept,
            false => Links::Followed,
        }
    }

    /// Kind and permissions.
    fn kind(&self, place: &Place, links: Links) -> Outcome<u32> {
        let mode = |metadata: fs::Metadata| metadata.permissions().mode();
        match (place, links) {
            (Place::Here(path), Links::Followed) => fs::metadata(path).map(mode).during(place),
            (Place::Here(path), Links::Kept) => fs::symlink_metadata(path).map(mode).during(place),
            (Place::There(path), links) => match links {
                Links::Followed => self.namespace.stat(path),
                Links::Kept => self.namespace.lstat(path),
            }
            .map(|stat| stat.mode)
            .during(place),
        }
    }

    /// A file copied onto itself would be emptied; a directory copied into itself has no end.
    fn refuse_itself(&self, source: &Place, target: &Place) -> Outcome {
        let within = match (source, target) {
            (Place::Here(source), Place::Here(target)) => target.starts_with(source),
            (Place::There(source), Place::There(target)) => target
                .strip_prefix(source.as_slice())
                .is_some_and(|rest| matches!(rest.first(), None | Some(b'/'))),
            _ => false,
        };
        // With -r a link is copied itself, which may lead nowhere.
        let source_identity = self.identity(source);
        let is_same = match (source_identity, self.identity(target)) {
            (Ok(source), Ok(target)) => source == target,
            (Err(failure), _) if !self.recursive => return Err(failure),
            _ => false,
        };
        if within || is_same {
            return Err(Failure::new(
                source,
                format!("cannot be copied onto itself: {target}"),
            ));
        }
        Ok(())
    }

    /// Node, device and serial number of a file.
    fn identity(&self, place: &Place) -> Outcome<(Option<Nd>, u64, u64)> {
        match place {
            Place::Here(path) => {
                let metadata = fs::metadata(path).during(place)?;
                Ok((None, metadata.dev(), metadata.ino()))
            }
            Place::There(path) => {
                let stat = self.namespace.stat(path).during(place)?;
                Ok((Some(stat.node), stat.dev, stat.ino))
            }
        }
    }

    fn copy(&self, source: &Place, target: &Place, depth: usize) -> Outcome {
        let kind = self.kind(source, self.links())?;
        if is_symlink(kind) {
            return self.copy_link(source, target);
        }
        if is_regular(kind) || depth == 0 && !is_directory(kind) {
            return self.copy_file(source, target, kind);
        }
        if !is_directory(kind) {
            let why =
                "is a device, pipe or socket, and left out: -r copies files, links and directories";
            return Err(Failure::new(source, why));
        }
        if !self.recursive {
            return Err(Failure::new(source, "is a directory; give -r"));
        }
        if depth == DEPTH_MAX {
            return Err(Failure::new(source, abi::Errno::ELOOP));
        }
        self.make_directory(target, kind & PERMISSIONS)?;
        for name in self.names(source)? {
            let copied = self.copy(&source.below(&name), &target.below(&name), depth + 1);
            if let Err(failure) = copied {
                failure.report();
                self.has_left_out.set(true);
            }
        }
        Ok(())
    }

    /// A link as a link, in place of a file or link that is there.
    fn copy_link(&self, source: &Place, target: &Place) -> Outcome {
        let text = match source {
            Place::Here(path) => fs::read_link(path)
                .map(|text| text.into_os_string().into_vec())
                .during(source)?,
            Place::There(path) => self.namespace.readlink(path).during(source)?,
        };
        let there = self.kind(target, self.links());
        if there.is_ok_and(|kind| !is_directory(kind)) {
            match target {
                Place::Here(path) => fs::remove_file(path).during(target)?,
                Place::There(path) => self.namespace.unlink(path).during(target)?,
            }
        }
        match target {
            Place::Here(path) => {
                std::os::unix::fs::symlink(OsStr::from_bytes(&text), path).during(target)
            }
            Place::There(path) => self.namespace.symlink(&text, path).during(target),
        }
    }

    fn names(&self, place: &Place) -> Outcome<Vec<Vec<u8>>> {
        match place {
            Place::Here(path) => {
                let entries = fs::read_dir(path).during(place)?;
                let name = |entry: io::Result<fs::DirEntry>| {
                    entry.map(|entry| entry.file_name().as_bytes().to_vec())
                };
                entries.map(name).collect::<io::Result<_>>().during(place)
            }
            Place::There(path) => {
                let entries = self.namespace.read_directory(path).during(place)?;
                let names = entries.map(|entry| entry.map(|entry| entry.name));
                names.collect::<abi::Result<_>>().during(place)
            }
        }
    }

    fn make_directory(&self, place: &Place, mode: u32) -> Outcome {
        if self.kind(place, Links::Followed).is_ok_and(is_directory) {
            return Ok(());
        }
        match place {
            Place::Here(path) => fs::DirBuilder::new().mode(mode).create(path).during(place),
            Place::There(path) => self
                .namespace
                .mkdir(path, mode & !self.namespace.umask())
                .during(place),
        }
    }

    fn copy_file(&self, source: &Place, target: &Place, kind: u32) -> Outcome {
        let mode = if is_regular(kind) {
            kind & 0o777
        } else {
            0o666
        };
        let mut reader = self.reader(source)?;
        let mut writer = self.writer(target, mode)?;
        let mut copied = 0;
        let outcome = content::copy((source, &mut reader), (target, &mut writer), &mut copied);
        outcome.map_err(|failure| match is_regular(kind) {
            true => failure.and(format!(
                "{target} is incomplete: {copied} bytes were copied"
            )),
            false => failure,
        })
    }

    fn reader(&self, place: &Place) -> Outcome<Content> {
        Ok(match place {
            Place::Here(path) => Content::Here(fs::File::open(path).during(place)?),
            Place::There(path) => {
                Content::There(self.namespace.open(path, OpenFlags::READ).during(place)?)
            }
        })
    }

    fn writer(&self, place: &Place, mode: u32) -> Outcome<Content> {
        Ok(match place {
            Place::Here(path) => {
                let mut options = fs::File::options();
                options.write(true).create(true).truncate(true).mode(mode);
                Content::Here(options.open(path).during(place)?)
            }
            Place::There(path) => {
                let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::TRUNCATE;
                Content::There(
                    self.namespace
                        .open_with_mode(path, flags, mode & !self.namespace.umask())
                        .during(place)?,
                )
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_put_below_a_directory_with_one_slash() {
        let there = |path: &str| Place::There(path.into());
        assert_eq!(there("/net/lab2/srv").below(b"a"), there("/net/lab2/srv/a"));
        assert_eq!(
            there("/net/lab2/srv/").below(b"a"),
            there("/net/lab2/srv/a")
        );
        assert_eq!(
            Place::Here("x".into()).below(b"a"),
            Place::Here("x/a".into())
        );
    }

    #[test]
    fn the_last_name_of_a_path_is_what_a_copy_is_called() {
        assert_eq!(Place::Here("dir/file".into()).last_name().unwrap(), b"file");
        assert_eq!(
            Place::There(b"/net/lab2/srv/".to_vec())
                .last_name()
                .unwrap(),
            b"srv"
        );
        assert!(Place::There(b"/".to_vec()).last_name().is_err());
    }
}
