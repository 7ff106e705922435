//! A mount from start to end.

use client::Namespace;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::Error;
use crate::identity::Views;
use crate::kernel::Session;
use crate::kernel::channel::Channel;
use crate::kernel::device::{self, Mounted};
use crate::kernel::readahead;
use crate::path_space::PathSpace;

/// What to mount, and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory to mount on. It is made if it is missing; its parent must exist.
    pub point: PathBuf,
    /// The path that the mount point shows. Default `/net`.
    pub root: Vec<u8>,
    /// The path space to mount.
    pub namespace: Namespace,
    /// What the kernel's table of mounts names as the source. Default `slashnet`; the command gives the node's directory,
    /// by which the mounts of one node can be told from those of others.
    pub source: OsString,
    /// How long names, attributes and data may be believed without asking their server: 0 to an hour. Default 1 s.
    /// A write that another node has completed is seen after this time at the latest. With 0 every write also waits
    /// for its server; otherwise a program that streams does not, and learns of errors with the next write, fsync or close.
    pub fresh: Duration,
    /// Let all users of this machine in. The superuser's mount then speaks for each caller with the caller's own user and
    /// groups; an ordinary user's with the user's own rights (and `user_allow_other` must be set in `/etc/fuse.conf`).
    /// Default: only for the superuser.
    pub shared: bool,
}

impl Options {
    /// `/net` of `namespace` on `point`, everything else by default.
    #[must_use]
    pub fn new(namespace: Namespace, point: impl Into<PathBuf>) -> Self {
        Self {
            point: point.into(),
            root: b"/net".to_vec(),
            namespace,
            source: "slashnet".into(),
            fresh: Duration::from_secs(1),
            shared: rustix::process::geteuid().is_root(),
        }
    }
}

/// A mount that is served by threads of this process. Dropping it unmounts: at once if nothing is open, otherwise
/// lazily, and programs that have files open get errors.
#[must_use = "dropping it unmounts"]
pub struct Mount {
    session: Option<Arc<Session<PathSpace>>>,
    mounted: Mounted,
}

impl Mount {
    /// Mounts and serves. Returns when the mount point can be used.
    ///
    /// # Errors
    /// [`Error`] says what is wrong with the mount point or the machine; nothing stays mounted then.
    pub fn start(options: Options) -> Result<Self, Error> {
        let per_caller = options.shared && rustix::process::geteuid().is_root();
        let views = match per_caller {
            true => Views::per_caller(options.namespace),
            false => Views::Own(options.namespace),
        };
        let (mounted, fuse) = device::mount(&options.point, &options.source, options.shared)?;
        let fresh = options.fresh.min(FRESH_MAX);
        let channel = Arc::new(Channel::new(fuse)?);
        let space = PathSpace::new(views, &options.root, fresh, Arc::clone(&channel));
        let session = Session::start(channel, space, readahead::WIDEST as u32)?;
        session.handler().readahead.attach(mounted.point());
        Ok(Self {
            session: Some(session),
            mounted,
        })
    }

    /// The mount point, without symbolic links.
    #[must_use]
    pub fn point(&self) -> &Path {
        self.mounted.point()
    }

    /// Blocks until somebody unmounts.
    pub fn wait(mut self) {
        if let Some(session) = &self.session {
            session.wait();
            if session.is_unmounted() {
                self.mounted.forget();
            }
        }
    }

    /// Whether somebody else has unmounted.
    #[must_use]
    pub fn is_unmounted(&self) -> bool {
        self.session
            .as_ref()
            .is_none_or(|session| session.is_unmounted())
    }

    /// Requests of the kernel that are being answered now.
    #[must_use]
    pub fn requests_in_work(&self) -> usize {
        self.session.as_ref().map_or(0, |session| session.in_work())
    }

    /// Directories of which servers tell every change, so that nobody asks them about names and attributes there.
    #[must_use]
    pub fn leased_directories(&self) -> usize {
        let session = self.session.as_ref();
        session.map_or(0, |session| session.handler().leases.count())
    }

    /// Unmounts and ends. Programs blocked in the mount are released with an error.
    ///
    /// # Errors
    /// [`Error::Unmount`] the kernel refused; the mount is dead then and can be removed with `umount -l`.
    pub fn stop(mut self) -> Result<(), Error> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Error> {
        let unmounted = match self.is_unmounted() {
            true => {
                self.mounted.forget();
                Ok(())
            }
            false => self.mounted.unmount(),
        };
        if let Some(session) = self.session.take() {
            session.stop();
            session.wait_for(END_LIMIT);
        }
        unmounted
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::warn!(%error, "the mount stays behind");
        }
    }
}

impl std::fmt::Debug for Mount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mount")
            .field("point", &self.point())
            .finish_non_exhaustive()
    }
}

/// Longest time that anything may be believed.
const FRESH_MAX: Duration = Duration::from_secs(3600);
/// How long requests in work may take to end after everybody was told to stop.
const END_LIMIT: Duration = Duration::from_secs(2);
