//! `slashnet mount`: the path space for programs that know nothing of Slashnet.

use std::time::Duration;

use mount::{Mount, Options};

use crate::command::{GlobalOptions, MountOptions};
use crate::failure::{During, Failure, Outcome};
use crate::signals::{Signals, readable};
use crate::{daemon, directory, logging, supervised};

/// How soon this ends after somebody else has unmounted.
const UNMOUNTED_LOOK: Duration = Duration::from_millis(500);

/// Mounts until a signal ends it or somebody unmounts.
pub(crate) fn run(global: &GlobalOptions, options: &MountOptions) -> Outcome {
    supervised::call_it(c"slashnet-mount");
    logging::begin(global.log.as_deref(), "info")?;
    let signals = Signals::catch().during("signals")?;
    let mut wanted = Options::new(daemon::namespace(global)?, &options.point);
    let node = directory::of(global.dir.as_deref());
    wanted.source = node.canonicalize().unwrap_or(node).into();
    wanted.fresh = Duration::from_millis(options.cache_ms);
    wanted.shared |= options.allow_other;
    let mount = Mount::start(wanted).map_err(Failure::whole)?;
    supervised::announce_ready()?;
    while !readable(signals.fd(), UNMOUNTED_LOOK) {
        if mount.is_unmounted() {
            break;
        }
    }
    mount.stop().map_err(Failure::whole)
}
