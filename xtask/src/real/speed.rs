//! How fast programs are on the mount, beside sshfs over the same cable to the same directory, and beside a FUSE file system
//! that only passes requests on to the disk (bindfs), in turn.
//!
//! Each machine has one CPU: `same` is one that they share, `split` is one for each.

mod others;
mod placement;
mod work;

use super::bed::{Bed, FAR, TREE};
use super::{Extent, Program, When};
use crate::Outcome;
use others::{BINDFS, LOCAL_DISK, Others, SERVED, SSHFS, mount_by_sshfs};
use placement::Placement;

pub(super) const PROGRAMS: &[Program] = &[
    Program {
        name: "speed",
        about: "sequential files, 5 000 small ones and a tree of 20 000, beside sshfs and a local FUSE file system: one CPU",
        when: When::Named,
        run: |bed, extent| speed(&Placement::same(bed)?, bed, extent),
    },
    Program {
        name: "speed-split",
        about: "the same with a CPU for each machine",
        when: When::Named,
        run: |bed, extent| speed(&Placement::split(bed)?, bed, extent),
    },
];

/// What is measured, and what of it sshfs is to be outdone by. Cloning is shown as well, for no bound is given.
const MEASURED: [(&str, Option<f64>); 10] = [
    ("write", Some(3.0)),
    ("read", Some(3.0)),
    ("create", Some(3.0)),
    ("stat", Some(3.0)),
    ("unlink", Some(3.0)),
    ("clone", None),
    ("git-cold", Some(3.0)),
    ("git-warm", Some(3.0)),
    ("ls-cold", Some(3.0)),
    ("ls-warm", Some(3.0)),
];

/// How many of them are measured on the local file system too, and what of its speed is to be reached.
const LOCAL: usize = 2;
const OF_LOCAL: f64 = 0.5;

/// One file system under measurement.
struct Mounted {
    /// Where the client has it, and where it reaches the same files past it.
    at: &'static str,
    past: &'static str,
    /// The large tree: where to mount it anew, where it is then, and the shell command that mounts; none if it stays where it is.
    large: Option<(&'static str, &'static str, String)>,
}

/// In the order of the results.
fn mounted() -> [Mounted; 4] {
    let own = "exec slashnet mount \"$1\"".to_owned();
    [
        Mounted {
            at: FAR,
            past: SERVED,
            large: Some(("/srv/anew", "lab2/srv/large", own)),
        },
        Mounted {
            at: SSHFS,
            past: SERVED,
            large: Some(("/srv/anew", "large", mount_by_sshfs())),
        },
        Mounted {
            at: BINDFS,
            past: LOCAL_DISK,
            large: None,
        },
        Mounted {
            at: LOCAL_DISK,
            past: LOCAL_DISK,
            large: Some((LOCAL_DISK, "large", String::new())),
        },
    ]
}

fn speed(placement: &Placement<'_>, bed: &Bed, extent: Extent) -> Outcome<String> {
    let _others = Others::start(bed, placement)?;
    bed.fresh_directory("speed")?;
    let scale = Scale::of(extent);
    for (host, tree) in [(bed.server(), TREE), (bed.client(), LOCAL_DISK)] {
        let script = ["bash", "-euc", work::MAKE_TREE, "bash"];
        let command = host.command(&script).args([&format!("{tree}/large")]);
        command.env("PARTS", scale.parts.to_string()).output()?;
    }
    let mounted = mounted();
    let mut times: [Vec<Vec<f64>>; 4] = Default::default();
    for _ in 0..extent.pick(1, 3) {
        for (times, mounted) in times.iter_mut().zip(&mounted) {
            times.push(measure(placement, bed, mounted, &scale)?);
        }
    }
    judge(placement.name(), times.map(|rounds| medians(&rounds)))
}

