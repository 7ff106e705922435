//! A cipher for the world: forged and spliced packets fail, and every nonce is written down.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use transport::{Forged, PacketCipher, Role};

use crate::random::mix;
use crate::tap::Tapped;

/// Nonces used so far, and what was wrong with them.
#[derive(Debug, Default)]
pub struct NonceLog {
    last: BTreeMap<(u64, u8), u64>,
    repeated: Vec<String>,
    /// Packets are kept here in the clear until somebody takes them; `None` if nobody will.
    pub tapped: Option<Vec<Tapped>>,
}

impl NonceLog {
    /// A log that keeps all packets until they are taken.
    #[must_use]
    pub fn tapping() -> Self {
        Self {
            tapped: Some(Vec::new()),
            ..Self::default()
        }
    }

    /// Sealing under `key`: the packet numbers of a lane must grow.
    fn note(&mut self, key: u64, lane: u8, pn: u64) {
        let last = self.last.insert((key, lane), pn);
        if last.is_some_and(|last| pn <= last) {
            self.repeated.push(format!(
                "key {key:016x} lane {lane} packet {pn} after {last:?}"
            ));
        }
    }

    /// The first nonce that was used twice.
    #[must_use]
    pub fn repeated(&self) -> Option<&str> {
        self.repeated.first().map(String::as_str)
    }
}

/// A shared log.
pub type SharedLog = Arc<Mutex<NonceLog>>;

/// Checks packets by a keyed sum. Keys last for so many packets; like a real one it knows one before the
/// present and one after it.
#[derive(Debug)]
pub struct WorldCipher {
    send_key: u64,
    update_after: u64,
    receive_key: u64,
    previous: Option<u64>,
    receive_phase: bool,
    log: SharedLog,
}

const TAG: usize = 16;

impl WorldCipher {
    /// The cipher of one end of the session with this secret.
    #[must_use]
    pub const fn new(secret: u64, role: Role, update_after: u64, log: SharedLog) -> Self {
        let (to_server, to_client) = (mix(secret), mix(secret ^ 1));
        let (send_key, receive_key) = match role {
            Role::Client => (to_server, to_client),
            Role::Server => (to_client, to_server),
        };
        Self {
            send_key,
            update_after,
            receive_key,
            previous: None,
            receive_phase: false,
            log,
        }
    }
}

impl WorldCipher {
    fn tap(&self, header: &[u8; 16], text: &[u8]) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tapped) = &mut log.tapped {
            let (header, text) = (*header, text.to_vec());
            tapped.push(Tapped { header, text });
        }
    }
}

fn sum(key: u64, lane: u8, pn: u64, header: &[u8], body: &[u8]) -> u64 {
    let mut state = mix(key ^ mix(pn) ^ u64::from(lane));
    for part in [header, body] {
        for chunk in part.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            state = (state ^ u64::from_le_bytes(word)).wrapping_mul(0x9fb2_1c65_1e98_df25);
            state ^= state >> 29;
        }
        state = mix(state ^ part.len() as u64);
    }
    state
}

impl PacketCipher for WorldCipher {
    fn overhead(&self) -> usize {
        TAG
    }

    fn key_life(&self) -> u64 {
        self.update_after
    }

    fn next_key(&mut self) {
        self.send_key = mix(self.send_key);
    }

    fn seal(&mut self, lane: u8, pn: u64, header: &[u8; 16], body: &mut [u8]) {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .note(self.send_key, lane, pn);
        let (text, tag) = body.split_at_mut(body.len() - TAG);
        self.tap(header, text);
        // Plaintext must not be readable on the way, so that nothing depends on it by accident.
        for byte in text.iter_mut() {
            *byte ^= self.send_key as u8;
        }
        tag[..8].copy_from_slice(&sum(self.send_key, lane, pn, header, text).to_le_bytes());
        tag[8..].fill(0x55);
    }

    fn open<'a>(
        &mut self,
        lane: u8,
        pn: u64,
        header: &[u8; 16],
        body: &'a mut [u8],
    ) -> Result<&'a mut [u8], Forged> {
        let split = body.len().checked_sub(TAG).ok_or(Forged)?;
        let (text, tag) = body.split_at_mut(split);
        if tag[8..] != [0x55; 8] {
            return Err(Forged);
        }
        let fits = |key| sum(key, lane, pn, header, text).to_le_bytes() == tag[..8];
        let phase = header[1] & 1 == 1;
        let same = phase == self.receive_phase;
        let known = if same {
            Some(self.receive_key)
        } else {
            self.previous
        };
        let key = known.filter(|key| fits(*key)).or_else(|| {
            let next = Some(mix(self.receive_key)).filter(|next| !same && fits(*next))?;
            self.previous = Some(self.receive_key);
            self.receive_key = next;
            self.receive_phase = phase;
            Some(next)
        });
        let key = key.ok_or(Forged)?;
        for byte in text.iter_mut() {
            *byte ^= key as u8;
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (WorldCipher, WorldCipher, SharedLog) {
        let log = SharedLog::default();
        let end = |role| WorldCipher::new(7, role, 3, log.clone());
        (end(Role::Client), end(Role::Server), log.clone())
    }

    fn seal(cipher: &mut WorldCipher, pn: u64) -> ([u8; 16], Vec<u8>) {
        let mut header = [9; 16];
        if pn > 0 && pn.is_multiple_of(cipher.key_life()) {
            cipher.next_key();
        }
        header[1] = (pn / cipher.key_life()) as u8 & 1;
        let mut body = vec![1; 40];
        cipher.seal(0, pn, &header, &mut body);
        (header, body)
    }

    #[test]
    fn keys_move_on_and_reordered_packets_still_open() {
        let (mut client, mut server, log) = pair();
        let mut packets: Vec<_> = (0..20).map(|pn| (pn, seal(&mut client, pn))).collect();
        packets.swap(2, 3);
        packets.swap(8, 9);
        for (pn, (header, mut body)) in packets {
            let opened = server
                .open(0, pn, &header, &mut body)
                .map(|text| text.to_vec());
            assert_eq!(opened, Ok(vec![1; 24]), "packet {pn}");
        }
        assert_eq!(log.lock().unwrap().repeated(), None);
    }

    #[test]
    fn a_changed_packet_does_not_open() {
        let (mut client, mut server, _) = pair();
        let (header, mut body) = seal(&mut client, 0);
        for at in 0..body.len() {
            let mut changed = body.clone();
            changed[at] ^= 4;
            assert_eq!(
                server.open(0, 0, &header, &mut changed),
                Err(Forged),
                "byte {at}"
            );
        }
        assert_eq!(server.open(0, 1, &header, &mut body.clone()), Err(Forged));
        assert_eq!(server.open(1, 0, &header, &mut body), Err(Forged));
    }

    #[test]
    fn a_nonce_used_twice_is_found() {
        let (mut client, _, log) = pair();
        seal(&mut client, 5);
        assert_eq!(log.lock().unwrap().repeated(), None);
        seal(&mut client, 5);
        assert!(log.lock().unwrap().repeated().is_some());
    }
}
