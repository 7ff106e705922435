//! Resource managers to learn from, each one step further than the one before.
//!
//! | program | path | shows |
//! |---|---|---|
//! | `slashnet-counter` | `/dev/counter` | state of the device and of each open, reading and writing text |
//! | `slashnet-time` | `/dev/time` | waiting, readiness, device control |
//! | `slashnet-tar FILE` | `/tar` | a directory: a tar archive as a read-only tree |
//! | `slashnet-ram` | `/ram` | a file system: directories, links, permissions, locks, holes |
//!
//! | `slashnet-crowd PATH COUNT` | | a client that opens, locks and waits, for tests of managers: kill it at any time |
//!
//! Each manager takes another path as its last argument. `docs/resmgr.md` walks through them; `managers/hello` is the step
//! before the first.

use resmgr::abi::devctl::{Devctl, class};

/// How long a tick of `/dev/time` is, in milliseconds.
pub const TIME_PERIOD_GET: Devctl<(), u32> = Devctl::from_device(class::PRIVATE, 1, 4);
/// Makes a tick of `/dev/time` so many milliseconds long; 1 to 3 600 000.
pub const TIME_PERIOD_SET: Devctl<u32, ()> = Devctl::to_device(class::PRIVATE, 2, 4);
