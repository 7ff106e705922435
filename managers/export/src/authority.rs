//! Doing things as the caller, not as the manager.
//!
//! Linux keeps file system identities per thread. As root the thread takes on the caller's user for
//! the length of one operation, and with it loses the capabilities that override file permissions, so
//! the kernel itself checks every right. Group and groups stay as the last caller had them: the
//! manager's own work as root does not depend on them, and each change of an identity costs
//! microseconds. Other capabilities that mean something to file systems are put away once per thread.
//!
//! Without root that is impossible; then the owner of the manager acts as itself and everybody else
//! is checked by [`crate::permission`].
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::sync::OnceLock;

use abi::credentials::Credentials;
use abi::{Errno, Gid, Result, Uid};

/// How operations of one caller are done.
#[derive(Debug)]
pub(crate) enum Authority {
    /// The kernel checks: this thread is the caller until the value is dropped, or the manager
    /// runs as the caller anyway.
    Kernel(#[allow(dead_code, reason = "held for its drop")] Option<Disguise>),
    /// The manager acts as itself for somebody else, so it must check first.
    Checked,
}

impl Authority {
    /// Begins an operation of `caller` on the current thread.
    ///
    /// # Errors
    /// EPERM if the kernel refuses the identity, as in a user namespace that does not map it.
    pub(crate) fn assume(caller: &Credentials) -> Result<Self> {
        let owner = owner();
        if owner.can_disguise {
            WORKER.with_borrow_mut(|worker| worker.prepare(caller))?;
            if caller.uid == Uid::ROOT {
                return Ok(Self::Kernel(None));
            }
            return Disguise::put_on(caller.uid).map(|disguise| Self::Kernel(Some(disguise)));
        }
        Ok(if caller.uid == owner.uid {
            Self::Kernel(None)
        } else {
            Self::Checked
        })
    }

    /// Whether the manager itself must check the caller's rights.
    pub(crate) fn must_check(&self) -> bool {
        matches!(self, Self::Checked)
    }
}

/// What this process is and may.
#[derive(Debug)]
struct Owner {
    uid: Uid,
    can_disguise: bool,
}

fn owner() -> &'static Owner {
    static OWNER: OnceLock<Owner> = OnceLock::new();
    OWNER.get_or_init(|| {
        let uid = Uid(rustix::process::geteuid().as_raw());
        let capabilities = Capabilities::of_this_thread();
        let can_disguise = uid == Uid::ROOT && capabilities.has(Capabilities::SETUID_AND_SETGID);
        Owner { uid, can_disguise }
    })
}

/// Learns who the process is before any thread takes on another identity.
pub(crate) fn remember_owner() {
    let _ = owner();
}

thread_local! {
    static WORKER: RefCell<Worker> = const { RefCell::new(Worker::NEW) };
}

/// What a thread has taken on and keeps.
#[derive(Debug)]
struct Worker {
    trimmed: bool,
    gid: Option<Gid>,
    /// Valid if `knows_groups`; a new thread has its maker's.
    groups: Vec<libc::gid_t>,
    knows_groups: bool,
}

impl Worker {
    const NEW: Self = Self {
        trimmed: false,
        gid: None,
        groups: Vec::new(),
        knows_groups: false,
    };

    /// Takes on all of the caller but its user.
    fn prepare(&mut self, caller: &Credentials) -> Result {
        if !self.trimmed {
            Capabilities::of_this_thread().trim()?;
            self.trimmed = true;
        }
        if self.gid != Some(caller.gid) {
            self.gid = None;
            set_fs_gid(caller.gid)?;
            self.gid = Some(caller.gid);
        }
        // Root has all rights without its groups, and may be unable to change them in a namespace.
        let same = caller.uid == Uid::ROOT
            || self.knows_groups
                && self
                    .groups
                    .iter()
                    .eq(caller.groups.iter().map(|gid| &gid.0));
        if !same {
            self.knows_groups = false;
            self.groups.clear();
            self.groups.extend(caller.groups.iter().map(|gid| gid.0));
            set_groups(&self.groups)?;
            self.knows_groups = true;
        }
        Ok(())
    }
}

