//! Cryptography that hides nothing and still tells the forged from the genuine: enough for the logic around it.

#![allow(unreachable_pub, reason = "each test file uses a part of it")]
use abi::Instant;
use abi::system::SessionSecret;
use slashnet_node::crypto::{HandshakeKeys, Initiator, NotAuthentic, Pattern, Responder};
use slashnet_node::{Crypto, PublicKey, Secret};
use transport::cipher::HEADER_LEN;
use transport::{Forged, PacketCipher, Role};

pub struct Toy {
    number: u8,
    random: u64,
    calendar: u64,
}

impl Toy {
    pub fn new(number: u8, run: u64, now: Instant) -> Self {
        Self {
            number,
            random: run << 20,
            calendar: now.as_nanos(),
        }
    }

    pub fn key(number: u8) -> PublicKey {
        PublicKey([number + 1; 32])
    }
}

/// Two runs of FNV-1a, stretched to any length.
fn digest<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let (mut one, mut two) = (0xcbf2_9ce4_8422_2325_u64, 0x9e37_79b9_7f4a_7c15_u64);
    let mut take = |byte: u8| {
        one = (one ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        two = (two.rotate_left(5) ^ u64::from(byte)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    };
    for part in parts {
        for byte in part.iter().copied().chain([0xff, part.len() as u8]) {
            take(byte);
        }
    }
    let mut out = [0; N];
    for (at, byte) in out.iter_mut().enumerate() {
        one = (one ^ two.rotate_left(at as u32)).wrapping_mul(0x94d0_49bb_1331_11eb);
        *byte = (one >> 32) as u8 ^ (one >> 56) as u8;
    }
    out
}

fn sealed(key: &[&[u8]], text: &[u8]) -> Vec<u8> {
    let mut bytes = text.to_vec();
    let mut parts = key.to_vec();
    parts.push(text);
    bytes.extend(digest::<16>(&parts));
    bytes
}

fn opened<'a>(key: &[&[u8]], bytes: &'a [u8]) -> Result<&'a [u8], NotAuthentic> {
    let split = bytes.len().checked_sub(16).ok_or(NotAuthentic)?;
    let (text, tag) = bytes.split_at(split);
    let mut parts = key.to_vec();
    parts.push(text);
    if digest::<16>(&parts)[..] == *tag {
        Ok(text)
    } else {
        Err(NotAuthentic)
    }
}

struct Started {
    first: Vec<u8>,
    secret: Secret,
}

struct Heard {
    first: Vec<u8>,
    peer: PublicKey,
    payload: Vec<u8>,
    join: Option<Secret>,
}

fn keys(first: &[u8], second: &[u8]) -> HandshakeKeys {
    HandshakeKeys {
        hash: digest(&[b"hash", first, second]),
        initiator_to_responder: digest(&[b"i2r", first, second]),
        responder_to_initiator: digest(&[b"r2i", first, second]),
    }
}

impl Initiator for Started {
    fn finish(&mut self, message: &[u8]) -> Result<(Vec<u8>, HandshakeKeys), NotAuthentic> {
        let payload = opened(&[b"second", &self.first, &self.secret.0], message)?;
        Ok((payload.to_vec(), keys(&self.first, message)))
    }
}

impl Responder for Heard {
    fn peer(&self) -> PublicKey {
        self.peer
    }
    fn payload(&self) -> &[u8] {
        &self.payload
    }
    fn answer(
        self: Box<Self>,
        secret: &Secret,
        payload: &[u8],
    ) -> Result<(Vec<u8>, HandshakeKeys), NotAuthentic> {
        let secret = self.join.as_ref().unwrap_or(secret);
        let message = sealed(&[b"second", &self.first, &secret.0], payload);
        let keys = keys(&self.first, &message);
        Ok((message, keys))
    }
}

