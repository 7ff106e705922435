//! Who uses a port: one writer or many, exclusive use, and taking over from somebody.

mod wishes;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use abi::credentials::Credentials;
use abi::devctl::{PortAccess, PortUser, PortUsers};
use abi::{Errno, Nd, OpenFlags, Pid, Result, Uid};
use resmgr::{OpenRequest, WaitQueue};

pub(crate) use self::wishes::Wishes;

/// Who may have a port open at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Everybody: what arrives goes to whoever reads first, what is written leaves in order.
    #[default]
    Many,
    /// Everybody may read, one may write; who else opens for writing gets EBUSY.
    OneWriter,
    /// Everybody may read, one may write; who else opens for writing waits for his turn.
    Queue,
    /// One; who else opens it gets EBUSY.
    One,
}

impl Sharing {
    /// The words for it.
    pub(crate) const WORDS: [(&'static str, Self); 4] = [
        ("many", Self::Many),
        ("one-writer", Self::OneWriter),
        ("queue", Self::Queue),
        ("one", Self::One),
    ];
}

/// The users of one port.
#[derive(Default)]
pub(crate) struct Users {
    sharing: Sharing,
    table: Mutex<Table>,
    /// Opens that wait for their turn.
    pub(crate) waiting: WaitQueue<OpenRequest>,
    pub(crate) wishes: Wishes,
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users")
            .field("sharing", &self.sharing)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Table {
    users: Vec<Arc<User>>,
    /// For whom the port is kept, and until when.
    kept: Option<(Whose, Instant)>,
}

/// A process's place and user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whose {
    pub(crate) node: Nd,
    pub(crate) pid: Pid,
    pub(crate) uid: Uid,
}

impl Whose {
    pub(crate) const fn of(credentials: &Credentials) -> Self {
        Self {
            node: credentials.node,
            pid: credentials.pid,
            uid: credentials.uid,
        }
    }

    /// Whether a port that is kept for one is kept for the other: another process of the same user will open it.
    fn is_same_user(&self, other: &Self) -> bool {
        (self.node, self.uid) == (other.node, other.uid)
    }
}

/// One open of the port.
#[derive(Debug)]
pub(crate) struct User {
    pub(crate) whose: Whose,
    access: PortAccess,
    since: Instant,
    exclusive: AtomicBool,
    /// Somebody has taken the port over.
    hung_up: AtomicBool,
    /// It has switched the break condition on.
    pub(crate) breaks: AtomicBool,
    /// The last wish that it was told of.
    pub(crate) told: AtomicU64,
}

impl User {
    pub(crate) fn is_hung_up(&self) -> bool {
        self.hung_up.load(Ordering::SeqCst)
    }

    fn is_exclusive(&self) -> bool {
        self.exclusive.load(Ordering::SeqCst)
    }

