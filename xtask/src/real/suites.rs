//! Test suites for file systems: pjdfstest, fsx, fio.

use super::bed::{Bed, real_programs};
use super::{Extent, Program, When};
use crate::Outcome;
use crate::command::cargo;
use std::time::Duration;

pub(super) const PROGRAMS: &[Program] = &[
    Program {
        name: "pjdfstest",
        about: "398 tests of what POSIX says about names, rights and times",
        when: When::Always,
        run: pjdfstest,
    },
    Program {
        name: "fsx",
        about: "random reads, writes, truncations and holes, each checked: five seeds",
        when: When::Always,
        run: |bed, extent| fsx(bed, extent, "fsx", MAPPED_NOT),
    },
    Program {
        name: "fsx-mmap",
        about: "the same with shared memory maps among them",
        when: When::Always,
        run: |bed, extent| fsx(bed, extent, "fsx-mmap", MAPPED),
    },
    Program {
        name: "fio",
        about: "random and sequential writes of several jobs, read back and verified, also through maps",
        when: When::Gate,
        run: fio,
    },
];

/// Tests of the suite that may be skipped, and why.
const EXPECTED: &str = include_str!("expected.toml");

const PJDFSTEST: &str = r#"
cat > /run/pjdfstest.toml <<END
[features]
posix_fallocate = {}
rename_ctime = {}
utimensat = {}
utime_now = {}
[settings]
naptime = 0.02
[dummy_auth]
entries = [["nobody", "$(id -gn nobody)"], ["daemon", "daemon"]]
END
status=0; "$REAL/bin/pjdfstest" -c /run/pjdfstest.toml -p . -s /run 2>&1 || status=$?
echo; echo "status $status"
"#;

/// Tests that version of the suite has.
const TESTS: usize = 398;

fn pjdfstest(bed: &Bed, _extent: Extent) -> Outcome<String> {
    install("pjdfstest", "0.2.2")?;
    let said = bed.script("pjdfstest", Duration::from_secs(300), PJDFSTEST)?;
    let tests = || said.lines().filter_map(|line| line.split_once("  "));
    let with = |end: &str| -> Vec<String> {
        tests()
            .filter(|(_, state)| state.trim() == end)
            .map(|(name, _)| name.trim().to_owned())
            .collect()
    };
    let (passed, failed, skipped) = (with("ok"), with("FAILED"), with("skipped"));
    let ran = passed.len() + failed.len() + skipped.len();
    if ran != TESTS {
        let last: Vec<&str> = said.lines().rev().take(5).collect();
        return Err(format!(
            "{ran} of {TESTS} tests ran; last, backwards: {last:?}"
        ));
    }
    let unexplained: Vec<&String> = skipped.iter().filter(|name| !is_explained(name)).collect();
    if !failed.is_empty() || !unexplained.is_empty() {
        return Err(format!(
            "failed: {}\nskipped without a reason: {unexplained:?}",
            failed.join(" ")
        ));
    }
    if said.lines().next_back() != Some("status 0") {
        return Err(format!(
            "no test failed, but the suite did: {:?}",
            said.lines().next_back()
        ));
    }
    Ok(format!(
        "{} passed, {} skipped as real/expected.toml explains",
        passed.len(),
        skipped.len()
    ))
}

/// Whether the test stands among those that may be skipped; a star stands for anything.
fn is_explained(test: &str) -> bool {
    let patterns = EXPECTED
        .lines()
        .filter_map(|line| line.strip_prefix('"')?.split_once('"'));
    patterns.map(|(pattern, _)| pattern).any(|pattern| {
        let mut rest = test;
        let parts: Vec<&str> = pattern.split('*').collect();
        let [first, others @ ..] = parts.as_slice() else {
            return false;
        };
        let Some(behind) = rest.strip_prefix(first) else {
            return false;
        };
        rest = behind;
        others.iter().all(|part| match rest.find(part) {
            Some(at) => {
                rest = &rest[at + part.len()..];
                true
            }
            None => false,
        }) && (rest.is_empty() || pattern.ends_with('*'))
    })
}

const MAPPED_NOT: &str = "mapread = 0\nmapwrite = 0";
const MAPPED: &str = "mapread = 10\nmapwrite = 10\ninvalidate = 1";

fn fsx(bed: &Bed, extent: Extent, name: &str, maps: &str) -> Outcome<String> {
    install("fsx", "0.3.2")?;
    let (operations, seeds) = extent.pick((2_000, 2), (100_000, 5));
    let script = format!(
        "cat > /run/{name}.toml <<END\n[weights]\nclose_open = 1\nread = 10\nwrite = 10\n{maps}\n\
         truncate = 5\nfsync = 0.2\nfdatasync = 0.2\nposix_fallocate = 2\npunch_hole = 2\nsendfile = 1\n\
         posix_fadvise = 1\ncopy_file_range = 2\nEND\n\
         for seed in $(seq {seeds}); do \"$REAL/bin/fsx\" -q -q -f /run/{name}.toml -S $seed -N {operations} \
         -P /run file$seed 2>&1 | tail -12; rm file$seed; done"
    );
    bed.script(name, Duration::from_secs(900), &script)?;
    Ok(format!("{seeds} seeds of {operations} operations"))
}

fn fio(bed: &Bed, extent: Extent) -> Outcome<String> {
    let size = extent.pick("16m", "128m");
    let mut done = Vec::new();
    for (job, options) in [
        (
            "random",
            "--rw=randwrite --bsrange=1k-256k --ioengine=psync",
        ),
        (
            "sequential",
            "--rw=write --bs=1m --ioengine=psync --end_fsync=1",
        ),
        ("mapped", "--rw=randwrite --bs=16k --ioengine=mmap"),
        (
            "mixed",
            "--rw=randrw --bs=8k --ioengine=libaio --iodepth=16 --direct=1",
        ),
    ] {
        let script = format!(
            "fio --name={job} --size={size} --numjobs=3 --verify=crc32c --verify_fatal=1 --group_reporting \
             {options} 2>&1 >/run/fio.out || {{ tail -20 /run/fio.out; exit 1; }}; rm -f {job}.*"
        );
        bed.script("fio", Duration::from_secs(300), &script)
            .map_err(|error| format!("{job}: {error}"))?;
        done.push(job);
    }
    Ok(format!("3 jobs of {size} each: {}", done.join(", ")))
}

/// Has cargo build a suite, once.
fn install(name: &str, version: &str) -> Outcome {
    if real_programs().join("bin").join(name).exists() {
        return Ok(());
    }
    println!(
        "building {name} {version} into {}",
        real_programs().display()
    );
    cargo(["install", "--quiet", "--locked", "--root"])
        .args([real_programs()])
        .args([format!("{name}@{version}")])
        .run()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tests_that_are_listed_may_be_skipped() {
        assert!(is_explained("chown::lchown::erofs_named"));
        assert!(is_explained("link::link_count_max"));
        assert!(!is_explained("link::link_count_maximum"));
        assert!(!is_explained("rename::exdev_target"));
    }
}
