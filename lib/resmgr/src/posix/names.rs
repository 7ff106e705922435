//! Names in directories: who may look them up, add them and take them away (`R47`).
//!
//! For managers that keep directories of their own. Each check is given the attributes of the directory, and
//! of what is named, as they are when the change is made.

use abi::credentials::Credentials;
use abi::flags::mode::{S_ISGID, S_ISVTX};
use abi::limits::NAME_MAX;
use abi::{Errno, Gid, Result};

use super::access::{self, EXECUTE, WRITE};
use crate::attributes::Fields;

/// Whether `caller` may look up `name` in a directory.
///
/// # Errors
/// ENOTDIR, EACCES, ENAMETOOLONG; checked in this order.
pub fn may_look_up(directory: &Fields, name: &[u8], caller: &Credentials) -> Result {
    if !directory.is_directory() {
        return Err(Errno::ENOTDIR);
    }
    access::check(directory, caller, EXECUTE)?;
    if name.len() > NAME_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    Ok(())
}

/// Whether `caller` may add a name to a directory.
///
/// # Errors
/// ENOENT for a directory that was removed meanwhile, EROFS, EACCES.
pub fn may_add(directory: &Fields, caller: &Credentials) -> Result {
    if directory.links == 0 {
        return Err(Errno::ENOENT);
    }
    access::check_writable(directory)?;
    access::check(directory, caller, WRITE | EXECUTE)
}

/// Whether `caller` may take the name of `named` out of a directory. In a sticky one only the owners of the two may.
///
/// # Errors
/// EROFS, EACCES, EPERM.
#[doc(alias = "iofunc_unlink")]
pub fn may_remove(directory: &Fields, named: &Fields, caller: &Credentials) -> Result {
    access::check_writable(directory)?;
    access::check(directory, caller, WRITE | EXECUTE)?;
    let owns = caller.is_root() || caller.uid == directory.uid || caller.uid == named.uid;
    if directory.mode & S_ISVTX != 0 && !owns {
        return Err(Errno::EPERM);
    }
    Ok(())
}

/// Makes `made` belong to `caller`, and to the group of the directory if that has the set-group-id bit, which a
/// directory then hands on.
pub fn own(directory: &Fields, made: &mut Fields, caller: &Credentials) {
    made.uid = caller.uid;
    made.gid = caller.gid;
    if directory.mode & S_ISGID != 0 {
        made.gid = directory.gid;
        if made.is_directory() {
            made.mode |= S_ISGID;
        }
    }
    if !made.is_directory() && !may_have_group_bit(made.gid, caller) {
        made.mode &= !S_ISGID;
    }
}

fn may_have_group_bit(gid: Gid, caller: &Credentials) -> bool {
    caller.is_root() || caller.is_member(gid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Attributes;
    use abi::{Nd, Pid, Uid};

    fn caller(uid: u32) -> Credentials {
        Credentials::new(Nd::LOCAL, Pid(9), Uid(uid), Gid(uid))
    }

    // qnx: R47
    #[test]
    fn a_sticky_directory_lets_only_owners_remove() {
        let directory = Attributes::directory(0o1777).owner(Uid(1), Gid(1));
        let file = Attributes::file(0o666).owner(Uid(2), Gid(2));
        let remove = |uid| may_remove(&directory.lock(), &file.lock(), &caller(uid));
        assert_eq!([remove(0), remove(1), remove(2)], [Ok(()); 3]);
        assert_eq!(remove(3), Err(Errno::EPERM));
        directory.lock().mode &= !S_ISVTX;
        assert_eq!(remove(3), Ok(()));
        directory.lock().read_only = true;
        assert_eq!(remove(0), Err(Errno::EROFS));
    }

    // qnx: R40
    #[test]
    fn a_name_is_added_where_one_may_write_and_search_and_looked_up_where_one_may_search() {
        let rows = [
            (0o300, Ok(()), Ok(())),
            (0o200, Err(Errno::EACCES), Err(Errno::EACCES)),
            (0o100, Err(Errno::EACCES), Ok(())),
        ];
        for (mode, add, look) in rows {
            let directory = Attributes::directory(mode).owner(Uid(1), Gid(1));
            assert_eq!(may_add(&directory.lock(), &caller(1)), add, "{mode:o}");
            let looked = may_look_up(&directory.lock(), b"a", &caller(1));
            assert_eq!(looked, look, "{mode:o}");
        }
        let directory = Attributes::directory(0o777);
        let long = [b'a'; NAME_MAX + 1];
        let looked = may_look_up(&directory.lock(), &long, &caller(1));
        assert_eq!(looked, Err(Errno::ENAMETOOLONG));
        let file = Attributes::file(0o777);
        let looked = may_look_up(&file.lock(), b"a", &caller(1));
        assert_eq!(looked, Err(Errno::ENOTDIR));
        directory.lock().links = 0;
        assert_eq!(may_add(&directory.lock(), &caller(1)), Err(Errno::ENOENT));
    }

    #[test]
    fn what_is_made_belongs_to_its_maker_or_to_the_group_of_a_directory_that_says_so() {
        let plain = Attributes::directory(0o777).owner(Uid(1), Gid(7));
        let handing_on = Attributes::directory(0o2777).owner(Uid(1), Gid(7));
        for (directory, gid, mode) in [(&plain, Gid(5), 0o755), (&handing_on, Gid(7), 0o2755)] {
            let made = Attributes::directory(0o755);
            own(&directory.lock(), &mut made.lock(), &caller(5));
            let made = made.lock();
            assert_eq!(
                (made.uid, made.gid, made.mode & 0o7777),
                (Uid(5), gid, mode)
            );
        }
    }
}
