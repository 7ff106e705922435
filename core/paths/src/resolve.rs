//! What a process manager answers to "who owns this path?".

use alloc::vec::Vec;

use abi::limits::CANDIDATES_MAX;
use abi::{AttachFlags, Candidate, ChannelId, Errno, FileType, Handle, Nd, PathFlags, Pid, Result};

use crate::pathname::{Pathname, below, join};
use crate::prefix_tree::{Object, PrefixTree, Server};

/// Handle of a candidate that is the process manager itself: the path is a directory of its tree, or
/// a symlink that is meant itself. Ask it to describe or list the path.
#[doc(alias = "PATHMGR_HANDLE_TARGET")]
pub const HANDLE_OWN: Handle = Handle(0);

/// Handle of a candidate that is a process-manager symlink at its prefix, behind the servers of
/// longer prefixes (P62, P65). Resolve the prefix to get the symlink.
pub const HANDLE_SYMLINK: Handle = Handle(2);

/// Who asks: its own registrations are not offered to it (P16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// Its node, in the terms of the tree's node.
    pub nd: Nd,
    /// Its process.
    pub pid: Pid,
    /// The type of file it wants.
    pub file_type: FileType,
    /// A symlink at the very end is meant itself (P63).
    pub no_follow: bool,
}

impl Asker {
    /// A process of the tree's own node that wants to open anything.
    #[must_use]
    pub const fn local(pid: Pid) -> Self {
        Self {
            nd: Nd::LOCAL,
            pid,
            file_type: FileType::ANY,
            no_follow: false,
        }
    }
}

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Try these in this order. Their nds are those of the tree's node.
    Candidates {
        /// The normalised path that the candidates' prefixes are prefixes of.
        path: Pathname,
        /// 1 to [`CANDIDATES_MAX`] of them.
        candidates: Vec<Candidate>,
    },
    /// A process-manager symlink is on the way: resolve this instead (P62).
    Symlink {
        /// The spliced path, normalised, with its flags.
        path: Pathname,
        /// Whether the symlink's text was absolute: then `path` starts at the client's root, else
        /// at the root of the tree.
        absolute: bool,
    },
}

/// Who owns `path` (P31): servers of the longest prefix first, at one prefix in their order (P10 to
/// P13), and last the process manager itself if the path is a directory of its tree (P2, P14).
///
/// # Errors
/// `ENOENT` if nobody does (P43), `ENOTDIR` if the path must be a directory and a server there is
/// none (P15), `ENAMETOOLONG` for more than [`CANDIDATES_MAX`] candidates (P31) or a spliced path
/// that is too long, and those of [`Pathname::parse`].
#[doc(alias = "pathmgr_resolve_path")]
pub fn resolve(tree: &PrefixTree, path: &[u8], asker: &Asker) -> Result<Resolution> {
    resolve_below(tree, &Pathname::root(), path, asker)
}

/// As [`resolve()`], for a client whose root is `root` (P42): its `/` is there, and neither `..` nor the text of a symlink
/// leads above it. Candidates' prefixes are prefixes of the whole path, `root` included; the path of a symlink starts at
/// the client's root.
///
/// # Errors
/// As [`resolve()`]; `ENOENT` too if a symlink stands at the root or above it.
#[doc(alias = "chroot")]
pub fn resolve_below(
    tree: &PrefixTree,
    root: &Pathname,
    path: &[u8],
    asker: &Asker,
) -> Result<Resolution> {
    let path = Pathname::parse(path)?.below_root(root)?;
    let mut search = Search {
        path: &path,
        root_len: path_len(root),
        asker,
        candidates: Vec::new(),
        opaque: false,
    };
    for (prefix_len, row) in tree.rows(&path) {
        let prefix_len = len16(prefix_len);
        for object in row {
            match object {
                Object::Server { server, .. } => search.server(server, prefix_len)?,
                Object::Symlink { target, .. } => {
                    if let Some(spliced) = search.symlink(target, prefix_len)? {
                        return Ok(spliced);
                    }
                    break;
                }
            }
        }
        if search.opaque {
            break;
        }
    }
    let mut candidates = search.candidates;
    let own = |c: &Candidate| is_own(c, HANDLE_OWN);
    if tree.is_directory(&path) && !candidates.iter().any(own) {
        candidates.push(process_manager(HANDLE_OWN, path_len(&path)));
    }
    match candidates.len() {
        0 => Err(Errno::ENOENT),
        1..=CANDIDATES_MAX => Ok(Resolution::Candidates { path, candidates }),
        _ => Err(Errno::ENAMETOOLONG),
    }
}

struct Search<'a> {
    path: &'a Pathname,
    root_len: u16,
    asker: &'a Asker,
    candidates: Vec<Candidate>,
    opaque: bool,
}

