//! Listing a directory, also one that several servers share.

use std::collections::{HashSet, VecDeque};

use abi::connect::Opened;
use abi::io::{Entries, LISTING_END, Stat};
use abi::{Candidate, Decode, Errno, Nd, OpenFlags, Result};
use ipc::SendOptions;
use paths::WalkOptions;

use crate::names::placed;
use crate::request::{Deed, Doer};
use crate::{File, Namespace};

/// An open directory: the union of what its servers and process manager have there. A name that several have is
/// listed once, for the first of them (P38). `.` and `..` are not listed.
#[derive(Debug)]
pub struct Directory {
    parts: VecDeque<Part>,
    /// Names listed already; kept only while several parts have to be merged.
    seen: Option<HashSet<Vec<u8>>>,
    ready: VecDeque<DirectoryEntry>,
    space: Vec<u8>,
    failed: bool,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// Serial number; in `/net` the node descriptor (P52).
    pub ino: u64,
    /// The kind, as in `st_mode`, perhaps with permissions; 0 if only the server of the name knows.
    pub mode: u32,
    /// The name.
    pub name: Vec<u8>,
    /// Attributes, if the server gave them along.
    pub stat: Option<Stat>,
    /// Who listed it; none where a process manager did.
    pub server: Option<Candidate>,
}

#[derive(Debug)]
enum Part {
    Server {
        file: File,
        candidate: Candidate,
        cookie: u64,
        /// The server has said that nothing comes behind.
        ended: bool,
    },
    Tree {
        namespace: Namespace,
        nd: Nd,
        path: Vec<u8>,
        listed: bool,
    },
}

impl Namespace {
    /// Opens a directory for listing, with attributes where servers give them along.
    ///
    /// # Errors
    /// `ENOTDIR`, and those of every call by path.
    #[doc(alias = "opendir")]
    pub fn read_directory(&self, path: impl AsRef<[u8]>) -> Result<Directory> {
        let flags = OpenFlags::READ | OpenFlags::DIRECTORY;
        let options = WalkOptions {
            every: true,
            ..WalkOptions::default()
        };
        let deed = Deed {
            flags,
            options,
            ..Deed::default()
        };
        let mut parts = VecDeque::new();
        self.perform(path.as_ref(), &deed, &mut |doer| {
            parts.push_back(match doer {
                Doer::Server {
                    line,
                    candidate,
                    body,
                    ..
                } => {
                    let opened = Opened::from_bytes(&body)?;
                    let file = File::new(line, candidate, opened, flags);
                    Part::Server {
                        file,
                        candidate,
                        cookie: 0,
                        ended: false,
                    }
                }
                Doer::Manager { nd, path } => Part::Tree {
                    namespace: self.clone(),
                    nd,
                    path,
                    listed: false,
                },
            });
            Ok(())
        })?;
        let seen = (parts.len() > 1).then(HashSet::new);
        Ok(Directory {
            parts,
            seen,
            ready: VecDeque::new(),
            space: Vec::new(),
            failed: false,
        })
    }
}

impl Directory {
    /// The directory at its server, as long as it is being read and no other server has a part of it.
    #[must_use]
    pub fn server(&self) -> Option<&File> {
        match (self.parts.len(), self.parts.front()) {
            (1, Some(Part::Server { file, .. })) => Some(file),
            _ => None,
        }
    }

    /// Appends the next piece of entries, of which there is at least one, to `entries`; false at the end.
    ///
    /// # Errors
    /// `EINTR`, `ETIMEDOUT`, what the server answers, and `EBADMSG` if it answers without end and without a name that is
    /// new. Reading on tries again.
    #[doc(alias = "readdir")]
    pub fn read_into(
        &mut self,
        entries: &mut Vec<DirectoryEntry>,
        options: &SendOptions<'_>,
    ) -> Result<bool> {
        let mut pieces = 0;
        while self.ready.is_empty() {
            pieces += 1;
            if pieces > PIECES_WITHOUT_NEWS_MAX {
                return Err(Errno::EBADMSG);
            }
            let Some(part) = self.parts.front_mut() else {
                return Ok(false);
            };
            let Some(piece) = part.read(&mut self.space, options)? else {
                self.parts.pop_front();
                continue;
            };
            let fresh = piece.into_iter().filter(|entry| match &mut self.seen {
                Some(seen) => seen.insert(entry.name.clone()),
                None => true,
            });
            self.ready.extend(fresh);
        }
        entries.extend(self.ready.drain(..));
        Ok(true)
    }
}

/// Ends after the first error.
impl Iterator for Directory {
    type Item = Result<DirectoryEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty() && !self.failed {
            let mut piece = Vec::new();
            match self.read_into(&mut piece, &SendOptions::default()) {
                Ok(_) => self.ready.extend(piece),
                Err(errno) => {
                    self.failed = true;
                    return Some(Err(errno));
                }
            }
        }
        self.ready.pop_front().map(Ok)
    }
}

impl Part {
    /// The next entries, perhaps none of interest; `None` at the end.
    fn read(
        &mut self,
        space: &mut Vec<u8>,
        options: &SendOptions<'_>,
    ) -> Result<Option<Vec<DirectoryEntry>>> {
        match self {
            Self::Server {
                file,
                candidate,
                cookie,
                ended,
            } => {
                if *ended {
                    return Ok(None);
                }
                let room = if *cookie == 0 {
                    PIECE_BYTES
                } else {
                    NEXT_PIECE_BYTES
                };
                space.resize(room, 0);
                let reply = file.read_directory(*cookie, true, space, options)?;
                let body = space.get(..reply.len).ok_or(Errno::EBADMSG)?;
                *ended = reply.status & LISTING_END != 0;
                if body.is_empty() {
                    return Ok(None);
                }
                let mut piece = Vec::new();
                for entry in Entries::new(body) {
                    let entry = entry?;
                    *cookie = entry.next;
                    if matches!(entry.name, b"." | b"..") {
                        continue;
                    }
                    piece.push(DirectoryEntry {
                        ino: entry.ino,
                        mode: entry.mode,
                        name: entry.name.to_vec(),
                        stat: entry.stat.map(|stat| placed(stat, candidate)),
                        server: Some(*candidate),
                    });
                }
                Ok(Some(piece))
            }
            // All entries come at once.
            Self::Tree { listed: true, .. } => Ok(None),
            Self::Tree {
                namespace,
                nd,
                path,
                listed,
            } => {
                let entries = namespace.tree_entries(*nd, path)?;
                let entry = |entry: abi::system::Entry| DirectoryEntry {
                    ino: entry.inode,
                    mode: entry.mode,
                    name: entry.name,
                    stat: None,
                    server: None,
                };
                *listed = true;
                Ok(Some(entries.into_iter().map(entry).collect()))
            }
        }
    }
}

/// Room for one answer with entries: for most directories all of them, and not too much for a small one.
const PIECE_BYTES: usize = 64 << 10;
/// Answers in a row without any name that no server has told before: of two servers of one directory, the second may repeat
/// what the first has said, 100 000 names and more.
const PIECES_WITHOUT_NEWS_MAX: u32 = 1000;
/// Room for the answers after the first.
const NEXT_PIECE_BYTES: usize = 768 << 10;
