//! What settings of the kernel were before the nodes of this machine changed them, for whoever puts them back.
//!
//! That is the last node that needs a setting, or, where a node was killed, the next one that starts. Nodes share
//! interfaces and do not know each other, so the records are the machine's: a file for each setting, locked by each node
//! that needs it. Where there can be none, because the node is not root's, each node puts back what it has changed itself.

use std::collections::HashSet;
use std::fs::{DirBuilder, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::kernel_settings::{Kernel, Setting};

/// Goes with the settings when the machine is started anew.
const DIRECTORY: &str = "/run/slashnet-settings";
/// Held while records are made, shared or ended.
const LOCK: &str = "lock";
/// Records that a starting node looks through.
const RECORDS_MAX: usize = 4096;
/// Longest content of a record.
const CONTENT_MAX: u64 = 512;

/// Where processes and the network namespaces that they are in can be seen.
const PROCESSES: &str = "/proc";
/// Network namespaces that were given names, by `ip netns`.
const NAMED: &str = "/run/netns";

/// The records of the network namespace that this process is in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records {
    directory: Option<PathBuf>,
    namespace: u64,
}

/// One that this node needs.
#[derive(Debug)]
pub(crate) struct Record {
    file: File,
    path: PathBuf,
    pub(crate) before: u32,
    pub(crate) now: u32,
}

impl Records {
    /// Those of this machine, if this process may keep any.
    pub(crate) fn of_this_machine() -> Self {
        let namespace = std::fs::metadata("/proc/self/ns/net");
        match (make_private(Path::new(DIRECTORY)), namespace) {
            (Ok(()), Ok(namespace)) => Self::within(Path::new(DIRECTORY), namespace.ino()),
            _ => Self::default(),
        }
    }

    pub(crate) fn within(directory: &Path, namespace: u64) -> Self {
        Self {
            directory: Some(directory.to_owned()),
            namespace,
        }
    }

    /// This node is about to change a setting that is `before` to `now`. What a record says that is there already was
    /// before is what counts.
    pub(crate) fn begin(&self, setting: &Setting, before: u32, now: u32) -> Option<Record> {
        let _alone = self.lock()?;
        let path = self.path(setting)?;
        let known = read(&path).map(|(_, before, _)| before);
        let before = known.unwrap_or(before);
        let content = format!(
            "{} {} {} {before} {now}\n",
            setting.table, setting.interface, setting.name
        );
        let written = write(&path, &content);
        record(path, before, now)
            .and_then(|record| written.map(|()| record))
            .inspect_err(|error| {
                tracing::warn!("{setting} stays changed if this node is killed: {error}")
            })
            .ok()
    }

    /// A setting is as this node needs it; its record, if that is because another node has changed it.
    pub(crate) fn join(&self, setting: &Setting) -> Option<Record> {
        let _alone = self.lock()?;
        let path = self.path(setting)?;
        let (_, before, now) = read(&path)?;
        record(path, before, now).ok()
    }

    /// This node needs the setting no more; true if no other does, and it is to be put back.
    pub(crate) fn end(&self, record: Record) -> bool {
        let Some(_alone) = self.lock() else {
            return true;
        };
        is_last(record.file, &record.path)
    }

    /// Forgets what was changed in network namespaces that are no more, if the nodes there were killed.
    pub(crate) fn clear(&self) {
        if let Some(living) = living_namespaces() {
            self.clear_except(&living);
        }
    }

    fn clear_except(&self, living: &HashSet<u64>) {
        let (Some(directory), Some(_alone)) = (&self.directory, self.lock()) else {
            return;
        };
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        for entry in entries.take(RECORDS_MAX) {
            let name = entry.file_name();
            let namespace = name.to_str().and_then(|name| name.split_once('-'));
            let Some(Ok(namespace)) = namespace.map(|(number, _)| number.parse::<u64>()) else {
                continue;
            };
            if namespace != self.namespace && !living.contains(&namespace) {
                let path = entry.path();
                let _ = File::open(&path).is_ok_and(|file| is_last(file, &path));
            }
        }
    }

    /// Puts back what nodes have changed that were killed.
    pub(crate) fn recover(&self, kernel: &impl Kernel) {
        let (Some(directory), Some(_alone)) = (&self.directory, self.lock()) else {
            return;
        };
        let own = format!("{}-", self.namespace);
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        for entry in entries.take(RECORDS_MAX) {
            if !entry.file_name().to_string_lossy().starts_with(&own) {
                continue;
            }
            let path = entry.path();
            let Some((setting, before, now)) = read(&path) else {
                continue;
            };
            if File::open(&path).is_ok_and(|file| is_last(file, &path)) {
                tracing::info!("{setting} is {before} again: the node that changed it was killed");
                setting.put_back(kernel, before, now);
            }
        }
    }

    /// Nobody holds it for longer than some system calls take.
    fn lock(&self) -> Option<File> {
        let mut options = File::options();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(self.directory.as_ref()?.join(LOCK)).ok()?;
        file.lock().ok()?;
        Some(file)
    }

    fn path(&self, setting: &Setting) -> Option<PathBuf> {
        let name = format!("{}-{setting}", self.namespace);
        Some(self.directory.as_ref()?.join(name))
    }
}

/// The network namespaces that processes are in or that have names; `None` where not all can be seen.
fn living_namespaces() -> Option<HashSet<u64>> {
    let mut living = HashSet::new();
    for process in std::fs::read_dir(PROCESSES).ok()? {
        let place = process.ok()?.path();
        match std::fs::metadata(place.join("ns/net")) {
            Ok(namespace) => living.insert(namespace.ino()),
            // Nothing of a process, or one that has ended meanwhile.
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => continue,
            Err(_) => return None,
        };
    }
    let named = std::fs::read_dir(NAMED).into_iter().flatten().flatten();
    living.extend(named.filter_map(|name| Some(std::fs::metadata(name.path()).ok()?.ino())));
    Some(living)
}

