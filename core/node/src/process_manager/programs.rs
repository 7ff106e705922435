//! The programs that are connected to this node.

use alloc::collections::btree_map::Entry;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use abi::{Errno, Incarnation, Instant, Pid, Result, Uid};
use paths::Pathname;

use super::view::View;
use crate::allowance::Allowance;
use crate::interface::{Caller, ProgramKey};
use crate::limits::{ENDPOINTS_PER_PROCESS, PROGRAMS_MAX, PROGRAMS_PER_USER, PROGRAMS_RESERVE};
use crate::share::Share;

/// Bits of a pid that are the kernel's; the rest tells endpoints of one process apart.
const PROCESS_BITS: u32 = 22;

/// One endpoint: a process's place on this node.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) caller: Caller,
    /// What this node calls it; `None` until it has said hello.
    pub(crate) pid: Option<Pid>,
    pub(crate) incarnation: Incarnation,
    pub(crate) name: Vec<u8>,
    pub(crate) since: Instant,
    /// Registrations that end with it.
    pub(crate) prefixes: BTreeSet<u32>,
    /// Requests of it that wait for somebody else.
    pub(crate) waiting: usize,
    /// How often it may say that a way is silent.
    pub(crate) suspicions: Allowance,
    /// It passes packets through the host.
    pub(crate) relayed: bool,
    /// The part of the path space that it sees, if not all of it.
    pub(crate) view: Option<View>,
    /// The root of the view of programs that come in by its door, if it has one.
    pub(crate) door: Option<Pathname>,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Programs {
    share: Share,
    by_key: BTreeMap<ProgramKey, Program>,
    by_pid: BTreeMap<Pid, ProgramKey>,
    by_user: BTreeMap<Uid, Count>,
}

/// What one user has.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    programs: usize,
    prefixes: usize,
}

impl Programs {
    /// No more than `most` of them, nor than [`PROGRAMS_MAX`].
    pub(crate) const fn new(most: usize) -> Self {
        let all = if most < PROGRAMS_MAX {
            most
        } else {
            PROGRAMS_MAX
        };
        Self {
            share: Share {
                all,
                of_user: PROGRAMS_PER_USER,
                reserve: all / PROGRAMS_RESERVE,
            },
            by_key: BTreeMap::new(),
            by_pid: BTreeMap::new(),
            by_user: BTreeMap::new(),
        }
    }

    /// A program comes, of a user who manages the node or not.
    ///
    /// # Errors
    /// EAGAIN if there are too many.
    pub(crate) fn connect(
        &mut self,
        now: Instant,
        key: ProgramKey,
        caller: Caller,
        manages: bool,
    ) -> Result {
        let taken = self.by_key.len();
        let of_user = self.by_user.get(&caller.uid);
        let own = of_user.map_or(0, |count| count.programs);
        let has_one = match manages {
            true => self.share.has_one_for_manager(taken),
            false => self.share.has_one_for_user(own, taken),
        };
        if !has_one {
            return Err(Errno::EAGAIN);
        }
        self.by_user.entry(caller.uid).or_default().programs += 1;
        let program = Program {
            caller,
            pid: None,
            incarnation: Incarnation(0),
            name: Vec::new(),
            since: now,
            prefixes: BTreeSet::new(),
            waiting: 0,
            suspicions: Allowance::default(),
            relayed: false,
            view: None,
            door: None,
        };
        self.by_key.insert(key, program);
        Ok(())
    }

