//! Who may do what to a file with given attributes (`R41`).

use abi::credentials::Credentials;
use abi::{Errno, Result};

use crate::attributes::Fields;

/// The right to read, as in permission bits.
pub const READ: u32 = 4;
/// The right to write.
pub const WRITE: u32 = 2;
/// The right to execute a file or search a directory.
pub const EXECUTE: u32 = 1;

/// Whether `caller` has all of `rights`, a sum of [`READ`], [`WRITE`] and [`EXECUTE`].
///
/// The superuser has all; the owner has what the owner's bits say, even if others have more; then
/// the groups count, then the rest.
///
/// # Errors
/// EACCES.
#[doc(alias = "iofunc_check_access")]
pub fn check(fields: &Fields, caller: &Credentials, rights: u32) -> Result {
    if caller.is_root() {
        return Ok(());
    }
    let granted = if caller.uid == fields.uid {
        fields.mode >> 6
    } else if caller.is_member(fields.gid) {
        fields.mode >> 3
    } else {
        fields.mode
    };
    if granted & rights == rights {
        Ok(())
    } else {
        Err(Errno::EACCES)
    }
}

/// Whether `caller` may change attributes: the owner and the superuser may.
///
/// # Errors
/// EPERM.
pub fn check_owner(fields: &Fields, caller: &Credentials) -> Result {
    if caller.is_root() || caller.uid == fields.uid {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

/// Whether the file may be changed at all.
///
/// # Errors
/// EROFS.
pub fn check_writable(fields: &Fields) -> Result {
    if fields.read_only {
        Err(Errno::EROFS)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Attributes;
    use abi::{Gid, Nd, Pid, Uid};

    fn caller(uid: u32, gid: u32, groups: &[u32]) -> Credentials {
        let mut caller = Credentials::new(Nd::LOCAL, Pid(9), Uid(uid), Gid(gid));
        caller.groups.extend(groups.iter().copied().map(Gid));
        caller
    }

    // qnx: R41
    #[test]
    fn owner_then_groups_then_others_decide_and_root_passes() {
        let attributes = Attributes::file(0o640).owner(Uid(10), Gid(20));
        let odd = Attributes::file(0o007).owner(Uid(10), Gid(20));
        let cases: &[(&Attributes, Credentials, u32, bool)] = &[
            (&attributes, caller(10, 1, &[]), READ | WRITE, true),
            (&attributes, caller(10, 1, &[]), EXECUTE, false),
            (&attributes, caller(11, 20, &[]), READ, true),
            (&attributes, caller(11, 20, &[]), WRITE, false),
            (&attributes, caller(11, 1, &[7, 20]), READ, true),
            (&attributes, caller(11, 1, &[7]), READ, false),
            (&attributes, caller(0, 0, &[]), READ | WRITE | EXECUTE, true),
            // The first class that matches decides, also when a later one would grant more.
            (&odd, caller(10, 1, &[]), READ, false),
            (&odd, caller(11, 20, &[]), READ, false),
            (&odd, caller(11, 1, &[]), READ, true),
        ];
        for (attributes, caller, rights, allowed) in cases {
            let expected = if *allowed { Ok(()) } else { Err(Errno::EACCES) };
            assert_eq!(
                check(&attributes.lock(), caller, *rights),
                expected,
                "{caller:?} {rights}"
            );
        }
    }
}
