//! Settings of the kernel for interfaces, which a node changes for as long as it runs.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::setting_records::{Record, Records};

/// Where the kernel keeps what is said of networks.
const SETTINGS: &str = "/proc/sys/net";

/// A setting of one interface, or of `all` or `default`, as sysctl names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Setting {
    /// Such as `ipv4/conf`.
    pub(crate) table: String,
    pub(crate) interface: String,
    pub(crate) name: String,
}

impl Setting {
    pub(crate) fn new(table: &str, interface: &str, name: &str) -> Self {
        Self {
            table: table.to_owned(),
            interface: interface.to_owned(),
            name: name.to_owned(),
        }
    }

    /// Makes it what it was before a node set it to `now`, unless somebody else has changed it since.
    pub(crate) fn put_back(&self, kernel: &impl Kernel, before: u32, now: u32) {
        if kernel.get(self) == Some(now)
            && let Err(error) = kernel.set(self, before)
        {
            tracing::warn!("{self} is not {before} again: {error}");
        }
    }

    fn path(&self) -> PathBuf {
        [SETTINGS, &self.table, &self.interface, &self.name]
            .iter()
            .collect()
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.table.replace('/', ".");
        write!(f, "net.{table}.{}.{}", self.interface, self.name)
    }
}

/// The kernel's settings.
pub(crate) trait Kernel {
    /// `None` if there is no such setting.
    fn get(&self, setting: &Setting) -> Option<u32>;
    /// Changes one.
    fn set(&self, setting: &Setting, value: u32) -> io::Result<()>;
}

/// This machine's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThisKernel;

impl Kernel for ThisKernel {
    fn get(&self, setting: &Setting) -> Option<u32> {
        let text = std::fs::read_to_string(setting.path()).ok()?;
        text.trim().parse().ok()
    }

    fn set(&self, setting: &Setting, value: u32) -> io::Result<()> {
        std::fs::write(setting.path(), value.to_string())
    }
}

/// What a node has changed. Dropped, it leaves the kernel as it was, but for what somebody else has changed since, and
/// what other nodes need.
#[derive(Debug)]
pub(crate) struct Changes<K: Kernel> {
    kernel: K,
    records: Records,
    made: Vec<Change>,
}

#[derive(Debug)]
struct Change {
    setting: Setting,
    before: u32,
    now: u32,
    record: Option<Record>,
}

impl<K: Kernel> Changes<K> {
    pub(crate) const fn new(kernel: K, records: Records) -> Self {
        Self {
            kernel,
            records,
            made: Vec::new(),
        }
    }

    pub(crate) fn get(&self, setting: &Setting) -> Option<u32> {
        self.kernel.get(setting)
    }

    /// Changes a setting that is `before`, and says `why` in the log.
    pub(crate) fn make(
        &mut self,
        setting: Setting,
        before: u32,
        now: u32,
        why: &str,
    ) -> io::Result<()> {
        let at = self.made.iter().position(|made| made.setting == setting);
        // Before the change: a node may be killed at any time.
        let record = match at {
            Some(_) => None,
            None => self.records.begin(&setting, before, now),
        };
        if let Err(error) = self.kernel.set(&setting, now) {
            record.map(|record| self.records.end(record));
            return Err(error);
        }
        tracing::info!("{setting} is {now} while this node runs: {why}");
        // An interface that is made anew is told again; what it was at first is what it gets back.
        match at.and_then(|at| self.made.get_mut(at)) {
            Some(made) => made.now = now,
            None => self.made.push(Change {
                setting,
                before: record.as_ref().map_or(before, |record| record.before),
                now,
                record,
            }),
        }
        Ok(())
    }

    /// A setting is as this node needs it. If that is because another node has changed it, it stays so for this one.
    pub(crate) fn share(&mut self, setting: &Setting) {
        if self.made.iter().any(|made| made.setting == *setting) {
            return;
        }
        if let Some(record) = self.records.join(setting) {
            self.made.push(Change {
                setting: setting.clone(),
                before: record.before,
                now: record.now,
                record: Some(record),
            });
        }
    }

    /// Leaves everything as it is, as a node does that is killed.
    #[cfg(test)]
    pub(crate) fn forget(mut self) {
        self.made.clear();
    }
}

impl<K: Kernel> Drop for Changes<K> {
    fn drop(&mut self) {
        for change in self.made.drain(..).rev() {
            let record = change.record;
            if record.is_none_or(|record| self.records.end(record)) {
                change
                    .setting
                    .put_back(&self.kernel, change.before, change.now);
            }
        }
    }
}

/// Settings that are kept nowhere: 0 unless somebody has said otherwise.
#[cfg(test)]
#[derive(Clone, Default)]
pub(crate) struct Paper {
    pub(crate) values: std::rc::Rc<std::cell::RefCell<std::collections::BTreeMap<Setting, u32>>>,
    pub(crate) is_forbidden: bool,
}

#[cfg(test)]
impl Paper {
    pub(crate) fn with(table: &str, settings: &[(&str, &str, u32)]) -> Self {
        let paper = Self::default();
        for (interface, name, value) in settings {
            let setting = Setting::new(table, interface, name);
            paper.values.borrow_mut().insert(setting, *value);
        }
        paper
    }
}

#[cfg(test)]
impl Kernel for Paper {
    fn get(&self, setting: &Setting) -> Option<u32> {
        Some(self.values.borrow().get(setting).copied().unwrap_or(0))
    }

    fn set(&self, setting: &Setting, value: u32) -> io::Result<()> {
        if self.is_forbidden {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.values.borrow_mut().insert(setting.clone(), value);
        Ok(())
    }
}
