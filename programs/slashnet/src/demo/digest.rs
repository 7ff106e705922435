//! Contents to send about, and sums to compare them by.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::failure::{During, Outcome};

/// The sum that `sha256sum` prints.
pub(crate) fn of(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes).as_slice())
}

/// The sum of a file of this machine.
pub(crate) fn of_file(path: &Path) -> Outcome<String> {
    let sum = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let mut sum = Sha256::new();
        let mut chunk = vec![0; 1 << 16];
        loop {
            match file.read(&mut chunk)? {
                0 => return Ok(hex(sum.finalize().as_slice())),
                length => sum.update(&chunk[..length]),
            }
        }
    };
    sum().during(path.display())
}

/// `length` bytes without a pattern that a lost, doubled or swapped piece could hide in; the same
/// for the same `seed`.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 32);
    let mut number = seed;
    while bytes.len() < length {
        // SplitMix64: every step of the counter gives another eight bytes.
        number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = number;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        bytes.extend((0..8).map(|byte| (mixed >> (8 * byte)) as u8));
    }
    bytes.truncate(length);
    bytes
}

/// The first digits of a sum: enough for a person to compare.
pub(crate) fn short(sum: &str) -> &str {
    sum.get(..12).unwrap_or(sum)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_the_one_that_the_machine_prints() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(of(b""), empty);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), noise(1, 100_000)).unwrap();
        assert_eq!(of_file(file.path()).unwrap(), of(&noise(1, 100_000)));
    }

    #[test]
    fn noise_depends_on_its_seed_only_and_does_not_repeat_itself() {
        assert_eq!(noise(7, 1001).len(), 1001);
        assert_eq!(noise(7, 1001)[..500], noise(7, 500));
        assert_ne!(noise(7, 64), noise(8, 64));
        assert_ne!(noise(7, 128)[..64], noise(7, 128)[64..]);
    }
}
