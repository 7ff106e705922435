//! The README's first steps with two machines, played and asserted.

use super::host::{Host, Lab};
use crate::Outcome;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Longer than any step may take.
const STEP_MAX: Duration = Duration::from_secs(20);

pub(crate) fn play() -> Outcome {
    let lab = Lab::make(2, 1)?;
    let [lab1, lab2] = lab.hosts() else {
        return Err("two hosts were asked for".into());
    };
    let device = Device::new()?;
    start(lab1, lab2, &device.path)?;
    step("trust by one code", || trust(lab1, lab2))?;
    step("the mounted path space", || mounted(lab1, lab2, &device))?;
    step("the same without a mount", || unmounted(lab1))?;
    step("tables", || tables(lab1))?;
    step("the four steps of an open", || trace(lab1))?;
    step("refusals", || refusals(lab1, lab2))
}

fn step(name: &str, run: impl FnOnce() -> Outcome) -> Outcome {
    run().map_err(|error| format!("{name}: {error}"))?;
    println!("ok: {name}");
    Ok(())
}

fn start(lab1: &Host, lab2: &Host, device: &str) -> Outcome {
    lab1.output(&[
        "slashnet", "up", "--name", "lab1", "--link", "eth0", "--detach",
    ])?;
    lab2.output(&["sh", "-c", "mkdir -p /srv && echo hello > /srv/greeting"])?;
    let serial = format!("{device}=/dev/ser1,mode=666");
    lab2.output(
        &[
            "slashnet", "up", "--name", "lab2", "--link", "eth0", "--detach",
        ]
        .into_iter()
        .chain(["--serial", &serial, "--export", "/srv=/srv"])
        .collect::<Vec<_>>(),
    )
    .map(drop)
}

fn trust(lab1: &Host, lab2: &Host) -> Outcome {
    let said = lab1.output(&["slashnet", "invite"])?;
    let code = said
        .split_whitespace()
        .last()
        .ok_or("invite printed no code")?
        .to_owned();
    lab2.output(&["slashnet", "join", &code])?;
    let again = lab2.output(&["slashnet", "join", &code]);
    expect(again.is_err(), "a code used twice was accepted")
}

fn mounted(lab1: &Host, lab2: &Host, device: &Device) -> Outcome {
    let nodes = lab1.output(&["ls", "/net"])?;
    expect(
        nodes.contains("lab2"),
        &format!("ls /net printed {nodes:?}"),
    )?;
    let long = lab1.output(&["ls", "-l", "/net/lab2/srv"])?;
    expect(
        long.contains("greeting"),
        &format!("ls -l /net/lab2/srv printed {long:?}"),
    )?;
    lab1.output(&[
        "sh",
        "-c",
        "mkdir -p /srv/dir/deep && seq 100000 > /srv/dir/deep/numbers",
    ])?;
    lab1.output(&["cp", "-r", "/srv/dir", "/net/lab2/srv/"])?;
    let sum = |host: &Host, path| host.output(&["sha256sum", path]);
    let sent = sum(lab1, "/srv/dir/deep/numbers")?;
    let arrived = sum(lab2, "/srv/dir/deep/numbers")?;
    expect(sent == arrived, &format!("sent {sent} arrived {arrived}"))?;
    lab1.output(&["sh", "-c", "echo ATZ > /net/lab2/dev/ser1"])?;
    device.expect(b"ATZ\n")
}

fn unmounted(lab1: &Host) -> Outcome {
    let listed = lab1.output(&["slashnet", "ls", "/net/lab2/srv"])?;
    expect(listed.contains("greeting"), &listed)?;
    let text = lab1.output(&["slashnet", "cat", "/net/lab2/srv/greeting"])?;
    expect(text == "hello\n", &text)?;
    lab1.output(&[
        "slashnet",
        "cp",
        "/srv/dir/deep/numbers",
        "/net/lab2/srv/copy",
    ])?;
    let status = lab1.output(&["slashnet", "stat", "/net/lab2/srv/copy"])?;
    let size = fs_size(lab1, "/srv/dir/deep/numbers")?;
    expect(
        status.contains(&size),
        &format!("stat printed {status:?}, the size is {size}"),
    )
}

