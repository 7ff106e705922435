//! How fast the mount is for programs, beside the same on the server's own disk. Ratios to other ways of sharing files
//! are in `cargo xtask bench`.

use super::bed::Bed;
use super::{Extent, Program, When};
use crate::Outcome;
use std::time::Duration;

pub(super) const PROGRAMS: &[Program] = &[Program {
    name: "speed",
    about: "small files and a large tree: create, stat, unlink, ls -lR, git status (figures only)",
    when: When::Always,
    run: speed,
}];

fn speed(bed: &Bed, extent: Extent) -> Outcome<String> {
    let count = extent.pick(500, 5_000);
    let script = format!(
        r#"
ms() {{ local begin=$(date +%s%N); "$@" >/dev/null 2>&1; echo $((($(date +%s%N) - begin) / 1000000)); }}
make() {{ seq -f "name%.0f" {count} | xargs touch; }}
mkdir small && cd small
echo "create $(ms make) ms, ls -l $(ms ls -l) ms, unlink $(ms find . -type f -delete) ms"
cd .. && git clone -q --no-hardlinks "$REPOSITORY" clone
sleep 1.1
echo "git status $(ms git -C clone status) ms, again $(ms git -C clone status) ms, ls -lR $(ms ls -lR clone) ms"
"#
    );
    bed.script("speed", Duration::from_secs(300), &script)
        .map(|said| said.trim().to_owned())
}