impl Search<'_> {
    fn server(&mut self, server: &Server, prefix_len: u16) -> Result {
        let exact = prefix_len == path_len(self.path);
        if !self.may_have(server) {
            return Ok(());
        }
        let directory = server.flags.contains(AttachFlags::DIR);
        if !directory || server.file_type == FileType::NAME {
            if !exact {
                return Ok(());
            }
            if self.path.flags().contains(PathFlags::DIR) && !self.path.is_root() {
                return Err(Errno::ENOTDIR);
            }
        }
        self.opaque |= server.flags.contains(AttachFlags::OPAQUE);
        self.candidates.push(Candidate {
            nd: server.nd,
            pid: server.pid,
            chid: server.chid,
            handle: server.handle,
            file_type: server.file_type,
            flags: server.flags,
            prefix_len,
        });
        Ok(())
    }

    fn may_have(&self, server: &Server) -> bool {
        let same = server.pid == self.asker.pid && server.nd.same_node(self.asker.nd);
        if same && !server.flags.contains(AttachFlags::SELF) {
            return false;
        }
        let wanted = self.asker.file_type;
        if server.flags.contains(AttachFlags::FTYPEALL) {
            return true;
        }
        if server.flags.contains(AttachFlags::FTYPEONLY) {
            return wanted == server.file_type;
        }
        server.file_type != FileType::NAME || wanted == FileType::ANY || wanted == FileType::NAME
    }

    /// The symlink's splice if it comes first; otherwise it is kept as a candidate, and in any case
    /// nothing of shorter prefixes is offered (P62).
    fn symlink(&mut self, target: &[u8], prefix_len: u16) -> Result<Option<Resolution>> {
        self.opaque = true;
        if self.root_len > 0 && prefix_len <= self.root_len {
            return Ok(None);
        }
        let itself = prefix_len == path_len(self.path)
            && self.asker.no_follow
            && !self.path.flags().contains(PathFlags::DIR);
        if itself {
            self.candidates
                .push(process_manager(HANDLE_OWN, prefix_len));
            return Ok(None);
        }
        if !self.candidates.is_empty() {
            self.candidates
                .push(process_manager(HANDLE_SYMLINK, prefix_len));
            return Ok(None);
        }
        let path = splice(self.path, self.root_len, prefix_len, target)?;
        Ok(Some(Resolution::Symlink {
            path,
            absolute: target.starts_with(b"/"),
        }))
    }
}

/// `path` with the symlink in its first `link_len` bytes replaced by `target`: an absolute target
/// replaces the prefix, a relative one starts at the directory that holds the link, and what
/// followed the link is appended with one slash (P62). The first `root_len` bytes are the client's root: they
/// are neither in the result nor above it.
///
/// # Errors
/// Those of [`Pathname::parse`] for the spliced path.
pub fn splice(path: &Pathname, root_len: u16, link_len: u16, target: &[u8]) -> Result<Pathname> {
    let link = path
        .as_bytes()
        .get(usize::from(root_len)..usize::from(link_len))
        .ok_or(Errno::EBADMSG)?;
    let rest = below(path.as_bytes(), link_len).ok_or(Errno::EBADMSG)?;
    splice_at(link, target, rest, path.flags())
}

/// As [`splice`], for the path `link` of a symlink and the `rest` that follows it.
pub(crate) fn splice_at(
    link: &[u8],
    target: &[u8],
    rest: &[u8],
    flags: PathFlags,
) -> Result<Pathname> {
    if target.is_empty() {
        return Err(Errno::ENOENT);
    }
    let mut whole = if rest.is_empty() {
        target.to_vec()
    } else {
        join(target, rest)
    };
    if flags.contains(PathFlags::DIR) {
        whole.push(b'/');
    }
    let end = link.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
    Pathname::parse_below(&link[..end], &whole)
}

fn len16(len: usize) -> u16 {
    // A normalised path has at most 4095 bytes.
    u16::try_from(len).unwrap_or(u16::MAX)
}

fn path_len(path: &Pathname) -> u16 {
    if path.is_root() {
        0
    } else {
        len16(path.as_bytes().len())
    }
}

fn process_manager(handle: Handle, prefix_len: u16) -> Candidate {
    Candidate {
        nd: Nd::LOCAL,
        pid: Pid::PROCESS_MANAGER,
        chid: ChannelId::PROCESS_MANAGER,
        handle,
        file_type: FileType::ANY,
        flags: AttachFlags::DIR,
        prefix_len,
    }
}

pub(crate) fn is_own(candidate: &Candidate, handle: Handle) -> bool {
    candidate.pid == Pid::PROCESS_MANAGER
        && candidate.chid == ChannelId::PROCESS_MANAGER
        && candidate.handle == handle
}

/// Says the candidates' nds in the terms of the client's node (P44).
///
/// `client` is the client's node as the tree's node knows it, `here` is the tree's node as the client
/// knows it, and `third` translates any other node; candidates it does not know are dropped.
pub fn translate(
    candidates: &mut Vec<Candidate>,
    client: Nd,
    here: Nd,
    mut third: impl FnMut(Nd) -> Option<Nd>,
) {
    if client.is_local() {
        return;
    }
    candidates.retain_mut(|candidate| {
        let translated = if candidate.nd.is_local() {
            Some(here)
        } else if candidate.nd.same_node(client) {
            Some(Nd::LOCAL)
        } else {
            third(candidate.nd)
        };
        candidate.nd = translated.unwrap_or_default();
        translated.is_some()
    });
}