fn fs_size(host: &Host, path: &str) -> Outcome<String> {
    Ok(host.output(&["stat", "-c", "%s", path])?.trim().to_owned())
}

fn tables(lab1: &Host) -> Outcome {
    for (table, word) in [
        ("nodes", "lab2"),
        ("links", "eth0"),
        ("sessions", "lab2"),
        ("ps", "slashnet"),
    ] {
        let text = lab1.output(&["slashnet", table])?;
        expect(text.contains(word), &format!("{table} printed {text:?}"))?;
        let json = lab1.output(&["slashnet", table, "--json"])?;
        expect(
            json.trim_start().starts_with('['),
            &format!("{table} --json printed {json:?}"),
        )?;
    }
    let prefixes = lab1.output(&["slashnet", "prefixes", "-n", "lab2"])?;
    expect(
        prefixes.contains("/dev/ser1") && prefixes.contains("/srv"),
        &prefixes,
    )
}

fn trace(lab1: &Host) -> Outcome {
    let steps = lab1.output(&["slashnet", "trace", "open", "/net/lab2/dev/ser1"])?;
    for path in ["/net/lab2/dev/ser1", " lab2/dev/ser1", " dev/ser1"] {
        expect(
            steps.contains(path),
            &format!("no step saw {path:?} in {steps}"),
        )?;
    }
    Ok(())
}

fn refusals(lab1: &Host, lab2: &Host) -> Outcome {
    let unknown = lab1.output(&["cat", "/net/nobody/file"]);
    expect(
        unknown.is_err_and(|error| error.contains("No such file")),
        "an unknown node",
    )?;
    let wrong = lab2.output(&["slashnet", "join", "nonsense"]);
    expect(wrong.is_err(), "a wrong code was accepted")?;
    let escape = lab1.output(&["cat", "/net/lab2/srv/../etc/hostname"]);
    expect(escape.is_err(), "a path left the exported tree")
}

fn expect(holds: bool, else_said: &str) -> Outcome {
    if holds {
        Ok(())
    } else {
        Err(else_said.to_owned())
    }
}

/// The far end of a serial cable: a pty whose other side the serial manager opens.
struct Device {
    path: String,
    received: Receiver<Vec<u8>>,
    _master: OwnedFd,
}

impl Device {
    fn new() -> Outcome<Self> {
        let text = |error: rustix::io::Errno| format!("pty: {error}");
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).map_err(text)?;
        grantpt(&master).map_err(text)?;
        unlockpt(&master).map_err(text)?;
        let path = ptsname(&master, Vec::new())
            .map_err(text)?
            .to_string_lossy()
            .into_owned();
        // Held open so that the master does not hang up before the manager has come.
        let slave = fs::File::open(Path::new(&path)).map_err(|error| format!("{path}: {error}"))?;
        let (sender, received) = channel();
        let mut reader = fs::File::from(master.try_clone().map_err(|error| error.to_string())?);
        std::thread::spawn(move || {
            let _slave = slave;
            let mut bytes = [0; 256];
            while let Ok(length) = reader.read(&mut bytes) {
                if length == 0 || sender.send(bytes[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            path,
            received,
            _master: master,
        })
    }

    fn expect(&self, wanted: &[u8]) -> Outcome {
        let (deadline, mut seen) = (Instant::now() + STEP_MAX, Vec::new());
        while seen != wanted {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.received.recv_timeout(left) {
                Ok(more) => seen.extend(more),
                Err(_) => return Err(format!("the device received {seen:?}, not {wanted:?}")),
            }
        }
        Ok(())
    }
}
