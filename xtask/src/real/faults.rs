//! What goes wrong under an export or on the way to it, as programs see it.

use super::bed::{Bed, FAR};
use super::{Extent, Program, When};
use crate::Outcome;
use crate::lab::CableState;
use std::time::Duration;

pub(super) const PROGRAMS: &[Program] = &[
    Program {
        name: "full-disk",
        about: "a full disk under the export: ENOSPC at the write or at the latest at close, and room again",
        when: When::Gate,
        run: full_disk,
    },
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

/// The export has a small file system mounted in it.
fn full_disk(bed: &Bed, _extent: Extent) -> Outcome<String> {
    let server = bed.server();
    server.output(&[
        "sh",
        "-c",
        "mkdir -p /srv/tree/full-disk/small && mount -t tmpfs -o size=4m,mode=777 tmpfs /srv/tree/full-disk/small",
    ])?;
    let script = r#"
cd small
for how in "bs=64k" "bs=1M" "bs=512 oflag=direct" "bs=4k oflag=append conv=notrunc" "bs=300k conv=fsync"; do
  if said=$(LC_ALL=C dd if=/dev/zero of=file $how count=100000 2>&1); then echo "$how: no error" >&2; exit 1; fi
  case $said in *"No space left"*) ;; *) echo "$how: $said" >&2; exit 1;; esac
  rm file
done
if LC_ALL=C mkdir -p $(seq -s / 100000) 2>/dev/null; then exit 1; fi
rm -rf ./*
head -c 3M /dev/urandom > file && cp file /run/file && cmp file /run/file
"#;
    let outcome = bed.script("full-disk", LIMIT, script);
    server.output(&["umount", "-l", "/srv/tree/full-disk/small"])?;
    outcome.map(|_| "5 ways to fill it, each told ENOSPC".to_owned())
}

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

fn leaks(bed: &Bed, extent: Extent) -> Outcome<String> {
    let (rounds, opens) = extent.pick((4, 100), (100, 1_000));
    let before = footprint(bed)?;
    let script = format!(
        r#"
for round in $(seq {rounds}); do
  for worker in 1 2 3 4; do
    ( for n in $(seq $(({opens} / 4))); do
        exec 9<>file$((n % 50)); echo $n >&9; flock -n 9 || true; exec 8<file$((n % 7)) 2>/dev/null || true
      done; sleep 100 ) &
    workers[$worker]=$!
  done
  sleep 0.$((RANDOM % 9 + 1))
  kill -KILL ${{workers[@]}}; wait 2>/dev/null || true
done 2>/dev/null
rm -f file*
"#
    );
    bed.script("leaks", Duration::from_secs(1200), &script)?;
    let patience = Duration::from_secs(20);
    crate::lab::wait_until("the files are closed", patience, || {
        let after = footprint(bed)?;
        Ok(after.descriptors <= before.descriptors + DESCRIPTORS_SLACK)
    })?;
    let after = footprint(bed)?;
    if after.memory > before.memory + MEMORY_SLACK {
        return Err(format!(
            "{} KiB before, {} KiB after",
            before.memory, after.memory
        ));
    }
    Ok(format!(
        "{} opens in {FAR}: descriptors {} -> {}, memory {} -> {} KiB",
        rounds * opens,
        before.descriptors,
        after.descriptors,
        before.memory,
        after.memory
    ))
}

/// Descriptors and memory of the export's process and the mount's together.
struct Footprint {
    descriptors: u64,
    /// In KiB.
    memory: u64,
}

fn footprint(bed: &Bed) -> Outcome<Footprint> {
    let mut all = Footprint {
        descriptors: 0,
        memory: 0,
    };
    for host in [bed.client(), bed.server()] {
        let script = "pid=$(cat /run/slashnet/up.pid); ls /proc/$pid/fd | wc -l; \
                      sed -n 's/^VmRSS:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/$pid/status";
        let said = host.output(&["sh", "-c", script])?;
        let mut numbers = said.split_whitespace().map(str::parse::<u64>);
        let mut next = || match numbers.next() {
            Some(Ok(number)) => Ok(number),
            _ => Err(format!("{said:?}: two numbers were expected")),
        };
        all.descriptors += next()?;
        all.memory += next()?;
    }
    Ok(all)
}

/// Sockets and threads come and go.
const DESCRIPTORS_SLACK: u64 = 40;
/// Buffers of threads stay for the next burst: 32 of 3 MiB in the mount and 32 of 1 MiB in the export.
const MEMORY_SLACK: u64 = 140 << 10;
