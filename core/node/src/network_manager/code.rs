//! One-time codes: everything a node needs to find the one that invites it and to be believed.
//!
//! A code is the bytes below in base 32, letters and digits without I, L, O and U, in groups of six:
//! format (1), secret (16), public key (32), number of addresses (1), addresses, checksum (4). An
//! address is its kind (4 or 6: Internet, 2: Ethernet, 1: neighbour), host (4, 16, 6 or 8) and port (2).

use alloc::string::String;
use alloc::vec::Vec;

use abi::link_address::{Ethernet, Internet, Neighbour};
use abi::{LinkAddress, Malformed, Reader, Writer};
use zeroize::Zeroize;

use crate::crypto::{Crypto, PublicKey, Secret, same};

const FORMAT: u8 = 1;
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const GROUP: usize = 6;
/// Addresses in a code; more would make it too long to copy.
const ADDRESSES_MAX: usize = 8;
/// Longest text that is looked at.
const TEXT_MAX: usize = 1024;

/// What is in a code.
#[derive(Debug)]
pub(crate) struct Invitation {
    pub(crate) key: PublicKey,
    pub(crate) secret: [u8; 16],
    pub(crate) addresses: Vec<LinkAddress>,
}

impl Drop for Invitation {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

/// Why a text is no code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadCode {
    /// A character that no code has.
    Character(char),
    /// Not all of it is there.
    Short,
    /// Made by another version.
    Format,
    /// Mistyped.
    Checksum,
}

impl Invitation {
    /// The shared secret of the joining handshake.
    pub(crate) fn psk(&self, crypto: &dyn Crypto) -> Secret {
        Secret(crypto.hash(b"slashnet join secret", &self.secret))
    }

    /// The secret that both nodes keep for later handshakes.
    pub(crate) fn kept_secret(&self, crypto: &dyn Crypto) -> Secret {
        Secret(crypto.hash(b"slashnet node secret", &self.secret))
    }

    /// What tells the inviting node which of its codes is meant, and others nothing.
    pub(crate) fn id(&self, crypto: &dyn Crypto) -> [u8; 8] {
        let [a, b, c, d, e, f, g, h, ..] = crypto.hash(b"slashnet join id", &self.secret);
        [a, b, c, d, e, f, g, h]
    }

    pub(crate) fn write(&self, crypto: &dyn Crypto) -> String {
        let mut bytes = Vec::new();
        let mut w = Writer::growing(&mut bytes);
        w.u8(FORMAT);
        w.bytes(&self.secret);
        w.bytes(&self.key.0);
        let known = |address: &&LinkAddress| Host::of(address).is_some();
        let addresses = self.addresses.iter().filter(known).take(ADDRESSES_MAX);
        w.u8(addresses.clone().count() as u8);
        for host in addresses.filter_map(Host::of) {
            host.write(&mut w);
        }
        let sum = checksum(crypto, &bytes);
        bytes.extend(sum);
        let text = letters(&bytes);
        bytes.zeroize();
        text
    }

    pub(crate) fn read(crypto: &dyn Crypto, text: &[u8]) -> Result<Self, BadCode> {
        let mut bytes = numbers(text)?;
        let outcome = Self::parse(crypto, &bytes);
        bytes.zeroize();
        outcome
    }

    fn parse(crypto: &dyn Crypto, bytes: &[u8]) -> Result<Self, BadCode> {
        let (body, sum) = bytes.split_last_chunk::<4>().ok_or(BadCode::Short)?;
        match body.first() {
            None => return Err(BadCode::Short),
            _ if same(&checksum(crypto, body), sum) => {}
            Some(_) if body.len() < 50 => return Err(BadCode::Short),
            Some(_) => return Err(BadCode::Checksum),
        }
        if body[0] != FORMAT {
            return Err(BadCode::Format);
        }
        Self::fields(&body[1..]).map_err(|_| BadCode::Format)
    }

    fn fields(body: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(body);
        let (secret, key) = (r.array()?, PublicKey(r.array()?));
        let count = usize::from(r.u8()?);
        if count > ADDRESSES_MAX {
            return Err(Malformed::TooMany);
        }
        let mut addresses = Vec::new();
        for _ in 0..count {
            addresses.push(match r.u8()? {
                1 => LinkAddress::neighbour(r.array()?, r.u16()?),
                2 => LinkAddress::ethernet(r.array()?, r.u16()?),
                4 => LinkAddress::ipv4(r.array()?, r.u16()?),
                6 => LinkAddress::ipv6(r.array()?, r.u16()?, 0),
                _ => return Err(Malformed::Unknown),
            });
        }
        r.finish()?;
        Ok(Self {
            key,
            secret,
            addresses,
        })
    }
}

/// An address of a kind that a code can name.
enum Host {
    Internet(Internet),
    Ethernet(Ethernet),
    Neighbour(Neighbour),
}

impl Host {
    fn of(address: &LinkAddress) -> Option<Self> {
        let internet = address.internet().map(Self::Internet);
        internet
            .or_else(|| address.as_ethernet().map(Self::Ethernet))
            .or_else(|| address.as_neighbour().map(Self::Neighbour))
    }

    fn write(&self, w: &mut Writer<'_>) {
        match self {
            Self::Neighbour(Neighbour { host, port }) => {
                w.u8(1);
                w.bytes(host);
                w.u16(*port);
            }
            Self::Ethernet(Ethernet { mac, port }) => {
                w.u8(2);
                w.bytes(mac);
                w.u16(*port);
            }
            Self::Internet(Internet::V4(host, port)) => {
                w.u8(4);
                w.bytes(host);
                w.u16(*port);
            }
            Self::Internet(Internet::V6(host, port, _)) => {
                w.u8(6);
                w.bytes(host);
                w.u16(*port);
            }
        }
    }
}

fn checksum(crypto: &dyn Crypto, body: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = crypto.hash(b"slashnet code checksum", body);
    [a, b, c, d]
}

fn letters(bytes: &[u8]) -> String {
    let mut text = String::new();
    let (mut held, mut bits) = (0_u32, 0);
    let mut count = 0;
    let mut put = |value: u32| {
        if count > 0 && count % GROUP == 0 {
            text.push('-');
        }
        count += 1;
        text.push(char::from(ALPHABET[(value & 31) as usize]));
    };
    for &byte in bytes {
        held = held << 8 | u32::from(byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            put(held >> bits);
        }
    }
    if bits > 0 {
        put(held << (5 - bits));
    }
    text
}

fn numbers(text: &[u8]) -> Result<Vec<u8>, BadCode> {
    let mut bytes = Vec::new();
    let (mut held, mut bits) = (0_u32, 0);
    for &letter in text.iter().take(TEXT_MAX) {
        // What people read for one another.
        let letter = match letter.to_ascii_uppercase() {
            b'-' | b' ' | b'\t' | b'\r' | b'\n' => continue,
            b'O' => b'0',
            b'I' | b'L' => b'1',
            letter => letter,
        };
        let value = ALPHABET.iter().position(|&known| known == letter);
        let value = value.ok_or(BadCode::Character(char::from(letter)))?;
        held = (held << 5 | value as u32) & 0xfff;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
        }
    }
    if bytes.is_empty() {
        Err(BadCode::Short)
    } else {
        Ok(bytes)
    }
}
