//! What people run every day.

use super::bed::{Bed, FAR};
use super::{Extent, Program, When};
use crate::Outcome;
use std::time::{Duration, Instant};

pub(super) const PROGRAMS: &[Program] = &[
    Program {
        name: "git",
        about: "clone, commit, gc and fsck of this repository",
        when: When::Always,
        run: git,
    },
    Program {
        name: "sqlite",
        about: "writers on three nodes, the server's own among them, insert into one database",
        when: When::Gate,
        run: sqlite,
    },
    Program {
        name: "rsync",
        about: "rsync -aX there and again, nothing left to do",
        when: When::Gate,
        run: rsync,
    },
    Program {
        name: "tar",
        about: "tar over there and back, compared",
        when: When::Gate,
        run: tar,
    },
    Program {
        name: "make",
        about: "make -j2 of a C program over there, and running it from there",
        when: When::Gate,
        run: make,
    },
    Program {
        name: "tail",
        about: "tail -f of a file that another node appends to",
        when: When::Gate,
        run: tail,
    },
    Program {
        name: "big-file",
        about: "a file of 5 GiB with holes, written, copied and compared",
        when: When::Always,
        run: big_file,
    },
    Program {
        name: "many-files",
        about: "100 000 files in one directory",
        when: When::Always,
        run: many_files,
    },
];

const MINUTES: Duration = Duration::from_secs(600);

fn git(bed: &Bed, _extent: Extent) -> Outcome<String> {
    let script = r#"
git clone -q --no-hardlinks "$REPOSITORY" clone
cd clone
git config user.name lab1 && git config user.email lab1@example.org
test -z "$(git status --porcelain)"
for n in 1 2 3; do echo $n >> notes; git add notes; git commit -q -m "note $n"; done
git checkout -q -b side HEAD~2 && echo side > other && git add other && git commit -q -m side
git merge -q -m merge - >/dev/null
git gc -q
git fsck --full --strict 2>&1 | grep -v -e dangling -e "^notice" || true
git fsck --full >/dev/null
git log --oneline | wc -l
"#;
    let commits = bed.script("git", MINUTES, script)?;
    Ok(format!("{} commits", commits.trim()))
}

fn sqlite(bed: &Bed, extent: Extent) -> Outcome<String> {
    let rows = extent.pick(20, 200);
    bed.script(
        "sqlite",
        MINUTES,
        "sqlite3 shared.db 'create table t (who text, n integer)'",
    )?;
    let insert = format!(
        "for n in $(seq {rows}); do sqlite3 -cmd '.timeout 60000' shared.db \
         \"begin immediate; insert into t values ('$(hostname)', $n); commit\"; done"
    );
    let hosts = [bed.client(), bed.other(), bed.server()];
    std::thread::scope(|scope| {
        let writers: Vec<_> = hosts
            .iter()
            .map(|host| scope.spawn(|| bed.script_on(host, "sqlite", MINUTES, &insert)))
            .collect();
        writers.into_iter().try_for_each(|writer| {
            let done = writer.join().map_err(|_| "a writer panicked".to_owned())?;
            done.map(drop)
        })
    })?;
    let query = "sqlite3 shared.db 'pragma integrity_check; select count(*) from t; \
                 select count(distinct who || n) from t'";
    let said = bed.script("sqlite", MINUTES, query)?;
    let expected = format!("ok\n{0}\n{0}\n", rows * hosts.len());
    match said == expected {
        true => Ok(format!("{rows} transactions on each of 3 nodes")),
        false => Err(format!("expected {expected:?}, found {said:?}")),
    }
}

/// A small tree with what archives must keep.
const TREE: &str = r#"
make_tree() {
mkdir -p "$1/sub/deeper" "$1/empty"
seq 20000 > "$1/numbers"; echo x > "$1/sub/deeper/small"; : > "$1/zero"
ln "$1/numbers" "$1/sub/linked"; ln -s ../numbers "$1/sub/symbolic"; ln -s /nowhere "$1/dangling"
mkfifo "$1/pipe"; chmod 640 "$1/numbers"; chmod 4755 "$1/zero"; chmod 1777 "$1/empty"
setfattr -n user.note -v "kept" "$1/numbers"
truncate -s 3M "$1/holes"; printf end >> "$1/holes"
touch -d '2001-02-03 04:05:06.789012345 UTC' "$1/sub/deeper/small" "$1/empty"
for n in $(seq 200); do echo $n > "$1/sub/file$n"; done
}
"#;

fn rsync(bed: &Bed, _extent: Extent) -> Outcome<String> {
    let script = format!(
        r#"{TREE}
rm -rf /run/tree && make_tree /run/tree
rsync -aXH /run/tree/ copy/
again=$(rsync -aXHi --checksum /run/tree/ copy/)
test -z "$again" || {{ echo "left to do: $again" >&2; exit 1; }}
test "$(getfattr --only-values -n user.note copy/numbers)" = kept
rm -rf /run/back && rsync -aXH copy/ /run/back/
test -z "$(rsync -aXHi --checksum /run/tree/ /run/back/)"
test "$(stat -c %i copy/numbers)" = "$(stat -c %i copy/sub/linked)"
find copy | wc -l
"#
    );
    let count = bed.script("rsync", MINUTES, &script)?;
    Ok(format!("{} files there and back", count.trim()))
}

