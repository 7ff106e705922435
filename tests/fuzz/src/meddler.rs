//! Cryptography of a node with bad intentions: it seals what the fuzzer made of the node's words, so that the other
//! end takes it for authentic.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use abi::system::SessionSecret;
use slashnet_node::crypto::{HandshakeKeys, Initiator, NotAuthentic, Pattern, Responder};
use slashnet_node::{Crypto, PublicKey, Secret};
use transport::cipher::HEADER_LEN;
use transport::{Forged, PacketCipher, Role};

use crate::tape::Tape;
use crate::toy::Toy;

/// One change of bytes.
#[derive(Clone, Debug)]
pub struct Change {
    at: usize,
    cut: bool,
    bytes: Vec<u8>,
}

impl Change {
    /// The next one on the tape.
    pub fn read(tape: &mut Tape<'_>) -> Self {
        let kind = tape.u8();
        let at = usize::from(if kind & 1 == 0 {
            tape.u8().into()
        } else {
            tape.u16()
        });
        let len = tape.u8();
        Self {
            at,
            cut: kind & 6 == 6,
            bytes: tape.bytes(len.into()).to_vec(),
        }
    }

    /// Puts the bytes where they belong, as far as there is room. The length stays.
    pub fn apply(&self, to: &mut [u8]) {
        let at = self.at % to.len().max(1);
        for (place, byte) in to.iter_mut().skip(at).zip(&self.bytes) {
            *place = *byte;
        }
    }

    /// The same; may also end the bytes there.
    pub fn apply_to(&self, to: &mut Vec<u8>) {
        self.apply(to);
        if self.cut {
            to.truncate(self.at % to.len().max(1));
        }
    }
}

/// Changes that are waiting for something to be sealed, and keys that were used.
#[derive(Debug, Default)]
pub struct Plan {
    /// For what handshakes carry.
    pub handshake: VecDeque<Change>,
    /// For the frames of sessions between nodes.
    pub channel: VecDeque<Change>,
    /// What was last signed, with which key.
    signed: VecDeque<([u8; 32], Vec<u8>)>,
}

/// A [`Plan`] in the hands of a node and of the fuzzer.
#[derive(Clone, Debug, Default)]
pub struct Shared(Arc<Mutex<Plan>>);

impl Shared {
    pub fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a packet that ends with a code of its node, which is made anew.
    pub fn change_signed(&self, toy: &Toy, packet: &mut [u8], change: &Change) {
        let Some(end) = packet.len().checked_sub(16) else {
            return;
        };
        let plan = self.plan();
        let known = plan.signed.iter().find(|(_, text)| *text == packet[..end]);
        if let Some((key, _)) = known {
            change.apply(&mut packet[..end]);
            let code = toy.mac(key, &packet[..end]);
            packet[end..].copy_from_slice(&code);
        }
    }
}

/// [`Toy`] with a [`Plan`].
pub struct Meddler {
    toy: Toy,
    shared: Shared,
}

impl Meddler {
    pub fn new(toy: Toy, shared: Shared) -> Self {
        Self { toy, shared }
    }

    fn changed(&self, payload: &[u8]) -> Vec<u8> {
        let mut payload = payload.to_vec();
        if let Some(change) = self.shared.plan().handshake.pop_front() {
            change.apply_to(&mut payload);
        }
        payload
    }
}

struct Answering {
    inner: Box<dyn Responder>,
    shared: Shared,
}

impl Responder for Answering {
    fn peer(&self) -> PublicKey {
        self.inner.peer()
    }

    fn payload(&self) -> &[u8] {
        self.inner.payload()
    }

    fn answer(
        self: Box<Self>,
        secret: &Secret,
        payload: &[u8],
    ) -> Result<(Vec<u8>, HandshakeKeys), NotAuthentic> {
        let mut payload = payload.to_vec();
        if let Some(change) = self.shared.plan().handshake.pop_front() {
            change.apply_to(&mut payload);
        }
        self.inner.answer(secret, &payload)
    }
}

impl Crypto for Meddler {
    fn random(&mut self, into: &mut [u8]) {
        self.toy.random(into);
    }

    fn wall_clock(&mut self) -> u64 {
        self.toy.wall_clock()
    }

    fn public_key(&self) -> PublicKey {
        self.toy.public_key()
    }

    fn initiate(
        &mut self,
        pattern: Pattern,
        peer: &PublicKey,
        secret: &Secret,
        payload: &[u8],
    ) -> Result<(Box<dyn Initiator>, Vec<u8>), NotAuthentic> {
        let payload = self.changed(payload);
        self.toy.initiate(pattern, peer, secret, &payload)
    }

    fn respond(
        &mut self,
        pattern: Pattern,
        secret: &Secret,
        message: &[u8],
    ) -> Result<Box<dyn Responder>, NotAuthentic> {
        let inner = self.toy.respond(pattern, secret, message)?;
        let shared = self.shared.clone();
        Ok(Box::new(Answering { inner, shared }))
    }

    fn own_mac(&self, message: &[u8]) -> [u8; 16] {
        self.toy.own_mac(message)
    }

    fn mac(&self, key: &[u8; 32], message: &[u8]) -> [u8; 16] {
        let mut plan = self.shared.plan();
        plan.signed.truncate(SIGNED_MAX - 1);
        plan.signed.push_front((*key, message.to_vec()));
        self.toy.mac(key, message)
    }

    fn hash(&self, label: &[u8], message: &[u8]) -> [u8; 32] {
        self.toy.hash(label, message)
    }

    fn seal_cookie(
        &self,
        key: &[u8; 32],
        nonce: &[u8; 24],
        bound: &[u8],
        cookie: &[u8; 16],
    ) -> [u8; 32] {
        self.toy.seal_cookie(key, nonce, bound, cookie)
    }

    fn open_cookie(
        &self,
        key: &[u8; 32],
        nonce: &[u8; 24],
        bound: &[u8],
        sealed: &[u8; 32],
    ) -> Result<[u8; 16], NotAuthentic> {
        self.toy.open_cookie(key, nonce, bound, sealed)
    }

    fn cipher(&self, secret: &SessionSecret, role: Role) -> Box<dyn PacketCipher> {
        Box::new(MeddlingCipher {
            inner: self.toy.cipher(secret, role),
            shared: self.shared.clone(),
        })
    }
}

struct MeddlingCipher {
    inner: Box<dyn PacketCipher>,
    shared: Shared,
}

impl PacketCipher for MeddlingCipher {
    fn overhead(&self) -> usize {
        self.inner.overhead()
    }

    fn key_life(&self) -> u64 {
        self.inner.key_life()
    }

    fn next_key(&mut self) {
        self.inner.next_key();
    }

    fn seal(&mut self, lane: u8, pn: u64, header: &[u8; HEADER_LEN], body: &mut [u8]) {
        if let Some(change) = self.shared.plan().channel.pop_front() {
            let text = body.len().saturating_sub(self.inner.overhead());
            change.apply(&mut body[..text]);
        }
        self.inner.seal(lane, pn, header, body);
    }

    fn open<'a>(
        &mut self,
        lane: u8,
        pn: u64,
        header: &[u8; HEADER_LEN],
        body: &'a mut [u8],
    ) -> Result<&'a mut [u8], Forged> {
        self.inner.open(lane, pn, header, body)
    }
}

const SIGNED_MAX: usize = 64;
