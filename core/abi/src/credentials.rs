//! Who sent a message.

use alloc::vec::Vec;

use crate::codec::{Decode, Encode, Malformed, Reader, Writer};
use crate::ids::{Gid, Nd, Pid, Uid};
use crate::limits::GROUPS_MAX;

/// Who sent a message, as the receiving node vouches for it. Never taken from the sender's bytes:
/// the node daemons learn it from their kernels and map users of other nodes.
#[doc(alias = "_client_info")]
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// The sender's node in the receiver's terms; [`Nd::LOCAL`] on the same node.
    pub node: Nd,
    /// The sender's process on that node.
    pub pid: Pid,
    /// The user, in the receiver's numbers.
    pub uid: Uid,
    /// The group, in the receiver's numbers.
    pub gid: Gid,
    /// Further groups, at most [`GROUPS_MAX`].
    pub groups: Vec<Gid>,
}

impl Credentials {
    /// Credentials without further groups.
    #[must_use]
    pub const fn new(node: Nd, pid: Pid, uid: Uid, gid: Gid) -> Self {
        Self {
            node,
            pid,
            uid,
            gid,
            groups: Vec::new(),
        }
    }

    /// Whether the sender is the superuser of this node.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.uid == Uid::ROOT
    }

    /// Whether `gid` is the sender's group or one of its further groups.
    #[must_use]
    pub fn is_member(&self, gid: Gid) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }
}

impl Encode for Credentials {
    fn encode(&self, w: &mut Writer<'_>) {
        self.node.encode(w);
        self.pid.encode(w);
        self.uid.encode(w);
        self.gid.encode(w);
        w.list16(&self.groups);
    }
}

impl Decode<'_> for Credentials {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            node: Nd::decode(r)?,
            pid: Pid::decode(r)?,
            uid: Uid::decode(r)?,
            gid: Gid::decode(r)?,
            groups: r.list16(GROUPS_MAX)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn credentials_have_fixed_bytes() {
        let ann = Credentials {
            groups: vec![Gid(20), Gid(0x0102_0304)],
            ..Credentials::new(Nd(2), Pid(77), Uid(1000), Gid(100))
        };
        let golden = [
            2, 0, 0, 0, 77, 0, 0, 0, 0xe8, 3, 0, 0, 100, 0, 0, 0, 2, 0, 20, 0, 0, 0, 4, 3, 2, 1,
        ];
        assert_eq!(ann.to_bytes().unwrap(), golden);
        assert_eq!(Credentials::from_bytes(&golden), Ok(ann.clone()));
        assert!(ann.is_member(Gid(20)) && ann.is_member(Gid(100)) && !ann.is_member(Gid(0)));
        assert!(!ann.is_root());
    }

    #[test]
    fn more_than_64_groups_are_refused() {
        let mut many = Credentials {
            groups: vec![Gid(1); GROUPS_MAX],
            ..Credentials::default()
        };
        let bytes = many.to_bytes().unwrap();
        assert_eq!(Credentials::from_bytes(&bytes), Ok(many.clone()));
        many.groups.push(Gid(1));
        let bytes = many.to_bytes().unwrap();
        assert_eq!(Credentials::from_bytes(&bytes), Err(Malformed::TooMany));
    }
}