    /// Gives a program its pid: the kernel's, with high bits if the process has an endpoint already. The pid it had
    /// before the node was restarted is kept, because its clients know it.
    ///
    /// # Errors
    /// EALREADY on a second hello, EAGAIN if the process has too many endpoints.
    pub(crate) fn hello(
        &mut self,
        key: ProgramKey,
        previous: Pid,
        name: &[u8],
        boot: u64,
    ) -> Result<Pid> {
        let program = self.by_key.get(&key).ok_or(Errno::ESRCH)?;
        if program.pid.is_some() {
            return Err(Errno::EALREADY);
        }
        let base = program.caller.pid.0;
        if base == 0 || base >> PROCESS_BITS != 0 {
            return Err(Errno::EINVAL);
        }
        let mask = (1 << PROCESS_BITS) - 1;
        let kept = (previous.0 & mask == base).then_some(previous);
        let pid = kept
            .into_iter()
            .chain((0..ENDPOINTS_PER_PROCESS).map(|n| Pid(base | n << PROCESS_BITS)))
            .find(|pid| !self.by_pid.contains_key(pid))
            .ok_or(Errno::EAGAIN)?;
        self.by_pid.insert(pid, key);
        let program = self.by_key.get_mut(&key).ok_or(Errno::ESRCH)?;
        program.pid = Some(pid);
        program.incarnation = Incarnation(mix(
            boot ^ mix(u64::from(pid.0) << 32 ^ program.caller.started)
        ));
        program.name = name.to_vec();
        Ok(pid)
    }

    pub(crate) fn disconnect(&mut self, key: ProgramKey) -> Option<Program> {
        let program = self.by_key.remove(&key)?;
        if let Some(pid) = program.pid {
            self.by_pid.remove(&pid);
        }
        if let Entry::Occupied(mut user) = self.by_user.entry(program.caller.uid) {
            let count = user.get_mut();
            count.programs -= 1;
            count.prefixes -= program.prefixes.len();
            if count.programs == 0 {
                user.remove();
            }
        }
        Some(program)
    }

    /// A registration ends with the program from now on.
    pub(crate) fn own(&mut self, key: ProgramKey, prefix: u32) {
        if let Some(program) = self.by_key.get_mut(&key)
            && program.prefixes.insert(prefix)
        {
            let count = self.by_user.entry(program.caller.uid).or_default();
            count.prefixes += 1;
        }
    }

    /// A registration is given up; false if the program has none of that number.
    pub(crate) fn disown(&mut self, key: ProgramKey, prefix: u32) -> bool {
        let Some(program) = self.by_key.get_mut(&key) else {
            return false;
        };
        let had = program.prefixes.remove(&prefix);
        if let Some(count) = self.by_user.get_mut(&program.caller.uid)
            && had
        {
            count.prefixes -= 1;
        }
        had
    }

    /// How many registrations end with programs of a user.
    pub(crate) fn prefixes_of(&self, uid: Uid) -> usize {
        self.by_user.get(&uid).map_or(0, |count| count.prefixes)
    }

    pub(crate) fn get(&self, key: ProgramKey) -> Option<&Program> {
        self.by_key.get(&key)
    }

    pub(crate) fn get_mut(&mut self, key: ProgramKey) -> Option<&mut Program> {
        self.by_key.get_mut(&key)
    }

    pub(crate) fn with_pid(&self, pid: Pid) -> Option<ProgramKey> {
        self.by_pid.get(&pid).copied()
    }

    /// Those that have said hello.
    pub(crate) fn registered(&self) -> impl Iterator<Item = ProgramKey> {
        self.by_pid.values().copied()
    }

    /// In the order of their pids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Pid, ProgramKey, &Program)> {
        self.by_pid
            .iter()
            .filter_map(|(&pid, &key)| Some((pid, key, self.by_key.get(&key)?)))
    }
}

