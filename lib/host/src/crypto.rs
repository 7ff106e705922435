//! Handshakes by `snow`, hashes and ciphers by kept libraries: what [`node::Crypto`] asks for.

use blake2::digest::consts::U16;
use blake2::digest::{Digest, Mac};
use blake2::{Blake2s256, Blake2sMac};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use node::crypto::{HandshakeKeys, Initiator, NotAuthentic, Pattern, Responder};
use node::{Crypto, PublicKey, Secret};
use transport::{PacketCipher, Role};

use abi::system::SessionSecret;

use crate::clock;

/// Longest handshake message in bytes.
const MESSAGE_MAX: usize = 2048;

/// The node's private key and everything done with it.
pub(crate) struct NodeCrypto {
    private: Secret,
    public: PublicKey,
    last_time: u64,
}

impl NodeCrypto {
    pub(crate) fn new(private: Secret, public: PublicKey) -> Self {
        Self {
            private,
            public,
            last_time: 0,
        }
    }
}

/// A new private key and its public one.
pub(crate) fn generate() -> Option<(Secret, PublicKey)> {
    let mut pair = snow::Builder::new(parameters(Pattern::Node)?)
        .generate_keypair()
        .ok()?;
    let private = Secret(pair.private.as_slice().try_into().ok()?);
    let public = PublicKey(pair.public.as_slice().try_into().ok()?);
    zeroize::Zeroize::zeroize(&mut pair.private);
    Some((private, public))
}

fn parameters(pattern: Pattern) -> Option<snow::params::NoiseParams> {
    let name = match pattern {
        Pattern::Node => "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s",
        Pattern::Join => "Noise_IKpsk1_25519_ChaChaPoly_BLAKE2s",
    };
    name.parse().ok()
}

const fn psk_place(pattern: Pattern) -> u8 {
    match pattern {
        Pattern::Node => 2,
        Pattern::Join => 1,
    }
}

fn no<T>(_: T) -> NotAuthentic {
    NotAuthentic
}

struct Started(snow::HandshakeState);

impl Initiator for Started {
    fn finish(&mut self, message: &[u8]) -> Result<(Vec<u8>, HandshakeKeys), NotAuthentic> {
        let mut payload = vec![0; MESSAGE_MAX];
        let len = self.0.read_message(message, &mut payload).map_err(no)?;
        payload.truncate(len);
        Ok((payload, keys(&mut self.0)?))
    }
}

struct Heard {
    state: snow::HandshakeState,
    pattern: Pattern,
    peer: PublicKey,
    payload: Vec<u8>,
}

impl Responder for Heard {
    fn peer(&self) -> PublicKey {
        self.peer
    }

    fn payload(&self) -> &[u8] {
        &self.payload
    }

    fn answer(
        mut self: Box<Self>,
        secret: &Secret,
        payload: &[u8],
    ) -> Result<(Vec<u8>, HandshakeKeys), NotAuthentic> {
        if self.pattern == Pattern::Node {
            self.state
                .set_psk(psk_place(Pattern::Node).into(), &secret.0)
                .map_err(no)?;
        }
        let mut message = vec![0; MESSAGE_MAX];
        let len = self
            .state
            .write_message(payload, &mut message)
            .map_err(no)?;
        message.truncate(len);
        let keys = keys(&mut self.state)?;
        Ok((message, keys))
    }
}

fn keys(state: &mut snow::HandshakeState) -> Result<HandshakeKeys, NotAuthentic> {
    let hash = state.get_handshake_hash().try_into().map_err(no)?;
    let (initiator_to_responder, responder_to_initiator) = state.dangerously_get_raw_split();
    Ok(HandshakeKeys {
        hash,
        initiator_to_responder,
        responder_to_initiator,
    })
}

impl Crypto for NodeCrypto {
    fn random(&mut self, into: &mut [u8]) {
        // Without randomness every key would be guessable: there is no way to go on.
        getrandom::fill(into).expect("the kernel gives random numbers");
    }

    fn wall_clock(&mut self) -> u64 {
        self.last_time = clock::wall().max(self.last_time + 1);
        self.last_time
    }

    fn public_key(&self) -> PublicKey {
        self.public
    }

    fn initiate(
        &mut self,
        pattern: Pattern,
        peer: &PublicKey,
        secret: &Secret,
        payload: &[u8],
    ) -> Result<(Box<dyn Initiator>, Vec<u8>), NotAuthentic> {
        let mut state = snow::Builder::new(parameters(pattern).ok_or(NotAuthentic)?)
            .local_private_key(&self.private.0)
            .and_then(|builder| builder.remote_public_key(&peer.0))
            .and_then(|builder| builder.psk(psk_place(pattern), &secret.0))
            .and_then(snow::Builder::build_initiator)
            .map_err(no)?;
        let mut message = vec![0; MESSAGE_MAX];
        let len = state.write_message(payload, &mut message).map_err(no)?;
        message.truncate(len);
        Ok((Box::new(Started(state)), message))
    }

    fn respond(
        &mut self,
        pattern: Pattern,
        secret: &Secret,
        message: &[u8],
    ) -> Result<Box<dyn Responder>, NotAuthentic> {
        let mut state = snow::Builder::new(parameters(pattern).ok_or(NotAuthentic)?)
            .local_private_key(&self.private.0)
            .and_then(|builder| builder.psk(psk_place(pattern), &secret.0))
            .and_then(snow::Builder::build_responder)
            .map_err(no)?;
        let mut payload = vec![0; MESSAGE_MAX];
        let len = state.read_message(message, &mut payload).map_err(no)?;
        payload.truncate(len);
        let peer = state
            .get_remote_static()
            .and_then(|key| key.try_into().ok())
            .ok_or(NotAuthentic)?;
        Ok(Box::new(Heard {
            state,
            pattern,
            peer: PublicKey(peer),
            payload,
        }))
    }

