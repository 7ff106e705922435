//! `slashnet tty`: a port of any node as a terminal of this machine.

use std::os::unix::ffi::OsStrExt;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use serde_json::json;
use serial_manager::terminal::{Terminal, TerminalEvent, TerminalOptions};

use super::port as ports;
use crate::command::{GlobalOptions, TtyOptions};
use crate::failure::{During, Failure, Outcome};
use crate::notation::printable;
use crate::signals::{Signals, readable};
use crate::{daemon, logging, output};

/// Things that have happened and wait to be printed; a reader of standard output that stops does not stop the bytes.
const EVENTS_MAX: usize = 1024;
/// How soon what happens to the terminal is printed.
const EVENT_LOOK: Duration = Duration::from_millis(50);

/// Keeps the terminal until a signal ends it.
pub(crate) fn run(global: &GlobalOptions, options: &TtyOptions) -> Outcome {
    logging::begin(global.log.as_deref(), "warn")?;
    let signals = Signals::catch().during("signals")?;
    let port = options.port.as_bytes();
    let wanted = TerminalOptions {
        namespace: daemon::namespace(global)?,
        port: port.to_vec(),
        link: options.link.clone(),
        frame: options.frame,
        hold: options.hold,
        keep: options.keep,
    };
    let (tell, told) = sync_channel(EVENTS_MAX);
    let terminal = Terminal::start(wanted, move |event| {
        let _ = tell.try_send(event);
    })
    .map_err(Failure::whole)?;
    let port = printable(port);
    while !readable(signals.fd(), EVENT_LOOK) {
        print_all(&told, &port, options.json)?;
    }
    drop(terminal);
    print_all(&told, &port, options.json)
}

fn print_all(told: &Receiver<TerminalEvent>, port: &str, json: bool) -> Outcome {
    for event in told.try_iter() {
        output::line(if json {
            as_json(&event, port)
        } else {
            as_text(&event, port)
        })?;
    }
    Ok(())
}

fn as_text(event: &TerminalEvent, port: &str) -> String {
    match event {
        TerminalEvent::Ready(name) => format!("{} is {port}", name.display()),
        TerminalEvent::Opened => format!("{port}: in use"),
        TerminalEvent::Closed { out, r#in } => {
            format!(
                "{port}: closed, {out} bytes sent, {in} received",
                r#in = r#in
            )
        }
        TerminalEvent::Wanted(user) => format!("{port}: wanted by {}", ports::user_name(user)),
        TerminalEvent::Lost(errno) => format!("{port}: {}", errno.text()),
    }
}

fn as_json(event: &TerminalEvent, port: &str) -> String {
    match event {
        TerminalEvent::Ready(name) => {
            json!({"event": "ready", "port": port, "terminal": name.to_string_lossy()})
        }
        TerminalEvent::Opened => json!({"event": "opened", "port": port}),
        TerminalEvent::Closed { out, r#in } => {
            json!({"event": "closed", "port": port, "sent": out, "received": r#in})
        }
        TerminalEvent::Wanted(user) => {
            json!({"event": "wanted", "port": port, "by": ports::as_json(user)})
        }
        TerminalEvent::Lost(errno) => {
            json!({"event": "lost", "port": port, "error": errno.name(), "text": errno.text()})
        }
    }
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_is_told_in_words_and_in_json() {
        let lost = TerminalEvent::Lost(abi::Errno::EIO);
        assert_eq!(as_text(&lost, "/dev/ser1"), "/dev/ser1: input/output error");
        let closed = TerminalEvent::Closed { out: 3, r#in: 5 };
        assert_eq!(
            as_text(&closed, "/dev/ser1"),
            "/dev/ser1: closed, 3 bytes sent, 5 received"
        );
        let told: serde_json::Value = serde_json::from_str(&as_json(&closed, "/p")).unwrap();
        assert_eq!(
            told,
            json!({"event": "closed", "port": "/p", "sent": 3, "received": 5})
        );
    }
}
