//! Two network namespaces with a veth pair between them, which vanish with this process.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::thread::LinkNameSpaceType;

use crate::Outcome;
use crate::pair::Guarded;

/// Two machines as far as the network is concerned.
pub(crate) struct Namespaces {
    holders: [Guarded; 2],
}

pub(crate) const ADDRESSES: [&str; 2] = ["10.213.77.1", "10.213.77.2"];
/// On the second cable, where there is one.
pub(crate) const SECOND_ADDRESSES: [&str; 2] = ["10.213.78.1", "10.213.78.2"];
pub(crate) const DEVICES: [&str; 2] = ["veth0", "veth1"];

impl Namespaces {
    /// Makes both, with one or two veth pairs of MTU 1500, addresses [`ADDRESSES`] and devices [`DEVICES`].
    pub(crate) fn create(cables: usize) -> Outcome<Self> {
        if !rustix::process::geteuid().is_root() {
            return Err("network namespaces need root".into());
        }
        let namespaces = Self {
            holders: [holder()?, holder()?],
        };
        let [first, second] = namespaces.pids();
        let all = [ADDRESSES, SECOND_ADDRESSES];
        for (device, addresses) in DEVICES.into_iter().zip(all).take(cables) {
            let other = second.to_string();
            let peer = ["type", "veth", "peer", "name", device, "netns", &other];
            run(first, &[&["ip", "link", "add", device], &peer[..]].concat())?;
            for (pid, address) in namespaces.pids().into_iter().zip(addresses) {
                let net = format!("{address}/24");
                run(pid, &["ip", "address", "add", &net, "dev", device])?;
                run(pid, &["ip", "link", "set", "lo", "up"])?;
                run(pid, &["ip", "link", "set", device, "up"])?;
            }
        }
        Ok(namespaces)
    }

    /// The processes that hold the two namespaces.
    pub(crate) fn pids(&self) -> [i32; 2] {
        [0, 1].map(|index| self.holders[index].0.id().cast_signed())
    }
}

/// Enters the network namespace of process `pid`.
pub(crate) fn enter(pid: i32) -> Outcome<()> {
    let path = format!("/proc/{pid}/ns/net");
    let namespace = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    Ok(())
}

/// A command that runs in the network namespace of process `pid`.
pub(crate) fn command_in(pid: i32, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net=/proc/{pid}/ns/net"))
        .arg("--")
        .arg(program);
    command
}

/// The life of the process that holds a namespace: until its input ends.
pub(crate) fn hold() -> Outcome<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    unshare_network()?;
    println!("holding");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

#[expect(
    unsafe_code,
    reason = "rustix marks unshare unsafe for the sake of unsharing descriptors"
)]
fn unshare_network() -> Outcome<()> {
    // SAFETY: only the network namespace is unshared; no descriptor table is.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }?;
    Ok(())
}

fn holder() -> Outcome<Guarded> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("hold")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().ok_or("piped")?;
    let guarded = Guarded(child);
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    if line.trim() == "holding" {
        Ok(guarded)
    } else {
        Err("no namespace was made".into())
    }
}

/// Runs a short command in the network namespace of process `pid`.
pub(crate) fn run(pid: i32, command: &[&str]) -> Outcome<()> {
    let [program, arguments @ ..] = command else {
        return Err("no command".into());
    };
    let output = command_in(pid, program)
        .args(arguments)
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {}", command.join(" "), reason.trim()).into())
}
