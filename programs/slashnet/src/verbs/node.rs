//! `slashnet node`: the node daemon alone.

use std::time::Duration;

use host::Builder;

use crate::command::{GlobalOptions, NodeOptions};
use crate::failure::{During, Failure, Outcome};
use crate::machine::Machine;
use crate::signals::{Signals, readable};
use crate::users::Users;
use crate::{directory, logging, supervised};

/// Runs the daemon until a signal ends it.
pub(crate) fn run(global: &GlobalOptions, options: &NodeOptions) -> Outcome {
    let machine = Machine::of_node(global, options)?;
    supervised::call_it(c"slashnet-node");
    logging::begin(machine.log.as_deref(), "info")?;
    let signals = Signals::catch().during("signals")?;
    let mut builder =
        Builder::new(machine.name.as_str()).directory(directory::own(machine.dir.as_deref()));
    for link in machine.links {
        builder = builder.link(link);
    }
    if let Some(port) = machine.port {
        builder = builder.port(port);
    }
    if let Some(detect) = machine.detect {
        builder = builder.detect(detect);
    }
    let rules = machine.rights.join("\n");
    let rules = rights::text::rules(&rules, &Users)
        .map_err(|(number, bad)| Failure::usage(format!("rule {number}"), bad.to_string()))?;
    let host = builder
        .one_port(machine.one_port)
        .rights(rules)
        .start()
        .map_err(Failure::whole)?;
    tracing::info!("{} is up in {}", host.name(), host.directory().display());
    for link in host.links() {
        if !link.address.is_none() {
            tracing::info!("link {}: {}", link.name, link.address);
        }
    }
    supervised::announce_ready()?;
    while !readable(signals.fd(), ALIVE_LOOK) {
        if !host.is_running() {
            return Err(Failure::new(host.name(), "the node ended by itself"));
        }
    }
    host.stop();
    Ok(())
}

/// How soon it is noticed that a node has ended although nobody told it to.
const ALIVE_LOOK: Duration = Duration::from_secs(2);
