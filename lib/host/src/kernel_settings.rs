//! Settings of the kernel for interfaces, which a node changes for as long as it runs.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Where the kernel keeps what is said of networks.
const SETTINGS: &str = "/proc/sys/net";

/// A setting of one interface, or of `all` or `default`, as sysctl names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Setting {
    /// Such as `ipv4/conf`.
    pub(crate) table: &'static str,
    pub(crate) interface: String,
    pub(crate) name: &'static str,
}

impl Setting {
    pub(crate) fn new(table: &'static str, interface: &str, name: &'static str) -> Self {
        Self {
            table,
            interface: interface.to_owned(),
            name,
        }
    }

    fn path(&self) -> PathBuf {
        [SETTINGS, self.table, &self.interface, self.name]
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

/// What a node has changed. Dropped, it leaves the kernel as it was, but for what somebody else has changed since.
#[derive(Debug)]
pub(crate) struct Changes<K: Kernel> {
    kernel: K,
    made: Vec<Change>,
}

#[derive(Debug)]
struct Change {
    setting: Setting,
    before: u32,
    now: u32,
}

impl<K: Kernel> Changes<K> {
    pub(crate) const fn new(kernel: K) -> Self {
        Self {
            kernel,
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
        self.kernel.set(&setting, now)?;
        tracing::info!("{setting} is {now} while this node runs: {why}");
        // An interface that is made anew is told again; what it was at first is what it gets back.
        match self.made.iter_mut().find(|made| made.setting == setting) {
            Some(made) => made.now = now,
            None => self.made.push(Change {
                setting,
                before,
                now,
            }),
        }
        Ok(())
    }
}

impl<K: Kernel> Drop for Changes<K> {
    fn drop(&mut self) {
        for Change {
            setting,
            before,
            now,
        } in self.made.iter().rev()
        {
            if self.kernel.get(setting) == Some(*now)
                && let Err(error) = self.kernel.set(setting, *before)
            {
                tracing::warn!("{setting} is not {before} again: {error}");
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
    pub(crate) fn with(table: &'static str, settings: &[(&str, &'static str, u32)]) -> Self {
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
