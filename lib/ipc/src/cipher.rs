//! Packet protection by AES-256-GCM, with keys that move on by themselves.
//!
//! The schedule of keys is the transport's. A sender moves on to the next key before the limit of the
//! algorithm; the phase bit of the header tells, and the receiver follows when a packet proves it.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use transport::cipher::HEADER_LEN;
use transport::keys::{self, Secret};
use transport::{Forged, PacketCipher, Role};

use crate::fork_guard::ForkGuard;

/// A cipher for the packets of one session, from its secret; `role` is this end's. The node daemon protects its
/// channels with it too. In a forked child it seals nothing.
///
/// # Errors
/// `ENOMEM` if the page that tells parent from child cannot be made.
pub fn session_cipher(secret: &[u8; 32], role: Role) -> abi::Result<Box<dyn PacketCipher>> {
    let guard = Arc::new(ForkGuard::new()?);
    Ok(Box::new(AeadCipher::new(secret, role, guard)))
}

/// Seals and opens the packets of one session.
pub(crate) struct AeadCipher {
    /// What this end seals with.
    sending: Chain,
    receiving: Receiving,
    guard: Arc<ForkGuard>,
}

/// One key of a direction, ready for use.
struct Chain {
    secrets: keys::Chain,
    key: LessSafeKey,
    iv: [u8; 12],
}

struct Receiving {
    previous: Option<Chain>,
    chain: Chain,
    next: Chain,
    phase: bool,
    /// Lowest packet number that each lane has shown under the present key.
    first: [Option<u64>; LANES],
}

impl AeadCipher {
    /// A cipher from the session's secret. `role` is this end's.
    pub(crate) fn new(secret: &[u8; 32], role: Role, guard: Arc<ForkGuard>) -> Self {
        let secret = Secret(*secret);
        let to_server = Chain::new(keys::Chain::new(&secret, Role::Client));
        let to_client = Chain::new(keys::Chain::new(&secret, Role::Server));
        let (sending, receiving) = match role {
            Role::Client => (to_server, to_client),
            Role::Server => (to_client, to_server),
        };
        let next = receiving.next();
        Self {
            sending,
            receiving: Receiving {
                previous: None,
                chain: receiving,
                next,
                phase: false,
                first: [None; LANES],
            },
            guard,
        }
    }
}

impl PacketCipher for AeadCipher {
    fn overhead(&self) -> usize {
        TAG_LEN
    }

    fn key_life(&self) -> u64 {
        KEY_LIFE
    }

    fn next_key(&mut self) {
        self.sending = self.sending.next();
    }

    fn seal(&mut self, lane: u8, pn: u64, header: &[u8; HEADER_LEN], body: &mut [u8]) {
        let chain = &self.sending;
        let Some(split) = body.len().checked_sub(TAG_LEN) else {
            return;
        };
        let (plain, room) = body.split_at_mut(split);
        if !self.guard.is_owner() {
            // A forked child would repeat a nonce of its parent. Every way here is closed to it; this is
            // the last one, and it leads to nothing but zeros.
            plain.fill(0);
            room.fill(0);
            return;
        }
        let nonce = chain.nonce(lane, pn);
        let sealed = chain
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(header), plain);
        match sealed {
            Ok(tag) => room.copy_from_slice(tag.as_ref()),
            // Only a packet of gigabytes is refused; it must not leave as plaintext.
            Err(_) => body.fill(0),
        }
    }

    fn open<'a>(
        &mut self,
        lane: u8,
        pn: u64,
        header: &[u8; HEADER_LEN],
        body: &'a mut [u8],
    ) -> Result<&'a mut [u8], Forged> {
        let receiving = &mut self.receiving;
        let phase = header[1] & 1 == 1;
        let lane_at = usize::from(lane) % LANES;
        if phase == receiving.phase {
            let plain = receiving.chain.open(lane, pn, header, body)?;
            let first = &mut receiving.first[lane_at];
            *first = Some(first.map_or(pn, |first| first.min(pn)));
            return Ok(plain);
        }
        if let Some(previous) = &receiving.previous {
            match receiving.first[lane_at] {
                Some(first) if pn < first => return previous.open(lane, pn, header, body),
                Some(_) => {}
                // A lane that was not used under the present key does not tell which of the others this one is under.
                None => {
                    let mut copy = body.to_vec();
                    if let Ok(plain) = previous.open(lane, pn, header, &mut copy) {
                        let body = &mut body[..plain.len()];
                        body.copy_from_slice(plain);
                        return Ok(body);
                    }
                }
            }
        }
        let plain = receiving.next.open(lane, pn, header, body)?;
        let next = receiving.next.next();
        let present = std::mem::replace(&mut receiving.next, next);
        receiving.previous = Some(std::mem::replace(&mut receiving.chain, present));
        receiving.phase = phase;
        receiving.first = [None; LANES];
        receiving.first[lane_at] = Some(pn);
        Ok(plain)
    }
}

