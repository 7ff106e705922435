//! Behaviour of two transports over a network in virtual time.

mod added_lanes;
mod failures;
mod lanes;
mod messages;
mod pair;
mod properties;
mod recovery;
