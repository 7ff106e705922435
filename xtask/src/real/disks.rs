//! Disks under the export that refuse.

use super::bed::Bed;
use super::{Extent, Program, When};
use crate::Outcome;
use crate::lab::Host;
use std::time::Duration;

pub(super) const PROGRAMS: &[Program] = &[
    Program {
        name: "full-disk",
        about: "a full disk under the export: ENOSPC at the write or at the latest at close, and room again",
        when: When::Gate,
        run: full_disk,
    },
    Program {
        name: "bad-disk",
        about: "a disk under the export that loses its second half: EIO at reads, writes and fsync, and the rest goes on",
        when: When::Gate,
        run: bad_disk,
    },
    Program {
        name: "quota",
        about: "a quota under the export: EDQUOT at the write or at the latest at close, and room again",
        when: When::Gate,
        run: quota,
    },
];

const LIMIT: Duration = Duration::from_secs(120);

/// Mounts a disk in the export, runs scripts on hosts there, and takes the disk away again.
fn on_disk(bed: &Bed, name: &str, make: &str, scripts: &[(&Host, &str)]) -> Outcome {
    let make = format!("mkdir -p /srv/tree/{name}/disk; cd /srv\n{make}");
    let made = bed.script_on(bed.server(), name, LIMIT, &make).map(drop);
    let outcome = made.and_then(|()| {
        scripts.iter().try_for_each(|(host, script)| {
            let script = format!("cd disk\n{script}");
            bed.script_on(host, name, LIMIT, &script).map(drop)
        })
    });
    let away = format!("umount -l /srv/tree/{name}/disk; rm -f /srv/{name}.image");
    bed.server().output(&["sh", "-c", &away])?;
    outcome
}

fn full_disk(bed: &Bed, _extent: Extent) -> Outcome<String> {
    let make = "mount -t tmpfs -o size=4m,mode=777 tmpfs tree/full-disk/disk";
    let script = r#"
for how in "bs=64k" "bs=1M" "bs=512 oflag=direct" "bs=4k oflag=append conv=notrunc" "bs=300k conv=fsync"; do
  if said=$(dd if=/dev/zero of=file $how count=100000 2>&1); then echo "$how: no error" >&2; exit 1; fi
  case $said in *"No space left"*) ;; *) echo "$how: $said" >&2; exit 1;; esac
  rm file
done
if mkdir -p $(seq -s / 100000) 2>/dev/null; then exit 1; fi
rm -rf ./*
head -c 3M /dev/urandom > file && cp file /run/file && cmp file /run/file
"#;
    on_disk(bed, "full-disk", make, &[(bed.client(), script)])?;
    Ok("5 ways to fill it, each told ENOSPC".to_owned())
}

/// The disk is a loop device that is made smaller while its file system is mounted: what lies behind the end fails.
fn bad_disk(bed: &Bed, _extent: Extent) -> Outcome<String> {
    let make = r#"
truncate -s 64M bad-disk.image && mkfs.ext4 -q bad-disk.image
mount -o loop bad-disk.image tree/bad-disk/disk
head -c 40M /dev/urandom > tree/bad-disk/disk/file
umount tree/bad-disk/disk && mount -o loop bad-disk.image tree/bad-disk/disk
truncate -s 16M bad-disk.image && losetup -c "$(findmnt -no SOURCE /srv/tree/bad-disk/disk)"
"#;
    let script = r#"
fails() {
  if said=$("$@" 2>&1 >/dev/null); then echo "$*: no error" >&2; exit 1; fi
  case $said in *"Input/output error"*) ;; *) echo "$*: $said" >&2; exit 1;; esac
}
fails cat file
fails dd if=file bs=4k skip=9000 count=1
fails dd if=file bs=1M skip=30 iflag=direct
fails dd if=/dev/zero of=file bs=1M seek=30 count=4 conv=notrunc,fsync
cmp -n 1048576 file file
test $(stat -c %s file) = 41943040
"#;
    on_disk(bed, "bad-disk", make, &[(bed.client(), script)])?;
    Ok("3 ways to read and a write, each told EIO".to_owned())
}

fn quota(bed: &Bed, _extent: Extent) -> Outcome<String> {
    let make = r#"
truncate -s 120M quota.image && mkfs.btrfs -q quota.image
mount -o loop quota.image tree/quota/disk
btrfs quota enable tree/quota/disk && btrfs qgroup limit 8M 0/5 tree/quota/disk
chmod 777 tree/quota/disk
"#;
    let exceed = r#"
for how in "bs=64k" "bs=1M" "bs=300k conv=fsync"; do
  if said=$(dd if=/dev/zero of=file $how count=200 conv=notrunc oflag=append 2>&1); then echo "$how: no error" >&2; exit 1; fi
  case $said in *"Disk quota exceeded"*) ;; *) echo "$how: $said" >&2; exit 1;; esac
done
"#;
    let go_on = "head -c 3M /dev/urandom > other && cp other /run/other && cmp other /run/other";
    let scripts = [
        (bed.client(), exceed),
        (bed.server(), "btrfs qgroup limit 60M 0/5 ."),
        (bed.client(), go_on),
    ];
    on_disk(bed, "quota", make, &scripts)?;
    Ok("3 ways to reach it, each told EDQUOT, and room again".to_owned())
}
