//! Chapter (c): the machine's own programs on the path space, and Slashnet's where FUSE is not.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use super::lab::{Lab, Node};
use super::report::Report;
use super::{digest, verb};
use crate::failure::{During, Failure, Outcome};
use crate::notation::bytes;
use crate::verbs::up::mount_usable;

/// Large enough for many requests at once, small enough for a slow machine.
const BYTES: usize = 8 << 20;
const TITLE: &str = "mount";

/// Mounts lab1's path space and runs `ls`, `cp`, `cat`, `mv` and `rm` on lab2's directory.
pub(crate) fn run(lab: &Lab, report: &Report) -> Outcome {
    if let Err(why) = mount_usable() {
        report.skip("c.mount", why);
        return Ok(());
    }
    let point = lab.file("net");
    fs::create_dir(&point).during(point.display())?;
    lab.start(Node::Lab1, TITLE, &["mount".as_ref(), point.as_os_str()])?;
    report.ok(
        "c.mount",
        format!("the path space of lab1 is mounted at {}", point.display()),
    );
    let used = use_programs(lab, report, &point);
    if !lab.stop(TITLE) {
        return Err(Failure::new(TITLE, "did not end by itself"));
    }
    let gone = !is_mounted(&point)?;
    used?;
    if gone {
        report.ok("c.unmount", "nothing is mounted any more");
        Ok(())
    } else {
        Err(Failure::new(point.display(), "is still mounted"))
    }
}

fn use_programs(lab: &Lab, report: &Report, point: &Path) -> Outcome {
    let there = point.join("lab2/srv");
    let here = lab.file("firmware.bin");
    let content = digest::noise(3, BYTES);
    fs::write(&here, &content).during(here.display())?;
    let sum = digest::of(&content);

    let nodes = lab.run("ls", &[point.as_os_str()])?;
    let nodes = String::from_utf8_lossy(&nodes.stdout).into_owned();
    let both = nodes == "lab1\nlab2\n";
    expect(both, "ls", "the nodes listed are not lab1 and lab2")?;
    let long = lab.run("ls", &["-l".as_ref(), point.join("lab2/dev").as_os_str()])?;
    let long = String::from_utf8_lossy(&long.stdout).into_owned();
    report.show(long.trim_end());
    expect(
        long.contains("ser1"),
        "ls -l",
        "ser1 is not in the list of devices",
    )?;
    report.ok(
        "c.ls",
        format!(
            "nodes: {}",
            nodes.split_whitespace().collect::<Vec<_>>().join(" ")
        ),
    );

    lab.run("cp", &[here.as_os_str(), there.as_os_str()])?;
    let arrived = lab.file("srv").join("firmware.bin");
    let same = digest::of_file(&arrived)? == sum;
    expect(same, "cp", "the copy at lab2 differs")?;
    let shown = digest::short(&sum);
    report.ok(
        "c.cp",
        format!("{} to lab2, sha256 {shown} there", bytes(BYTES as u64)),
    );

    let read = lab.run("cat", &[there.join("firmware.bin").as_os_str()])?;
    expect(
        digest::of(&read.stdout) == sum,
        "cat",
        "what was read back differs",
    )?;
    report.ok("c.cat", format!("read back, sha256 {shown}"));

    let [old, new] = ["firmware.bin", "firmware.old"].map(|name| there.join(name));
    lab.run("mv", &[old.as_os_str(), new.as_os_str()])?;
    let moved = lab.file("srv").join("firmware.old");
    expect(
        !arrived.exists() && digest::of_file(&moved)? == sum,
        "mv",
        "not moved at lab2",
    )?;
    report.ok("c.mv", "renamed at lab2, content unchanged");

    lab.run("rm", &[new.as_os_str()])?;
    expect(!moved.exists(), "rm", "still there at lab2")?;
    report.ok("c.rm", "removed at lab2");

    let script = "exec 3<>\"$0\" && echo ATZ >&3 && head -n 1 <&3";
    let port = point.join("lab2/dev/ser1");
    let answer = lab.run("sh", &["-c".as_ref(), script.as_ref(), port.as_os_str()])?;
    expect(
        answer.stdout == b"ATZ\n",
        "echo ATZ",
        "the device did not echo it",
    )?;
    report.ok(
        "c.port",
        "echo ATZ > .../lab2/dev/ser1, and the device answered",
    );
    Ok(())
}

/// The same by Slashnet's own verbs, which need no mount.
pub(crate) fn without(lab: &Lab, report: &Report) -> Outcome {
    let here = lab.file("notes.txt");
    let content = digest::noise(5, 1 << 20);
    fs::write(&here, &content).during(here.display())?;
    let sum = digest::of(&content);
    let run = |arguments: &[&OsStr]| verb(lab, Node::Lab1, arguments);
    let there = OsStr::new("/net/lab2/srv/notes.txt");
    run(&["cp".as_ref(), here.as_os_str(), there])?;
    let arrived = lab.file("srv").join("notes.txt");
    expect(
        digest::of_file(&arrived)? == sum,
        "slashnet cp",
        "the copy at lab2 differs",
    )?;
    let listed = run(&["ls".as_ref(), "/net/lab2/srv".as_ref()])?;
    let found = listed.lines().any(|name| name == "notes.txt");
    expect(found, "slashnet ls", "notes.txt is not in the list")?;
    let back = lab.file("notes.back");
    run(&["cp".as_ref(), there, back.as_os_str()])?;
    expect(
        digest::of_file(&back)? == sum,
        "slashnet cp",
        "what was read back differs",
    )?;
    run(&["write".as_ref(), there, "a line".as_ref()])?;
    let read = run(&["cat".as_ref(), there])?;
    expect(
        read == "a line\n",
        "slashnet cat",
        "what was read differs from what was written",
    )?;
    let seen = run(&["stat".as_ref(), "--json".as_ref(), there])?;
    expect(
        seen.contains("\"size\": 7"),
        "slashnet stat",
        "another size than expected",
    )?;
    run(&["rm".as_ref(), there])?;
    expect(!arrived.exists(), "slashnet rm", "still there at lab2")?;
    let verbs = "slashnet cp, ls, cat, write, stat and rm did the same without a mount";
    report.ok(
        "c.verbs",
        format!("{verbs}, sha256 {}", digest::short(&sum)),
    );
    Ok(())
}

/// Whether something is mounted at `point`: then it is on another device than its parent.
pub(crate) fn is_mounted(point: &Path) -> Outcome<bool> {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev());
    let parent = point.parent().unwrap_or(Path::new("/"));
    // A mount whose server is gone answers ENOTCONN: it is still a mount.
    Ok(match device(point) {
        Ok(own) => own != device(parent).during(parent.display())?,
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    })
}

fn expect(holds: bool, what: &str, otherwise: &str) -> Outcome {
    if holds {
        Ok(())
    } else {
        Err(Failure::new(what, otherwise))
    }
}
