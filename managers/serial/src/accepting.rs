//! Sockets that cannot accept: what waits there stays ready, so who only waits for that spins.

use std::io;
use std::time::Duration;

/// How long one who cannot accept rests: descriptors and memory come back when others end.
pub(crate) const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Whether the next attempt would fail as well: no descriptors, no memory. Not that nobody is there, or has gone again.
pub(crate) fn is_lasting(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
    !matches!(error.kind(), ConnectionAborted | Interrupted | WouldBlock)
}
