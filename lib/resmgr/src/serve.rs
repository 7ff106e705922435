//! A whole manager in one call, and why there is none, for whoever started it.

use std::fmt;
use std::path::PathBuf;

use abi::{Errno, Result};
use ipc::Endpoint;

use crate::attributes::Attributes;
use crate::resource::Resource;
use crate::server::Server;

/// Owns `path` with one resource and serves it until the process ends.
///
/// Uses the node that `SLASHNET_DIR` names, or the machine's default node.
///
/// # Errors
/// Those of [`Endpoint::global`], [`Server::new`] and [`Server::attach`], in words that `main` can end with.
pub fn serve(
    path: &str,
    attributes: Attributes,
    resource: impl Resource,
) -> std::result::Result<(), ServeError> {
    let node = Endpoint::global().map_err(|errno| ServeError::Node {
        directory: ipc::default_directory(),
        errno,
    })?;
    let run = || -> Result { Server::new(node)?.attach(path, attributes, resource)?.run() };
    run().map_err(|errno| ServeError::Path {
        path: path.to_owned(),
        errno,
    })
}

/// Why [`serve`] has ended. Shown, also by `main`, it says what is expected.
#[derive(Clone, PartialEq, Eq)]
pub enum ServeError {
    /// There is no node to serve at.
    Node {
        /// Where one was expected.
        directory: PathBuf,
        /// What it or the system answered.
        errno: Errno,
    },
    /// The path cannot be owned or served.
    Path {
        /// As it was given.
        path: String,
        /// What the node or the system answered.
        errno: Errno,
    },
}

impl ServeError {
    /// The bare error.
    #[must_use]
    pub const fn errno(&self) -> Errno {
        match self {
            Self::Node { errno, .. } | Self::Path { errno, .. } => *errno,
        }
    }
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node { directory, errno } => {
                write!(f, "{}: ", directory.display())?;
                match *errno {
                    Errno::ENOENT | Errno::ECONNREFUSED => f.write_str(
                        "no node daemon there; 'slashnet up' starts one, SLASHNET_DIR names another",
                    ),
                    errno => write!(f, "{errno}"),
                }
            }
            Self::Path { path, errno } => {
                write!(f, "{path}: {errno}")?;
                match *errno {
                    Errno::EPERM => f.write_str(
                        "; only root and the owner of the node may own a path there, and whom a rule lets \
                         ('slashnet rights add allow USER attach PATH')",
                    ),
                    Errno::EINVAL => f.write_str("; expected a path that begins with '/'"),
                    _ => Ok(()),
                }
            }
        }
    }
}

/// In the same words: `main` shows errors so.
impl fmt::Debug for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ServeError {}

impl From<ServeError> for Errno {
    fn from(error: ServeError) -> Self {
        error.errno()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_starts_a_manager_in_vain_is_told_what_is_missing() {
        let node = ServeError::Node {
            directory: "/run/slashnet".into(),
            errno: Errno::ENOENT,
        };
        let text = format!("{node:?}");
        assert!(
            text.starts_with("/run/slashnet: no node daemon there"),
            "{text}"
        );
        assert!(text.contains("slashnet up"), "{text}");
        let path = ServeError::Path {
            path: "/dev/hello".into(),
            errno: Errno::EPERM,
        };
        let text = format!("{path:?}");
        assert!(text.starts_with("/dev/hello: "), "{text}");
        assert!(text.contains("slashnet rights add allow"), "{text}");
        assert_eq!(Errno::from(path), Errno::EPERM);
    }
}
