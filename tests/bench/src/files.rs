//! Files of another machine, through a mount.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Outcome;
use crate::awaited;
use crate::figures::Figures;
use crate::group::{Group, Target};
use crate::namespaces::ADDRESSES;
use crate::network::Lab;
use crate::nodes::{NAMES, Nodes, program};
use crate::pair::{ChildOptions, Guarded, Kind, Task};
use crate::place::Placement;
use crate::shared::Shared;

const SIZE: usize = 256 << 20;
const CHUNK: usize = 1 << 20;
const SSH_PORT: u16 = 7722;

/// A directory of the server, and the place where the client has it mounted.
pub(crate) struct Mounted {
    pub(crate) exported: PathBuf,
    pub(crate) mounted: PathBuf,
    pub(crate) client_cpu: usize,
    /// What keeps it running.
    pub(crate) _alive: Box<dyn std::any::Any>,
}

pub(crate) fn groups(nodes: &Nodes) -> Vec<Group> {
    let mut groups = Vec::new();
    for placement in [Placement::Same, Placement::Split] {
        let sshfs = Shared::new(nodes, move |nodes| sshfs(nodes.lab(), placement));
        let own = Shared::new(nodes, move |nodes| slashnet(nodes, placement));
        for (name, kind) in [("write", Kind::FileWrite), ("read", Kind::FileRead)] {
            let measure = move |mounted: &Mounted, _time| mounted.measure(kind);
            groups.push(
                Group::new(format!("file {name}, 256 MiB from another machine"), "MB/s")
                    .placed(placement)
                    .subject(sshfs.subject("sshfs, aes128-gcm", measure))
                    .subject(
                        own.subject("slashnet", measure)
                            .target(Target::RatioAtLeast(2.0)),
                    ),
            );
        }
    }
    groups
}

impl Mounted {
    fn measure(&self, kind: Kind) -> Outcome<f64> {
        // A file of its own for each measurement, so that no cache has seen it.
        let name = format!("bench-{}", std::process::id());
        let (near, far) = (self.mounted.join(&name), self.exported.join(&name));
        if kind == Kind::FileRead {
            fill(&far)?;
        }
        let task = Task {
            kind,
            size: SIZE,
            cpu: self.client_cpu,
            at: near.display().to_string(),
            to: None,
            network: None,
        };
        let figures = task.run(Duration::ZERO);
        let length = fs::metadata(&far).map(|metadata| metadata.len());
        fs::remove_file(&far)?;
        // The directory entry that the mount has cached must not outlive the file.
        let _ = fs::remove_file(&near);
        if length? != SIZE as u64 {
            return Err("the file did not arrive whole".into());
        }
        Ok(figures?.megabytes())
    }
}

/// The child's part: one file, one megabyte at a time, until the server has it all.
pub(crate) fn run(options: &ChildOptions) -> Outcome<Figures> {
    let path = options.at.as_deref().ok_or("a path")?;
    let mut chunk = vec![0x5a; CHUNK];
    let start = Instant::now();
    let mut bytes = 0;
    if options.kind == Kind::FileWrite {
        let mut file = fs::File::create(path)?;
        while bytes < options.size {
            file.write_all(&chunk)?;
            bytes += chunk.len();
        }
        file.sync_all()?;
    } else {
        let mut file = fs::File::open(path)?;
        loop {
            match file.read(&mut chunk)? {
                0 => break,
                count => bytes += count,
            }
        }
    }
    if bytes != options.size {
        return Err(format!("{bytes} of {} bytes", options.size).into());
    }
    Figures::of_stream(bytes, start.elapsed(), 0)
}

fn fill(path: &Path) -> Outcome<()> {
    let chunk = vec![0xa5; CHUNK];
    let mut file = fs::File::create(path)?;
    for _ in 0..SIZE / CHUNK {
        file.write_all(&chunk)?;
    }
    Ok(())
}

/// A temporary directory in memory, so that no disk is measured.
pub(crate) fn memory_directory() -> Outcome<TempDir> {
    Ok(tempfile::Builder::new()
        .prefix("slashnet-bench")
        .tempdir_in("/dev/shm")?)
}

/// Unmounts when dropped, before the directories below vanish.
pub(crate) struct Unmount(pub(crate) PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(&self.0)
            .stderr(Stdio::null())
            .status();
    }
}

