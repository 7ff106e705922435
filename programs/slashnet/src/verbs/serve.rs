//! `slashnet serve`: one resource manager as a process of its own.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use abi::Errno;
use export_manager::ExportOptions;
use serial_manager::rfc2217;

use crate::command::{GlobalOptions, Rfc2217Options, ServeVerb};
use crate::failure::{During, Failure, Outcome};
use crate::notation::{self, printable};
use crate::offer::ExportOffer;
use crate::signals::Signals;
use crate::users::Users;
use crate::{daemon, directory, logging, supervised};

const MAY_NOT_OFFER: &str = "only root and the owner of the node may offer a path there, and whom a rule lets \
                             ('slashnet rights add allow USER attach PATH')";

/// Serves until a signal ends it.
pub(crate) fn run(global: &GlobalOptions, verb: &ServeVerb) -> Outcome {
    supervised::call_it(match verb {
        ServeVerb::Serial { .. } => c"slashnet-serial",
        ServeVerb::Rfc2217(_) => c"slashnet-rfc2217",
        ServeVerb::Export { .. } => c"slashnet-export",
    });
    logging::begin(global.log.as_deref(), "info")?;
    let signals = Signals::catch().during("signals")?;
    let endpoint = daemon::endpoint(&directory::of(global.dir.as_deref()))?;
    match verb {
        ServeVerb::Serial { offers } => {
            let ports: Vec<_> = offers.iter().map(|offer| offer.port.clone()).collect();
            let serving = serial_manager::serve(&endpoint, &ports)
                .map_err(|error| refused(format!("serial port: {error}"), error.errno))?;
            // Another place at the node: a server does not see what it serves itself.
            let namespace = daemon::namespace(global)?;
            for port in ports.iter().filter(|port| port.permissions.is_none()) {
                tell_whose(&namespace, port);
            }
            until_signal(&signals, serving)
        }
        ServeVerb::Rfc2217(options) => {
            let namespace = client::Namespace::of(&endpoint);
            let serving = rfc2217::serve(&namespace, &places(options)?).map_err(Failure::whole)?;
            for (address, port) in serving.addresses().iter().zip(&options.ports) {
                tracing::info!("{}: rfc2217://{address}", printable(port.as_bytes()));
            }
            until_signal(&signals, serving)
        }
        ServeVerb::Export { offers } => {
            let exports: Vec<ExportOptions> = offers.iter().map(export).collect();
            let serving = export_manager::serve(&endpoint, &exports)
                .map_err(|error| refused(format!("export: {error}"), error.errno))?;
            until_signal(&signals, serving)
        }
    }
}

/// Says for whom a port is that not everybody may open: users of other nodes are seldom in a group of this machine.
fn tell_whose(namespace: &client::Namespace, port: &serial_manager::PortOptions) {
    let Ok(stat) = namespace.stat(&port.prefix) else {
        return;
    };
    if stat.mode & EVERYBODY == EVERYBODY {
        return;
    }
    tracing::info!(
        "{} is for user {} and group {} ({}), as {} is; mode=666 lets all users of trusted nodes in",
        port.prefix,
        Users.name(stat.uid),
        Users.group(stat.gid),
        notation::mode(stat.mode),
        port.device.display()
    );
}

/// Reading and writing for those who are neither owner nor in the group.
const EVERYBODY: u32 = 0o006;

/// Each port with a TCP port of its own.
fn places(options: &Rfc2217Options) -> Outcome<Vec<rfc2217::Place>> {
    let first = options.listen.port();
    let place = |(index, port): (usize, &OsString)| {
        let mut address = options.listen;
        // Port 0 is any port, for each of them.
        if first != 0 {
            let number = u16::try_from(index)
                .ok()
                .and_then(|index| first.checked_add(index));
            let too_many = "there are more ports than TCP ports behind this one";
            address.set_port(number.ok_or_else(|| Failure::usage("--listen", too_many))?);
        }
        let port = port.as_bytes().to_vec();
        Ok(rfc2217::Place { port, address })
    };
    options.ports.iter().enumerate().map(place).collect()
}

/// Somebody without the right to own a path is told who has it.
fn refused(why: String, errno: Errno) -> Failure {
    let refused = Failure::whole(why);
    match errno {
        Errno::EPERM => refused.and(MAY_NOT_OFFER),
        _ => refused,
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
