//! How packets are protected. Algorithms come from outside; the rules of their use are here.

/// Bytes of a packet header; they are authenticated and not encrypted.
pub const HEADER_LEN: usize = 16;

/// A packet was not made by the peer, or not for this session, lane and number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forged;

/// Seals and opens the packets of one session. The usual one is in `keys`.
pub trait PacketCipher: Send {
    /// Bytes that sealing adds behind the plaintext; the same for every packet.
    fn overhead(&self) -> usize;

    /// Packets after which the next key is due; always the same. It must leave room: the next key waits until the
    /// peer has shown the present one.
    fn key_life(&self) -> u64;

    /// From here on packets are sealed with the next key. Opening is not concerned.
    fn next_key(&mut self);

    /// Encrypts `body` in place: plaintext followed by [`Self::overhead`] bytes of room.
    /// Never called twice with the same lane and packet number.
    fn seal(&mut self, lane: u8, pn: u64, header: &[u8; HEADER_LEN], body: &mut [u8]);

    /// Decrypts `body` in place and answers the plaintext.
    ///
    /// # Errors
    /// [`Forged`]; the packet is dropped and nothing else happens.
    fn open<'a>(
        &mut self,
        lane: u8,
        pn: u64,
        header: &[u8; HEADER_LEN],
        body: &'a mut [u8],
    ) -> Result<&'a mut [u8], Forged>;
}
