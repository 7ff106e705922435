//! Who a user of another node is here.

use alloc::vec::Vec;

use abi::limits::GROUPS_MAX;
use abi::{Credentials, Errno, Gid, Nd, Result, Uid};

/// What users of another node become where nothing else is said, and what its root becomes.
pub const NOBODY: u32 = 65_534;

/// Numbers from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Smallest.
    pub first: u32,
    /// Largest.
    pub last: u32,
}

/// For which of its users another node may speak.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MayAssert {
    /// All of them.
    #[default]
    Anybody,
    /// Only these; a session for another one is refused with EACCES.
    Only(Vec<Range>),
}

/// How the users of another node become users here. The default: the same numbers, and root becomes nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityMap {
    /// Root there is root here.
    pub trust_root: bool,
    /// Everybody there is this user and group here.
    pub all: Option<(u32, u32)>,
    /// Exceptions: user there, user here.
    pub users: Vec<(u32, u32)>,
    /// Exceptions: group there, group here.
    pub groups: Vec<(u32, u32)>,
    /// For whom the node may speak.
    pub may_assert: MayAssert,
}

impl IdentityMap {
    /// Credentials that the node `node` vouches for, in the numbers of this node.
    ///
    /// # Errors
    /// EACCES if the node may not speak for that user.
    pub fn map(&self, node: Nd, theirs: &Credentials) -> Result<Credentials> {
        if let MayAssert::Only(ranges) = &self.may_assert
            && !ranges
                .iter()
                .any(|range| (range.first..=range.last).contains(&theirs.uid.0))
        {
            return Err(Errno::EACCES);
        }
        if let Some((uid, gid)) = self.all {
            return Ok(Credentials::new(node, theirs.pid, Uid(uid), Gid(gid)));
        }
        let mut mine = Credentials::new(
            node,
            theirs.pid,
            self.user(theirs.uid),
            self.group(theirs.gid),
        );
        let groups = theirs
            .groups
            .iter()
            .map(|&group| self.group(group))
            .filter(|group| group.0 != NOBODY);
        mine.groups = groups.take(GROUPS_MAX).collect();
        Ok(mine)
    }

    fn user(&self, uid: Uid) -> Uid {
        Uid(self.number(&self.users, uid.0))
    }

    fn group(&self, gid: Gid) -> Gid {
        Gid(self.number(&self.groups, gid.0))
    }

    fn number(&self, exceptions: &[(u32, u32)], theirs: u32) -> u32 {
        // The all-ones number means "no change" to the kernel's calls and must never get there.
        let squashed = theirs == u32::MAX || (theirs == 0 && !self.trust_root);
        let default = if squashed { NOBODY } else { theirs };
        exceptions
            .iter()
            .find(|(there, _)| *there == theirs)
            .map_or(default, |(_, here)| *here)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::Pid;
    use alloc::vec;

    fn theirs(uid: u32, gid: u32, groups: &[u32]) -> Credentials {
        let mut theirs = Credentials::new(Nd::LOCAL, Pid(9), Uid(uid), Gid(gid));
        theirs.groups = groups.iter().copied().map(Gid).collect();
        theirs
    }

    fn mapped(map: &IdentityMap, theirs: &Credentials) -> (u32, u32, Vec<u32>) {
        let mine = map.map(Nd(3), theirs).unwrap();
        assert_eq!((mine.node, mine.pid), (Nd(3), Pid(9)));
        (
            mine.uid.0,
            mine.gid.0,
            mine.groups.iter().map(|gid| gid.0).collect(),
        )
    }

    #[test]
    fn by_default_numbers_are_kept_and_root_becomes_nobody() {
        let map = IdentityMap::default();
        assert_eq!(
            mapped(&map, &theirs(1000, 100, &[20, 0, 4])),
            (1000, 100, vec![20, 4])
        );
        assert_eq!(mapped(&map, &theirs(0, 0, &[0])), (NOBODY, NOBODY, vec![]));
        assert_eq!(
            mapped(&map, &theirs(u32::MAX, u32::MAX, &[])),
            (NOBODY, NOBODY, vec![])
        );
    }

    #[test]
    fn exceptions_and_trusted_root_are_followed() {
        let map = IdentityMap {
            trust_root: true,
            users: vec![(1000, 2000)],
            groups: vec![(20, 33)],
            ..IdentityMap::default()
        };
        assert_eq!(mapped(&map, &theirs(1000, 20, &[20])), (2000, 33, vec![33]));
        assert_eq!(mapped(&map, &theirs(0, 0, &[])), (0, 0, vec![]));
    }

    #[test]
    fn everybody_can_become_one_user_without_other_groups() {
        let map = IdentityMap {
            all: Some((500, 501)),
            ..IdentityMap::default()
        };
        assert_eq!(mapped(&map, &theirs(0, 0, &[0, 27])), (500, 501, vec![]));
    }

    #[test]
    fn a_node_speaks_only_for_the_users_it_may() {
        let only = MayAssert::Only(vec![Range {
            first: 1000,
            last: 1999,
        }]);
        let map = IdentityMap {
            may_assert: only,
            ..IdentityMap::default()
        };
        assert!(map.map(Nd(1), &theirs(1000, 1, &[])).is_ok());
        assert!(map.map(Nd(1), &theirs(1999, 1, &[])).is_ok());
        assert_eq!(map.map(Nd(1), &theirs(2000, 1, &[])), Err(Errno::EACCES));
        assert_eq!(map.map(Nd(1), &theirs(0, 0, &[])), Err(Errno::EACCES));
    }
}