fn tar(bed: &Bed, _extent: Extent) -> Outcome<String> {
    let script = format!(
        r#"{TREE}
rm -rf /run/tree && make_tree /run/tree
tar -C /run --xattrs -cSf - tree | tar --xattrs -xf -
tar -C /run --xattrs -cSf - tree | tar --xattrs --compare -f -
tar --xattrs -cSf archive.tar tree
rm -rf /run/tree/* && tar -C /run --xattrs -xf archive.tar
tar -C /run --xattrs --compare -f archive.tar
rm -r tree
stat -c %s archive.tar
"#
    );
    let size = bed.script("tar", MINUTES, &script)?;
    Ok(format!("{} bytes of archive", size.trim()))
}

fn make(bed: &Bed, extent: Extent) -> Outcome<String> {
    let files = extent.pick(12, 60);
    let script = format!(
        r#"
echo 'int main(void) {{ int all = 0;' > main.c
for n in $(seq {files}); do
  echo "int f$n(void) {{ return $n; }}" > f$n.c
  sed -i "1i int f$n(void);" main.c; echo "all += f$n();" >> main.c
done
echo 'return all != {files} * ({files} + 1) / 2; }}' >> main.c
printf 'sum: $(patsubst %%.c,%%.o,$(wildcard *.c))\n\tcc -o $@ $^\n' > Makefile
make -s -j2
./sum
test "$(make -j2)" = "make: 'sum' is up to date."
echo 'int f1(void) {{ return 2; }}' > f1.c
make -s -j2
if ./sum; then exit 1; fi
"#
    );
    bed.script("make", MINUTES, &script)?;
    Ok(format!("{files} objects, linked and run"))
}

fn tail(bed: &Bed, _extent: Extent) -> Outcome<String> {
    bed.script("tail", MINUTES, "echo begin > log")?;
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let follow = "timeout 60 sh -c 'tail -n +1 -f log | { while read line; do echo \"$line\"; \
                      test \"$line\" = end && break; done; }' || true";
        let reader = scope.spawn(|| bed.script("tail", MINUTES, follow));
        let append = "for n in $(seq 20); do echo $n >> log; sleep 0.05; done; echo end >> log";
        bed.script_on(bed.other(), "tail", MINUTES, append)?;
        let seen = reader.join().map_err(|_| "the reader panicked")??;
        let expected: Vec<String> = ["begin".to_owned()]
            .into_iter()
            .chain((1..=20).map(|n| n.to_string()))
            .chain(["end".to_owned()])
            .collect();
        match seen.lines().eq(expected.iter()) {
            true => Ok(format!(
                "22 lines within {:.1} s",
                begun.elapsed().as_secs_f64()
            )),
            false => Err(format!("saw {seen:?}")),
        }
    })
}

fn big_file(bed: &Bed, _extent: Extent) -> Outcome<String> {
    let script = r#"
truncate -s 5G big
for at in 0 1 2047 4096 5119; do
  head -c 1M /dev/urandom | dd of=big bs=1M seek=$at conv=notrunc status=none
done
used=$(du -m big | cut -f1)
test $used -le 16 || { echo "$used MiB are in use" >&2; exit 1; }
cp --sparse=auto big /run/big
cmp big /run/big
cp --sparse=always /run/big copy
cmp -n 1048576 -i 4294967296 big copy
test $(stat -c %s copy) = 5368709120
rm -f big copy /run/big
echo $used
"#;
    let used = bed.script("big-file", MINUTES, script)?;
    Ok(format!("5 GiB, {} MiB of it data", used.trim()))
}

fn many_files(bed: &Bed, extent: Extent) -> Outcome<String> {
    let count = extent.pick(2_000, 100_000);
    let script = format!(
        r#"
begin=$(date +%s%N)
seq -f "name%.0f" {count} | xargs touch
made=$(date +%s%N)
test $(ls -f | wc -l) = $(({count} + 2))
listed=$(date +%s%N)
ls -l > /run/listed
test $(grep -c name /run/listed) = {count}
looked=$(date +%s%N)
find . -type f -delete
removed=$(date +%s%N)
test -z "$(ls)"
echo made $((({count} * 1000000000) / (made - begin)))/s, listed in $(((listed - made) / 1000000)) ms, \
  with attributes in $(((looked - listed) / 1000000)) ms, removed $((({count} * 1000000000) / (removed - looked)))/s
"#
    );
    let figures = bed.script("many-files", MINUTES, &script)?;
    Ok(format!("{count} files: {} in {FAR}", figures.trim()))
}
