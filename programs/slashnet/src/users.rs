//! The users of this machine, by name and number.

use abi::system::Identity;
use abi::{Gid, Uid};
use nix::unistd::{Group, User, getgrouplist};
use rights::text::{BadRule, Names};

/// The machine's own list, as its name service has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Users;

impl Names for Users {
    fn user(&self, name: &str) -> Option<Uid> {
        let user = User::from_name(name).ok()??;
        Some(Uid(user.uid.as_raw()))
    }

    fn identity(&self, name: &str) -> Option<rights::Identity> {
        let uid = rights::text::user(name, self).ok()?;
        let Identity { uid, gid, groups } = self.identity_of(uid)?;
        Some(rights::Identity { uid, gid, groups })
    }
}

impl Users {
    /// A user with its groups, if the machine knows it.
    pub(crate) fn identity_of(self, uid: Uid) -> Option<Identity> {
        let user = User::from_uid(uid.0.into()).ok()??;
        let name = std::ffi::CString::new(user.name).ok()?;
        let groups = getgrouplist(&name, user.gid).unwrap_or_default();
        let further = groups.into_iter().filter(|group| *group != user.gid);
        Some(Identity {
            uid,
            gid: Gid(user.gid.as_raw()),
            groups: further.map(|group| Gid(group.as_raw())).collect(),
        })
    }

    /// A user as people write it: the name, or the number if it has none.
    pub(crate) fn name(self, uid: Uid) -> String {
        match User::from_uid(uid.0.into()) {
            Ok(Some(user)) => user.name,
            _ => uid.0.to_string(),
        }
    }

    /// A group as people write it.
    pub(crate) fn group(self, gid: Gid) -> String {
        match Group::from_gid(gid.0.into()) {
            Ok(Some(group)) => group.name,
            _ => gid.0.to_string(),
        }
    }
}

/// Checks a rule; what comes back has numbers instead of names.
pub(crate) fn rule(text: &str) -> Result<String, String> {
    rights::text::rule(text, &Users)
        .map(|rule| rule.to_string())
        .map_err(|bad: BadRule| bad.to_string())
}
