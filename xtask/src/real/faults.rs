//! What goes wrong under an export or on the way to it, as programs see it.

use super::bed::{Bed, FAR};
use super::{Extent, Program, When};
use crate::Outcome;
use crate::lab::{CableState, Host};
use std::time::Duration;

pub(super) const PROGRAMS: &[Program] = &[
    Program {
        name: "gone",
        about: "a node that is cut off, and a server that is killed, under reads, opens, listings and writes; both come back",
        when: When::Gate,
        run: gone,
    },
    Program {
        name: "leaks",
        about: "100 000 opens with random kills: descriptors, memory and locks of mount and export afterwards",
        when: When::Named,
        run: leaks,
    },
];

const LIMIT: Duration = Duration::from_secs(120);

/// Every program that is at work on the node can be killed, other nodes go on, and all works again afterwards.
fn gone(bed: &Bed, _extent: Extent) -> Outcome<String> {
    bed.script(
        "gone",
        LIMIT,
        "for n in 1 2 3 4 5; do head -c 3M /dev/zero > big$n; done",
    )?;
    let attempts = r#"
D=/net/lab2/srv/gone
for what in "cat $D/big1" "ls -l $D/" "stat $D/big2" "echo x > $D/new" "dd if=$D/big3 bs=1M" "rm $D/big4" "flock $D/big5 true"; do
  setsid sh -c "$what" >/dev/null 2>&1 & pid=$!
  sleep 0.3
  kill -KILL -- -$pid 2>/dev/null || true
  for n in $(seq 100); do kill -0 $pid 2>/dev/null || break; sleep 0.1; done
  if kill -0 $pid 2>/dev/null; then echo "$what cannot be killed" >&2; exit 1; fi
done
timeout 20 ls /net/lab1 >/dev/null
"#;
    let works = || {
        let all = "echo again > file && test \"$(cat file)\" = again && ls -l . >/dev/null";
        crate::lab::wait_until("everything works again", LIMIT, || {
            Ok(bed.script("gone", LIMIT, all).is_ok())
        })
    };
    bed.server().cable(0, CableState::Cut)?;
    let cut = bed.script_in("/net", LIMIT, attempts);
    bed.server().cable(0, CableState::Whole)?;
    cut?;
    works()?;
    let kill = "kill -KILL $(cat /run/slashnet/up.pid)";
    bed.server().output(&["sh", "-c", kill])?;
    bed.script_in("/net", LIMIT, attempts)?;
    bed.up(bed.server())?;
    let back = works()?;
    Ok(format!(
        "7 kinds of work killed under each; works again {:.1} s after the restart",
        back.as_secs_f64()
    ))
}

/// Programs that open, lock and close until they are killed, each opening counted. Then everything must be as it was after
/// a first part of the same: buffers of threads stay for the next burst.
fn leaks(bed: &Bed, extent: Extent) -> Outcome<String> {
    let opens = extent.pick(1_000, 100_000);
    let warm = open_and_kill(bed, opens / 10)?;
    let before = settled(bed)?;
    let opened = open_and_kill(bed, opens)?;
    let after = settled(bed)?;
    // Each file can be locked: no lock of a killed program is left.
    bed.script(
        "leaks",
        LIMIT,
        "for f in file*; do flock -n -x $f true; done; rm -f file*",
    )?;
    for ((part, before), (_, after)) in before.iter().zip(&after) {
        if after.descriptors > before.descriptors + DESCRIPTORS_SLACK {
            let (before, after) = (before.descriptors, after.descriptors);
            return Err(format!(
                "{part}: {before} descriptors before, {after} after"
            ));
        }
        if after.memory > before.memory + MEMORY_SLACK {
            let (before, after) = (before.memory, after.memory);
            return Err(format!("{part}: {before} KiB before, {after} KiB after"));
        }
    }
    let parts = before
        .iter()
        .zip(&after)
        .map(|((part, before), (_, after))| {
            format!(
                "{part}: descriptors {} -> {}, memory {} -> {} KiB",
                before.descriptors, after.descriptors, before.memory, after.memory
            )
        });
    let parts: Vec<String> = parts.collect();
    Ok(format!(
        "{opened} opens in {FAR} behind {warm} first ones\n{}",
        parts.join("\n")
    ))
}

/// Runs four programs at a time and kills them at random until they have opened files so often; how often they did.
fn open_and_kill(bed: &Bed, opens: u32) -> Outcome<u32> {
    let script = format!(
        r#"
cat > /run/opener.sh <<'END'
n=0
while :; do
  exec 9<>file$((n % 50)); echo $n >&9; flock -n 9 || :; exec 8<file$((n % 7)); n=$((n + 1)); echo $((n * 2)) > /run/count$1
done
END
rm -f /run/count*; total=0
for n in $(seq 0 49); do : >> file$n; done
while test $total -lt {opens}; do
  for worker in 1 2 3 4; do echo 0 > /run/count$worker; bash /run/opener.sh $worker 2>/dev/null & workers[$worker]=$!; done
  sleep 1.$((RANDOM % 10))
  kill -KILL ${{workers[@]}}; wait 2>/dev/null || true
  for worker in 1 2 3 4; do count=$(cat /run/count$worker); total=$((total + ${{count:-0}})); done
done 2>/dev/null
echo $total
"#
    );
    let said = bed.script("leaks", Duration::from_secs(1800), &script)?;
    let total = said.trim().parse();
    total.map_err(|_| format!("{said:?}: a number was expected"))
}

/// Descriptors and memory of one process.
#[derive(PartialEq, Eq)]
struct Footprint {
    descriptors: u64,
    /// In KiB.
    memory: u64,
}

/// Those of the mount's process and the export's, when files are not being closed any more.
fn settled(bed: &Bed) -> Outcome<Vec<(&'static str, Footprint)>> {
    let mut last = footprints(bed)?;
    crate::lab::wait_until("the files are closed", Duration::from_secs(30), || {
        let now = footprints(bed)?;
        let is_same = now
            .iter()
            .zip(&last)
            .all(|((_, now), (_, last))| now.descriptors == last.descriptors);
        last = now;
        Ok(is_same)
    })?;
    Ok(last)
}

fn footprints(bed: &Bed) -> Outcome<Vec<(&'static str, Footprint)>> {
    let parts = [
        ("mount", bed.client(), " mount "),
        ("export", bed.server(), " serve export "),
    ];
    let of = |(part, host, words): (&'static str, &Host, &str)| {
        let script = "for pid in $(cat /proc/$(cat /run/slashnet/up.pid)/task/*/children); do \
                      tr '\\0' ' ' < /proc/$pid/cmdline | grep -q -e \"$1\" || continue; \
                      ls /proc/$pid/fd | wc -l; sed -n 's/^VmRSS:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/$pid/status; done";
        let said = host.output(&["sh", "-c", script, "sh", words])?;
        let numbers: Vec<u64> = said
            .split_whitespace()
            .filter_map(|number| number.parse().ok())
            .collect();
        match numbers.as_slice() {
            &[descriptors, memory] => Ok((
                part,
                Footprint {
                    descriptors,
                    memory,
                },
            )),
            _ => Err(format!("{part}: {said:?}, two numbers were expected")),
        }
    };
    parts.into_iter().map(of).collect()
}

/// Sockets and threads come and go.
const DESCRIPTORS_SLACK: u64 = 8;
/// Memory of a process swings with its threads, of which each has buffers of 1 to 3 MiB: ten of them.
const MEMORY_SLACK: u64 = 30 << 10;
