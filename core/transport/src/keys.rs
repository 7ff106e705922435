//! From the secret of a node channel to the key of one packet: HKDF-SHA256 (RFC 5869).
//!
//! Both ends derive the same secrets or nothing decrypts. What a secret depends on is thereby
//! agreed: session ids, nonces, and who the client is. All secrets are wiped when dropped.

use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use crate::config::Role;

/// 32 secret bytes.
#[derive(Clone, Zeroize, zeroize::ZeroizeOnDrop, PartialEq, Eq)]
pub struct Secret(pub [u8; 32]);

impl core::fmt::Debug for Secret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// Where no secret is shared.
    pub const ZERO: Self = Self([0; 32]);
}

/// The epoch secret of a channel between two nodes, from a handshake's two keys and its hash.
#[must_use]
pub fn epoch(hash: &[u8; 32], initiator: &[u8; 32], responder: &[u8; 32]) -> Secret {
    let mut input = [0; 64];
    input[..32].copy_from_slice(initiator);
    input[32..].copy_from_slice(responder);
    let (mut prk, _) = Hkdf::<Sha256>::extract(Some(hash), &input);
    input.zeroize();
    let mut secret = Secret([0; 32]);
    secret.0.copy_from_slice(&prk);
    prk.as_mut_slice().zeroize();
    secret
}

/// A secret for one purpose: HKDF-Expand with `label`, a zero byte and `context`.
#[must_use]
pub fn purpose(secret: &Secret, label: &[u8], context: &[u8]) -> Secret {
    Secret(expand(secret, &[label, &[0], context]))
}

/// The secret from which those of sessions come.
#[must_use]
pub fn exporter(epoch: &Secret) -> Secret {
    purpose(epoch, b"slashnet exporter", b"")
}

/// The secret of one session. `agreed` is all that both nodes have understood: session ids, nonces, credentials of
/// the client, target. If they differ in one byte, nothing decrypts.
#[must_use]
pub fn session(exporter: &Secret, agreed: &[u8]) -> Secret {
    purpose(exporter, b"slashnet session", &Sha256::digest(agreed))
}

/// One key of a direction; the next one follows from it, and none before it does.
#[derive(Clone, Debug)]
pub struct Chain {
    secret: Secret,
}

impl Chain {
    /// The first key of the packets that `sender` seals in a session.
    #[must_use]
    pub fn new(session: &Secret, sender: Role) -> Self {
        let label: &[u8] = match sender {
            Role::Client => b"c2s",
            Role::Server => b"s2c",
        };
        Self {
            secret: Secret(expand(session, &[label])),
        }
    }

    /// The key for the cipher.
    #[must_use]
    pub fn key(&self) -> Secret {
        Secret(expand(&self.secret, &[b"key"]))
    }

    /// Bytes that hide lane and packet number in the nonce.
    #[must_use]
    pub fn iv(&self) -> [u8; 12] {
        expand(&self.secret, &[b"iv"])
    }

    /// The next key.
    #[must_use]
    pub fn next(&self) -> Self {
        Self {
            secret: Secret(expand(&self.secret, &[b"ku"])),
        }
    }
}

/// The nonce of a packet: unique under one key, since packet numbers are never used twice.
#[must_use]
pub fn nonce(iv: &[u8; 12], lane: u8, pn: u64) -> [u8; 12] {
    let mut nonce = *iv;
    nonce[3] ^= lane;
    // Most significant byte first.
    for (byte, pn) in nonce[4..].iter_mut().zip(pn.to_le_bytes().iter().rev()) {
        *byte ^= pn;
    }
    nonce
}

fn expand<const N: usize>(secret: &Secret, info: &[&[u8]]) -> [u8; N] {
    let mut out = [0; N];
    let expanded = Hkdf::<Sha256>::from_prk(&secret.0)
        .is_ok_and(|hkdf| hkdf.expand_multi_info(info, &mut out).is_ok());
    assert!(
        expanded,
        "32 bytes of key and at most 32 of output suit HKDF-SHA256"
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    fn hex(bytes: &[u8]) -> String {
        bytes
            .iter()
            .map(|byte| alloc::format!("{byte:02x}"))
            .collect()
    }

    fn counting(from: u8) -> [u8; 32] {
        core::array::from_fn(|i| from + i as u8)
    }

    /// Computed with another implementation of HMAC (Python's hmac module).
    #[test]
    fn the_schedule_gives_the_known_answers() {
        let epoch = epoch(&counting(64), &counting(0), &counting(32));
        assert_eq!(
            hex(&epoch.0),
            "0d73d1b7937e0aaae57642ef63f278ca00f2c53538ebd9b16546538829fe62da"
        );
        let exporter = exporter(&epoch);
        assert_eq!(
            hex(&exporter.0),
            "f1e70672d36be1314d568626b2daba59ce03f2421cddc8ed3d32fe9adf7060af"
        );
        let session = session(&exporter, b"uid 1000");
        assert_eq!(
            hex(&session.0),
            "85961e8e7e1af4247a42506c7b8453f7334142138aa904f5f893a459a745b05d"
        );
        let chain = Chain::new(&session, Role::Client);
        assert_eq!(
            hex(&chain.secret.0),
            "16d221f069a8b830cf0c5459e05515100ae0e433db4c99287447436456d4af59"
        );
        assert_eq!(
            hex(&chain.key().0),
            "c52e537588268a96d2bab97adbf1119adfb60bb4e9d76919a99fc28e7767613e"
        );
        assert_eq!(
            hex(&chain.next().secret.0),
            "cb12beb46f1f9dbf6abc27c8521acef9b18cf05e2e832de9e7abadd3912fdedb"
        );
        let back = Chain::new(&session, Role::Server);
        assert_eq!(
            hex(&back.secret.0),
            "51d4d38ca264402a28223c43423b04022bf64a42f073e9c99ea0a33cd49973b8"
        );
        assert_eq!(
            hex(&nonce(&chain.iv(), 3, 0x0102_0304_0506_0708)),
            "b3eb94d91c55d0574ae0e688"
        );
        assert_eq!(hex(&chain.iv()), "b3eb94da1d57d3534fe6e180");
    }

    #[test]
    fn nodes_that_agree_on_something_else_get_another_secret() {
        let exporter = Secret(counting(1));
        let one = session(&exporter, b"uid 1000");
        assert_ne!(session(&exporter, b"uid 0"), one);
        assert_ne!(session(&Secret(counting(2)), b"uid 1000"), one);
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        assert_eq!(alloc::format!("{:?}", Secret(counting(1))), "Secret(..)");
    }
}
