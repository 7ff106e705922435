//! The node's private key on disk.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use node::{PublicKey, Secret};
use zeroize::Zeroizing;

use crate::{StartError, crypto};

const FILE_NAME: &str = "node.key";
/// What is in the file: private and public key as hexadecimal digits, one line each.
const LINES: usize = 2;

/// Reads the key, or makes one on the first start.
pub(crate) fn load_or_make(state: &Path) -> Result<(Secret, PublicKey), StartError> {
    let path = state.join(FILE_NAME);
    match File::open(&path) {
        Ok(file) => read(&path, file),
        Err(error) if error.kind() == ErrorKind::NotFound => make(&path),
        Err(error) => Err(StartError::at(&path, error)),
    }
}

fn read(path: &Path, mut file: File) -> Result<(Secret, PublicKey), StartError> {
    let metadata = file
        .metadata()
        .map_err(|error| StartError::at(path, error))?;
    if metadata.mode() & 0o077 != 0 {
        let text = format!(
            "others may read the private key (mode {:o}): run `chmod 600` on it, and make a new one if it may have \
             been copied",
            metadata.mode() & 0o777
        );
        return Err(StartError::at(path, text));
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text)
        .map_err(|error| StartError::at(path, error))?;
    let keys: Vec<[u8; 32]> = text.lines().filter_map(from_hex).collect();
    let &[private, public] = keys.as_slice() else {
        let text = format!(
            "expected {LINES} lines of 64 hexadecimal digits, found something else: restore it, or remove it to \
             become a new node that nobody trusts yet"
        );
        return Err(StartError::at(path, text));
    };
    Ok((Secret(private), PublicKey(public)))
}

fn make(path: &Path) -> Result<(Secret, PublicKey), StartError> {
    let (private, public) =
        crypto::generate().ok_or_else(|| StartError::new("cannot make a private key"))?;
    let text = Zeroizing::new(format!("{}\n{}\n", *to_hex(&private.0), *to_hex(&public.0)));
    let failed = |error| StartError::at(path, error);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(path).map_err(failed)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed)?;
    Ok((private, public))
}

/// 64 hexadecimal digits as 32 bytes.
pub(crate) fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.trim().as_bytes();
    let mut bytes = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
    }
    Some(bytes)
}

/// 32 bytes as hexadecimal digits; wiped, because they may be a secret.
pub(crate) fn to_hex(bytes: &[u8; 32]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(64));
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(digit.into(), 16));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_key_made_at_the_first_start_is_kept_and_private() {
        let state = tempfile::tempdir().unwrap();
        let (private, public) = load_or_make(state.path()).unwrap();
        let (again, same) = load_or_make(state.path()).unwrap();
        assert!(private == again && public == same);
        let path = state.path().join(FILE_NAME);
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn a_key_that_others_may_read_or_that_is_broken_is_refused() {
        let state = tempfile::tempdir().unwrap();
        load_or_make(state.path()).unwrap();
        let path = state.path().join(FILE_NAME);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let text = load_or_make(state.path()).err().unwrap().to_string();
        assert!(text.contains("node.key") && text.contains("644"), "{text}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "nonsense").unwrap();
        let text = load_or_make(state.path()).err().unwrap().to_string();
        assert!(text.contains("64 hexadecimal digits"), "{text}");
    }
}
