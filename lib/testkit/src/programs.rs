//! What the processes want: clients that ask, servers that work and answer.

mod client;
mod server;

pub use client::Client;
pub use server::Server;

use abi::time::Duration;
use transport::{IncomingKey, OpKey};

use crate::checkers::Finding;
use crate::plan::Plan;
use crate::random::Random;

/// What a program wants to happen later.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum Later {
    /// Client: look whether there is something to ask.
    Tick,
    /// Client: give the operation up.
    Cancel(OpKey),
    /// Server: go on with the operation.
    Work(IncomingKey),
}

/// What a program's step gives back: what to do later.
pub type Wishes = Vec<(Duration, Later)>;

type Checked = Result<(), Finding>;

/// Sizes of all magnitudes.
fn size(plan: &Plan, random: &mut Random) -> u64 {
    let limit = [1, 70, 1_500, 20_000, plan.message_max][random.below(5) as usize];
    random.below(limit.min(plan.message_max) + 1)
}

/// A limit of any magnitude up to `max`.
const fn any_magnitude(random: &mut Random, max: u64) -> u64 {
    [1 + max / 10_000, 1 + max / 100, max][random.below(3) as usize]
}
