//! How many descriptors this process may have, and so how many programs its node takes.

use node::limits::PROGRAMS_MAX;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Of each program: its socket, and what tells of the end of its process.
const PER_PROGRAM: u64 = 2;
/// Links, rings and files; where there are few descriptors, a part of those.
const OTHERS: u64 = 1024;

/// The programs for which a process has descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) programs: usize,
    /// While there are no more than these, the end of a program's process is seen. That of others is when their socket
    /// closes, which a child can delay that keeps it and neither runs another program nor ends.
    pub(crate) watched: usize,
}

/// Lets this process have as many descriptors as the programs need that a node takes, or as many as it may.
pub(crate) fn make_room() -> Room {
    let wanted = PER_PROGRAM * PROGRAMS_MAX as u64 + OTHERS;
    let limit = getrlimit(Resource::Nofile);
    let has = |limit: Option<u64>| limit.is_none_or(|limit| limit >= wanted);
    if !has(limit.current) {
        let most = Some(wanted);
        // Only root may go beyond the hard limit.
        let beyond = Rlimit {
            current: most,
            maximum: if has(limit.maximum) {
                limit.maximum
            } else {
                most
            },
        };
        let within = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        let raised = setrlimit(Resource::Nofile, beyond);
        if let Err(error) = raised.or_else(|_| setrlimit(Resource::Nofile, within)) {
            tracing::debug!("the node goes on with few descriptors: {error}");
        }
    }
    Room::within(getrlimit(Resource::Nofile).current.unwrap_or(wanted))
}

impl Room {
    /// Where there are too few to watch every program, one in two is.
    fn within(descriptors: u64) -> Self {
        let free = descriptors - OTHERS.min(descriptors / 4);
        let programs = (free * 2 / 3).min(PROGRAMS_MAX as u64);
        let watched = programs.min(free - programs);
        let [programs, watched] =
            [programs, watched].map(|count| usize::try_from(count).unwrap_or(PROGRAMS_MAX));
        Self { programs, watched }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(programs: usize, watched: usize) -> Room {
        Room { programs, watched }
    }

    #[test]
    fn programs_leave_descriptors_for_everything_else() {
        assert_eq!(Room::within(256), room(128, 64));
        assert_eq!(Room::within(20_000), room(12_650, 6_326));
        let enough = PER_PROGRAM * PROGRAMS_MAX as u64 + OTHERS;
        for descriptors in [enough, u64::MAX / 2] {
            let all = room(PROGRAMS_MAX, PROGRAMS_MAX);
            assert_eq!(Room::within(descriptors), all);
        }
    }

    #[test]
    fn a_node_has_the_descriptors_that_it_counts_on() {
        let room = make_room();
        let limit = getrlimit(Resource::Nofile);
        let current = limit.current.unwrap_or(u64::MAX);
        assert!((room.programs + room.watched) as u64 <= current);
        assert!(current >= limit.maximum.unwrap_or(0).min(66_560));
    }
}
