//! The landing gate. Every stage is a plain command that anybody can run alone; none is skipped.

use crate::command::{Program, build, cargo, root};
use crate::{Outcome, big_endian, fuzz, lab, packages, real, sanitizer, tidy};
use std::time::Instant;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Run only the stages named, in their usual order
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    only: Vec<String>,
    /// Print the names of the stages
    #[arg(long)]
    list: bool,
}

struct Stage {
    name: &'static str,
    run: fn() -> Outcome,
}

const STAGES: &[Stage] = &[
    Stage {
        name: "packages",
        run: packages::install,
    },
    Stage {
        name: "fmt",
        run: fmt,
    },
    Stage {
        name: "tidy",
        run: tidy::run,
    },
    Stage {
        name: "clippy",
        run: clippy,
    },
    Stage {
        name: "doc",
        run: doc,
    },
    Stage {
        name: "test",
        run: test,
    },
    Stage {
        name: "sanitizer",
        run: sanitizer::run,
    },
    Stage {
        name: "fuzz",
        run: fuzz::ci,
    },
    Stage {
        name: "demo",
        run: demo,
    },
    Stage {
        name: "lab",
        run: lab::test,
    },
    Stage {
        name: "real",
        run: real::test,
    },
    Stage {
        name: "big-endian",
        run: big_endian::run,
    },
];

/// Runs all stages and prints how long each took; stops at the first that fails.
pub(crate) fn run(options: &Options) -> Outcome {
    if options.list {
        STAGES.iter().for_each(|stage| println!("{}", stage.name));
        return Ok(());
    }
    if let Some(unknown) = options
        .only
        .iter()
        .find(|name| STAGES.iter().all(|stage| stage.name != *name))
    {
        return Err(format!(
            "no stage '{unknown}'; `cargo xtask ci --list` names them"
        ));
    }
    let chosen = |stage: &&Stage| {
        options.only.is_empty() || options.only.iter().any(|name| name == stage.name)
    };
    let mut times = Vec::new();
    for stage in STAGES.iter().filter(chosen) {
        println!("== {}", stage.name);
        let start = Instant::now();
        (stage.run)().map_err(|error| format!("stage {}: {error}", stage.name))?;
        times.push((stage.name, start.elapsed()));
    }
    println!("== all stages passed");
    for (name, time) in times {
        println!("{name:12} {:6.1} s", time.as_secs_f64());
    }
    Ok(())
}

/// The stages that take seconds once the workspace is built.
pub(crate) fn check() -> Outcome {
    fmt()?;
    tidy::run()?;
    clippy()
}

fn fmt() -> Outcome {
    cargo(["fmt", "--all", "--check"]).run()
}

fn clippy() -> Outcome {
    cargo([
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ])
    .run()
}

fn doc() -> Outcome {
    cargo([
        "doc",
        "--quiet",
        "--workspace",
        "--no-deps",
        "--document-private-items",
    ])
    .env("RUSTDOCFLAGS", "-D warnings")
    .run()
}

fn test() -> Outcome {
    cargo(["test", "--workspace", "--no-fail-fast"]).run()
}

/// The main job of the README: as whoever this is and, where that is root, as an ordinary user too. Nothing in
/// it may be skipped.
fn demo() -> Outcome {
    build(&["slashnet"])?;
    let binary = root().join("target/release/slashnet");
    complete(Program::new(&binary).args(["demo"]))?;
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    complete(
        Program::new("unshare")
            .args([
                "--mount",
                "--propagation",
                "private",
                "--",
                "sh",
                "-euc",
                AS_NOBODY,
                "sh",
            ])
            .args([&binary])
            .without_env("XDG_RUNTIME_DIR")
            .env("HOME", "/nonexistent"),
    )
}

/// Runs a demo of which no step fails or is skipped.
fn complete(demo: Program) -> Outcome {
    let said = demo.input_from_nowhere().output()?;
    print!("{said}");
    if said.contains(" 0 skipped, 0 failed") {
        Ok(())
    } else {
        Err("the demo did not do all its steps".into())
    }
}

/// In a mount namespace of its own: a copy of the program where any user may reach it (a home directory often
/// is no such place), and a FUSE device that any user may open, as on an ordinary machine.
const AS_NOBODY: &str = "mount -t tmpfs tmpfs /mnt; cp \"$1\" /mnt/slashnet; \
    mknod -m 666 /mnt/fuse c 10 229; mount --bind /mnt/fuse /dev/fuse; \
    exec runuser -u nobody -- /mnt/slashnet demo";