/// Prints all, judged.
fn judge(place: &str, [own, sshfs, local, disk]: [Vec<f64>; 4]) -> Outcome<String> {
    println!(
        "files over one cable, beside sshfs 3 with its defaults (believes attributes for 20 s) and aes128-gcm, {place} [s]"
    );
    let mut missed = Vec::new();
    for (((name, least), own), sshfs) in MEASURED.iter().zip(&own).zip(&sshfs) {
        let ratio = sshfs / own;
        let judged = least.map(|least| (ratio >= least, format!(">= {least} x ({ratio:.2})")));
        missed.extend(row(name, "sshfs", (*own, *sshfs), judged));
    }
    println!(
        "\nthe same, beside bindfs on a disk of this machine, which is memory as the server's, {place} [s]"
    );
    for (((name, _), own), local) in MEASURED.iter().zip(&own).zip(&local) {
        let ratio = local / own;
        let judged = Some((ratio >= OF_LOCAL, format!(">= {OF_LOCAL} x ({ratio:.2})")));
        missed.extend(row(name, "bindfs", (*own, *local), judged));
    }
    println!(
        "\nwhat the programs themselves take, on that disk without any file system between, {place} [s]"
    );
    for (((name, _), own), disk) in MEASURED.iter().zip(&own).zip(&disk) {
        row(name, "disk", (*own, *disk), None);
    }
    println!();
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
        Some((true, bound)) => (false, format!("   {bound}: pass")),
        Some((false, bound)) => (true, format!("   {bound}: MISS")),
    };
    println!("  {name:12} {own:8.3}   {other} {others:8.3}{verdict}");
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

/// How much is done.
struct Scale {
    count: &'static str,
    megabytes: &'static str,
    /// Of the large tree; each has 25 directories of 16 files. In full it is a quarter of Linux's sources.
    parts: u32,
}

impl Scale {
    fn of(extent: Extent) -> Self {
        let (count, megabytes, parts) = extent.pick(("500", "32", 5), ("5000", "256", 50));
        Self {
            count,
            megabytes,
            parts,
        }
    }

    /// What `ls -lR` prints of the large tree: for each directory its name, its size, an empty line, its files and the line
    /// above that names it; the top has no empty line and is named nowhere.
    fn lines_of_tree(&self) -> u32 {
        self.parts * 25 * 20 + 2
    }
}

/// Microseconds for each of the first of [`MEASURED`].
fn measure(
    placement: &Placement<'_>,
    bed: &Bed,
    mounted: &Mounted,
    scale: &Scale,
) -> Outcome<Vec<f64>> {
    let run = |script: &str, arguments: &[&str]| {
        let script = format!("{}{script}", work::MEASURE);
        let command = ["timeout", "300", "bash", "-euc", &script, "bash"];
        placement
            .command(bed.client(), &[&command, arguments].concat())
            .env("REPOSITORY", crate::command::root())
            .env("SEQUENTIAL", mounted.large.as_ref().map_or("only", |_| ""))
            .env("COUNT", scale.count)
            .env("MEGABYTES", scale.megabytes)
            .env("LINES_OF_TREE", scale.lines_of_tree().to_string())
            .input_from_nowhere()
            .output()
    };
    let (at, past) = (
        format!("{}/speed", mounted.at),
        format!("{}/speed/speed", mounted.past),
    );
    let mut said = run(work::FILES, &[&at, &past])?;
    let mut wanted = LOCAL;
    if let Some((point, tree, mount)) = &mounted.large {
        said.push_str(&run(work::LOOK, &[point, tree, mount])?);
        wanted = MEASURED.len();
    }
    let wanted = MEASURED.iter().take(wanted);
    wanted
        .map(|(name, _)| {
            let mut lines = said.lines().filter_map(|line| line.split_once(' '));
            let time = lines.find(|(found, _)| found == name);
            time.and_then(|(_, time)| time.parse().ok())
                .ok_or_else(|| format!("{name} was not measured: {said:?}"))
        })
        .collect()
}
