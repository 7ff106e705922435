//! How fast programs are on the mount, beside sshfs over the same cable to the same directory, in turn.

use super::bed::{Bed, FAR, TREE};
use super::table::SKIPPED;
use super::{Extent, Program, When};
use crate::Outcome;
use crate::lab::{Host, wait_until};
use crate::packages::on_path;
use std::process::{Child, Stdio};
use std::time::Duration;

pub(super) const PROGRAMS: &[Program] = &[Program {
    name: "speed",
    about: "sequential files, 5 000 small ones and a large tree, as ratios to sshfs on the same cable",
    when: When::Named,
    run: speed,
}];

/// What is measured, and what of it sshfs is to be outdone by.
const MEASURED: [(&str, f64); 8] = [
    ("write", 3.0),
    ("read", 3.0),
    ("create", 3.0),
    ("stat", 3.0),
    ("unlink", 3.0),
    ("clone", 1.0),
    ("git-status", 3.0),
    ("ls-lR", 3.0),
];

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
    for program in ["sshfs", "sshd", "ssh-keygen"] {
        if !on_path(program) {
            return Ok(format!("{SKIPPED}{program} is not installed"));
        }
    }
    let _sshfs = Sshfs::start(bed)?;
    let rounds = extent.pick(1, 3);
    let mut times: [Vec<Vec<f64>>; 2] = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (times, mounted) in times.iter_mut().zip([FAR, SSHFS]) {
            times.push(measure(bed.client(), mounted, extent)?);
        }
    }
    let median = |rounds: &[Vec<f64>], index: usize| {
        let mut all: Vec<f64> = rounds.iter().map(|round| round[index]).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let lines = MEASURED.iter().enumerate().map(|(index, (name, least))| {
        let [own, sshfs] = [0, 1].map(|which| median(&times[which], index));
        let ratio = sshfs / own;
        let verdict = if ratio >= *least { "" } else { "  (missed)" };
        format!(
            "{name:10} {:8.0} ms, sshfs {:8.0} ms: {ratio:5.2} x, wanted {least:.0} x{verdict}",
            own / 1e3,
            sshfs / 1e3
        )
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// Microseconds for each of [`MEASURED`].
fn measure(host: &Host, mounted: &str, extent: Extent) -> Outcome<Vec<f64>> {
    let (count, megabytes) = extent.pick(("500", "32"), ("5000", "256"));
    let said = host
        .command(&["timeout", "300", "bash", "-euc", SCRIPT, "bash"])
        .args([
            &format!("{mounted}/speed"),
            &format!("{SERVED}/speed/speed"),
        ])
        .env("REPOSITORY", crate::command::root())
        .env("COUNT", count)
        .env("MEGABYTES", megabytes)
        .input_from_nowhere()
        .output()?;
    MEASURED
        .iter()
        .map(|(name, _)| {
            let mut lines = said.lines().filter_map(|line| line.split_once(' '));
            let time = lines.find(|(found, _)| found == name);
            time.and_then(|(_, time)| time.parse().ok())
                .ok_or_else(|| format!("{name} was not measured: {said:?}"))
        })
        .collect()
}

/// sshd on the server and sshfs on the client.
struct Sshfs {
    programs: Vec<Child>,
}

/// Where the client has it.
const SSHFS: &str = "/srv/sshfs";
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

impl Sshfs {
    fn start(bed: &Bed) -> Outcome<Self> {
        let mut sshfs = Self {
            programs: Vec::new(),
        };
        sshfs.run(bed.server(), SERVE, &[])?;
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
        sshfs.run(client, &mount, &[])?;
        wait_until("sshfs", PATIENCE, || {
            let mounts = client.output(&["cat", "/proc/self/mounts"])?;
            Ok(mounts.contains(SSHFS))
        })?;
        Ok(sshfs)
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

impl Drop for Sshfs {
    fn drop(&mut self) {
        for program in self.programs.iter_mut().rev() {
            let _ = program.kill();
            let _ = program.wait();
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