    fn writes(&self) -> bool {
        self.access.contains(PortAccess::WRITE)
    }
}

/// Whether an open may go on.
pub(crate) enum Entry {
    Granted(Arc<User>),
    Busy,
    /// It may wait for its turn.
    Later,
}

impl Users {
    pub(crate) fn new(sharing: Sharing) -> Self {
        Self {
            sharing,
            ..Self::default()
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets an open in, or not.
    pub(crate) fn enter(&self, open: &OpenRequest) -> Entry {
        let whose = Whose::of(open.credentials());
        let access = access_of(open.flags());
        let mut table = self.table();
        if !table.is_kept_for(whose) {
            return Entry::Busy;
        }
        let alone = open.flags().contains(OpenFlags::EXCLUSIVE);
        if table.users.iter().any(|user| user.is_exclusive()) || alone && !table.users.is_empty() {
            return Entry::Busy;
        }
        if !self.in_the_way(&table, access).is_empty() {
            let waits = self.sharing == Sharing::Queue;
            return match waits && !open.flags().contains(OpenFlags::NONBLOCK) {
                true => Entry::Later,
                false => Entry::Busy,
            };
        }
        let user = Arc::new(User {
            whose,
            access,
            since: Instant::now(),
            exclusive: AtomicBool::new(alone),
            hung_up: AtomicBool::new(false),
            breaks: AtomicBool::new(false),
            told: AtomicU64::new(0),
        });
        table.users.push(Arc::clone(&user));
        table.kept = None;
        Entry::Granted(user)
    }

    /// Those who keep an open with this access out.
    fn in_the_way(&self, table: &Table, access: PortAccess) -> Vec<Arc<User>> {
        let all = &table.users;
        let wants_to_write = access.contains(PortAccess::WRITE);
        let blocks = |user: &Arc<User>| {
            user.is_exclusive()
                || match self.sharing {
                    Sharing::Many => false,
                    Sharing::One => true,
                    Sharing::OneWriter | Sharing::Queue => wants_to_write && user.writes(),
                }
        };
        all.iter().filter(|user| blocks(user)).cloned().collect()
    }

    /// Those who would have to go for an open for reading and writing.
    pub(crate) fn holders(&self) -> Vec<Arc<User>> {
        let table = self.table();
        self.in_the_way(&table, PortAccess::READ | PortAccess::WRITE)
    }

    /// Forgets one who has closed the port.
    pub(crate) fn leave(&self, user: &Arc<User>) {
        self.table().users.retain(|other| !Arc::ptr_eq(other, user));
        self.wishes.look_again();
    }

    /// Hangs these up, and keeps the port for somebody.
    pub(crate) fn hand_over(&self, from: &[Arc<User>], to: Whose, until: Instant) {
        let mut table = self.table();
        for user in from {
            user.hung_up.store(true, Ordering::SeqCst);
        }
        table.users.retain(|user| !user.is_hung_up());
        table.kept = Some((to, until));
    }

    /// Lets nobody else open the port while this one has it, or again.
    ///
    /// # Errors
    /// EBUSY if another has it exclusively: that came first.
    pub(crate) fn set_exclusive(&self, user: &Arc<User>, on: bool) -> Result {
        let table = self.table();
        let mut others = table.users.iter().filter(|other| !Arc::ptr_eq(other, user));
        if on && others.any(|other| other.is_exclusive()) {
            return Err(Errno::EBUSY);
        }
        user.exclusive.store(on, Ordering::SeqCst);
        Ok(())
    }

    /// Who has it and who waits; names of nodes are not known here.
    pub(crate) fn list(&self) -> PortUsers {
        let mut list: Vec<PortUser> = self
            .table()
            .users
            .iter()
            .map(|user| told_of(user))
            .collect();
        self.waiting.for_each(|open| {
            let whose = Whose::of(open.credentials());
            let access = access_of(open.flags()) | PortAccess::WAITING;
            list.push(told(whose, access, 0));
        });
        list.truncate(PortUsers::MAX);
        PortUsers(list)
    }
}

impl Table {
    fn is_kept_for(&mut self, whose: Whose) -> bool {
        match self.kept {
            Some((_, until)) if until <= Instant::now() => {
                self.kept = None;
                true
            }
            Some((whom, _)) => whom.is_same_user(&whose),
            None => true,
        }
    }
}

fn access_of(flags: OpenFlags) -> PortAccess {
    let mut access = PortAccess::empty();
    access.set(PortAccess::READ, flags.contains(OpenFlags::READ));
    access.set(PortAccess::WRITE, flags.contains(OpenFlags::WRITE));
    access
}

fn told_of(user: &User) -> PortUser {
    let mut access = user.access;
    access.set(PortAccess::EXCLUSIVE, user.is_exclusive());
    let seconds = u32::try_from(user.since.elapsed().as_secs()).unwrap_or(u32::MAX);
    told(user.whose, access, seconds)
}

pub(crate) const fn told(whose: Whose, access: PortAccess, seconds: u32) -> PortUser {
    PortUser {
        node: whose.node,
        node_name: Vec::new(),
        pid: whose.pid,
        uid: whose.uid,
        access,
        seconds,
    }
}
