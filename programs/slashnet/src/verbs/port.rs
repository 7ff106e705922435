//! `slashnet port`: how a port is set, who has it, and taking it over.

use std::os::unix::ffi::OsStrExt;

use abi::devctl::{
    CHR_LINE_STATUS, CHR_TAKE_OVER, CHR_TCGETATTR, CHR_USERS, ControlModes, InputModes, ModemLines,
    PortAccess, PortUser, TakeOver, Termios,
};
use abi::{Errno, OpenFlags};
use client::File;
use serde_json::{Value, json};

use crate::command::{GlobalOptions, PortOptions};
use crate::failure::{During, Failure, Outcome};
use crate::notation::printable;
use crate::table::{Table, TableOptions};
use crate::{daemon, output};

/// Takes the port over if that is wanted, and prints what is known of it.
pub(crate) fn run(global: &GlobalOptions, options: &PortOptions) -> Outcome {
    let namespace = daemon::namespace(global)?;
    let (path, shown) = (options.port.as_bytes(), printable(options.port.as_bytes()));
    let port = namespace.open(path, OpenFlags::PATH).during(&shown)?;
    let users = match port.devctl(CHR_USERS, ()) {
        Err(Errno::ENOTTY) => return Err(Failure::new(shown, "not a serial port")),
        users => users.during(&shown)?,
    };
    if options.take_over {
        return take_over(&port, &shown, options);
    }
    // Looking at the line needs it opened, which those who have it may not allow.
    let line = namespace.open(path, OpenFlags::READ | OpenFlags::NONBLOCK);
    let line = line.and_then(|port| {
        let termios = port.devctl(CHR_TCGETATTR, ())?;
        Ok((termios, port.devctl(CHR_LINE_STATUS, ())?.lines))
    });
    match options.json {
        true => output::line(all_as_json(&shown, &users.0, &line).to_string()),
        false => print(&shown, &users.0, &line),
    }
}

/// How the line is set and which of its wires are on, or why that cannot be seen.
type Line = abi::Result<(Termios, ModemLines)>;

fn take_over(port: &File, shown: &str, options: &PortOptions) -> Outcome {
    let wish = TakeOver {
        force: options.force,
        patience_ms: options.patience * 1000,
    };
    let refused = |why: &str| Err(Failure::new(shown, why));
    match port.devctl(CHR_TAKE_OVER, wish) {
        Err(Errno::EBUSY) => refused("one who has it refuses to give it away"),
        Err(Errno::EPERM) => refused("only its owner may take it by force"),
        done => {
            done.during(shown)?;
            output::line(match options.json {
                true => json!({"port": shown, "taken": true}).to_string(),
                false => format!("{shown}: kept for you for 10 seconds; open it now"),
            })
        }
    }
}

fn all_as_json(shown: &str, users: &[PortUser], line: &Line) -> Value {
    let users: Vec<Value> = users.iter().map(as_json).collect();
    let mut all = json!({"port": shown, "users": users});
    if let Ok((termios, lines)) = line {
        all["speed"] = termios.output_speed.into();
        all["frame"] = frame(termios).into();
        all["flow"] = flow(termios).into();
        all["wires"] = wires(*lines).into();
    }
    all
}

fn print(shown: &str, users: &[PortUser], line: &Line) -> Outcome {
    output::line(match line {
        Ok((termios, lines)) => format!(
            "{shown}: {} {} flow {}, wires {}",
            termios.output_speed,
            frame(termios),
            flow(termios),
            match wires(*lines).join(" ") {
                none if none.is_empty() => "none".to_owned(),
                wires => wires,
            }
        ),
        Err(errno) => format!("{shown}: {}", errno.text()),
    })?;
    if users.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&["NODE", "PID", "UID", "ACCESS", "SECONDS"]);
    for user in users {
        table.row(vec![
            node(user).into(),
            user.pid.0.into(),
            user.uid.0.into(),
            access(user.access).join(",").into(),
            user.seconds.into(),
        ]);
    }
    table.print(TableOptions { json: false })
}

/// Who it is, in a sentence.
pub(super) fn user_name(user: &PortUser) -> String {
    format!("process {} of {}", user.pid.0, node(user))
}

pub(super) fn as_json(user: &PortUser) -> Value {
    json!({
        "node": node(user),
        "pid": user.pid.0,
        "uid": user.uid.0,
        "access": access(user.access),
        "seconds": user.seconds,
    })
}

fn node(user: &PortUser) -> String {
    if user.node_name.is_empty() {
        format!("node {}", user.node.0)
    } else {
        printable(&user.node_name)
    }
}

fn access(access: PortAccess) -> Vec<String> {
    access
        .iter_names()
        .map(|(name, _)| name.to_lowercase())
        .collect()
}

fn frame(termios: &Termios) -> String {
    let control = termios.control;
    let parity = match (
        control.contains(ControlModes::PARENB),
        control.contains(ControlModes::PARODD),
        control.contains(ControlModes::CMSPAR),
    ) {
        (false, ..) => 'n',
        (true, false, false) => 'e',
        (true, true, false) => 'o',
        (true, true, true) => 'm',
        (true, false, true) => 's',
    };
    let stop = if control.contains(ControlModes::CSTOPB) {
        2
    } else {
        1
    };
    format!("{}{parity}{stop}", 5 + (control & ControlModes::CS8).bits())
}

fn flow(termios: &Termios) -> &'static str {
    if termios.control.contains(ControlModes::CRTSCTS) {
        "rtscts"
    } else if termios
        .input
        .intersects(InputModes::IXON | InputModes::IXOFF)
    {
        "xonxoff"
    } else {
        "none"
    }
}

fn wires(lines: ModemLines) -> Vec<String> {
    lines
        .iter_names()
        .map(|(name, _)| name.to_lowercase())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told_as_people_write_it() {
        let mut termios = Termios {
            control: ControlModes::CS8,
            ..Termios::default()
        };
        assert_eq!((frame(&termios).as_str(), flow(&termios)), ("8n1", "none"));
        termios.control = ControlModes::CS7 | ControlModes::PARENB | ControlModes::CSTOPB;
        termios.input = InputModes::IXON;
        assert_eq!(
            (frame(&termios).as_str(), flow(&termios)),
            ("7e2", "xonxoff")
        );
        assert_eq!(wires(ModemLines::DTR | ModemLines::CD), ["dtr", "cd"]);
    }
}
