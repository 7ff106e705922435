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
        f.write_str("Secret")
    }
}

/// What the secret of a session is bound to, besides the channel it was introduced over.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    /// The client's session id.
    pub client: u32,
    /// The server's session id.
    pub server: u32,
    /// Random bytes of the client's node.
    pub client_nonce: [u8; 16],
    /// Random bytes of the server's node.
    pub server_nonce: [u8; 16],
    /// Credentials of the client, target, policy and cipher, as both nodes have understood them.
    pub agreed: &'a [u8],
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

/// The secret of one session.
#[must_use]
pub fn session(exporter: &Secret, binding: &Binding<'_>) -> Secret {
    let mut context = [0; 72];
    context[..4].copy_from_slice(&binding.client.to_le_bytes());
    context[4..8].copy_from_slice(&binding.server.to_le_bytes());
    context[8..24].copy_from_slice(&binding.client_nonce);
    context[24..40].copy_from_slice(&binding.server_nonce);
    context[40..].copy_from_slice(&Sha256::digest(binding.agreed));
    purpose(exporter, b"slashnet session", &context)
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

    fn binding(agreed: &[u8]) -> Binding<'_> {
        Binding {
            client: 0x0102_0304,
            server: 0x0506_0708,
            client_nonce: [0xaa; 16],
            server_nonce: [0xbb; 16],
            agreed,
        }
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
        let session = session(&exporter, &binding(b"uid 1000"));
        assert_eq!(
            hex(&session.0),
            "c17f37e41a2de1a7ad04690858a1286cbf2eada361e26138620e5218e392ff06"
        );
        let chain = Chain::new(&session, Role::Client);
        assert_eq!(
            hex(&chain.secret.0),
            "9e91cef418b24abaa96137fe4613cdb5960c0df6c81dd3e434864cb897b64382"
        );
        assert_eq!(
            hex(&chain.key().0),
            "eb55b2731052fa440462390875977679704884db5f3d221d73e1118e8afda925"
        );
        assert_eq!(
            hex(&chain.next().secret.0),
            "6ea486219927be176ddc5a7ff97399600f1a70493300b6af970d5893e15d8b44"
        );
        let back = Chain::new(&session, Role::Server);
        assert_eq!(
            hex(&back.secret.0),
            "f8370f570d6ce10f3ddf240be071f6e890a673a0b53707ce3cdb4a99e058f42e"
        );
        assert_eq!(
            hex(&nonce(&chain.iv(), 3, 0x0102_0304_0506_0708)),
            "1971c0ec53693c2c18d568f9"
        );
        assert_eq!(hex(&chain.iv()), "1971c0ef526b3f281dd36ff1");
    }

    #[test]
    fn another_client_ids_or_nonces_give_another_secret() {
        let exporter = Secret(counting(1));
        let one = session(&exporter, &binding(b"uid 1000"));
        let other = Binding {
            client: 1,
            ..binding(b"uid 1000")
        };
        let nonce = Binding {
            server_nonce: [0; 16],
            ..binding(b"uid 1000")
        };
        for different in [binding(b"uid 0"), other, nonce] {
            assert_ne!(session(&exporter, &different), one);
        }
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        assert_eq!(alloc::format!("{:?}", Secret(counting(1))), "Secret");
    }
}
