//! The list of trusted nodes on disk: `trust.toml`.
//!
//! The node writes it when trust begins or ends; people may edit it while the node does not run.

use std::io::ErrorKind;
use std::path::Path;

use abi::{LinkAddress, NodeName};
use node::{IdentityMap, MayAssert, PublicKey, Range, Secret, TrustRecord};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::StartError;
use crate::key_file::{from_hex, to_hex};
use crate::private_file;

pub(crate) const FILE_NAME: &str = "trust.toml";

const HEADING: &str = "# Nodes that this node trusts. Written by the node; edit it only while the node is stopped.\n\
# root = \"nobody\" (default) or \"root\": what root there is here.\n\
# everybody = [uid, gid]: all users there are this one here.\n\
# users, groups = [[there, here], ...]: exceptions from \"the same number\".\n\
# may_assert = [[first, last], ...]: for whom that node may speak; all if it is left out.\n\n";

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    node: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    number: u16,
    key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<Hidden>,
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default)]
    root: Root,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    everybody: Option<(u32, u32)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    users: Vec<(u32, u32)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    groups: Vec<(u32, u32)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    may_assert: Option<Vec<(u32, u32)>>,
}

/// Hexadecimal digits that are a secret.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Hidden(Zeroizing<String>);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hidden(..)")
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Root {
    #[default]
    Nobody,
    Root,
}

/// Reads the list; there is none before the first join.
pub(crate) fn load(state: &Path) -> Result<Vec<TrustRecord>, StartError> {
    let path = state.join(FILE_NAME);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StartError::at(&path, error)),
    };
    let document: Document = toml::from_str(&text).map_err(|error| StartError::at(&path, error))?;
    let mut records = Vec::new();
    for entry in &document.node {
        let record = entry
            .record()
            .map_err(|what| StartError::at(&path, format!("node {:?}: {what}", entry.name)))?;
        let clash = |other: &&TrustRecord| {
            other.name == record.name || other.number == record.number || other.key == record.key
        };
        if let Some(other) = records.iter().find(clash) {
            let text = format!(
                "node {:?} has the same name, number or key as {}",
                entry.name, other.name
            );
            return Err(StartError::at(&path, text));
        }
        records.push(record);
    }
    Ok(records)
}

/// Replaces the list. A crash leaves the old or the new one, never half of one.
pub(crate) fn save(state: &Path, records: &[TrustRecord]) -> std::io::Result<()> {
    let document = Document {
        node: records.iter().map(Entry::from).collect(),
    };
    let body = toml::to_string(&document).map_err(std::io::Error::other)?;
    let text = Zeroizing::new(format!("{HEADING}{}", *Zeroizing::new(body)));
    private_file::replace(state, FILE_NAME, text.as_bytes())
}

impl Entry {
    fn record(&self) -> Result<TrustRecord, String> {
        let name = NodeName::parse(&self.name)
            .map_err(|_| String::from("a name is 1 to 63 letters, digits, '-' and '_'"))?;
        if self.number == 0 {
            return Err(String::from("number 0 is this node; expected 1 to 65535"));
        }
        let key = from_hex(&self.key).ok_or("key: expected 64 hexadecimal digits")?;
        let secret = match &self.secret {
            None => None,
            Some(hidden) => Some(Secret(
                from_hex(&hidden.0).ok_or("secret: expected 64 hexadecimal digits")?,
            )),
        };
        let ranges = |list: &Vec<(u32, u32)>| {
            list.iter()
                .map(|&(first, last)| Range { first, last })
                .collect()
        };
        let address = |text: &String| {
            let refused = format!("address {text:?}: expected IP:PORT or 52-54-00-12-34-ff:PORT");
            text.parse::<LinkAddress>().map_err(|_| refused)
        };
        Ok(TrustRecord {
            name,
            number: self.number,
            key: PublicKey(key),
            secret,
            addresses: self
                .addresses
                .iter()
                .map(address)
                .collect::<Result<_, _>>()?,
            identities: IdentityMap {
                trust_root: self.root == Root::Root,
                all: self.everybody,
                users: self.users.clone(),
                groups: self.groups.clone(),
                may_assert: self
                    .may_assert
                    .as_ref()
                    .map_or(MayAssert::Anybody, |l| MayAssert::Only(ranges(l))),
            },
        })
    }
}

