//! For tests: several real nodes on one machine ([`Cluster`]), and the simulated world.
//!
//! The world is processes, lanes and faults in virtual time, all chosen by one seed. [`World::run`] plays one seed to its end and answers what the checkers have found. The same seed
//! always gives the same run, on every machine.

pub mod checkers;
pub mod cipher;
pub mod cluster;
pub mod lanes;
pub mod plan;
pub mod process;
pub mod programs;
pub mod random;
pub mod reference;
pub mod world;

pub use checkers::{Finding, Kind};
pub use cluster::{Cluster, Member};
pub use plan::Plan;
pub use world::{Outcome, World};
