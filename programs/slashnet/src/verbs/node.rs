//! `slashnet node`: the node daemon alone.

use host::Builder;

use crate::command::{GlobalOptions, NodeOptions};
use crate::failure::{During, Failure, Outcome};
use crate::machine::Machine;
use crate::signals::Signals;
use crate::{directory, logging, supervised};

/// Runs the daemon until a signal ends it.
pub(crate) fn run(global: &GlobalOptions, options: &NodeOptions) -> Outcome {
    let machine = Machine::of_node(global, options)?;
    logging::begin(machine.log.as_deref(), "info")?;
    let signals = Signals::catch().during("signals")?;
    let mut builder =
        Builder::new(machine.name.as_str()).directory(directory::of(machine.dir.as_deref()));
    for link in machine.links {
        builder = builder.link(link);
    }
    if let Some(port) = machine.port {
        builder = builder.port(port);
    }
    let host = builder.start().map_err(Failure::whole)?;
    tracing::info!("{} is up in {}", host.name(), host.directory().display());
    for link in host.links() {
        tracing::info!("link {}: {}", link.name, link.address);
    }
    supervised::announce_ready()?;
    let waited = signals.wait().during("signals");
    host.stop();
    waited
}
