//! What keeps a flood of first messages from costing key exchanges.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use abi::{Instant, LinkAddress};

use super::wire;
use crate::allowance::Allowance;
use crate::crypto::{Crypto, PublicKey};
use crate::limits::{
    COOKIE_LIFE, HANDSHAKES_PER_SECOND, SOURCE_BURST, SOURCE_PER_SECOND, SOURCES_MAX,
};

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// What to do with a first message that is meant for us.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Spend a key exchange on it.
    Take,
    /// Send this back and nothing else.
    Challenge(Vec<u8>),
    /// Nothing.
    Ignore,
}

/// Counts handshakes and remembers, under load only, who has sent how many.
#[derive(Debug, Default)]
pub(crate) struct Load {
    second: u64,
    seen: u32,
    secret: Option<(Instant, [u8; 32])>,
    previous: Option<[u8; 32]>,
    sources: BTreeMap<LinkAddress, Allowance>,
}

impl Load {
    /// Decides about a first message whose mac1 is right.
    pub(crate) fn admit(
        &mut self,
        now: Instant,
        crypto: &mut dyn Crypto,
        from: &LinkAddress,
        index: u32,
        packet: &[u8],
    ) -> Admission {
        let second = now.as_nanos() / SECOND;
        if second != self.second {
            (self.second, self.seen) = (second, 0);
        }
        self.seen = self.seen.saturating_add(1);
        if self.seen <= HANDSHAKES_PER_SECOND {
            return Admission::Take;
        }
        let cookie = self.cookie(now, crypto, from);
        let earlier = self
            .previous
            .map(|secret| crypto.mac(&secret, from.as_bytes()));
        let shown = wire::has_cookie(crypto, packet, &cookie)
            || earlier.is_some_and(|earlier| wire::has_cookie(crypto, packet, &earlier));
        if !shown {
            return Admission::Challenge(challenge(crypto, index, &cookie, packet));
        }
        if self.within_allowance(now, from) {
            Admission::Take
        } else {
            Admission::Ignore
        }
    }

    fn cookie(&mut self, now: Instant, crypto: &mut dyn Crypto, from: &LinkAddress) -> [u8; 16] {
        let secret = match self.secret {
            Some((since, secret)) if now.saturating_since(since) < COOKIE_LIFE => secret,
            old => {
                let mut secret = [0; 32];
                crypto.random(&mut secret);
                self.previous = old.map(|(_, secret)| secret);
                self.secret = Some((now, secret));
                secret
            }
        };
        crypto.mac(&secret, from.as_bytes())
    }

    fn within_allowance(&mut self, now: Instant, from: &LinkAddress) -> bool {
        self.sources.retain(|_, source| !source.is_full(now));
        if self.sources.len() >= SOURCES_MAX && !self.sources.contains_key(from) {
            return false;
        }
        let source = self.sources.entry(*from).or_default();
        source.take(now, SOURCE_BURST, SOURCE_PER_SECOND)
    }
}

fn challenge(crypto: &mut dyn Crypto, index: u32, cookie: &[u8; 16], packet: &[u8]) -> Vec<u8> {
    let mut nonce = [0; 24];
    crypto.random(&mut nonce);
    let sealed = crypto.seal_cookie(
        &sealing_key(crypto, &crypto.public_key()),
        &nonce,
        &bound(packet),
        cookie,
    );
    wire::build_cookie(index, &nonce, &sealed)
}

/// Only who knows the answering node's public key reads its cookies.
pub(crate) fn sealing_key(crypto: &dyn Crypto, of: &PublicKey) -> [u8; 32] {
    crypto.hash(b"slashnet cookie", &of.0)
}

/// A cookie is bound to the first message it answers: its mac1.
pub(crate) fn bound(packet: &[u8]) -> [u8; 16] {
    let start = packet.len().saturating_sub(32);
    packet
        .get(start..start + 16)
        .and_then(|mac| mac.try_into().ok())
        .unwrap_or_default()
}