/// The record is needed from now on.
fn record(path: PathBuf, before: u32, now: u32) -> io::Result<Record> {
    let file = File::open(&path)?;
    file.lock_shared()?;
    Ok(Record {
        file,
        path,
        before,
        now,
    })
}

/// Whether nobody else needs the record. Then it is gone.
fn is_last(file: File, path: &Path) -> bool {
    file.try_lock().is_ok() && std::fs::remove_file(path).is_ok()
}

/// In place, because nodes hold the file locked.
fn write(path: &Path, content: &str) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(path)?;
    file.rewind()?;
    file.write_all(content.as_bytes())?;
    file.set_len(content.len() as u64)
}

fn read(path: &Path) -> Option<(Setting, u32, u32)> {
    let mut text = String::new();
    let file = File::open(path).ok()?;
    file.take(CONTENT_MAX).read_to_string(&mut text).ok()?;
    let mut fields = text.split_ascii_whitespace();
    let setting = Setting::new(fields.next()?, fields.next()?, fields.next()?);
    let before = fields.next()?.parse().ok()?;
    Some((setting, before, fields.next()?.parse().ok()?))
}

fn make_private(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = std::fs::symlink_metadata(directory)?;
    let own = rustix::process::geteuid().as_raw();
    match found.is_dir() && found.uid() == own && found.mode() & 0o077 == 0 {
        true => Ok(()),
        false => Err(io::ErrorKind::PermissionDenied.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel_settings::{Changes, Paper};

    const NAMESPACE: u64 = 7;

    fn setting() -> Setting {
        Setting::new("ipv4/conf", "eth1.5", "arp_ignore")
    }

    struct Machine {
        place: tempfile::TempDir,
        paper: Paper,
    }

    impl Machine {
        fn new() -> Self {
            let place = tempfile::tempdir().unwrap();
            let paper = Paper::default();
            Self { place, paper }
        }

        /// A node that needs the setting to be 1.
        fn node(&self) -> Changes<Paper> {
            let records = Records::within(self.place.path(), NAMESPACE);
            records.recover(&self.paper);
            let mut changes = Changes::new(self.paper.clone(), records);
            match self.value() {
                1 => changes.share(&setting()),
                before => changes.make(setting(), before, 1, "a test").unwrap(),
            }
            changes
        }

        fn value(&self) -> u32 {
            self.paper.get(&setting()).unwrap()
        }

        fn records(&self) -> usize {
            self.place.path().read_dir().unwrap().count() - 1
        }
    }

    /// As SIGKILL: the kernel closes the files, and nothing else happens.
    fn kill(node: Changes<Paper>) {
        node.forget();
    }

    #[test]
    fn a_setting_is_put_back_by_the_last_of_the_nodes_that_need_it() {
        let machine = Machine::new();
        let (first, second) = (machine.node(), machine.node());
        assert_eq!(machine.records(), 1);
        drop(first);
        assert_eq!(machine.value(), 1);
        drop(second);
        assert_eq!((machine.value(), machine.records()), (0, 0));
    }

    #[test]
    fn what_a_killed_node_has_changed_is_put_back_by_the_next() {
        let machine = Machine::new();
        kill(machine.node());
        assert_eq!(machine.value(), 1);
        let records = Records::within(machine.place.path(), NAMESPACE);
        records.recover(&machine.paper);
        assert_eq!((machine.value(), machine.records()), (0, 0));
        kill(machine.node());
        // It starts again and ends in order.
        drop(machine.node());
        assert_eq!((machine.value(), machine.records()), (0, 0));
    }

    #[test]
    fn a_killed_node_leaves_the_setting_to_another_that_needs_it() {
        let machine = Machine::new();
        let first = machine.node();
        let second = machine.node();
        kill(first);
        let third = machine.node();
        assert_eq!(machine.value(), 1);
        drop(second);
        assert_eq!(machine.value(), 1);
        drop(third);
        assert_eq!((machine.value(), machine.records()), (0, 0));
    }

    #[test]
    fn records_of_namespaces_that_are_no_more_go_unless_a_node_still_has_them() {
        let machine = Machine::new();
        let other = Records::within(machine.place.path(), 70);
        kill(machine.node());
        other.clear_except(&HashSet::from([NAMESPACE]));
        assert_eq!(machine.records(), 1, "its next node may come");
        let node = machine.node();
        other.clear_except(&HashSet::new());
        assert_eq!(machine.records(), 1, "a node has it");
        kill(node);
        Records::within(machine.place.path(), NAMESPACE).clear_except(&HashSet::new());
        assert_eq!(machine.records(), 1, "its own are not cleared but put back");
        other.clear_except(&HashSet::new());
        assert_eq!((machine.records(), machine.value()), (0, 1));
        let seen = living_namespaces().unwrap_or_default();
        assert!(seen.is_empty() || seen.contains(&own_namespace()));
    }

    fn own_namespace() -> u64 {
        std::fs::metadata("/proc/self/ns/net").unwrap().ino()
    }

    #[test]
    fn other_peoples_settings_and_other_namespaces_are_left_alone() {
        let machine = Machine::new();
        kill(machine.node());
        Records::within(machine.place.path(), 70).recover(&machine.paper);
        assert_eq!((machine.value(), machine.records()), (1, 1));
        machine.paper.set(&setting(), 8).unwrap();
        Records::within(machine.place.path(), NAMESPACE).recover(&machine.paper);
        assert_eq!((machine.value(), machine.records()), (8, 0));
    }
}
