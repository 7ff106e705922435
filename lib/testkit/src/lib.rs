//! For tests: several real nodes on one machine (`Cluster`), and the simulated world. [`until`] waits for what other
//! threads and processes are about to do; [`rerun`] takes a test into namespaces and limits of its own.
//!
//! The world is processes, lanes and faults in virtual time, all chosen by one seed. [`World::run`]
//! plays one seed to its end and answers what the checkers have found. The same seed always gives
//! the same run, on every machine.

pub mod checkers;
pub mod cipher;
pub mod clock;
#[cfg(feature = "cluster")]
pub mod cluster;
mod faults;
pub mod fuzz;
pub mod ideal;
pub mod judge;
mod lane_faults;
pub mod lanes;
mod opening;
mod patience;
pub mod plan;
pub mod process;
pub mod programs;
pub mod random;
pub mod reference;
pub mod rerun;
mod shell;
mod strip;
pub mod tap;
pub mod terrain;
pub mod track;
mod victims;
pub mod wire;
pub mod world;

pub use checkers::{Finding, Kind};
#[cfg(feature = "cluster")]
pub use cluster::{Cluster, Member};
pub use patience::{PATIENCE, until};
pub use plan::Plan;
pub use track::{Load, Track, Way};
pub use wire::{Loss, Shape, Wire};
pub use world::{Outcome, World};
