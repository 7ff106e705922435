//! Going down through directories, for the verbs that list what is below a path.

use abi::flags::mode::is_directory;
use abi::io::Stat;
use client::{DirectoryEntry, Namespace};

use crate::failure::{During, Failure, Outcome};
use crate::notation::printable;

/// Directories inside each other; deeper ones are reported and not entered.
const DEPTH_MAX: usize = 256;

/// Something below a path.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    /// The whole path.
    pub(crate) path: &'a [u8],
    /// Its last component.
    pub(crate) name: &'a [u8],
    /// Kind and perhaps permissions, as in `st_mode`; 0 if only its server knows.
    pub(crate) kind: u32,
    /// Attributes, if the directory's server gave them along.
    pub(crate) stat: Option<Stat>,
    /// For each directory on the way down and for this itself: whether it is the last one there.
    pub(crate) last: &'a [bool],
}

/// How to go down.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descent<'a> {
    pub(crate) namespace: &'a Namespace,
    /// Levels below the start; none for all.
    pub(crate) levels: Option<usize>,
    /// Names that begin with a dot as well.
    pub(crate) hidden: bool,
}

impl Descent<'_> {
    /// Calls `see` for everything below `start`, each directory before what is in it, names in the order of their bytes.
    /// A directory that cannot be read is reported at once; then the outcome is a failure, after everything else.
    ///
    /// Links are not followed. The network directory of another node is seen and not entered, and the own node's not by
    /// a descent that begins outside of `/net`: the same names would come again without end.
    pub(crate) fn each(&self, start: &[u8], see: &mut dyn FnMut(&Found<'_>) -> Outcome) -> Outcome {
        self.go(start, see, &mut |_, _| Ok(()))
    }

    /// As [`each`](Self::each), by whole directories: calls `see` for `start` and every directory below it with what is
    /// in it, nothing if it cannot be read.
    pub(crate) fn directories(
        &self,
        start: &[u8],
        see: &mut dyn FnMut(&[u8], &[DirectoryEntry]) -> Outcome,
    ) -> Outcome {
        self.go(start, &mut |_| Ok(()), see)
    }

    fn go(
        &self,
        start: &[u8],
        see: &mut dyn FnMut(&Found<'_>) -> Outcome,
        see_directory: &mut dyn FnMut(&[u8], &[DirectoryEntry]) -> Outcome,
    ) -> Outcome {
        let own = self.namespace.nodes().unwrap_or_default();
        let own = own.first().map(|row| row.name.to_string());
        let mut state = State {
            descent: *self,
            own: own.filter(|_| !start.starts_with(b"/net")),
            last: Vec::new(),
            unread: false,
            see,
            see_directory,
        };
        state.enter(start)?;
        if state.unread {
            return Err(Failure::said());
        }
        Ok(())
    }

    /// What is in one directory.
    pub(crate) fn entries(&self, path: &[u8]) -> Outcome<Vec<DirectoryEntry>> {
        let shown = printable(path);
        let directory = self.namespace.read_directory(path).during(&shown)?;
        let mut entries = directory.collect::<abi::Result<Vec<_>>>().during(&shown)?;
        entries.retain(|entry| self.hidden || !entry.name.starts_with(b"."));
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }
}

struct State<'a, 'b> {
    descent: Descent<'a>,
    /// The own node's name, if it is not to be entered.
    own: Option<String>,
    last: Vec<bool>,
    unread: bool,
    see: &'b mut dyn FnMut(&Found<'_>) -> Outcome,
    see_directory: &'b mut dyn FnMut(&[u8], &[DirectoryEntry]) -> Outcome,
}

impl State<'_, '_> {
    fn enter(&mut self, directory: &[u8]) -> Outcome {
        let entries = match self.descent.entries(directory) {
            Ok(entries) => entries,
            Err(failure) => {
                (self.see_directory)(directory, &[])?;
                failure.report();
                self.unread = true;
                return Ok(());
            }
        };
        (self.see_directory)(directory, &entries)?;
        let count = entries.len();
        for (at, entry) in entries.into_iter().enumerate() {
            let path = below(directory, &entry.name);
            self.last.push(at + 1 == count);
            let depth = self.last.len();
            let wanted = self.descent.levels.is_none_or(|levels| depth < levels);
            let wanted = wanted && is_directory(entry.mode) && !self.comes_again(&path);
            let found = Found {
                path: &path,
                name: &entry.name,
                kind: entry.mode,
                stat: entry.stat,
                last: &self.last,
            };
            (self.see)(&found)?;
            if wanted && depth < DEPTH_MAX {
                self.enter(&path)?;
            } else if wanted {
                let why = format!("{DEPTH_MAX} directories inside each other are enough");
                Failure::new(printable(&path), why).report();
                self.unread = true;
            }
            self.last.pop();
        }
        Ok(())
    }

    fn comes_again(&self, path: &[u8]) -> bool {
        let mut components = path.rsplit(|&byte| byte == b'/');
        let [name, parent, above] = [(); 3].map(|()| components.next().unwrap_or_default());
        let is_network_of_node = name == b"net" && above == b"net" && !parent.is_empty();
        let own = self.own.as_ref().map(|own| ["/net/", own].concat());
        is_network_of_node || own.is_some_and(|own| own.as_bytes() == path)
    }
}

/// A name in a directory as a path.
pub(crate) fn below(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let directory = directory.strip_suffix(b"/").unwrap_or(directory);
    [directory, b"/", name].concat()
}

#[cfg(test)]
mod tests {
    use client::testing::{LAB2, Node, World};

    use super::*;

    #[test]
    fn a_directory_is_asked_once_for_what_is_in_it() {
        let world = World::new();
        let file = || Node::File(b"x".to_vec());
        let files = [
            ("", Node::Directory),
            ("a", Node::Directory),
            ("a/b", Node::Directory),
            ("a/b/c", file()),
            ("d", file()),
        ];
        world.serve(LAB2, 50, "/srv", &files);
        let namespace = world.namespace();
        let descent = Descent {
            namespace: &namespace,
            levels: None,
            hidden: true,
        };
        world.exchanges();
        let mut seen = Vec::new();
        let mut see = |path: &[u8], entries: &[DirectoryEntry]| {
            let names = entries.iter().map(|entry| printable(&entry.name));
            seen.push((printable(path), names.collect::<Vec<_>>()));
            Ok(())
        };
        assert!(descent.directories(b"/net/lab2/srv", &mut see).is_ok());
        let row = |path: &str, names: &[&str]| {
            let names = names.iter().map(ToString::to_string);
            (path.to_owned(), names.collect::<Vec<_>>())
        };
        let expected = [
            row("/net/lab2/srv", &["a", "d"]),
            row("/net/lab2/srv/a", &["b"]),
            row("/net/lab2/srv/a/b", &["c"]),
        ];
        assert_eq!(seen, expected);
        let opened = world.exchanges();
        let opened = opened.iter().filter(|what| *what == "connect");
        assert_eq!(opened.count(), 3);
    }
}