    fn own_mac(&self, message: &[u8]) -> [u8; 16] {
        let mut key = Secret(self.hash(b"slashnet own mac", &self.private.0));
        let mac = self.mac(&key.0, message);
        zeroize::Zeroize::zeroize(&mut key.0);
        mac
    }

    fn mac(&self, key: &[u8; 32], message: &[u8]) -> [u8; 16] {
        let mut mac = <Blake2sMac<U16> as Mac>::new(key.into());
        mac.update(message);
        mac.finalize().into_bytes().into()
    }

    fn hash(&self, label: &[u8], message: &[u8]) -> [u8; 32] {
        // Labels end in a zero byte, so that no label and message read like another pair.
        Blake2s256::new()
            .chain_update(label)
            .chain_update([0])
            .chain_update(message)
            .finalize()
            .into()
    }

    fn seal_cookie(
        &self,
        key: &[u8; 32],
        nonce: &[u8; 24],
        bound: &[u8],
        cookie: &[u8; 16],
    ) -> [u8; 32] {
        let sealed = XChaCha20Poly1305::new(key.into()).encrypt(
            XNonce::from_slice(nonce),
            Payload {
                msg: cookie,
                aad: bound,
            },
        );
        sealed
            .ok()
            .and_then(|sealed| sealed.try_into().ok())
            .unwrap_or([0; 32])
    }

    fn open_cookie(
        &self,
        key: &[u8; 32],
        nonce: &[u8; 24],
        bound: &[u8],
        sealed: &[u8; 32],
    ) -> Result<[u8; 16], NotAuthentic> {
        let opened = XChaCha20Poly1305::new(key.into())
            .decrypt(
                XNonce::from_slice(nonce),
                Payload {
                    msg: sealed,
                    aad: bound,
                },
            )
            .map_err(no)?;
        opened.try_into().map_err(no)
    }

    fn cipher(&self, secret: &SessionSecret, role: Role) -> Box<dyn PacketCipher> {
        // Without its guard page a cipher could repeat a nonce in a forked child: there is no way to go on.
        ipc::session_cipher(&secret.0, role).expect("a page of memory is left")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crypto() -> NodeCrypto {
        let (private, public) = generate().unwrap();
        NodeCrypto::new(private, public)
    }

    #[test]
    fn both_ends_of_a_handshake_get_the_same_keys_and_each_other_s_words() {
        for pattern in [Pattern::Node, Pattern::Join] {
            let (mut lab1, mut lab2) = (crypto(), crypto());
            let secret = Secret([7; 32]);
            let (mut started, first) = lab1
                .initiate(pattern, &lab2.public_key(), &secret, b"one")
                .unwrap();
            let heard = lab2.respond(pattern, &secret, &first).unwrap();
            assert_eq!(
                (heard.peer(), heard.payload()),
                (lab1.public_key(), &b"one"[..])
            );
            let (second, theirs) = heard.answer(&secret, b"two").unwrap();
            let mut forged = second.clone();
            forged[3] ^= 1;
            assert!(started.finish(&forged).is_err());
            let (payload, ours) = started.finish(&second).unwrap();
            assert_eq!(payload, b"two");
            assert_eq!(ours.hash, theirs.hash);
            assert_eq!(ours.initiator_to_responder, theirs.initiator_to_responder);
            assert_ne!(ours.initiator_to_responder, ours.responder_to_initiator);
        }
    }

    #[test]
    fn without_the_code_not_even_the_first_message_of_joining_is_understood() {
        let (mut lab1, mut lab2) = (crypto(), crypto());
        let wrong = Secret([1; 32]);
        let (_, first) = lab1
            .initiate(Pattern::Join, &lab2.public_key(), &wrong, b"let me in")
            .unwrap();
        assert!(
            lab2.respond(Pattern::Join, &Secret([2; 32]), &first)
                .is_err()
        );
    }

    #[test]
    fn a_different_shared_secret_breaks_the_answer() {
        let (mut lab1, mut lab2) = (crypto(), crypto());
        let (mut started, first) = lab1
            .initiate(Pattern::Node, &lab2.public_key(), &Secret([1; 32]), b"")
            .unwrap();
        let heard = lab2.respond(Pattern::Node, &Secret::ZERO, &first).unwrap();
        let (second, _) = heard.answer(&Secret([2; 32]), b"").unwrap();
        assert!(started.finish(&second).is_err());
    }

    #[test]
    fn cookies_are_bound_to_what_they_answer() {
        let lab1 = crypto();
        let sealed = lab1.seal_cookie(&[1; 32], &[2; 24], b"mac1", &[3; 16]);
        assert_eq!(
            lab1.open_cookie(&[1; 32], &[2; 24], b"mac1", &sealed),
            Ok([3; 16])
        );
        assert!(
            lab1.open_cookie(&[1; 32], &[2; 24], b"mac2", &sealed)
                .is_err()
        );
        assert!(
            lab1.open_cookie(&[9; 32], &[2; 24], b"mac1", &sealed)
                .is_err()
        );
    }

    #[test]
    fn the_calendar_never_stands_still() {
        let mut lab1 = crypto();
        let first = lab1.wall_clock();
        assert!(lab1.wall_clock() > first);
    }
}
