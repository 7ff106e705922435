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
    /// Whether what is in it comes next.
    pub(crate) enters: bool,
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
        let own = self.namespace.nodes().unwrap_or_default();
        let own = own.first().map(|row| row.name.to_string());
        let mut state = State {
            descent: *self,
            own: own.filter(|_| !start.starts_with(b"/net")),
            last: Vec::new(),
            unread: false,
            see,
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
}

impl State<'_, '_> {
    fn enter(&mut self, directory: &[u8]) -> Outcome {
        let entries = match self.descent.entries(directory) {
            Ok(entries) => entries,
            Err(failure) => {
                failure.report();
                self.unread = true;
                return Ok(());
            }
        };
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
                enters: wanted && depth < DEPTH_MAX,
                last: &self.last,
            };
            (self.see)(&found)?;
            if found.enters {
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
