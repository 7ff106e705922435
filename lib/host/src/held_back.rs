//! Packets to programs that promise what is not kept yet. Other programs do not wait for the disk.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;

use node::ProgramKey;

/// Packets to one program that wait; a disk that is slower than so many is not waited for.
const PACKETS_MAX: usize = 64;

type Packet = (Vec<u8>, Vec<OwnedFd>);

/// What waits, for each program.
#[derive(Debug, Default)]
pub(crate) struct HeldBack {
    programs: BTreeMap<ProgramKey, Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Version that has to be kept first.
    version: u64,
    packets: VecDeque<Packet>,
}

impl HeldBack {
    /// From now on a program hears nothing until this version is kept.
    pub(crate) fn until(&mut self, version: u64, program: ProgramKey) {
        self.programs.entry(program).or_default().version = version;
    }

    /// A packet for a program: given back if it may go at once.
    pub(crate) fn hold(
        &mut self,
        program: ProgramKey,
        bytes: Vec<u8>,
        descriptors: Vec<OwnedFd>,
    ) -> Option<Packet> {
        let Some(waiting) = self.programs.get_mut(&program) else {
            return Some((bytes, descriptors));
        };
        waiting.packets.push_back((bytes, descriptors));
        if waiting.packets.len() > PACKETS_MAX {
            return waiting.packets.pop_front();
        }
        None
    }

    /// Everything up to this version is kept: the packets that waited for it, in order for each program.
    pub(crate) fn kept(&mut self, version: u64) -> Vec<(ProgramKey, Vec<u8>, Vec<OwnedFd>)> {
        let mut free = Vec::new();
        self.programs.retain(|program, waiting| {
            if waiting.version > version {
                return true;
            }
            let packets = waiting.packets.drain(..);
            free.extend(packets.map(|(bytes, descriptors)| (*program, bytes, descriptors)));
            false
        });
        free
    }

    /// A program is gone.
    pub(crate) fn forget(&mut self, program: ProgramKey) {
        self.programs.remove(&program);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_program_that_was_promised_something_waits_for_the_disk() {
        let (asker, other) = (ProgramKey(1), ProgramKey(2));
        let mut held = HeldBack::default();
        held.until(2, asker);
        assert!(held.hold(asker, vec![1], vec![]).is_none());
        assert!(held.hold(asker, vec![2], vec![]).is_none());
        assert!(held.hold(other, vec![3], vec![]).is_some());
        assert!(held.kept(1).is_empty());
        let free: Vec<_> = held
            .kept(3)
            .into_iter()
            .map(|(to, bytes, _)| (to, bytes))
            .collect();
        assert_eq!(free, [(asker, vec![1]), (asker, vec![2])]);
        assert!(held.hold(asker, vec![4], vec![]).is_some());
    }

    #[test]
    fn a_disk_that_is_too_slow_is_not_waited_for_and_a_lost_program_is_forgotten() {
        let mut held = HeldBack::default();
        held.until(1, ProgramKey(1));
        for _ in 0..PACKETS_MAX {
            assert!(held.hold(ProgramKey(1), vec![0], vec![]).is_none());
        }
        let first = held.hold(ProgramKey(1), vec![1], vec![]);
        assert_eq!(first.unwrap().0, [0], "in order");
        held.forget(ProgramKey(1));
        assert!(held.kept(1).is_empty());
    }
}
