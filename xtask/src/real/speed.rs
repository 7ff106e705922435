//! How fast programs are on the mount, beside sshfs over the same cable to the same directory, and beside a FUSE file system
//! that only passes requests on to the disk (bindfs), in turn.

use super::bed::{Bed, FAR, TREE};
use super::{Extent, Program, When};
use crate::Outcome;
use crate::lab::{Host, wait_until};
use crate::packages::on_path;
use std::process::{Child, Stdio};
use std::time::Duration;

pub(super) const PROGRAMS: &[Program] = &[Program {
    name: "speed",
    about: "sequential files, 5 000 small ones and a large tree, as ratios to sshfs and to a local FUSE file system",
    when: When::Named,
    run: speed,
}];

/// What is measured, and what of it sshfs is to be outdone by. Cloning is shown as well, for no bound is given.
const MEASURED: [(&str, Option<f64>); 8] = [
    ("write", Some(3.0)),
    ("read", Some(3.0)),
    ("create", Some(3.0)),
    ("stat", Some(3.0)),
    ("unlink", Some(3.0)),
    ("clone", None),
    ("git-status", Some(3.0)),
    ("ls-lR", Some(3.0)),
];

/// How many of them are measured on the local file system too, and what of its speed is to be reached.
const LOCAL: usize = 2;
const OF_LOCAL: f64 = 0.5;

/// Prints a name and milliseconds for each, once in the directory of its argument.
const SCRIPT: &str = r#"
ms() { local name=$1; shift; local begin=$(date +%s%N); "$@" >/dev/null 2>&1; echo $name $((($(date +%s%N) - begin) / 1000)); }
create() { seq -f "name%.0f" $COUNT | xargs touch; }
look() { seq -f "name%.0f" $COUNT | xargs stat -c %s; }
cd "$1"; rm -rf speed; mkdir speed; cd speed
ms write dd if=/dev/zero of=big bs=1M count=$MEGABYTES conv=fsync
cp "$2/big" "$2/other" && sleep 1.1
ms read dd if=other of=/dev/null bs=1M
rm big other
if test -n "$SEQUENTIAL"; then cd ..; rm -rf speed; exit; fi
mkdir small; cd small
ms create create
sleep 1.1
ms stat look
ms unlink find . -type f -delete
cd ..
ms clone git clone -q --no-hardlinks "$REPOSITORY" clone
git -C clone status >/dev/null
sleep 1.1
ms git-status git -C clone status
sleep 1.1
ms ls-lR ls -lR clone
cd ..
rm -rf speed
"#;

fn speed(bed: &Bed, extent: Extent) -> Outcome<String> {
    for (program, package) in NEEDED {
        if !on_path(program) {
            return Err(format!("{program} is missing: apt-get install {package}"));
        }
    }
    let _others = Others::start(bed)?;
    let rounds = extent.pick(1, 3);
    let mut times: [Vec<Vec<f64>>; MOUNTED.len()] = Default::default();
    for _ in 0..rounds {
        for (times, (mounted, disk, measured)) in times.iter_mut().zip(MOUNTED) {
            times.push(measure(bed.client(), (mounted, disk), measured, extent)?);
        }
    }
    let [own, sshfs, local, disk] = times.map(|rounds| medians(&rounds));
    println!(
        "files over one cable, beside sshfs 3 with its defaults (believes attributes for 20 s) and aes128-gcm, same [s]"
    );
    let mut missed = Vec::new();
    for (((name, least), own), sshfs) in MEASURED.iter().zip(&own).zip(&sshfs) {
        let ratio = sshfs / own;
        let judged = least.map(|least| (ratio >= least, format!(">= {least} x ({ratio:.2})")));
        missed.extend(row(name, "sshfs", (*own, *sshfs), judged));
    }
    println!(
        "\nthe same, beside bindfs on a disk of this machine, which is memory as the server's, same [s]"
    );
    for (((name, _), own), local) in MEASURED.iter().zip(&own).zip(&local) {
        let ratio = local / own;
        let judged = Some((ratio >= OF_LOCAL, format!(">= {OF_LOCAL} x ({ratio:.2})")));
        missed.extend(row(name, "bindfs", (*own, *local), judged));
    }
    println!(
        "\nwhat the programs themselves take, on that disk without any file system between, same [s]"
    );
    for (((name, _), own), disk) in MEASURED.iter().zip(&own).zip(&disk) {
        row(name, "disk", (*own, *disk), None);
    }
    match missed.is_empty() {
        true => Ok("every bound is met".to_owned()),
        false => Err(format!("missed: {}", missed.join(", "))),
    }
}

/// Prints what two took in microseconds, and how it is judged; the name if it falls short.
fn row(
    name: &str,
    other: &str,
    (own, others): (f64, f64),
    judged: Option<(bool, String)>,
) -> Option<String> {
    let (own, others) = (own / 1e6, others / 1e6);
    let (missed, verdict) = match judged {
        None => (false, String::new()),
        Some((true, bound)) => (false, format!("{bound}: pass")),
        Some((false, bound)) => (true, format!("{bound}: MISS")),
    };
    println!("  {name:12} {own:8.3}   {other} {others:8.3}   {verdict}");
    missed.then(|| format!("{name} beside {other}"))
}

