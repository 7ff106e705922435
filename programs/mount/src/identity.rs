//! Whom a request speaks for.

use abi::system::Identity;
use abi::{Gid, Uid};
use client::Namespace;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The path space as each caller may see it.
pub(crate) enum Views {
    /// Everybody speaks with the mount's own rights.
    Own(Namespace),
    /// Root's mount for all users: each caller speaks with its own.
    PerCaller(PerCaller),
}

pub(crate) struct PerCaller {
    own: Namespace,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    /// Supplementary groups of a thread, with the ids it had when they were read.
    groups: HashMap<(u32, Uid, Gid), (Instant, Vec<Gid>)>,
    views: HashMap<Identity, (Instant, Namespace)>,
}

impl Views {
    pub(crate) fn per_caller(own: Namespace) -> Self {
        Self::PerCaller(PerCaller {
            own,
            cache: Mutex::new(Cache::default()),
        })
    }

    /// The path space as the thread `pid` with these ids sees it.
    pub(crate) fn of(&self, uid: u32, gid: u32, pid: u32) -> Namespace {
        match self {
            Self::Own(namespace) => namespace.clone(),
            Self::PerCaller(per_caller) => per_caller.of(Uid(uid), Gid(gid), pid),
        }
    }

    /// As the mount itself sees it: for what belongs to an open file, which keeps the rights of its opening.
    pub(crate) fn own(&self) -> &Namespace {
        match self {
            Self::Own(namespace) => namespace,
            Self::PerCaller(per_caller) => &per_caller.own,
        }
    }
}

impl PerCaller {
    fn of(&self, uid: Uid, gid: Gid, pid: u32) -> Namespace {
        let now = Instant::now();
        let mut cache = self.lock();
        let groups = cache.groups_of(pid, uid, gid, now);
        let identity = Identity { uid, gid, groups };
        if let Some((used, namespace)) = cache.views.get_mut(&identity) {
            *used = now;
            return namespace.clone();
        }
        if cache.views.len() >= VIEWS_MAX {
            let oldest = cache.views.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(identity, _)| identity.clone()) {
                cache.views.remove(&oldest);
            }
        }
        let namespace = self.own.as_user(identity.clone());
        cache.views.insert(identity, (now, namespace.clone()));
        namespace
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    fn groups_of(&mut self, pid: u32, uid: Uid, gid: Gid, now: Instant) -> Vec<Gid> {
        if let Some((read, groups)) = self.groups.get(&(pid, uid, gid))
            && now.duration_since(*read) < GROUPS_FRESH
        {
            return groups.clone();
        }
        self.groups
            .retain(|_, (read, _)| now.duration_since(*read) < GROUPS_FRESH);
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let groups = groups_in(&status);
        if self.groups.len() < CALLERS_MAX {
            self.groups.insert((pid, uid, gid), (now, groups.clone()));
        }
        groups
    }
}

/// The supplementary groups in `/proc/PID/status`; none if there is no such line.
fn groups_in(status: &str) -> Vec<Gid> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Groups:"))
        .unwrap_or_default();
    let groups = line
        .split_ascii_whitespace()
        .filter_map(|number| number.parse().ok())
        .map(Gid);
    groups.take(abi::limits::GROUPS_MAX).collect()
}

/// How long a thread's groups are believed. Its user and group are told with every request.
const GROUPS_FRESH: Duration = Duration::from_secs(1);
/// Identities with sessions of their own; the one unused for longest makes room.
const VIEWS_MAX: usize = 64;
/// Threads whose groups are remembered.
const CALLERS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_read_from_the_callers_status() {
        let status = "Name:\tcat\nUid:\t1000\t1000\t1000\t1000\nGroups:\t4 27 1000 \nNStgid:\t7\n";
        assert_eq!(groups_in(status), [Gid(4), Gid(27), Gid(1000)]);
        assert_eq!(groups_in("Groups:\t \n"), []);
        assert_eq!(groups_in(""), []);
    }
}
