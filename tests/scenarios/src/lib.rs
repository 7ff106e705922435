//! What the stories on real nodes share: other processes, a bad wire, and bounded waiting.
//!
//! Everything here panics when it fails: it is for tests.
#![allow(clippy::unwrap_used, clippy::panic, clippy::missing_panics_doc)]

pub mod actor;
pub mod attacker;
pub mod cuts;
pub mod line;
pub mod relay;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

pub use testkit::{PATIENCE, until};

/// Sets a flag when it goes: threads of a scope end also when what they accompany has failed.
#[derive(Debug)]
pub struct Ended<'a>(pub &'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The end of [`PATIENCE`] from now on.
#[must_use]
pub fn soon() -> Option<Instant> {
    Some(Instant::now() + PATIENCE)
}