impl Chain {
    fn new(secrets: keys::Chain) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, &secrets.key().0);
        let key = LessSafeKey::new(key.expect("the algorithm takes 32 bytes"));
        let iv = secrets.iv();
        Self { secrets, key, iv }
    }

    fn next(&self) -> Self {
        Self::new(self.secrets.next())
    }

    fn nonce(&self, lane: u8, pn: u64) -> Nonce {
        Nonce::assume_unique_for_key(keys::nonce(&self.iv, lane, pn))
    }

    fn open<'a>(
        &self,
        lane: u8,
        pn: u64,
        header: &[u8; HEADER_LEN],
        body: &'a mut [u8],
    ) -> Result<&'a mut [u8], Forged> {
        let nonce = self.nonce(lane, pn);
        self.key
            .open_in_place(nonce, Aad::from(header), body)
            .map(|plain| &mut *plain)
            .map_err(|_| Forged)
    }
}

impl std::fmt::Debug for AeadCipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AeadCipher").finish_non_exhaustive()
    }
}

const TAG_LEN: usize = 16;
const LANES: usize = 16;
/// Packets after which a key is to be left: half of what AES-GCM allows with the usual margin (RFC 9001), for the
/// next one waits until the peer has shown the present one.
const KEY_LIFE: u64 = 1 << 22;

#[cfg(test)]
mod tests {
    #![allow(unsafe_code)]

    use super::*;

    fn pair() -> (AeadCipher, AeadCipher) {
        let guard = Arc::new(ForkGuard::new().unwrap());
        let make = |role| AeadCipher::new(&[7; 32], role, Arc::clone(&guard));
        (make(Role::Client), make(Role::Server))
    }

    fn seal(
        cipher: &mut AeadCipher,
        phase: u8,
        (lane, pn): (u8, u64),
        text: &[u8],
    ) -> ([u8; HEADER_LEN], Vec<u8>) {
        let mut header = [3; HEADER_LEN];
        header[1] = phase;
        let mut body = text.to_vec();
        body.resize(text.len() + cipher.overhead(), 0);
        cipher.seal(lane, pn, &header, &mut body);
        (header, body)
    }

    #[test]
    fn a_packet_opens_at_the_peer_and_nowhere_else() {
        let (mut client, mut server) = pair();
        let (header, mut body) = seal(&mut client, 0, (2, 9), b"hello");
        assert_ne!(&body[..5], b"hello");
        assert_eq!(
            server.open(2, 9, &header, &mut body.clone()).unwrap(),
            b"hello"
        );
        assert!(
            server.open(3, 9, &header, &mut body.clone()).is_err(),
            "another lane"
        );
        assert!(
            server.open(2, 10, &header, &mut body.clone()).is_err(),
            "another number"
        );
        assert!(
            client.open(2, 9, &header, &mut body.clone()).is_err(),
            "back to its sender"
        );
        for at in 0..body.len() {
            let mut flipped = body.clone();
            flipped[at] ^= 1;
            assert!(
                server.open(2, 9, &header, &mut flipped).is_err(),
                "byte {at} flipped"
            );
        }
        let mut other = header;
        other[8] ^= 1;
        assert!(
            server.open(2, 9, &other, &mut body).is_err(),
            "another header"
        );
        assert!(server.open(2, 9, &header, &mut []).is_err(), "nothing");
    }

