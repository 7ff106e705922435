//! Whether the rules of the node let a client do what it asks for, before any handler sees it.
//!
//! Identity and rules come from the node with the client's session, never from the client. What a client may do at the
//! path of an open file is kept with the file as one word, good until the node says that rights have changed: then the
//! next message of each file is decided anew.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use abi::connect::{Connect, ConnectType, Extra};
use abi::credentials::Credentials;
use abi::devctl::{ALL_GETFLAGS, ALL_SETFLAGS};
use abi::io::{Request, Xattr};
use abi::{Errno, OpenFlags, Result, SenderId};
use rights::{ClientRights, Decision, Operation, PathRights};

use crate::envelope::Envelope;
use crate::wait_queue::lock;

/// The path of something open, and what its client may do there.
#[derive(Debug)]
pub(crate) struct FileRights {
    prefix: Arc<[u8]>,
    rest: Box<[u8]>,
    /// Generation of the rights, and below it what they allow; [`UNKNOWN`] before the first message.
    cache: AtomicU64,
    /// Who the client was made by the rule that decided last.
    identity: Mutex<Option<Arc<Credentials>>>,
}

/// Bits of the cache for operations.
const OPERATION_BITS: u32 = 15;
/// A rule makes the client somebody else: each message is decided by itself.
const IDENTITIES: u64 = 1 << OPERATION_BITS;
const MASK: u64 = (1 << (OPERATION_BITS + 1)) - 1;
const UNKNOWN: u64 = u64::MAX;

impl FileRights {
    /// Of `rest` below `prefix`.
    pub(crate) fn new(prefix: Arc<[u8]>, rest: &[u8]) -> Self {
        Self {
            prefix,
            rest: rest.into(),
            cache: AtomicU64::new(UNKNOWN),
            identity: Mutex::new(None),
        }
    }

    /// Whether the client may do `operation` with the open file.
    ///
    /// # Errors
    /// EPERM.
    #[inline]
    pub(crate) fn check(&self, envelope: &Envelope, operation: Operation) -> Result {
        let cache = self.cache.load(Ordering::Relaxed);
        let is_current = cache & !MASK == envelope.rights_generation() << (OPERATION_BITS + 1);
        let allowed = 1 << operation.number();
        if is_current && cache & (allowed | IDENTITIES) == allowed {
            return Ok(());
        }
        self.decide(envelope, operation, Errno::EPERM).map(|_| ())
    }

    #[cold]
    fn decide(
        &self,
        envelope: &Envelope,
        operation: Operation,
        refusal: Errno,
    ) -> Result<PathRights> {
        // Loaded before the rights: if they change in between, the cache is old at once.
        let generation = envelope.rights_generation();
        let rights = envelope.rights()?;
        let at = rights.below(&self.prefix, &self.rest);
        let mut cache = generation << (OPERATION_BITS + 1) | u64::from(at.bits());
        if rights.has_identities() {
            cache |= IDENTITIES;
        }
        self.cache.store(cache, Ordering::Relaxed);
        let decision = rights.decision(&at, operation);
        if !decision.is_allowed {
            self.report(envelope, operation, decision);
            return Err(refusal);
        }
        self.take_identity(envelope, &rights, &at, operation);
        Ok(at)
    }

    /// Makes the client whom the deciding rule says. Of several operations in one message the first one counts.
    fn take_identity(
        &self,
        envelope: &Envelope,
        rights: &ClientRights,
        at: &PathRights,
        operation: Operation,
    ) {
        let Some(identity) = rights.identity(at, operation) else {
            envelope.become_identity(None);
            return;
        };
        let caller = envelope.sender_credentials();
        let mut kept = lock(&self.identity);
        let is_same = kept.as_ref().is_some_and(|kept| {
            (kept.node, kept.pid, kept.uid, kept.gid)
                == (caller.node, caller.pid, identity.uid, identity.gid)
                && kept.groups == identity.groups
        });
        if !is_same {
            *kept = Some(Arc::new(Credentials {
                uid: identity.uid,
                gid: identity.gid,
                groups: identity.groups.clone(),
                ..Credentials::clone(caller)
            }));
        }
        envelope.become_identity(kept.clone());
    }

    pub(crate) fn report(&self, envelope: &Envelope, operation: Operation, decision: Decision) {
        let path = rights::path::join(&self.prefix, &self.rest);
        let path = path.as_deref().unwrap_or(&self.rest);
        let sender = envelope.place().sender;
        let times = envelope.hub.denials.due(sender, operation, path);
        if let Some(times) = times {
            envelope.report_denial(operation, decision.rule, path, times);
        }
    }
}