/// Another user worn by the current thread; taken off when dropped.
#[derive(Debug)]
pub(crate) struct Disguise {
    // A raw pointer is neither Send nor Sync: the value must be dropped on the thread that made it.
    _this_thread: std::marker::PhantomData<*const ()>,
}

impl Disguise {
    fn put_on(uid: Uid) -> Result<Self> {
        let disguise = Self {
            _this_thread: std::marker::PhantomData,
        };
        set_fs_uid(uid)?;
        Ok(disguise)
    }
}

impl Drop for Disguise {
    fn drop(&mut self) {
        if set_fs_uid(owner().uid).is_err() {
            // Going on with a foreign identity would give one caller's rights to the next.
            tracing::error!("a thread cannot take its own identity again; stopping the process");
            std::process::abort();
        }
    }
}

fn set_groups(groups: &[libc::gid_t]) -> Result {
    // SAFETY: the pointer and the length describe a live slice. The raw call changes the current
    // thread only, where libc's function would change all threads.
    let status = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    if status == 0 {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

fn set_fs_uid(uid: Uid) -> Result {
    // SAFETY: no memory is involved. An id of -1 changes nothing and tells the current one.
    let now = unsafe {
        libc::syscall(libc::SYS_setfsuid, uid.0);
        libc::syscall(libc::SYS_setfsuid, u32::MAX)
    };
    if now as u32 == uid.0 {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

fn set_fs_gid(gid: Gid) -> Result {
    // SAFETY: as in `set_fs_uid`.
    let now = unsafe {
        libc::syscall(libc::SYS_setfsgid, gid.0);
        libc::syscall(libc::SYS_setfsgid, u32::MAX)
    };
    if now as u32 == gid.0 {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// The three capability sets of a thread, 64 bits each in two words, as the kernel passes them.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Words {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

#[derive(Debug)]
struct Capabilities([Words; 2]);

impl Capabilities {
    /// CAP_SETGID is 6 and CAP_SETUID is 7.
    const SETUID_AND_SETGID: u32 = 1 << 6 | 1 << 7;
    /// What a thread keeps of capabilities 0 to 31. Those about files (0 to 4, 9, 27) go and come
    /// with the user; SETFCAP (31) acts on attributes that only root's callers reach; KILL, SETGID,
    /// SETUID, the network's, IPC_LOCK and SYS_NICE (5 to 7, 10 to 14, 23) mean nothing to files.
    /// Put away are, above all, SYS_ADMIN, SYS_RESOURCE (quotas, reserved blocks) and SYS_PTRACE.
    const KEPT_LOW: u32 = 0x8880_7eff;
    /// And of 32 to 63: MAC_OVERRIDE, which also goes and comes with the user.
    const KEPT_HIGH: u32 = 1;
    /// _LINUX_CAPABILITY_VERSION_3, the one with two words.
    const VERSION: u32 = 0x2008_0522;

    fn of_this_thread() -> Self {
        let mut header = Header {
            version: Self::VERSION,
            pid: 0,
        };
        let mut words = [Words::default(); 2];
        // SAFETY: version 3 fills exactly two `Words`; both pointers are live and writable.
        let status =
            unsafe { libc::syscall(libc::SYS_capget, &raw mut header, words.as_mut_ptr()) };
        Self(if status == 0 {
            words
        } else {
            [Words::default(); 2]
        })
    }

    fn has(&self, low: u32) -> bool {
        self.0[0].effective & low == low
    }

    /// Puts away what would let a caller do more than its user may.
    fn trim(mut self) -> Result {
        self.0[0].effective &= Self::KEPT_LOW;
        self.0[1].effective &= Self::KEPT_HIGH;
        Self::set(&self.0)
    }

    fn set(words: &[Words; 2]) -> Result {
        let mut header = Header {
            version: Self::VERSION,
            pid: 0,
        };
        // SAFETY: version 3 reads exactly two `Words`; pid 0 is the calling thread.
        let status = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, words.as_ptr()) };
        if status == 0 {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    }
}

thread_local! {
    static OWN_UMASK: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Runs `create` with an empty umask that no other thread sees: the caller's umask has been applied
/// by the caller already.
pub(crate) fn without_umask<T>(create: impl FnOnce() -> T) -> T {
    if !OWN_UMASK.get() {
        // SAFETY: CLONE_FS gives this thread a umask and working directory of its own; nothing
        // here relies on sharing them. Needs no privilege.
        let status = unsafe { libc::unshare(libc::CLONE_FS) };
        OWN_UMASK.set(status == 0);
    }
    if !OWN_UMASK.get() {
        return create();
    }
    let before = rustix::process::umask(rustix::fs::Mode::empty());
    let created = create();
    rustix::process::umask(before);
    created
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::{Nd, Pid};

    fn fs_uid() -> u32 {
        // SAFETY: an id of -1 changes nothing.
        unsafe { libc::syscall(libc::SYS_setfsuid, u32::MAX) as u32 }
    }

    #[test]
    fn a_thread_is_the_caller_only_while_the_authority_lives() {
        let mine = rustix::process::geteuid().as_raw();
        let mut caller = Credentials::new(Nd::LOCAL, Pid(9), Uid(4321), Gid(4322));
        caller.groups.push(Gid(4323));
        let authority = Authority::assume(&caller).unwrap();
        if owner().can_disguise {
            assert_eq!(fs_uid(), 4321);
            let now = Capabilities::of_this_thread();
            for (capability, name) in [(0, "CHOWN"), (1, "DAC_OVERRIDE"), (24, "SYS_RESOURCE")] {
                assert!(!now.has(1 << capability), "{name}");
            }
            let groups = rustix::process::getgroups().unwrap();
            assert_eq!(groups, [rustix::process::Gid::from_raw(4323)]);
        } else {
            assert!(authority.must_check());
        }
        drop(authority);
        assert_eq!(fs_uid(), mine);
        assert_eq!(
            Capabilities::of_this_thread().has(1 << 1),
            owner().can_disguise
        );
    }

    #[test]
    fn each_caller_has_its_own_groups_whoever_came_before() {
        let caller = |gid, groups: &[u32]| {
            let mut caller = Credentials::new(Nd::LOCAL, Pid(9), Uid(4321), Gid(gid));
            caller.groups.extend(groups.iter().copied().map(Gid));
            caller
        };
        let groups = || -> Vec<u32> {
            rustix::process::getgroups()
                .unwrap()
                .iter()
                .map(|gid| gid.as_raw())
                .collect()
        };
        for (gid, expected) in [(5, &[7, 8][..]), (5, &[]), (6, &[]), (5, &[7]), (5, &[7])] {
            let authority = Authority::assume(&caller(gid, expected)).unwrap();
            if authority.must_check() {
                // Only root can take on anything; the groups are then compared by hand.
                continue;
            }
            // SAFETY: an id of -1 changes nothing.
            let fs_gid = unsafe { libc::syscall(libc::SYS_setfsgid, u32::MAX) };
            assert_eq!(fs_gid, i64::from(gid));
            assert_eq!(groups(), expected);
        }
        // A thread made now begins with what its maker has, and must not believe it is its own.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let authority = Authority::assume(&caller(5, &[])).unwrap();
                assert!(authority.must_check() || groups().is_empty());
            });
        });
    }

    #[test]
    fn the_umask_of_the_process_does_not_shape_created_files() {
        let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        let seen = without_umask(|| {
            let now = rustix::process::umask(rustix::fs::Mode::empty());
            rustix::process::umask(now);
            now
        });
        assert_eq!(seen.as_raw_mode(), 0);
        rustix::process::umask(before);
    }
}
