//! `slashnet demo`: the main job on one machine, as an ordinary user, with two real nodes.

mod digest;
mod echo;
mod killing;
mod lab;
mod mounting;
mod opening;
mod peer;
mod report;
mod round_trips;

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::command::GlobalOptions;
use crate::failure::{During, Failure, Outcome};
use crate::logging;
use echo::EchoDevice;
use lab::{Lab, Node};
use report::Report;

pub(crate) use peer::run as peer;

/// Options of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoOptions {
    /// Keep the state, logs and files of both nodes in DIR, which must not exist
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Runs all chapters; true to its exit status.
pub(crate) fn run(global: &GlobalOptions, options: &DemoOptions) -> Outcome {
    logging::begin(global.log.as_deref(), "error")?;
    let report = Report::new();
    let lab = Lab::build(options.keep.as_deref())?;
    let told = tell(&lab, &report);
    lab.yield_to_signal();
    if let Err(failure) = &told {
        report.fail("demo", failure);
    }
    for fallen in lab.fallen() {
        report.fail("demo", fallen);
    }
    if report.has_failed() {
        lab.show_logs(&report);
    }
    lab.end();
    lab.yield_to_signal();
    report.close()
}

fn tell(lab: &Lab, report: &Report) -> Outcome {
    report.chapter("two nodes, two links, a serial port and a directory");
    let device = EchoDevice::plug_in().during("pseudo terminal")?;
    prepare(lab, report, &device)?;

    report.chapter(format!("(a) open {} from lab1", opening::PORT));
    attempt(lab, report, "a.open", opening::trace(lab, report));
    report.chapter("(b) write to it and read from it");
    attempt(lab, report, "b.echo", opening::echo(lab, report));
    report.chapter("(c) the machine's own programs");
    attempt(lab, report, "c.mount", mounting::run(lab, report));
    attempt(lab, report, "c.verbs", mounting::without(lab, report));
    report.chapter("(d) both node daemons die while data flows");
    attempt(lab, report, "d.flow", killing::run(lab, report));
    report.chapter("(e) round trips, side by side");
    attempt(lab, report, "e.times", round_trips::run(lab, report));
    Ok(())
}

/// Notes it if a chapter could not be told to its end, unless a signal is the reason.
fn attempt(lab: &Lab, report: &Report, name: &str, outcome: Outcome) {
    lab.yield_to_signal();
    if let Err(failure) = outcome {
        report.fail(name, failure);
    }
}

/// Starts both nodes, makes them trust each other, and starts the managers of lab2.
fn prepare(lab: &Lab, report: &Report, device: &EchoDevice) -> Outcome {
    for node in Node::BOTH {
        start_node(lab, node)?;
        let [first, second] = lab.addresses(node);
        report.show(format!("{}: links {first} and {second}", node.name()));
    }
    report.ok("nodes", "lab1 and lab2 run as processes of their own");

    let code = verb(lab, Node::Lab1, &["invite".as_ref()])?;
    verb(lab, Node::Lab2, &["join".as_ref(), code.trim().as_ref()])?;
    report.ok("trust", "lab1 invited, lab2 joined with the one-time code");
    refuse_stranger(lab, report, code.trim())?;

    let srv = lab.file("srv");
    // Root of lab1 is nobody at lab2, and still may write here when root runs the demo. The directory
    // above lets nobody else in.
    let everybody = std::fs::Permissions::from_mode(0o777);
    std::fs::create_dir(&srv)
        .and_then(|()| std::fs::set_permissions(&srv, everybody))
        .during(srv.display())?;
    let mut serial = OsString::from(device.path());
    serial.push("=/dev/ser1,mode=666");
    let mut export = OsString::from(srv);
    export.push("=/srv");
    for (kind, offer) in [("serial", &serial), ("export", &export)] {
        let title = format!("{kind} manager");
        lab.start(
            Node::Lab2,
            &title,
            &["serve".as_ref(), kind.as_ref(), offer],
        )?;
    }
    let text = format!(
        "lab2 offers {} as /dev/ser1 and a directory as /srv",
        device.path().display()
    );
    report.ok("managers", text);
    Ok(())
}

/// A third node that got hold of the used code is told so, and is trusted by nobody.
fn refuse_stranger(lab: &Lab, report: &Report, code: &str) -> Outcome {
    start_node(lab, Node::Stranger)?;
    let joined = verb(lab, Node::Stranger, &["join".as_ref(), code.as_ref()]);
    let known = verb(lab, Node::Lab1, &["nodes".as_ref()])?;
    lab.stop(&node_title(Node::Stranger));
    if joined.is_ok() || known.contains(Node::Stranger.name()) {
        return Err(Failure::new("join", "the one-time code was good twice"));
    }
    report.ok("trust.once", "a third node with the used code is refused");
    Ok(())
}

/// Starts a node's daemon.
fn start_node(lab: &Lab, node: Node) -> Outcome {
    let [first, second] = lab.addresses(node).map(|address| address.to_string());
    let verb = [
        "node",
        "--name",
        node.name(),
        "--link",
        &first,
        "--link",
        &second,
    ];
    lab.start(node, &node_title(node), &verb.map(AsRef::as_ref))
}

/// What a node's daemon is called in messages.
fn node_title(node: Node) -> String {
    format!("node {}", node.name())
}

/// Runs `slashnet` as a user of the node would, and gives what it printed.
fn verb(lab: &Lab, node: Node, arguments: &[&std::ffi::OsStr]) -> Outcome<String> {
    let slashnet = std::env::current_exe().during("slashnet")?;
    let dir = lab.dir(node);
    let arguments = [&["--dir".as_ref(), dir.as_os_str()], arguments].concat();
    let output = lab.run(&slashnet, &arguments)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
