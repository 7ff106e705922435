//! Single things that POSIX and Linux promise about files, between nodes.

use super::bed::{Bed, FRESH};
use super::{Extent, Program, When};
use crate::Outcome;
use std::time::Duration;

pub(super) const PROGRAMS: &[Program] = &[
    Program {
        name: "posix",
        about: "open files without a name, renames over them, links, holes, fallocate, O_TMPFILE, xattrs",
        when: When::Gate,
        run: posix,
    },
    Program {
        name: "append",
        about: "O_APPEND from two nodes at once: every line whole and in its place",
        when: When::Gate,
        run: append,
    },
    Program {
        name: "locks",
        about: "fcntl locks and flock among nodes and the server's own processes",
        when: When::Gate,
        run: locks,
    },
    Program {
        name: "seen",
        about: "how soon one node sees what another has finished writing",
        when: When::Gate,
        run: seen,
    },
];

const LIMIT: Duration = Duration::from_secs(60);
/// Another hundred are lines of the other node.
const LINES: usize = 300;

fn posix(bed: &Bed, _extent: Extent) -> Outcome<String> {
    let done = bed.script("posix", LIMIT, "\"$XTASK\" real --probe files .")?;
    Ok(done.trim().to_owned())
}

fn append(bed: &Bed, _extent: Extent) -> Outcome<String> {
    let write = format!(
        "exec 3>>log; for n in $(seq {LINES}); do printf '%s %0100d\\n' $(hostname) $n >&3; done"
    );
    std::thread::scope(|scope| {
        let hosts = [bed.client(), bed.other(), bed.server()];
        let writers =
            hosts.map(|host| scope.spawn(|| bed.script_on(host, "append", LIMIT, &write)));
        writers.into_iter().try_for_each(|writer| {
            let done = writer.join().map_err(|_| "a writer panicked".to_owned())?;
            done.map(drop)
        })
    })?;
    let check = "test $(wc -l < log) = $(sort -u log | wc -l); awk 'length($0) != 105' log | wc -l; wc -l < log";
    let said = bed.script_on(bed.server(), "append", LIMIT, check)?;
    match said.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["0", lines] if *lines == (3 * LINES).to_string() => {
            Ok(format!("{lines} lines, all whole"))
        }
        _ => Err(format!("broken lines and all lines: {said:?}")),
    }
}

/// Each node adds to a counter under a lock; nothing is lost only if the locks exclude each other.
fn locks(bed: &Bed, extent: Extent) -> Outcome<String> {
    let rounds = extent.pick(30, 300);
    for kind in ["record", "flock"] {
        bed.script_on(bed.server(), "locks", LIMIT, "echo 0 > counter")?;
        let count = format!("\"$XTASK\" real --probe count counter {kind} {rounds}");
        std::thread::scope(|scope| {
            let hosts = [bed.client(), bed.client(), bed.other(), bed.server()];
            let writers =
                hosts.map(|host| scope.spawn(|| bed.script_on(host, "locks", LIMIT, &count)));
            writers.into_iter().try_for_each(|writer| {
                let done = writer.join().map_err(|_| "a counter panicked".to_owned())?;
                done.map(drop)
            })
        })?;
        let total = bed.script_on(bed.server(), "locks", LIMIT, "cat counter")?;
        let expected = 4 * rounds;
        if total.trim() != expected.to_string() {
            return Err(format!(
                "{kind}: counted {}, expected {expected}",
                total.trim()
            ));
        }
    }
    // A holder that is killed lets go.
    let held = "rm -f /run/held; mkfifo /run/held; \
        ( exec 9<counter; flock 9; echo held > /run/held; exec sleep 600 ) & holder=$!; \
        read word < /run/held; kill -KILL $holder; wait $holder || true; flock -w 20 counter true";
    bed.script("locks", LIMIT, held)?;
    bed.script("locks", LIMIT, HOLDER)?;
    Ok(format!(
        "4 programs on 3 nodes, {rounds} rounds each, both kinds"
    ))
}

/// The other node looks all the time, so that its mount has something old to believe.
fn seen(bed: &Bed, extent: Extent) -> Outcome<String> {
    let rounds = extent.pick(3, 10);
    let mut longest = Duration::ZERO;
    bed.script("seen", LIMIT, "echo 0 > file")?;
    for round in 1..=rounds {
        let look = format!(
            "until test \"$(cat file)\" = {round}; do :; done; until test -e name{round}; do :; done; date +%s%N"
        );
        let moment = std::thread::scope(|scope| {
            let looker = scope.spawn(|| bed.script_on(bed.other(), "seen", LIMIT, &look));
            let write = format!("echo {round} > file; : > name{round}; date +%s%N");
            let written = bed.script("seen", LIMIT, &write)?;
            let saw = looker.join().map_err(|_| "the looker panicked")??;
            let time = |text: &str| {
                text.trim()
                    .parse::<u64>()
                    .map_err(|error| error.to_string())
            };
            Ok::<_, String>(time(&saw)?.saturating_sub(time(&written)?))
        })?;
        longest = longest.max(Duration::from_nanos(moment));
    }
    // The gate may run on a machine that does much else.
    match longest < extent.pick(10, 2) * FRESH {
        true => Ok(format!(
            "within {:.0} ms, promised {:.0}",
            longest.as_secs_f64() * 1e3,
            FRESH.as_secs_f64() * 1e3
        )),
        false => Err(format!("seen after {longest:?}, promised {FRESH:?}")),
    }
}

/// A child holds a record lock; its parent asks who does.
const HOLDER: &str = r#"
cat > /run/holder.c <<'END'
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
int main(void) {
    struct flock lock = { .l_type = F_WRLCK, .l_start = 3, .l_len = 5 };
    int ready[2], file = open("counter", O_RDWR);
    char byte;
    if (file < 0 || pipe(ready)) return 2;
    pid_t child = fork();
    if (!child) {
        if (fcntl(file, F_SETLK, &lock) || write(ready[1], "x", 1) != 1) _exit(2);
        pause();
    }
    if (read(ready[0], &byte, 1) != 1) return 2;
    lock.l_start = lock.l_len = 0;
    int failed = fcntl(file, F_GETLK, &lock);
    kill(child, SIGKILL);
    fprintf(stderr, "%d of %d, from %ld\n", (int)lock.l_pid, (int)child, (long)lock.l_start);
    return failed || lock.l_pid != child || lock.l_start != 3 || lock.l_len != 5;
}
END
cc -o /run/holder /run/holder.c
timeout 20 /run/holder
"#;
