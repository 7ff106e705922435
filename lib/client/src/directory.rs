//! Listing a directory, also one that several servers share.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use abi::connect::{CombinedReply, ConnectType, Extra, Opened};
use abi::devctl::Devctl;
use abi::io::{Entries, LISTING_END, Request, Stat};
use abi::{Candidate, Decode, Encode, Errno, Nd, OpenFlags, Result};
use ipc::SendOptions;
use paths::{Answer, Step, WalkOptions};

use crate::carrier::Line;
use crate::names::placed;
use crate::request::{Deed, Doer};
use crate::{Closing, File, Namespace};

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
        let deed = Deed {
            flags: LISTING,
            options: every(),
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
                } => Part::of(line, candidate, Opened::from_bytes(&body)?),
                Doer::Manager { nd, path } => Part::Tree {
                    namespace: self.clone(),
                    nd,
                    path,
                    listed: false,
                },
            });
            Ok(())
        })?;
        Ok(Directory::of(parts))
    }

    /// As [`read_directory`](Self::read_directory), of a directory that one server alone has, and controls it with the
    /// exchange that opens it.
    ///
    /// # Errors
    /// As [`read_directory`](Self::read_directory) and [`File::devctl`]; the directory is not open then. `EXDEV` if others
    /// than one server have a part of it.
    pub fn read_directory_and_control<Req: Encode, Rep>(
        &self,
        path: impl AsRef<[u8]>,
        control: Devctl<Req, Rep>,
        argument: Req,
    ) -> Result<(Directory, Rep)>
    where
        Rep: for<'a> Decode<'a>,
    {
        let data = argument.to_bytes()?;
        let dcmd = control.dcmd();
        let io = Request::Devctl { dcmd, data: &data }.to_bytes()?;
        let deed = Deed {
            subtype: ConnectType::Combine,
            flags: LISTING,
            extra: Extra::Combined(&io),
            options: every(),
            ..Deed::default()
        };
        let (mut result, mut asked) = (None, 0);
        let mut accept = |doer: Doer| {
            let (line, candidate, body) = doer.opened()?;
            let reply = CombinedReply::from_bytes(&body)?;
            let opened = reply.opened.ok_or(Errno::EBADMSG)?;
            let part = Part::of(line, candidate, opened);
            result = Some((part, Rep::from_bytes(reply.body)?));
            Ok(())
        };
        // One that refuses the control may have a part as well.
        let mut count = |step: &Step, _: &Answer| {
            asked += u32::from(matches!(step, Step::Connect { .. } | Step::Own { .. }));
        };
        self.perform_observed(path.as_ref(), &deed, &mut accept, &mut count)?;
        match (asked, result) {
            (1, Some((part, answer))) => Ok((Directory::of(VecDeque::from([part])), answer)),
            (1, None) => Err(Errno::EBADMSG),
            _ => Err(Errno::EXDEV),
        }
    }
}

/// How directories are opened that are to be listed.
const LISTING: OpenFlags = OpenFlags::READ.union(OpenFlags::DIRECTORY);

fn every() -> WalkOptions {
    WalkOptions {
        every: true,
        ..WalkOptions::default()
    }
}

impl Directory {
    fn of(parts: VecDeque<Part>) -> Self {
        let seen = (parts.len() > 1).then(HashSet::new);
        Self {
            parts,
            seen,
            ready: VecDeque::new(),
            space: Vec::new(),
            failed: false,
        }
    }

    /// Whether all has been read, so that the next [`read_into`](Self::read_into) would say so.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        let is_at_end = |part: &Part| matches!(part, Part::Server { ended: true, .. });
        self.ready.is_empty() && self.parts.iter().all(is_at_end)
    }

    /// Closes the directory at its servers and does not wait for them.
    ///
    /// # Errors
    /// As [`File::begin_close`].
    pub fn begin_close(self) -> Result<Vec<Closing>> {
        let files = self.parts.into_iter().filter_map(|part| match part {
            Part::Server { file, .. } => Some(file),
            Part::Tree { .. } => None,
        });
        files.map(File::begin_close).collect()
    }

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
    fn of(line: Arc<dyn Line>, candidate: Candidate, opened: Opened) -> Self {
        Self::Server {
            file: File::new(line, candidate, opened, LISTING),
            candidate,
            cookie: 0,
            ended: false,
        }
    }

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