impl From<&TrustRecord> for Entry {
    fn from(record: &TrustRecord) -> Self {
        let map = &record.identities;
        Self {
            name: record.name.as_str().to_owned(),
            number: record.number,
            key: to_hex(&record.key.0).to_string(),
            secret: record
                .secret
                .as_ref()
                .map(|secret| Hidden(to_hex(&secret.0))),
            addresses: record
                .addresses
                .iter()
                // What cannot be written in a form that is read again is learnt again.
                .filter(|address| address.to_string().parse() == Ok(**address))
                .map(ToString::to_string)
                .collect(),
            root: if map.trust_root {
                Root::Root
            } else {
                Root::Nobody
            },
            everybody: map.all,
            users: map.users.clone(),
            groups: map.groups.clone(),
            may_assert: match &map.may_assert {
                MayAssert::Anybody => None,
                MayAssert::Only(ranges) => Some(
                    ranges
                        .iter()
                        .map(|range| (range.first, range.last))
                        .collect(),
                ),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn lab2() -> TrustRecord {
        TrustRecord {
            name: NodeName::parse("lab2").unwrap(),
            number: 3,
            key: PublicKey([0xab; 32]),
            secret: Some(Secret([7; 32])),
            addresses: vec![
                LinkAddress::ipv4([10, 0, 0, 2], 41_000),
                LinkAddress::ethernet([2, 0, 0, 0, 0, 9], 41_000),
            ],
            identities: IdentityMap {
                users: vec![(1000, 1001)],
                may_assert: MayAssert::Only(vec![Range {
                    first: 1000,
                    last: 1999,
                }]),
                ..IdentityMap::default()
            },
        }
    }

    #[test]
    fn what_is_saved_is_loaded_and_nobody_else_may_read_it() {
        let state = tempfile::tempdir().unwrap();
        assert!(load(state.path()).unwrap().is_empty());
        save(state.path(), &[lab2()]).unwrap();
        save(state.path(), &[lab2()]).unwrap();
        assert_eq!(load(state.path()).unwrap(), [lab2()]);
        let metadata = std::fs::metadata(state.path().join(FILE_NAME)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_bad_list_is_refused_with_file_line_and_what_was_expected() {
        let state = tempfile::tempdir().unwrap();
        let key = "ab".repeat(32);
        let rows = [
            ("[[node]]\nname = 1\n".to_owned(), "line 2"),
            (
                format!("[[node]]\nname = \"lab2\"\nnumber = 1\nkey = \"{key}\"\ncolour = 3\n"),
                "colour",
            ),
            (
                "[[node]]\nname = \"lab2\"\nnumber = 1\nkey = \"xyz\"\n".to_owned(),
                "64 hexadecimal digits",
            ),
            (
                format!("[[node]]\nname = \"lab2\"\nnumber = 0\nkey = \"{key}\"\n"),
                "1 to 65535",
            ),
            (
                format!("[[node]]\nname = \"a b\"\nnumber = 1\nkey = \"{key}\"\n"),
                "1 to 63",
            ),
            (
                format!(
                    "[[node]]\nname = \"lab2\"\nnumber = 1\nkey = \"{key}\"\naddresses = [\"lab2:5\"]\n"
                ),
                "expected IP:PORT",
            ),
        ];
        for (text, expected) in rows {
            std::fs::write(state.path().join(FILE_NAME), text).unwrap();
            let refused = load(state.path()).err().unwrap().to_string();
            assert!(
                refused.contains(expected) && refused.contains("trust.toml"),
                "{refused}"
            );
        }
    }
}
