//! Packets of a handshake. Everything in them is either public or sealed; a stranger who does not know our public key
//! cannot even make one that is looked at.

use alloc::vec::Vec;

use abi::{Malformed, Reader, Writer};
use transport::cipher::HEADER_LEN;

use crate::crypto::{Crypto, Pattern, PublicKey, same};

/// Version of the packet format, in the top three bits of every packet.
const VERSION: u8 = 1;
const KIND_HELLO: u8 = 1;
const KIND_ANSWER: u8 = 2;
const KIND_COOKIE: u8 = 3;
const KIND_JOIN_HELLO: u8 = 8;
const KIND_JOIN_ANSWER: u8 = 9;

/// Length of the first message of a handshake between trusted nodes; its answer and a cookie are shorter, so that
/// nobody can use us to multiply traffic.
pub(crate) const HELLO_LEN: usize = 224;
/// The same for joining, whose answer carries names and addresses.
pub(crate) const JOIN_HELLO_LEN: usize = 1200;
const MAC_LEN: usize = 16;

/// First message of a handshake.
#[derive(Debug)]
pub(crate) struct Hello<'a> {
    pub(crate) pattern: Pattern,
    /// The answer must name it.
    pub(crate) index: u32,
    /// Which one-time code is meant; zeros otherwise.
    pub(crate) code: [u8; 8],
    pub(crate) noise: &'a [u8],
}

/// A packet of a handshake, taken apart but not believed.
#[derive(Debug)]
pub(crate) enum Packet<'a> {
    Hello(Hello<'a>),
    Answer {
        pattern: Pattern,
        index: u32,
        noise: &'a [u8],
    },
    Cookie {
        index: u32,
        nonce: [u8; 24],
        sealed: [u8; 32],
    },
}

/// Whether a packet belongs to a handshake at all.
pub(crate) fn is_handshake(packet: &[u8]) -> bool {
    let kinds = [
        KIND_HELLO,
        KIND_ANSWER,
        KIND_COOKIE,
        KIND_JOIN_HELLO,
        KIND_JOIN_ANSWER,
    ];
    packet
        .first()
        .is_some_and(|first| kinds.iter().any(|kind| VERSION << 5 | kind == *first))
}

pub(crate) fn parse(packet: &[u8]) -> Result<Packet<'_>, Malformed> {
    let mut r = Reader::new(packet);
    let kind = r.u8()? & 0x1f;
    let _flags = r.u8()?;
    let len = usize::from(r.u16()?);
    let index = r.u32()?;
    let _number = r.u64()?;
    if r.remaining() < len {
        return Err(Malformed::Truncated);
    }
    let body = r.bytes(len)?;
    let mut r = Reader::new(body);
    Ok(match kind {
        KIND_HELLO => Packet::Hello(hello(packet, Pattern::Node, HELLO_LEN)?),
        KIND_JOIN_HELLO => Packet::Hello(hello(packet, Pattern::Join, JOIN_HELLO_LEN)?),
        KIND_ANSWER => Packet::Answer {
            pattern: Pattern::Node,
            index,
            noise: body,
        },
        KIND_JOIN_ANSWER => Packet::Answer {
            pattern: Pattern::Join,
            index,
            noise: body,
        },
        KIND_COOKIE => {
            let packet = Packet::Cookie {
                index,
                nonce: r.array()?,
                sealed: r.array()?,
            };
            r.finish()?;
            packet
        }
        _ => return Err(Malformed::Unknown),
    })
}

fn hello(packet: &[u8], pattern: Pattern, len: usize) -> Result<Hello<'_>, Malformed> {
    if packet.len() != len {
        return Err(Malformed::Invalid);
    }
    let mut r = Reader::new(&packet[HEADER_LEN..]);
    let index = r.u32()?;
    let code = r.array()?;
    let noise = r.str16(len)?;
    Ok(Hello {
        pattern,
        index,
        code,
        noise,
    })
}

/// A first message without cookie: 16 zero bytes stand for it.
pub(crate) fn build_hello(
    crypto: &dyn Crypto,
    pattern: Pattern,
    index: u32,
    code: [u8; 8],
    noise: &[u8],
    to: &PublicKey,
) -> Vec<u8> {
    let (kind, len) = match pattern {
        Pattern::Node => (KIND_HELLO, HELLO_LEN),
        Pattern::Join => (KIND_JOIN_HELLO, JOIN_HELLO_LEN),
    };
    let mut packet = header(kind, len - HEADER_LEN, 0);
    let mut w = Writer::growing(&mut packet);
    w.u32(index);
    w.bytes(&code);
    w.str16(noise);
    assert!(
        packet.len() + 2 * MAC_LEN <= len,
        "a first message fits its fixed length"
    );
    packet.resize(len - 2 * MAC_LEN, 0);
    let mac1 = crypto.mac(&mac1_key(crypto, to), &packet);
    packet.extend(mac1);
    packet.resize(len, 0);
    packet
}

/// Puts the proof into a first message that its sender receives what is sent to its address.
pub(crate) fn add_cookie(crypto: &dyn Crypto, packet: &mut [u8], cookie: &[u8; 16]) {
    let end = packet.len() - MAC_LEN;
    let mac2 = crypto.mac(&cookie_key(cookie), &packet[..end]);
    packet[end..].copy_from_slice(&mac2);
}

/// Whether somebody made this first message who knows our public key.
pub(crate) fn is_for(crypto: &dyn Crypto, packet: &[u8], me: &PublicKey) -> bool {
    let Some(start) = packet.len().checked_sub(2 * MAC_LEN) else {
        return false;
    };
    let mac1 = crypto.mac(&mac1_key(crypto, me), &packet[..start]);
    same(&mac1, &packet[start..start + MAC_LEN])
}

pub(crate) fn has_cookie(crypto: &dyn Crypto, packet: &[u8], cookie: &[u8; 16]) -> bool {
    let Some(start) = packet.len().checked_sub(MAC_LEN) else {
        return false;
    };
    same(
        &crypto.mac(&cookie_key(cookie), &packet[..start]),
        &packet[start..],
    )
}

pub(crate) fn build_answer(pattern: Pattern, index: u32, noise: &[u8]) -> Vec<u8> {
    let kind = if pattern == Pattern::Node {
        KIND_ANSWER
    } else {
        KIND_JOIN_ANSWER
    };
    let mut packet = header(kind, noise.len(), index);
    packet.extend_from_slice(noise);
    packet
}

pub(crate) fn build_cookie(index: u32, nonce: &[u8; 24], sealed: &[u8; 32]) -> Vec<u8> {
    let mut packet = header(KIND_COOKIE, nonce.len() + sealed.len(), index);
    packet.extend_from_slice(nonce);
    packet.extend_from_slice(sealed);
    packet
}

fn header(kind: u8, body: usize, index: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut w = Writer::growing(&mut bytes);
    w.u8(VERSION << 5 | kind);
    w.u8(0);
    w.u16(u16::try_from(body).unwrap_or(u16::MAX));
    w.u32(index);
    w.u64(0);
    bytes
}

fn mac1_key(crypto: &dyn Crypto, to: &PublicKey) -> [u8; 32] {
    crypto.hash(b"slashnet mac1", &to.0)
}

fn cookie_key(cookie: &[u8; 16]) -> [u8; 32] {
    let mut key = [0; 32];
    key[..16].copy_from_slice(cookie);
    key
}
