//! What is answered without asking anybody, because a lease covers it.

use abi::flags::mode;
use abi::limits::NAME_MAX;
use std::time::Duration;

use crate::attributes;
use crate::kernel::request::Operation;
use crate::kernel::{Answer, Header, Validity, reply};
use crate::leases::{self, LEASED};
use crate::nodes::Identity;
use crate::path_space::PathSpace;

impl PathSpace {
    /// Answers a request if everything that it is about is known here; false if not. Never waits.
    pub(crate) fn answers_known(
        &self,
        header: &Header,
        operation: &Operation<'_>,
        answer: &mut dyn FnMut(Answer),
    ) -> bool {
        let node = header.node;
        match *operation {
            Operation::Lookup { name } => self.look_up_known(node, name, answer),
            Operation::GetAttr { handle: None } => self.attributes_known(node, answer),
            Operation::OpenDir => {
                let view = || self.views.of(header.uid, header.gid, header.pid);
                let opened = self.open_known_directory(node, view);
                opened.map(answer).is_some()
            }
            Operation::ReadDir {
                handle,
                offset,
                size,
                plus,
            } => self.read_known_directory(node, handle, offset, (size as usize, plus), answer),
            Operation::ReleaseDir { handle } => {
                let is_closed = self.close_known_directory(handle);
                if is_closed {
                    answer(Answer::Empty);
                }
                is_closed
            }
            _ => false,
        }
    }

    /// Looks a name up without asking anybody, where all names are known; false where they are not. Never waits.
    pub(crate) fn look_up_known(
        &self,
        directory: u64,
        name: &[u8],
        early: &mut dyn FnMut(Answer),
    ) -> bool {
        name.len() <= NAME_MAX
            && (self.was_told(directory, name, early) || self.knows_missing(directory, name, early))
    }

    /// Answers with what was told of all names when the directory was leased.
    fn was_told(&self, directory: u64, name: &[u8], early: &mut dyn FnMut(Answer)) -> bool {
        // Of a file that it has, the kernel may know more by now, and so may writes that are on their way.
        let known = self.nodes.find(directory, name);
        let Some(listing) = self.leases.told(directory).filter(|_| known.is_none()) else {
            return false;
        };
        let Some(entry) = listing.find(name) else {
            return false;
        };
        let Some(stat) = entry.stat.as_ref() else {
            return false;
        };
        // Other names of a file may be known to the kernel.
        if !leases::is_noticed(stat) && !mode::is_directory(stat.mode) {
            return false;
        }
        let _gate = self.leases.gate();
        if !self.leases.holds(Some(listing.stamp), name) {
            return false;
        }
        let identity = Identity::of(stat, entry.server.as_ref());
        let node = self.nodes.enter(directory, name, identity);
        self.versions.told(node, stat);
        let age = listing.asked.elapsed();
        let long = LEASED.saturating_sub(age);
        let validity = Validity {
            entry: long,
            attributes: match leases::is_noticed(stat) {
                true => long,
                false => self.fresh.saturating_sub(age),
            },
        };
        early(reply::entry(node, &attributes::of(stat), validity));
        true
    }

    /// Answers where all names are known and this is none of them.
    fn knows_missing(&self, directory: u64, name: &[u8], early: &mut dyn FnMut(Answer)) -> bool {
        let _gate = self.leases.gate();
        let lease = self.leases.knows_missing(directory, name);
        if lease.is_some() {
            let validity = Validity {
                entry: self.fresh,
                attributes: self.fresh,
            };
            self.tell_missing(name, validity, early, lease);
        }
        lease.is_some()
    }

    /// Tells the attributes of a leased directory without asking anybody, if a listing of the one above has told them under its
    /// lease; false if none has. Never waits.
    pub(crate) fn attributes_known(&self, node: u64, early: &mut dyn FnMut(Answer)) -> bool {
        let Some(own) = self.leases.of(node) else {
            return false;
        };
        let Some((above, name)) = self.nodes.place(node) else {
            return false;
        };
        let Some(listing) = self.leases.told_beside(node, above) else {
            return false;
        };
        let Some(entry) = listing.find(&name) else {
            return false;
        };
        let Some(stat) = entry.stat.as_ref() else {
            return false;
        };
        let identity = Identity::of(stat, entry.server.as_ref());
        if !mode::is_directory(stat.mode) || !self.nodes.is(node, identity) {
            return false;
        }
        let _gate = self.leases.gate();
        let is_same = self.leases.is_unchanged_since(own, listing.asked);
        if !is_same || !self.leases.holds(Some(listing.stamp), &name) {
            return false;
        }
        let validity = Validity {
            entry: Duration::ZERO,
            attributes: LEASED.saturating_sub(listing.asked.elapsed()),
        };
        early(reply::attributes(&attributes::of(stat), validity));
        true
    }
}
