//! The name under which programs find a terminal: a symbolic link.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use abi::{Errno, Result};

/// Where pseudo terminals are.
const TERMINALS: &str = "/dev/pts";

/// A link to a terminal. Dropping it removes it, unless somebody else has put something in its place.
#[derive(Debug)]
pub(crate) struct Link {
    path: PathBuf,
    target: PathBuf,
}

impl Link {
    /// Makes the link. One that was left behind by a killed program is replaced.
    ///
    /// # Errors
    /// EEXIST if there is something else of that name, and what making a link answers.
    pub(crate) fn make(path: &Path, target: &Path) -> Result<Self> {
        match fs::read_link(path) {
            Ok(old) if !old.starts_with(TERMINALS) => return Err(Errno::EEXIST),
            Err(error) if error.kind() == ErrorKind::InvalidInput => return Err(Errno::EEXIST),
            _ => {}
        }
        let mut link = Self {
            path: path.to_owned(),
            target: target.to_owned(),
        };
        link.point_to(target)?;
        Ok(link)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Lets the link name another terminal, at no moment none.
    pub(crate) fn point_to(&mut self, target: &Path) -> Result {
        let mut beside = self.path.clone().into_os_string();
        beside.push(format!(".{}", std::process::id()));
        let beside = PathBuf::from(beside);
        let _ = fs::remove_file(&beside);
        symlink(target, &beside)?;
        if let Err(error) = fs::rename(&beside, &self.path) {
            let _ = fs::remove_file(&beside);
            return Err(error.into());
        }
        self.target = target.to_owned();
        Ok(())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if fs::read_link(&self.path).is_ok_and(|target| target == self.target) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_was_left_behind_is_replaced_and_nothing_else_is() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("ttyNET0");
        symlink("/dev/pts/7", &path).unwrap();
        let link = Link::make(&path, Path::new("/dev/pts/9")).unwrap();
        assert_eq!(fs::read_link(&path).unwrap(), Path::new("/dev/pts/9"));
        drop(link);
        assert!(fs::read_link(&path).is_err(), "it is removed");

        symlink("/dev/null", &path).unwrap();
        assert_eq!(
            Link::make(&path, Path::new("/dev/pts/9")).map(drop),
            Err(Errno::EEXIST)
        );
        fs::remove_file(&path).unwrap();
        fs::write(&path, "mine").unwrap();
        assert_eq!(
            Link::make(&path, Path::new("/dev/pts/9")).map(drop),
            Err(Errno::EEXIST)
        );
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }

    #[test]
    fn a_link_that_somebody_has_replaced_is_left_to_him() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("ttyNET0");
        let link = Link::make(&path, Path::new("/dev/pts/9")).unwrap();
        fs::remove_file(&path).unwrap();
        symlink("/dev/pts/11", &path).unwrap();
        drop(link);
        assert_eq!(fs::read_link(&path).unwrap(), Path::new("/dev/pts/11"));
    }
}