/// The median of each column.
fn medians(rounds: &[Vec<f64>]) -> Vec<f64> {
    let columns = rounds.first().map_or(0, Vec::len);
    let median = |column: usize| {
        let mut all: Vec<f64> = rounds.iter().map(|round| round[column]).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    (0..columns).map(median).collect()
}

/// Microseconds for each of the first of [`MEASURED`].
fn measure(
    host: &Host,
    (mounted, disk): (&str, &str),
    measured: usize,
    extent: Extent,
) -> Outcome<Vec<f64>> {
    let (count, megabytes) = extent.pick(("500", "32"), ("5000", "256"));
    let said = host
        .command(&["timeout", "300", "bash", "-euc", SCRIPT, "bash"])
        .args([&format!("{mounted}/speed"), &format!("{disk}/speed/speed")])
        .env("REPOSITORY", crate::command::root())
        .env("SEQUENTIAL", if measured == LOCAL { "only" } else { "" })
        .env("COUNT", count)
        .env("MEGABYTES", megabytes)
        .input_from_nowhere()
        .output()?;
    let wanted = MEASURED.iter().take(measured);
    wanted
        .map(|(name, _)| {
            let mut lines = said.lines().filter_map(|line| line.split_once(' '));
            let time = lines.find(|(found, _)| found == name);
            time.and_then(|(_, time)| time.parse().ok())
                .ok_or_else(|| format!("{name} was not measured: {said:?}"))
        })
        .collect()
}

/// sshd on the server, sshfs and bindfs on the client.
struct Others {
    programs: Vec<Child>,
}

/// Programs, and the Debian packages that have them.
const NEEDED: [(&str, &str); 4] = [
    ("sshfs", "sshfs"),
    ("sshd", "openssh-server"),
    ("ssh-keygen", "openssh-client"),
    ("bindfs", "bindfs"),
];
/// Where the client has each, where it reaches the same files past it, and how much is measured there.
const MOUNTED: [(&str, &str, usize); 4] = [
    (FAR, SERVED, MEASURED.len()),
    (SSHFS, SERVED, MEASURED.len()),
    (BINDFS, LOCAL_DISK, LOCAL),
    (LOCAL_DISK, LOCAL_DISK, MEASURED.len()),
];
const SSHFS: &str = "/srv/sshfs";
const BINDFS: &str = "/srv/bindfs";
const LOCAL_DISK: &str = "/srv/local";
/// The exported directory as processes of the client's machine reach it past any network: through the server's root.
const SERVED: &str = "/srv/served";

const SERVE: &str = r#"
mkdir -p /run/sshd /srv/ssh && cd /srv/ssh
test -e key || ssh-keygen -q -t ed25519 -N "" -f key
cat > config <<END
Port 7722
ListenAddress 10.77.1.2
HostKey /srv/ssh/key
PidFile none
AuthorizedKeysFile /srv/ssh/key.pub
StrictModes no
UsePAM no
PermitRootLogin yes
Subsystem sftp internal-sftp
END
exec "$(command -v sshd || echo /usr/sbin/sshd)" -D -e -f config
"#;

impl Others {
    fn start(bed: &Bed) -> Outcome<Self> {
        let mut others = Self {
            programs: Vec::new(),
        };
        others.run(bed.server(), SERVE, &[])?;
        wait_until("sshd", PATIENCE, || {
            let listening = bed.server().output(&["ss", "-ltn"])?;
            Ok(listening.contains(":7722"))
        })?;
        let (client, server) = (bed.client(), bed.server());
        let served = format!("/proc/{}/root{TREE}", server.pid());
        let key = format!("/proc/{}/root/srv/ssh/key", server.pid());
        client.output(&[
            "sh",
            "-c",
            "mkdir -p /srv/sshfs && cp \"$1\" /srv/key",
            "sh",
            &key,
        ])?;
        client.output(&["ln", "-sfn", &served, SERVED])?;
        let mount = format!(
            "exec sshfs -f root@10.77.1.2:{TREE} {SSHFS} -o port=7722,IdentityFile=/srv/key,\
             StrictHostKeyChecking=no,LogLevel=ERROR,UserKnownHostsFile=/dev/null,Ciphers=aes128-gcm@openssh.com"
        );
        others.run(client, &mount, &[])?;
        wait_until("sshfs", PATIENCE, || {
            let mounts = client.output(&["cat", "/proc/self/mounts"])?;
            Ok(mounts.contains(SSHFS))
        })?;
        client.output(&["sh", "-c", "mkdir -p /srv/local/speed /srv/bindfs"])?;
        others.run(
            client,
            &format!("exec bindfs -f {LOCAL_DISK} {BINDFS}"),
            &[],
        )?;
        wait_until("bindfs", PATIENCE, || {
            let mounts = client.output(&["cat", "/proc/self/mounts"])?;
            Ok(mounts.contains(BINDFS))
        })?;
        Ok(others)
    }

    fn run(&mut self, host: &Host, script: &str, arguments: &[&str]) -> Outcome {
        let mut command = host
            .command(&["sh", "-euc", script, "sh"])
            .args(arguments)
            .into_command();
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null());
        let child = command.spawn().map_err(|error| format!("sh: {error}"))?;
        self.programs.push(child);
        Ok(())
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        for program in self.programs.iter_mut().rev() {
            let _ = program.kill();
            let _ = program.wait();
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
