//! What a node needs of cryptography, the kernel's randomness and the calendar, as one argument.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use abi::system::SessionSecret;
pub use transport::keys::Secret;
use transport::{PacketCipher, Role};
use zeroize::Zeroize;

/// A node's X25519 public key: its identity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "PublicKey({a:02x}{b:02x}{c:02x}{d:02x}..)")
    }
}

/// Which handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Between nodes that trust each other: `Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s`.
    Node,
    /// To the maker of a one-time code: `Noise_IKpsk1_25519_ChaChaPoly_BLAKE2s`, so that not even the first
    /// message can be made without the code.
    Join,
}

/// What both ends know after a handshake, and nobody else. Wiped when dropped.
pub struct HandshakeKeys {
    /// Hash of everything said.
    pub hash: [u8; 32],
    /// Key of one direction.
    pub initiator_to_responder: [u8; 32],
    /// Key of the other one.
    pub responder_to_initiator: [u8; 32],
}

impl Drop for HandshakeKeys {
    fn drop(&mut self) {
        self.hash.zeroize();
        self.initiator_to_responder.zeroize();
        self.responder_to_initiator.zeroize();
    }
}

impl fmt::Debug for HandshakeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandshakeKeys(..)")
    }
}

/// A handshake message was not made by who it should be, or not for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAuthentic;

/// The asking end of a handshake.
pub trait Initiator: Send {
    /// Reads the answer. May be tried again with another one if it fails.
    ///
    /// # Errors
    /// [`NotAuthentic`].
    fn finish(&mut self, message: &[u8]) -> Result<(Vec<u8>, HandshakeKeys), NotAuthentic>;
}

/// The answering end of a handshake, after its first message was read.
pub trait Responder: Send {
    /// Whose key made the message.
    fn peer(&self) -> PublicKey;
    /// What it carried.
    fn payload(&self) -> &[u8];
    /// Makes the answer. `secret` is shared with that peer; [`Pattern::Join`] has had its secret before.
    ///
    /// # Errors
    /// [`NotAuthentic`] if the library refuses the peer's key.
    fn answer(
        self: Box<Self>,
        secret: &Secret,
        payload: &[u8],
    ) -> Result<(Vec<u8>, HandshakeKeys), NotAuthentic>;
}

/// Keys, handshakes, hashes, randomness and the calendar.
pub trait Crypto: Send {
    /// Fills `into` with bytes that nobody can guess.
    fn random(&mut self, into: &mut [u8]);
    /// Nanoseconds since the Unix epoch; each answer is greater than the one before.
    fn wall_clock(&mut self) -> u64;
    /// This node's identity.
    fn public_key(&self) -> PublicKey;
    /// Starts a handshake; answers its first message, with `payload` encrypted inside.
    ///
    /// # Errors
    /// [`NotAuthentic`] if the library refuses the peer's key.
    fn initiate(
        &mut self,
        pattern: Pattern,
        peer: &PublicKey,
        secret: &Secret,
        payload: &[u8],
    ) -> Result<(Box<dyn Initiator>, Vec<u8>), NotAuthentic>;
    /// Reads the first message of somebody else's handshake. `secret` matters to [`Pattern::Join`] only.
    ///
    /// # Errors
    /// [`NotAuthentic`].
    fn respond(
        &mut self,
        pattern: Pattern,
        secret: &Secret,
        message: &[u8],
    ) -> Result<Box<dyn Responder>, NotAuthentic>;
    /// BLAKE2s-128 keyed with a secret of this node alone, which is the same in each of its runs.
    fn own_mac(&self, message: &[u8]) -> [u8; 16];
    /// BLAKE2s-128 keyed with `key`.
    fn mac(&self, key: &[u8; 32], message: &[u8]) -> [u8; 16];
    /// BLAKE2s-256.
    fn hash(&self, label: &[u8], message: &[u8]) -> [u8; 32];
    /// XChaCha20-Poly1305: 16 bytes become 32.
    fn seal_cookie(
        &self,
        key: &[u8; 32],
        nonce: &[u8; 24],
        bound: &[u8],
        cookie: &[u8; 16],
    ) -> [u8; 32];
    /// The reverse.
    ///
    /// # Errors
    /// [`NotAuthentic`].
    fn open_cookie(
        &self,
        key: &[u8; 32],
        nonce: &[u8; 24],
        bound: &[u8],
        sealed: &[u8; 32],
    ) -> Result<[u8; 16], NotAuthentic>;
    /// Protects the packets of one session.
    fn cipher(&self, secret: &SessionSecret, role: Role) -> Box<dyn PacketCipher>;
}

/// Whether two byte strings are equal, in a time that depends on their length only.
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}
