//! `slashnet port`: how a port is set, who has it, and taking it over.

use std::os::unix::ffi::OsStrExt;

use abi::devctl::{
    CHR_LINE_STATUS, CHR_TAKE_OVER, CHR_TCGETATTR, CHR_USERS, ControlModes, InputModes, ModemLines,
    PortAccess, PortUser, TakeOver, Termios,
};
use abi::{Errno, OpenFlags};
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
        let wish = TakeOver {
            force: options.force,
            patience_ms: options.patience * 1000,
        };
        return match port.devctl(CHR_TAKE_OVER, wish) {
            Err(Errno::EBUSY) => Err(Failure::new(
                shown,
                "one who has it refuses to give it away",
            )),
            Err(Errno::EPERM) => Err(Failure::new(shown, "only its owner may take it by force")),
            done => {
                done.during(&shown)?;
                output::line(match options.json {
                    true => json!({"port": shown, "taken": true}).to_string(),
                    false => format!("{shown}: kept for you for 10 seconds; open it now"),
                })
            }
        };
    }
    // Looking at the line needs it opened, which those who have it may not allow.
    let line = namespace.open(path, OpenFlags::READ | OpenFlags::NONBLOCK);
    let line = line.and_then(|port| {
        let termios = port.devctl(CHR_TCGETATTR, ())?;
        Ok((termios, port.devctl(CHR_LINE_STATUS, ())?.lines))
    });
    if options.json {
        let users: Vec<Value> = users.0.iter().map(as_json).collect();
        let mut all = json!({"port": shown, "users": users});
        if let Ok((termios, lines)) = &line {
            all["speed"] = termios.output_speed.into();
            all["frame"] = frame(termios).into();
            all["flow"] = flow(termios).into();
            all["wires"] = wires(*lines).into();
        }
        return output::line(all.to_string());
    }
    output::line(match &line {
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
    if users.0.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&["NODE", "PID", "UID", "ACCESS", "SECONDS"]);
    for user in &users.0 {
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
