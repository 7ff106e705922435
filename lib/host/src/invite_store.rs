//! One-time codes on disk, or rather what tells whether a code is good: `invites.toml`.
//!
//! The codes themselves are nowhere. Whoever reads the file could take part in a joining, so nobody else may.

use std::io::ErrorKind;
use std::path::Path;

use node::{InviteRecord, PublicKey, Secret};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::StartError;
use crate::key_file::{from_hex, to_hex};
use crate::private_file;

pub(crate) const FILE_NAME: &str = "invites.toml";

const HEADING: &str = "# One-time codes of this node that are open or were used lately. Written by the node.\n\
# Without this file, codes that are open are good no more.\n\n";

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    invite: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    joining: Zeroizing<String>,
    kept: Zeroizing<String>,
    /// Nanoseconds since the Unix epoch, as text: TOML's numbers end at 2^63.
    expires: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    used_by: Option<(String, String)>,
    last_timestamp: String,
}

/// Reads what is there; there is nothing before the first code.
pub(crate) fn load(state: &Path) -> Result<Vec<InviteRecord>, StartError> {
    let path = state.join(FILE_NAME);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StartError::at(&path, error)),
    };
    let document: Document = toml::from_str(&text).map_err(|error| StartError::at(&path, error))?;
    let records = document.invite.iter().map(Entry::record);
    let records: Option<Vec<InviteRecord>> = records.collect();
    records.ok_or_else(|| {
        let text =
            "a code is not as the node wrote it: restore the file, or remove it to void all codes";
        StartError::at(&path, text)
    })
}

/// Replaces what is there. A crash leaves the old or the new, never half of it.
pub(crate) fn save(state: &Path, records: &[InviteRecord]) -> std::io::Result<()> {
    let document = Document {
        invite: records.iter().map(Entry::from).collect(),
    };
    let body = Zeroizing::new(toml::to_string(&document).map_err(std::io::Error::other)?);
    let text = Zeroizing::new(format!("{HEADING}{}", *body));
    private_file::replace(state, FILE_NAME, text.as_bytes())
}

impl Entry {
    fn record(&self) -> Option<InviteRecord> {
        let used_by = match &self.used_by {
            None => None,
            Some((key, at)) => Some((PublicKey(from_hex(key)?), at.parse().ok()?)),
        };
        Some(InviteRecord {
            id: u64::from_str_radix(&self.id, 16).ok()?.to_le_bytes(),
            joining: Secret(from_hex(&self.joining)?),
            kept: Secret(from_hex(&self.kept)?),
            expires: self.expires.parse().ok()?,
            used_by,
            last_timestamp: self.last_timestamp.parse().ok()?,
        })
    }
}

impl From<&InviteRecord> for Entry {
    fn from(record: &InviteRecord) -> Self {
        let used_by = record.used_by.as_ref();
        Self {
            id: format!("{:016x}", u64::from_le_bytes(record.id)),
            joining: to_hex(&record.joining.0),
            kept: to_hex(&record.kept.0),
            expires: record.expires.to_string(),
            used_by: used_by.map(|(key, at)| (to_hex(&key.0).to_string(), at.to_string())),
            last_timestamp: record.last_timestamp.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_saved_is_loaded_and_nobody_else_may_read_it() {
        let state = tempfile::tempdir().unwrap();
        assert!(load(state.path()).unwrap().is_empty());
        let open = InviteRecord {
            id: [0, 1, 2, 3, 4, 5, 6, 255],
            joining: Secret([7; 32]),
            kept: Secret([8; 32]),
            expires: u64::MAX,
            used_by: None,
            last_timestamp: 0,
        };
        let used = InviteRecord {
            used_by: Some((PublicKey([9; 32]), u64::MAX)),
            last_timestamp: u64::MAX,
            ..open.clone()
        };
        let records = [open, used];
        save(state.path(), &records).unwrap();
        assert_eq!(load(state.path()).unwrap(), records);
        let metadata = std::fs::metadata(state.path().join(FILE_NAME)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_makes_no_sense_is_refused_by_name() {
        let state = tempfile::tempdir().unwrap();
        let row =
            "id = \"x\"\njoining = \"\"\nkept = \"\"\nexpires = \"1\"\nlast_timestamp = \"1\"\n";
        for text in [
            "[[invite]]\nid = 1\n".to_owned(),
            format!("[[invite]]\n{row}"),
            format!("[[invite]]\n{row}colour = 3\n"),
        ] {
            std::fs::write(state.path().join(FILE_NAME), text).unwrap();
            let refused = load(state.path()).err().unwrap().to_string();
            assert!(refused.contains("invites.toml"), "{refused}");
        }
    }
}
