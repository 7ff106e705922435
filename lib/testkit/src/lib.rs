//! The simulated world: processes, lanes and faults in virtual time, all chosen by one seed.
//!
//! [`World::run`] plays one seed to its end and answers what the checkers have found. The same seed
//! always gives the same run, on every machine.

pub mod checkers;
pub mod cipher;
pub mod lanes;
pub mod plan;
pub mod process;
pub mod programs;
pub mod random;
pub mod reference;
pub mod world;

pub use checkers::{Finding, Kind};
pub use plan::Plan;
pub use world::{Outcome, World};
