//! The fuzz targets of `tests/fuzz`: built with the coverage that libFuzzer needs, run for a while from the committed
//! inputs. What it finds is in the message, and in `target/fuzz/findings`.

use crate::Outcome;
use crate::command::{Program, cargo, root};
use std::path::PathBuf;
use std::process::Child;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only this target
    target: Option<String>,
    /// How long each target runs
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
    /// How many run at a time
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: usize,
    /// Keep new inputs that reach further in the committed corpus, and drop those that add nothing
    #[arg(long)]
    keep: bool,
    /// Print the names of the targets
    #[arg(long)]
    list: bool,
}

/// Coverage of every edge, with what is compared there. The compiler has it; no other tool is needed.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0";
/// Naming the target keeps build scripts and macros free of the coverage.
const TARGET: &str = if cfg!(target_arch = "aarch64") {
    "aarch64-unknown-linux-gnu"
} else {
    "x86_64-unknown-linux-gnu"
};

/// Every target for a minute, as the landing gate does it.
pub(crate) fn ci() -> Outcome {
    run(&Options {
        target: None,
        seconds: 60,
        jobs: 2,
        keep: false,
        list: false,
    })
}

pub(crate) fn run(options: &Options) -> Outcome {
    let known = targets()?;
    if options.list {
        known.iter().for_each(|name| println!("{name}"));
        return Ok(());
    }
    let chosen: Vec<String> = match &options.target {
        None => known,
        Some(name) if known.contains(name) => vec![name.clone()],
        Some(name) => return Err(format!("no fuzz target '{name}'; --list names them")),
    };
    build(&chosen)?;
    for name in &chosen {
        for directory in [found(name), corpus(name), findings()] {
            std::fs::create_dir_all(&directory)
                .map_err(|error| format!("{}: {error}", directory.display()))?;
        }
    }
    let mut waiting = chosen.iter();
    let mut running: Vec<Running> = Vec::new();
    let mut failed = Vec::new();
    loop {
        while running.len() < options.jobs.max(1) {
            let Some(name) = waiting.next() else { break };
            running.push(Running::start(name, options.seconds)?);
        }
        let Some(at) = (!running.is_empty()).then(|| first_to_end(&mut running)) else {
            break;
        };
        let ended = running.remove(at?);
        let name = ended.name.clone();
        if let Err(error) = ended.end() {
            failed.push(error);
        } else if options.keep {
            keep(&name)?;
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed.join("; "))
    }
}

/// The names of the programs in the manifest.
fn targets() -> Outcome<Vec<String>> {
    let folder = root().join("tests/fuzz/targets");
    let entries =
        std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.ok()?.path();
        Some(path.file_stem()?.to_str()?.to_owned())
    };
    let mut names: Vec<String> = entries.filter_map(name).collect();
    names.sort();
    Ok(names)
}

fn build(names: &[String]) -> Outcome {
    let mut program = cargo(["build", "--quiet", "--release", "--locked"]).args([
        "--manifest-path",
        "tests/fuzz/Cargo.toml",
        "--target",
        TARGET,
    ]);
    for name in names {
        program = program.args(["--bin", name.as_str()]);
    }
    program
        .env("CARGO_TARGET_DIR", root().join("target/fuzz"))
        .env("RUSTFLAGS", FLAGS)
        .run()
}

fn binary(name: &str) -> PathBuf {
    root()
        .join("target/fuzz")
        .join(TARGET)
        .join("release")
        .join(name)
}

fn corpus(name: &str) -> PathBuf {
    root().join("tests/fuzz/corpus").join(name)
}

/// New inputs of this machine.
fn found(name: &str) -> PathBuf {
    root().join("target/fuzz/corpus").join(name)
}

fn findings() -> PathBuf {
    root().join("target/fuzz/findings")
}

struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    fn start(name: &str, seconds: u32) -> Outcome<Self> {
        let log = root().join("target/fuzz").join(format!("{name}.log"));
        let file =
            std::fs::File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let prefix = format!("-artifact_prefix={}/{name}-", findings().display());
        let child = Program::new(binary(name))
            .args([format!("-max_total_time={seconds}"), prefix])
            // An input that takes this long, or this much, is a finding.
            .args([
                "-timeout=10",
                "-rss_limit_mb=1024",
                "-max_len=4096",
                // Scripts of a few bytes say nothing: grow soon.
                "-len_control=20",
                "-print_final_stats=1",
            ])
            .args([found(name), corpus(name)])
            .into_command()
            .stdout(std::process::Stdio::null())
            .stderr(file)
            .spawn()
            .map_err(|error| format!("{name}: {error}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    fn end(mut self) -> Outcome {
        let status = self
            .child
            .wait()
            .map_err(|error| format!("{}: {error}", self.name))?;
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        if !status.success() {
            let start = log.find("panicked at").or(log.find("ERROR:")).unwrap_or(0);
            let story: Vec<&str> = log[start..].lines().take(30).collect();
            let again = "run again: the program in target/fuzz with the file as its argument";
            return Err(format!(
                "fuzz {}: {status}\n{}\n{again}",
                self.name,
                story.join("\n")
            ));
        }
        let figure = |name: &str| {
            let line = log.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.rsplit(' ').next())
                .unwrap_or("?")
                .to_owned()
        };
        let cover = log
            .lines()
            .rev()
            .find_map(|line| line.split("cov: ").nth(1));
        let cover = cover.and_then(|rest| rest.split(' ').next()).unwrap_or("?");
        println!(
            "{:14} {:>9} inputs, {cover:>6} edges, {:>5} MB",
            self.name,
            figure("stat::number_of_executed_units"),
            figure("stat::peak_rss_mb"),
        );
        Ok(())
    }
}

/// Waits until one of them has ended.
fn first_to_end(running: &mut [Running]) -> Outcome<usize> {
    loop {
        for (at, one) in running.iter_mut().enumerate() {
            let ended = one
                .child
                .try_wait()
                .map_err(|error| format!("{}: {error}", one.name))?;
            if ended.is_some() {
                return Ok(at);
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// Merges what was found into the committed corpus, as few and as short inputs as reach the same.
fn keep(name: &str) -> Outcome {
    let merged = root().join("target/fuzz/merged").join(name);
    let _ = std::fs::remove_dir_all(&merged);
    std::fs::create_dir_all(&merged).map_err(|error| format!("{}: {error}", merged.display()))?;
    Program::new(binary(name))
        .args(["-merge=1", "-use_counters=0", "-max_len=1024"])
        .args([&merged, &corpus(name), &found(name)])
        .output()?;
    let committed = corpus(name);
    let _ = std::fs::remove_dir_all(&committed);
    Program::new("cp")
        .args(["-r"])
        .args([&merged, &committed])
        .run()
}
