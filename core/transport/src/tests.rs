//! Behaviour of two transports over a network in virtual time.

mod added_lanes;
mod arrivals;
mod brute_force;
mod failures;
mod golden;
mod key_changes;
mod lanes;
mod messages;
mod page;
mod pair;
mod policies;
mod properties;
mod recovery;
mod ways;
