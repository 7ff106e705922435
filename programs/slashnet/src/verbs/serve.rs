//! `slashnet serve`: one resource manager as a process of its own.

use export_manager::ExportOptions;

use crate::command::{GlobalOptions, ServeVerb};
use crate::failure::{During, Failure, Outcome};
use crate::offer::ExportOffer;
use crate::signals::Signals;
use crate::{daemon, directory, logging, supervised};

/// Serves until a signal ends it.
pub(crate) fn run(global: &GlobalOptions, verb: &ServeVerb) -> Outcome {
    logging::begin(global.log.as_deref(), "info")?;
    let signals = Signals::catch().during("signals")?;
    let endpoint = daemon::endpoint(&directory::of(global.dir.as_deref()))?;
    let _serving = match verb {
        ServeVerb::Serial { offers: _ } => return Err(Failure::new("verb", "not wired")),
        ServeVerb::Export { offers } => {
            let exports: Vec<ExportOptions> = offers.iter().map(export).collect();
            export_manager::serve(&endpoint, &exports)
                .map_err(|error| Failure::new(error.what, error.errno))?
        }
    };
    supervised::announce_ready()?;
    signals.wait().during("signals")
}

fn export(offer: &ExportOffer) -> ExportOptions {
    ExportOptions {
        directory: offer.directory.clone(),
        prefix: offer.path.clone(),
        read_only: offer.read_only,
    }
}