/// What an operation on a pathname is allowed.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) file: FileRights,
    /// The file may be opened if it is there, but not made.
    pub(crate) denied_creation: Option<Decision>,
    /// Paths inside the prefix are told apart.
    pub(crate) has_inner_rules: bool,
}

/// Whether the client may do what a connect message asks for.
///
/// # Errors
/// EACCES; the errors of [`Envelope::rights`].
pub(crate) fn admit(
    envelope: &Envelope,
    connect: &Connect<'_>,
    prefix: &Arc<[u8]>,
) -> Result<Admitted> {
    let file = FileRights::new(Arc::clone(prefix), connect.path);
    let mut denied_creation = None;
    let flags = connect.flags;
    match connect.subtype {
        ConnectType::Open | ConnectType::Combine | ConnectType::CombineClose => {
            denied_creation = file.admit_open(envelope, flags)?;
        }
        ConnectType::Unlink => file.need(envelope, &[Operation::Remove])?,
        ConnectType::Mknod | ConnectType::Symlink | ConnectType::Mount => {
            file.need(envelope, &[Operation::Create])?;
        }
        ConnectType::Readlink => file.need(envelope, &[Operation::Look])?,
        ConnectType::Rename | ConnectType::Link => {
            let is_rename = connect.subtype == ConnectType::Rename;
            // Of the same prefix: others are another device.
            let (Extra::Rename { path: old, .. } | Extra::Link { path: old, .. }) = connect.extra
            else {
                return Err(Errno::EBADMSG);
            };
            let old = FileRights::new(Arc::clone(prefix), old);
            file.admit_new_name(envelope, &old, is_rename)?;
        }
    }
    let rights = envelope.rights()?;
    Ok(Admitted {
        file,
        denied_creation,
        has_inner_rules: rights.has_rules_inside(prefix, b""),
    })
}

impl FileRights {
    fn admit_open(&self, envelope: &Envelope, flags: OpenFlags) -> Result<Option<Decision>> {
        if flags.contains(OpenFlags::PATH) {
            self.need(envelope, &[Operation::Look])?;
            return Ok(None);
        }
        let reads = flags.contains(OpenFlags::READ);
        let lists = reads && flags.contains(OpenFlags::DIRECTORY);
        let writes = flags.intersects(OpenFlags::WRITE | OpenFlags::TRUNCATE);
        let makes = flags.contains(OpenFlags::TMPFILE)
            || flags.contains(OpenFlags::CREATE | OpenFlags::EXCLUSIVE);
        let needed = [
            (lists, Operation::List),
            (reads && !lists, Operation::Read),
            (writes, Operation::Write),
            (makes, Operation::Create),
            (!reads && !writes && !makes, Operation::Look),
        ];
        let needed = needed.into_iter().filter(|(needed, _)| *needed);
        for (_, operation) in needed.clone() {
            self.decide(envelope, operation, Errno::EACCES)?;
        }
        let may_make = !makes && flags.contains(OpenFlags::CREATE);
        let rights = envelope.rights()?;
        let at = rights.below(&self.prefix, &self.rest);
        let creation = rights.decision(&at, Operation::Create);
        // The whole open is done as one user.
        let making = (may_make && creation.is_allowed).then_some(Operation::Create);
        let mut whom = needed
            .map(|(_, operation)| operation)
            .chain(making)
            .map(|operation| rights.identity(&at, operation));
        let first = whom.next();
        if whom.any(|other| Some(other) != first) {
            return Err(Errno::EACCES);
        }
        Ok(Some(creation).filter(|creation| may_make && !creation.is_allowed))
    }