    #[test]
    fn keys_move_on_and_late_packets_of_the_old_key_still_open() {
        let (mut client, mut server) = pair();
        let packets: Vec<_> = (0..40)
            .map(|pn| {
                if pn > 0 && pn % 4 == 0 {
                    client.next_key();
                }
                let phase = (pn / 4 % 2) as u8;
                seal(&mut client, phase, (0, pn), &[pn as u8; 3])
            })
            .collect();
        // Neighbours swapped, also across a change of keys.
        let mut order: Vec<usize> = (0..40).collect();
        for at in (3..39).step_by(4) {
            order.swap(at, at + 1);
        }
        for at in order {
            let (header, body) = &packets[at];
            let mut body = body.clone();
            let opened = server.open(0, at as u64, header, &mut body).unwrap();
            assert_eq!(opened, [at as u8; 3], "packet {at}");
        }
    }

    #[test]
    fn a_lane_that_was_not_used_under_the_present_key_may_bring_the_previous_and_the_next() {
        let (mut client, mut server) = pair();
        let mut packets = Vec::new();
        for (phase, places) in [[(1, 0), (0, 0), (0, 1)], [(0, 2), (0, 3), (0, 4)]]
            .into_iter()
            .enumerate()
        {
            if phase == 1 {
                client.next_key();
            }
            for (lane, pn) in places {
                let packet = seal(&mut client, phase as u8, (lane, pn), b"text");
                packets.push((lane, pn, packet));
            }
        }
        // It comes when the next key is in use already.
        packets.rotate_left(1);
        client.next_key();
        packets.push((2, 0, seal(&mut client, 0, (2, 0), b"text")));
        for (lane, pn, (header, mut body)) in packets {
            let opened = server.open(lane, pn, &header, &mut body);
            assert_eq!(opened.unwrap(), b"text", "packet {pn} of lane {lane}");
        }
    }

    /// Header and rest of each packet that the page of the protocol shows.
    fn shown() -> Vec<([u8; HEADER_LEN], Vec<u8>)> {
        let page = include_str!("../../../docs/protocol/transport.md");
        let blocks = page.split("```hex packet").skip(1).map(|block| {
            let digits = block.split("```").next().unwrap();
            let digits: String = digits.chars().filter(char::is_ascii_hexdigit).collect();
            let bytes: Vec<u8> = (0..digits.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
                .collect();
            let (header, body) = bytes.split_first_chunk().unwrap();
            (*header, body.to_vec())
        });
        blocks.collect()
    }

    #[test]
    fn the_packets_of_the_page_are_sealed_and_opened_as_shown() {
        let guard = Arc::new(ForkGuard::new().unwrap());
        let secret = core::array::from_fn(|at| at as u8);
        let make = |role| AeadCipher::new(&secret, role, Arc::clone(&guard));
        let (mut client, mut server) = (make(Role::Client), make(Role::Server));
        let ping = [11, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];
        let shown = shown();
        assert_eq!(shown.len(), 2);
        for (number, (header, body)) in (5..).zip(shown) {
            if header[1] & 1 == 1 {
                client.next_key();
            }
            let mut sealed = [&ping[..], &[0; TAG_LEN]].concat();
            client.seal(3, number, &header, &mut sealed);
            assert_eq!(sealed, body);
            let opened = server.open(3, number, &header, &mut sealed).unwrap();
            assert_eq!(opened, ping);
        }
    }

    #[test]
    fn keys_do_not_show_in_debug_output() {
        let (client, _) = pair();
        assert_eq!(format!("{client:?}"), "AeadCipher { .. }");
    }

    #[test]
    fn a_forked_child_seals_nothing() {
        let (mut client, _) = pair();
        // SAFETY: the child only computes on its own memory and leaves by `_exit`.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let mut body = [1; 64];
            client.seal(0, 1, &[0; HEADER_LEN], &mut body);
            // SAFETY: `_exit` runs no destructors.
            unsafe { libc::_exit(i32::from(body != [0; 64])) };
        }
        let mut status = 0;
        // SAFETY: waits for the child forked above, with a valid place for its status.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(
            libc::WEXITSTATUS(status),
            0,
            "the child has sealed with its parent's key"
        );
    }
}
