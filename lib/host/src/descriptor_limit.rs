//! How many descriptors this process may have, and so how many programs its node takes.

use node::limits::PROGRAMS_MAX;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Of each program: its socket, and what tells of its end.
const PER_PROGRAM: u64 = 2;
/// Links, rings and files; where there are few descriptors, a part of those.
const OTHERS: u64 = 1024;

/// Lets this process have as many descriptors as the programs need that a node takes, or as many as it may; gives the
/// programs for which there is room then.
pub(crate) fn room_for_programs() -> usize {
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
    programs_within(getrlimit(Resource::Nofile).current.unwrap_or(wanted))
}

fn programs_within(descriptors: u64) -> usize {
    let programs = (descriptors - OTHERS.min(descriptors / 4)) / PER_PROGRAM;
    usize::try_from(programs).map_or(PROGRAMS_MAX, |programs| programs.min(PROGRAMS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_leave_descriptors_for_everything_else() {
        assert_eq!(programs_within(256), 96);
        assert_eq!(programs_within(20_000), 9_488);
        assert_eq!(programs_within(u64::MAX), PROGRAMS_MAX);
        let enough = PER_PROGRAM * PROGRAMS_MAX as u64 + OTHERS;
        assert_eq!(programs_within(enough), PROGRAMS_MAX);
    }

    #[test]
    fn a_node_has_the_descriptors_that_it_counts_on() {
        let programs = room_for_programs() as u64;
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        assert!(PER_PROGRAM * programs <= limit);
        assert!(limit >= getrlimit(Resource::Nofile).maximum.unwrap_or(0).min(66_560));
    }
}