fn sshfs(lab: &Lab, placement: Placement) -> Outcome<Mounted> {
    for program in ["/usr/sbin/sshd", "/usr/bin/sshfs", "/usr/bin/ssh-keygen"] {
        if !Path::new(program).exists() {
            return Err(format!("{program} is not installed").into());
        }
    }
    let [client, server] = lab.pids()?;
    let (client_cpu, server_cpu) = placement.cpus()?;
    let directory = memory_directory()?;
    let root = directory.path();
    let (exported, mounted) = (root.join("exported"), root.join("mounted"));
    fs::create_dir(&exported)?;
    fs::create_dir(&mounted)?;
    let key = root.join("key");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key)
        .status()?;
    if !made.success() {
        return Err("ssh-keygen failed".into());
    }
    let config = root.join("sshd_config");
    let shown = root.display();
    fs::write(
        &config,
        format!(
            "Port {SSH_PORT}\nListenAddress {address}\nHostKey {shown}/key\nPidFile none\n\
             AuthorizedKeysFile {shown}/key.pub\nStrictModes no\nUsePAM no\n\
             PermitRootLogin yes\nSubsystem sftp internal-sftp\n",
            address = ADDRESSES[1]
        ),
    )?;
    fs::create_dir_all("/run/sshd")?;
    let daemon = inside(server, Some(server_cpu), "/usr/sbin/sshd")?
        .args(["-D", "-e", "-f"])
        .arg(&config)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(Guarded)?;
    awaited::port(server, SSH_PORT)?;
    let options = format!(
        "port={SSH_PORT},IdentityFile={shown}/key,StrictHostKeyChecking=no,LogLevel=ERROR,\
         UserKnownHostsFile=/dev/null,Ciphers=aes128-gcm@openssh.com"
    );
    let mount = inside(client, Some(client_cpu), "/usr/bin/sshfs")?
        .arg("-f")
        .arg(format!("root@{}:{}", ADDRESSES[1], exported.display()))
        .arg(&mounted)
        .args(["-o", &options])
        .stdin(Stdio::null())
        .spawn()
        .map(Guarded)?;
    awaited::mount(&mounted)?;
    let unmount = Unmount(mounted.clone());
    Ok(Mounted {
        exported,
        mounted,
        client_cpu,
        _alive: Box::new((unmount, mount, daemon, directory)),
    })
}

fn slashnet(nodes: &Nodes, placement: Placement) -> Outcome<Mounted> {
    let (client_cpu, server_cpu) = placement.cpus()?;
    let [client, server] = nodes.lab().pids()?;
    let [near, far] = &nodes.pair()?.nodes;
    let directory = memory_directory()?;
    let (exported, point) = (
        directory.path().join("exported"),
        directory.path().join("mounted"),
    );
    fs::create_dir(&exported)?;
    fs::create_dir(&point)?;
    // Another node's root is nobody here.
    fs::set_permissions(&exported, fs::Permissions::from_mode(0o777))?;
    let program = program()?.display().to_string();
    let path = format!("bench-{}", placement.name());
    let export = inside(server, Some(server_cpu), &program)?
        .args(["--dir", &far.directory(), "serve", "export"])
        .arg(format!("{}=/{path}", exported.display()))
        .stdin(Stdio::null())
        .spawn()
        .map(Guarded)?;
    near.await_path(&format!("/net/{}/{path}", NAMES[1]))?;
    let mount = inside(client, Some(client_cpu), &program)?
        .args(["--dir", &near.directory(), "mount"])
        .arg(&point)
        .stdin(Stdio::null())
        .spawn()
        .map(Guarded)?;
    awaited::mount(&point)?;
    let unmount = Unmount(point.clone());
    Ok(Mounted {
        exported,
        mounted: point.join(NAMES[1]).join(path),
        client_cpu,
        _alive: Box::new((unmount, mount, export, directory)),
    })
}

/// A command in the network namespace of process `pid`, on one CPU if one is given.
pub(crate) fn inside(pid: i32, cpu: Option<usize>, program: &str) -> Outcome<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["enter", "--network", &pid.to_string()]);
    if let Some(cpu) = cpu {
        command.args(["--cpu", &cpu.to_string()]);
    }
    command.args(["--", program]);
    Ok(command)
}

/// Goes on as another program in a network namespace, on one CPU. Returns only if that fails.
pub(crate) fn enter(network: i32, cpu: Option<usize>, command: &[String]) -> Outcome<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    crate::namespaces::enter(network)?;
    if let Some(cpu) = cpu {
        crate::place::pin(cpu)?;
    }
    let (program, arguments) = command.split_first().ok_or("a command")?;
    Err(Command::new(program).args(arguments).exec().into())
}