    /// A name that gives more rights than the old one, to the object or to something in it, or that makes the client
    /// somebody else, would make rules void.
    fn admit_new_name(&self, envelope: &Envelope, old: &Self, is_rename: bool) -> Result {
        let mut needed = vec![Operation::Create];
        if is_rename {
            old.need(envelope, &[Operation::Remove])?;
            // What has the name already goes.
            needed.push(Operation::Remove);
        } else {
            old.need(envelope, &[Operation::Look])?;
        }
        self.need(envelope, &needed)?;
        let rights = envelope.rights()?;
        if rights.is_default() {
            return Ok(());
        }
        let (new_at, old_at) = (
            rights.below(&self.prefix, &self.rest),
            rights.below(&old.prefix, &old.rest),
        );
        let gained = new_at.bits() & !old_at.bits();
        let has_inner = rights.has_rules_inside(&old.prefix, &old.rest)
            || rights.has_rules_inside(&self.prefix, &self.rest);
        let same_user = Operation::ALL.iter().all(|operation| {
            rights.identity(&new_at, *operation) == rights.identity(&old_at, *operation)
        });
        if gained == 0 && !has_inner && same_user {
            return Ok(());
        }
        let operation = Operation::from_number(gained.trailing_zeros() as u8);
        let operation = operation.unwrap_or(Operation::Remove);
        old.report(envelope, operation, rights.decision(&old_at, operation));
        Err(Errno::EACCES)
    }

    fn need(&self, envelope: &Envelope, operations: &[Operation]) -> Result {
        for operation in operations {
            self.decide(envelope, *operation, Errno::EACCES)?;
        }
        Ok(())
    }
}

/// What an io message does; `None` for what every open file may be asked. Waiting until a file can be read tells nothing
/// that reading would not refuse to tell.
pub(crate) fn operation_of(request: &Request<'_>) -> Option<Operation> {
    Some(match request {
        // Flags of the open file itself, which its opener chose.
        Request::Devctl { dcmd, .. }
            if [ALL_GETFLAGS.dcmd(), ALL_SETFLAGS.dcmd()].contains(dcmd) =>
        {
            return None;
        }
        Request::Read(_) => Operation::Read,
        Request::Write { .. } | Request::Truncate(_) | Request::Space(_) => Operation::Write,
        Request::ReadDirectory(_) => Operation::List,
        Request::Chmod(_) | Request::Chown(_) | Request::Utime(_) => Operation::Change,
        Request::Xattr(Xattr::Set { .. } | Xattr::Remove { .. }) => Operation::Change,
        Request::Devctl { .. } | Request::Message { .. } => Operation::Devctl,
        Request::Lock(_) => Operation::Lock,
        Request::Stat
        | Request::Statvfs
        | Request::Pathconf(_)
        | Request::Readlink
        | Request::Sync(_)
        | Request::Xattr(_) => Operation::Look,
        Request::Close
        | Request::Dup(_)
        | Request::Lseek(_)
        | Request::Notify(_)
        | Request::NotifyMany(_)
        | Request::Info => return None,
    })
}

/// When which refusal is told to the node: the first one at once, then once a second with their number.
#[derive(Debug, Default)]
pub(crate) struct Denials(Mutex<HashMap<Refusal, Told>>);

/// To whom, what, where.
type Refusal = (SenderId, Operation, Box<[u8]>);

#[derive(Debug)]
struct Told {
    at: Instant,
    /// Refusals since.
    silent: u32,
}

impl Denials {
    /// Different refusals that are told apart; more in one second are not told.
    const MAX: usize = 256;
    const EVERY: Duration = Duration::from_secs(1);

    /// Counts a refusal; how many are to be told, if any.
    fn due(&self, sender: SenderId, operation: Operation, path: &[u8]) -> Option<u32> {
        let now = Instant::now();
        let mut told = lock(&self.0);
        if told.len() >= Self::MAX {
            told.retain(|_, told| now.duration_since(told.at) < Self::EVERY);
        }
        let has_room = told.len() < Self::MAX;
        let key = (sender, operation, path.into());
        match told.get_mut(&key) {
            Some(told) if now.duration_since(told.at) < Self::EVERY => {
                told.silent = told.silent.saturating_add(1);
                None
            }
            Some(told) => {
                let silent = std::mem::take(&mut told.silent);
                told.at = now;
                Some(silent.saturating_add(1))
            }
            None if has_room => {
                told.insert(key, Told { at: now, silent: 0 });
                Some(1)
            }
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_once_a_second_and_only_so_many_of_them() {
        let denials = Denials::default();
        let due = |path: &str| denials.due(SenderId(1), Operation::Read, path.as_bytes());
        assert_eq!(due("/a"), Some(1));
        let again = (0..100).filter_map(|_| due("/a")).count();
        assert!(again <= 10, "{again} of a hundred in a moment were told");
        for n in 0..2 * Denials::MAX {
            let _ = due(&format!("/{n}"));
        }
        assert!(lock(&denials.0).len() <= Denials::MAX);
    }
}
