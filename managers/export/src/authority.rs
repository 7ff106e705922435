//! Doing things as the caller, not as the manager.
//!
//! Linux keeps file system identities per thread. As root the thread takes on the caller's user,
//! group and groups and puts all capabilities aside for the length of one operation, so the kernel
//! itself checks every right. Without root that is impossible; then the owner of the manager acts
//! as itself and everybody else is checked by [`crate::permission`].
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
            if caller.uid == Uid::ROOT {
                return Ok(Self::Kernel(None));
            }
            return Disguise::put_on(caller).map(|disguise| Self::Kernel(Some(disguise)));
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
    gid: Gid,
    groups: Vec<libc::gid_t>,
    capabilities: Capabilities,
    can_disguise: bool,
}

fn owner() -> &'static Owner {
    static OWNER: OnceLock<Owner> = OnceLock::new();
    OWNER.get_or_init(|| {
        let uid = Uid(rustix::process::geteuid().as_raw());
        let gid = Gid(rustix::process::getegid().as_raw());
        let groups = rustix::process::getgroups().unwrap_or_default();
        let capabilities = Capabilities::of_this_thread();
        let can_disguise = uid == Uid::ROOT && capabilities.has(Capabilities::SETUID_AND_SETGID);
        let groups = groups
            .into_iter()
            .map(rustix::process::Gid::as_raw)
            .collect();
        Owner {
            uid,
            gid,
            groups,
            capabilities,
            can_disguise,
        }
    })
}

/// Learns who the process is before any thread takes on another identity.
pub(crate) fn remember_owner() {
    let _ = owner();
}

/// Another identity worn by the current thread; taken off when dropped.
#[derive(Debug)]
pub(crate) struct Disguise {
    // A raw pointer is neither Send nor Sync: the value must be dropped on the thread that made it.
    _this_thread: std::marker::PhantomData<*const ()>,
}

impl Disguise {
    fn put_on(caller: &Credentials) -> Result<Self> {
        let disguise = Self {
            _this_thread: std::marker::PhantomData,
        };
        GROUPS.with_borrow_mut(|groups| {
            groups.clear();
            groups.extend(caller.groups.iter().map(|gid| gid.0));
            set_groups(groups)
        })?;
        set_fs_gid(caller.gid)?;
        set_fs_uid(caller.uid)?;
        owner().capabilities.put_aside()?;
        Ok(disguise)
    }
}

impl Drop for Disguise {
    fn drop(&mut self) {
        let owner = owner();
        let restored = owner
            .capabilities
            .restore()
            .and_then(|()| set_fs_uid(owner.uid))
            .and_then(|()| set_fs_gid(owner.gid))
            .and_then(|()| set_groups(&owner.groups));
        if restored.is_err() {
            // Going on with a foreign identity would give one caller's rights to the next.
            tracing::error!("a thread cannot take its own identity again; stopping the process");
            std::process::abort();
        }
    }
}

thread_local! {
    static GROUPS: RefCell<Vec<libc::gid_t>> = const { RefCell::new(Vec::new()) };
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

    /// Empties the effective set; the permitted one stays, so that the thread can come back.
    fn put_aside(&self) -> Result {
        let mut words = self.0;
        for word in &mut words {
            word.effective = 0;
        }
        Self::set(&words)
    }

    fn restore(&self) -> Result {
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
            let others = std::thread::spawn(fs_uid);
            // Threads inherit from their maker; one that was there before would not see it.
            assert_eq!(others.join().unwrap(), 4321);
            assert!(!Capabilities::of_this_thread().has(1));
        } else {
            assert!(authority.must_check());
        }
        drop(authority);
        assert_eq!(fs_uid(), mine);
        assert_eq!(
            Capabilities::of_this_thread().0[0].effective,
            owner().capabilities.0[0].effective
        );
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