/// A mixing function: different inputs give different, unordered outputs.
pub(crate) const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::Gid;

    fn caller(pid: u32) -> Caller {
        Caller {
            pid: Pid(pid),
            started: 7,
            uid: Uid(1000),
            gid: Gid(1000),
            groups: Vec::new(),
        }
    }

    fn connect(programs: &mut Programs, key: u64, caller: Caller) -> Result {
        let manages = caller.uid == Uid::ROOT;
        programs.connect(Instant::from_nanos(0), ProgramKey(key), caller, manages)
    }

    #[test]
    fn endpoints_of_one_process_have_different_pids() {
        let mut programs = Programs::new(PROGRAMS_MAX);
        for key in 1..=3 {
            connect(&mut programs, key, caller(500)).unwrap();
        }
        assert_eq!(programs.hello(ProgramKey(1), Pid(0), b"a", 1), Ok(Pid(500)));
        assert_eq!(
            programs.hello(ProgramKey(2), Pid(0), b"a", 1),
            Ok(Pid(500 | 1 << 22))
        );
        assert_eq!(
            programs.hello(ProgramKey(2), Pid(0), b"a", 1),
            Err(Errno::EALREADY)
        );
        programs.disconnect(ProgramKey(1));
        assert_eq!(programs.hello(ProgramKey(3), Pid(0), b"a", 1), Ok(Pid(500)));
        assert_eq!(programs.with_pid(Pid(500)), Some(ProgramKey(3)));
    }

    #[test]
    fn a_returning_program_keeps_its_pid_but_cannot_take_another_process_s() {
        let mut programs = Programs::new(PROGRAMS_MAX);
        connect(&mut programs, 1, caller(500)).unwrap();
        connect(&mut programs, 2, caller(501)).unwrap();
        assert_eq!(
            programs.hello(ProgramKey(1), Pid(500 | 2 << 22), b"a", 1),
            Ok(Pid(500 | 2 << 22))
        );
        assert_eq!(
            programs.hello(ProgramKey(2), Pid(500), b"b", 1),
            Ok(Pid(501))
        );
        let first = programs.get(ProgramKey(1)).unwrap().incarnation;
        programs.disconnect(ProgramKey(1));
        connect(&mut programs, 3, caller(500)).unwrap();
        programs
            .hello(ProgramKey(3), Pid(500 | 2 << 22), b"a", 1)
            .unwrap();
        assert_eq!(
            programs.get(ProgramKey(3)).unwrap().incarnation,
            first,
            "the same process, the same life"
        );
    }

    #[test]
    fn programs_are_bounded_by_what_the_host_has_room_for() {
        let root = Caller {
            uid: Uid::ROOT,
            ..caller(500)
        };
        for (most, expected) in [(64, 64), (PROGRAMS_MAX + 1, PROGRAMS_MAX)] {
            let mut programs = Programs::new(most);
            for key in 0..expected as u64 {
                connect(&mut programs, key, root.clone()).unwrap();
            }
            let full = connect(&mut programs, 1 << 40, root.clone());
            assert_eq!(full, Err(Errno::EAGAIN));
        }
    }

    #[test]
    fn several_users_together_cannot_keep_the_others_out() {
        let mut programs = Programs::new(PROGRAMS_MAX);
        let of = |uid: u32| Caller {
            uid: Uid(uid),
            ..caller(500)
        };
        let mut key = 0;
        for uid in 1000..1004 {
            loop {
                key += 1;
                if connect(&mut programs, key, of(uid)).is_err() {
                    break;
                }
            }
        }
        connect(&mut programs, 1 << 40, of(1004)).unwrap();
        for key in 0..(PROGRAMS_MAX / PROGRAMS_RESERVE) as u64 {
            connect(&mut programs, 1 << 41 | key, of(0)).unwrap();
        }
    }

    #[test]
    fn what_a_user_has_is_counted_until_the_last_program_is_gone() {
        let mut programs = Programs::new(PROGRAMS_MAX);
        let uid = Uid(1000);
        for key in 1..=2 {
            connect(&mut programs, key, caller(500)).unwrap();
            programs.own(ProgramKey(key), key as u32);
            programs.own(ProgramKey(key), key as u32);
        }
        assert_eq!(programs.prefixes_of(uid), 2);
        assert!(!programs.disown(ProgramKey(1), 2));
        assert!(programs.disown(ProgramKey(1), 1));
        assert_eq!(programs.prefixes_of(uid), 1);
        programs.disconnect(ProgramKey(2));
        assert_eq!(programs.prefixes_of(uid), 0);
        programs.disconnect(ProgramKey(1));
        assert!(programs.by_user.is_empty());
    }

    #[test]
    fn an_ordinary_user_leaves_room_for_other_users() {
        let mut programs = Programs::new(PROGRAMS_MAX);
        for key in 0..PROGRAMS_PER_USER {
            connect(&mut programs, key as u64, caller(500)).unwrap();
        }
        let another = |programs: &mut Programs| connect(programs, 1 << 40, caller(500));
        assert_eq!(another(&mut programs), Err(Errno::EAGAIN));
        programs.disconnect(ProgramKey(0));
        assert_eq!(another(&mut programs), Ok(()));
    }
}
