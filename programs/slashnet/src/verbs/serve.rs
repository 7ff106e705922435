//! `slashnet serve`: one resource manager as a process of its own.

use export_manager::ExportOptions;

use crate::command::{GlobalOptions, ServeVerb};
use crate::failure::{During, Failure, Outcome};
use crate::offer::ExportOffer;
use crate::signals::Signals;
use crate::{daemon, directory, logging, supervised};

/// Serves until a signal ends it.
pub(crate) fn run(global: &GlobalOptions, verb: &ServeVerb) -> Outcome {
    supervised::call_it(match verb {
        ServeVerb::Serial { .. } => c"slashnet-serial",
        ServeVerb::Export { .. } => c"slashnet-export",
    });
    logging::begin(global.log.as_deref(), "info")?;
    let signals = Signals::catch().during("signals")?;
    let endpoint = daemon::endpoint(&directory::of(global.dir.as_deref()))?;
    match verb {
        ServeVerb::Serial { offers } => {
            let ports: Vec<_> = offers.iter().map(|offer| offer.port.clone()).collect();
            let serving = serial_manager::serve(&endpoint, &ports)
                .map_err(|error| Failure::whole(format!("serial port: {error}")))?;
            until_signal(&signals, serving)
        }
        ServeVerb::Export { offers } => {
            let exports: Vec<ExportOptions> = offers.iter().map(export).collect();
            let serving = export_manager::serve(&endpoint, &exports)
                .map_err(|error| Failure::whole(format!("export: {error}")))?;
            until_signal(&signals, serving)
        }
    }
}

fn until_signal<T>(signals: &Signals, serving: T) -> Outcome {
    supervised::announce_ready()?;
    let waited = signals.wait().during("signals");
    drop(serving);
    waited
}

fn export(offer: &ExportOffer) -> ExportOptions {
    ExportOptions {
        directory: offer.directory.clone(),
        prefix: offer.path.clone(),
        read_only: offer.read_only,
    }
}
