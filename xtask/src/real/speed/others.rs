//! What the mount is compared with: sshd on the server, sshfs and bindfs on the client.

use super::placement::Placement;
use crate::Outcome;
use crate::lab::{Host, wait_until};
use crate::packages::on_path;
use crate::real::bed::{Bed, TREE};
use std::process::{Child, Stdio};
use std::time::Duration;

/// The programs, until this is dropped.
pub(super) struct Others<'b> {
    client: &'b Host,
    programs: Vec<Child>,
}

/// Programs, and the Debian packages that have them.
const NEEDED: [(&str, &str); 4] = [
    ("sshfs", "sshfs"),
    ("sshd", "openssh-server"),
    ("ssh-keygen", "openssh-client"),
    ("bindfs", "bindfs"),
];
/// Where the client has each.
pub(super) const SSHFS: &str = "/srv/sshfs";
pub(super) const BINDFS: &str = "/srv/bindfs";
pub(super) const LOCAL_DISK: &str = "/srv/local";
/// The exported directory as processes of the client's machine reach it past any network: through the server's root.
pub(super) const SERVED: &str = "/srv/served";

/// A shell command that mounts the exported directory at the place in its first argument by sshfs, in the foreground.
pub(super) fn mount_by_sshfs() -> String {
    format!(
        "exec sshfs -f root@10.77.1.2:{TREE} \"$1\" -o port=7722,IdentityFile=/srv/key,\
         StrictHostKeyChecking=no,LogLevel=ERROR,UserKnownHostsFile=/dev/null,Ciphers=aes128-gcm@openssh.com"
    )
}

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

impl<'b> Others<'b> {
    pub(super) fn start(bed: &'b Bed, placement: &Placement<'_>) -> Outcome<Self> {
        for (program, package) in NEEDED {
            if !on_path(program) {
                return Err(format!("{program} is missing: apt-get install {package}"));
            }
        }
        let mut others = Self {
            client: bed.client(),
            programs: Vec::new(),
        };
        let (client, server) = (bed.client(), bed.server());
        others.run((server, placement), SERVE, "")?;
        wait_until("sshd", PATIENCE, || {
            let listening = server.output(&["ss", "-ltn"])?;
            Ok(listening.contains(":7722"))
        })?;
        let served = format!("/proc/{}/root{TREE}", server.pid());
        let key = format!("/proc/{}/root/srv/ssh/key", server.pid());
        let fetch = "mkdir -p /srv/sshfs /srv/bindfs /srv/local/speed && cp \"$1\" /srv/key";
        client.output(&["sh", "-c", fetch, "sh", &key])?;
        client.output(&["ln", "-sfn", &served, SERVED])?;
        let bindfs = format!("exec bindfs -f {LOCAL_DISK} \"$1\"");
        for (script, point) in [(mount_by_sshfs(), SSHFS), (bindfs, BINDFS)] {
            others.run((client, placement), &script, point)?;
            wait_until(point, PATIENCE, || {
                let mounts = client.output(&["cat", "/proc/self/mounts"])?;
                Ok(mounts.contains(point))
            })?;
        }
        Ok(others)
    }

    fn run(
        &mut self,
        (host, placement): (&Host, &Placement<'_>),
        script: &str,
        point: &str,
    ) -> Outcome {
        let mut command = placement
            .command(host, &["sh", "-euc", script, "sh", point])
            .into_command();
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null());
        let child = command.spawn().map_err(|error| format!("sh: {error}"))?;
        self.programs.push(child);
        Ok(())
    }
}

impl Drop for Others<'_> {
    fn drop(&mut self) {
        // What is killed leaves its mount behind. It may not have come as far as that.
        for point in [SSHFS, BINDFS] {
            let _ = self.client.output(&["umount", "-l", point]);
        }
        for program in self.programs.iter_mut().rev() {
            let _ = program.kill();
            let _ = program.wait();
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
