//! One byte to a serial device and back, through what shares ports between machines.
//!
//! The device is a pseudo terminal, so the time is that of the programs and not of a wire. It answers from a thread on the
//! server's CPU; the program at the terminal is a thread on the client's.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use crate::Outcome;
use crate::awaited;
use crate::files::{inside, memory_directory};
use crate::group::{Group, Target};
use crate::namespaces::ADDRESSES;
use crate::nodes::{NAMES, Nodes, program};
use crate::pair::Guarded;
use crate::place::{Placement, pin};
use crate::samples::quantile;
use crate::shared::Shared;

/// Round trips before the first that counts.
const WARM_UP: usize = 100;
const PORTS: [u16; 2] = [7723, 7724];
const BEST_OTHER: &str = "ser2net at once, socat";

pub(crate) fn groups(nodes: &Nodes) -> Vec<Group> {
    let mut groups = Vec::new();
    for placement in [Placement::Same, Placement::Split] {
        let local = Shared::new(nodes, move |_| local(placement));
        let patient = Shared::new(nodes, move |nodes| ser2net(nodes, placement, true));
        let hasty = Shared::new(nodes, move |nodes| ser2net(nodes, placement, false));
        let own = Shared::new(nodes, move |nodes| slashnet(nodes, placement));
        for (name, share) in [("median", 0.5), ("99 of 100", 0.99)] {
            let measure = move |line: &Line, time| line.measure(time, share);
            let target = Target::AtMostTimes(BEST_OTHER, 1.0);
            let group = Group::new(format!("serial byte there and back, {name}"), "us")
                .placed(placement)
                .subject(local.subject("the port itself", measure))
                .subject(patient.subject("ser2net as it comes, socat", measure))
                .subject(hasty.subject(BEST_OTHER, measure))
                .subject(own.subject("slashnet tty", measure).target(target));
            groups.push(group);
        }
    }
    groups
}

/// A terminal that leads to the device.
struct Line {
    terminal: File,
    client_cpu: usize,
    /// What keeps it working.
    _alive: Box<dyn std::any::Any>,
}

impl Line {
    /// That of the terminal to which somebody makes a link at `path`.
    fn at(path: &Path, client_cpu: usize, alive: impl std::any::Any) -> Outcome<Self> {
        Ok(Self {
            terminal: awaited::success(|| open(path))?,
            client_cpu,
            _alive: Box::new(alive),
        })
    }

    /// Microseconds below which this share of the round trips stays.
    fn measure(&self, time: Duration, share: f64) -> Outcome<f64> {
        let mut terminal = self.terminal.try_clone()?;
        let cpu = self.client_cpu;
        let program = std::thread::spawn(move || -> Outcome<Vec<u64>> {
            pin(cpu)?;
            let mut samples = Vec::new();
            for _ in 0..WARM_UP {
                round_trip(&mut terminal)?;
            }
            let begun = Instant::now();
            while begun.elapsed() < time {
                samples.push(round_trip(&mut terminal)?);
            }
            Ok(samples)
        });
        let mut samples = program.join().map_err(|_| "the program has failed")??;
        samples.sort_unstable();
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 nanoseconds")]
        Ok(quantile(&samples, share) as f64 / 1000.0)
    }
}

fn round_trip(terminal: &mut File) -> Outcome<u64> {
    let begun = Instant::now();
    terminal.write_all(b"x")?;
    let mut byte = [0];
    terminal.read_exact(&mut byte)?;
    if byte != *b"x" {
        return Err("another byte came back".into());
    }
    Ok(u64::try_from(begun.elapsed().as_nanos())?)
}

fn open(path: &Path) -> Outcome<File> {
    let flags = OFlags::NOCTTY.bits().cast_signed();
    let mut how = File::options();
    Ok(how.read(true).write(true).custom_flags(flags).open(path)?)
}

/// A device that says again what it hears, and the name of its terminal. It ends with the terminal's last user.
fn device(cpu: usize) -> Outcome<PathBuf> {
    let device = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&device)?;
    unlockpt(&device)?;
    let path = PathBuf::from(ptsname(&device, Vec::new())?.into_string()?);
    let mut device = File::from(device);
    std::thread::spawn(move || -> Outcome<()> {
        pin(cpu)?;
        let mut space = [0; 64];
        loop {
            let count = device.read(&mut space)?;
            device.write_all(&space[..count])?;
        }
    });
    Ok(path)
}

fn local(placement: Placement) -> Outcome<Line> {
    let (client_cpu, server_cpu) = placement.cpus()?;
    let terminal = open(&device(server_cpu)?)?;
    let mut settings = tcgetattr(&terminal)?;
    settings.make_raw();
    tcsetattr(&terminal, OptionalActions::Now, &settings)?;
    Ok(Line {
        terminal,
        client_cpu,
        _alive: Box::new(()),
    })
}

/// Runs until dropped. Its errors are shown, what else it says is not.
fn start(command: &mut Command) -> Outcome<Guarded> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    Ok(Guarded(command.spawn()?))
}

/// `gathers` is its default: it waits for further bytes before it sends any.
fn ser2net(nodes: &Nodes, placement: Placement, gathers: bool) -> Outcome<Line> {
    let (client_cpu, server_cpu) = placement.cpus()?;
    let [client, server] = nodes.lab().pids()?;
    let (directory, tty) = (memory_directory()?, device(server_cpu)?);
    // Not the last user of the terminal, who would end the device.
    let held = open(&tty)?;
    let (config, link) = (
        directory.path().join("config.yaml"),
        directory.path().join("tty"),
    );
    let (address, port) = (ADDRESSES[1], PORTS[usize::from(gathers)]);
    let text = format!(
        "connection: &a\n  accepter: tcp,{address},{port}\n  \
         connector: serialdev,{},115200n81,local\n  options:\n    chardelay: {gathers}\n",
        tty.display()
    );
    std::fs::write(&config, text)?;
    let mut sharing = inside(server, Some(server_cpu), "ser2net")?;
    let sharing = start(sharing.args(["-n", "-d", "-c"]).arg(&config))?;
    awaited::port(server, port)?;
    let mut using = inside(client, Some(client_cpu), "socat")?;
    let using = start(
        using
            .arg(format!("PTY,link={},rawer", link.display()))
            .arg(format!("TCP:{address}:{port},nodelay")),
    )?;
    Line::at(&link, client_cpu, (using, sharing, held, directory))
}

fn slashnet(nodes: &Nodes, placement: Placement) -> Outcome<Line> {
    let (client_cpu, server_cpu) = placement.cpus()?;
    let [client, server] = nodes.lab().pids()?;
    let [near, far] = &nodes.pair()?.nodes;
    let (directory, tty) = (memory_directory()?, device(server_cpu)?);
    let held = open(&tty)?;
    let link = directory.path().join("tty");
    let (program, path) = (program()?.display().to_string(), placement.name());
    let mut sharing = inside(server, Some(server_cpu), &program)?;
    let sharing = start(
        sharing
            .args(["--dir", &far.directory(), "serve", "serial"])
            .arg(format!("{}=/dev/{path},mode=666", tty.display())),
    )?;
    let path = format!("/net/{}/dev/{path}", NAMES[1]);
    near.await_path(&path)?;
    let mut using = inside(client, Some(client_cpu), &program)?;
    using.args(["--dir", &near.directory(), "tty", &path, "--link"]);
    let using = start(using.arg(&link))?;
    Line::at(&link, client_cpu, (using, sharing, held, directory))
}