impl Crypto for Toy {
    fn random(&mut self, into: &mut [u8]) {
        for byte in into {
            self.random = self
                .random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            *byte = (self.random >> 56) as u8;
        }
    }
    fn wall_clock(&mut self) -> u64 {
        self.calendar += 1;
        self.calendar
    }
    fn public_key(&self) -> PublicKey {
        Self::key(self.number)
    }
    fn initiate(
        &mut self,
        pattern: Pattern,
        peer: &PublicKey,
        secret: &Secret,
        payload: &[u8],
    ) -> Result<(Box<dyn Initiator>, Vec<u8>), NotAuthentic> {
        let join = if pattern == Pattern::Join {
            secret.clone()
        } else {
            Secret::ZERO
        };
        let mut first = self.public_key().0.to_vec();
        first.extend(sealed(
            &[b"first", &peer.0, &join.0, &self.public_key().0],
            payload,
        ));
        Ok((
            Box::new(Started {
                first: first.clone(),
                secret: secret.clone(),
            }),
            first,
        ))
    }
    fn respond(
        &mut self,
        pattern: Pattern,
        secret: &Secret,
        message: &[u8],
    ) -> Result<Box<dyn Responder>, NotAuthentic> {
        let join = (pattern == Pattern::Join).then(|| secret.clone());
        let (peer, rest) = message.split_first_chunk::<32>().ok_or(NotAuthentic)?;
        let key = join.clone().unwrap_or(Secret::ZERO);
        let payload = opened(&[b"first", &self.public_key().0, &key.0, peer], rest)?.to_vec();
        Ok(Box::new(Heard {
            first: message.to_vec(),
            peer: PublicKey(*peer),
            payload,
            join,
        }))
    }
    fn own_mac(&self, message: &[u8]) -> [u8; 16] {
        digest(&[b"own", &self.number.to_le_bytes(), message])
    }
    fn mac(&self, key: &[u8; 32], message: &[u8]) -> [u8; 16] {
        digest(&[b"mac", key, message])
    }
    fn hash(&self, label: &[u8], message: &[u8]) -> [u8; 32] {
        digest(&[b"hash", label, message])
    }
    fn seal_cookie(
        &self,
        key: &[u8; 32],
        nonce: &[u8; 24],
        bound: &[u8],
        cookie: &[u8; 16],
    ) -> [u8; 32] {
        sealed(&[key, nonce, bound], cookie).try_into().unwrap()
    }
    fn open_cookie(
        &self,
        key: &[u8; 32],
        nonce: &[u8; 24],
        bound: &[u8],
        sealed: &[u8; 32],
    ) -> Result<[u8; 16], NotAuthentic> {
        Ok(opened(&[key, nonce, bound], sealed)?.try_into().unwrap())
    }
    fn cipher(&self, secret: &SessionSecret, role: Role) -> Box<dyn PacketCipher> {
        Box::new(ToyCipher {
            secret: secret.0,
            client: role == Role::Client,
        })
    }
}

struct ToyCipher {
    secret: [u8; 32],
    client: bool,
}

impl ToyCipher {
    fn tag(&self, from_client: bool, lane: u8, pn: u64, header: &[u8], body: &[u8]) -> [u8; 16] {
        digest(&[
            &self.secret,
            &[from_client.into(), lane],
            &pn.to_le_bytes(),
            header,
            body,
        ])
    }
}

impl PacketCipher for ToyCipher {
    fn overhead(&self) -> usize {
        16
    }
    fn key_life(&self) -> u64 {
        u64::MAX
    }
    fn next_key(&mut self) {}
    fn seal(&mut self, lane: u8, pn: u64, header: &[u8; HEADER_LEN], body: &mut [u8]) {
        let split = body.len() - 16;
        let tag = self.tag(self.client, lane, pn, header, &body[..split]);
        body[split..].copy_from_slice(&tag);
    }
    fn open<'a>(
        &mut self,
        lane: u8,
        pn: u64,
        header: &[u8; HEADER_LEN],
        body: &'a mut [u8],
    ) -> Result<&'a mut [u8], Forged> {
        let split = body.len().checked_sub(16).ok_or(Forged)?;
        let tag = self.tag(!self.client, lane, pn, header, &body[..split]);
        if body[split..] != tag {
            return Err(Forged);
        }
        Ok(&mut body[..split])
    }
}
