//! What is done to the file systems, in shell scripts that print a name and microseconds for each thing measured.

/// `ms NAME COMMAND...` measures.
pub(super) const MEASURE: &str = r#"
ms() { local name=$1; shift; local begin=$(date +%s%N); "$@" >/dev/null 2>&1; echo $name $((($(date +%s%N) - begin) / 1000)); }
"#;

/// Works in a new directory of its first argument; the second is the same one past any network.
pub(super) const FILES: &str = r#"
create() { seq -f "name%.0f" $COUNT | xargs touch; }
look() { seq -f "name%.0f" $COUNT | xargs stat -c %s; }
cd "$1"; rm -rf speed; mkdir speed; cd speed
ms write dd if=/dev/zero of=big bs=1M count=$MEGABYTES conv=fsync
cp "$2/big" "$2/other" && sleep 1.1
ms read dd if=other of=/dev/null bs=1M
rm big other
if test -n "$SEQUENTIAL"; then cd ..; rm -rf speed; exit; fi
mkdir small; cd small
ms create create
sleep 1.1
ms stat look
ms unlink find . -type f -delete
cd ..
ms clone git clone -q --no-hardlinks "$REPOSITORY" clone
cd ..
rm -rf speed
"#;

/// Makes the large tree as a repository in its first argument, unless it is there: three levels, 16 files a directory.
///
/// git compares sizes and times only, as inode numbers are the mount's own. The files are older than the index, or else
/// it would read them all again.
pub(super) const MAKE_TREE: &str = r#"
test ! -e "$1" || exit 0
git init -q "$1"; cd "$1"; git config core.checkStat minimal
for part in $(seq $PARTS); do
  for directory in part$part part$part/sub{1..24}; do
    mkdir -p $directory
    for file in {1..16}; do echo "$directory $file" > $directory/file$file; done
  done
done
find . -name .git -prune -o -exec touch -d "1 hour ago" {} +
git add . && git -c user.name=lab -c user.email=lab@lab commit -q -m large && git status >/dev/null
"#;

/// Looks at the large tree below the second argument in the directory of the first, where the third, a command for the
/// shell, has just mounted it, if there is one: a first time and, after what was learnt by the first has become old, again.
pub(super) const LOOK: &str = r#"
look() { cd "$3"; ms $1-cold $2; sleep 1.1; ms $1-warm $2; }
checked() { test -z "$(git status --porcelain)" && test $(ls -lR | wc -l) = $LINES_OF_TREE; }
list() { ls -lR; }
state() { git status; }
for what in "git state" "ls list"; do
  mkdir -p "$1"
  if test -n "$3"; then
    sh -c "$3" sh "$1" >/dev/null 2>&1 & mounted=$!
    until mountpoint -q "$1" && test -e "$1/$2"; do kill -0 $mounted; sleep 0.01; done
  fi
  (look $what "$1/$2"; checked)
  if test -n "$3"; then umount "$1"; wait $mounted || true; fi
done
"#;
