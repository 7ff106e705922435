//! How the packets of one lane are protected: sealed, summed, or not at all.

use alloc::boxed::Box;

use crate::cipher::{Forged, HEADER_LEN, PacketCipher};
use crate::config::Protection;
use crate::packet::Header;

/// Bytes of a checksum.
const SUM_LEN: usize = 4;

type Cipher = Option<Box<dyn PacketCipher>>;

/// The session's cipher, if it protects such packets.
pub(crate) fn cipher_of(
    level: Protection,
    cipher: &mut Cipher,
) -> Option<&mut Box<dyn PacketCipher>> {
    match level {
        Protection::Sealed => cipher.as_mut(),
        Protection::Checksum | Protection::Plain => None,
    }
}

/// Bytes that protection adds to a packet.
pub(crate) fn overhead(level: Protection, cipher: Option<&dyn PacketCipher>) -> usize {
    match level {
        Protection::Sealed => cipher.map_or(0, PacketCipher::overhead),
        Protection::Checksum => SUM_LEN,
        Protection::Plain => 0,
    }
}

fn sum(header: &[u8; HEADER_LEN], body: &[u8]) -> [u8; SUM_LEN] {
    crc32c::crc32c_append(crc32c::crc32c(header), body).to_le_bytes()
}

/// Protects a packet in place; `body` has room for the overhead at its end.
pub(crate) fn protect(
    level: Protection,
    cipher: &mut Cipher,
    (header, raw): (&Header, &[u8; HEADER_LEN]),
    body: &mut [u8],
) {
    match level {
        Protection::Sealed => {
            if let Some(cipher) = cipher {
                cipher.seal(header.lane, header.pn, raw, body);
            }
        }
        Protection::Checksum => {
            let (text, tail) = body.split_at_mut(body.len() - SUM_LEN);
            tail.copy_from_slice(&sum(raw, text));
        }
        Protection::Plain => {}
    }
}

/// Checks a packet; answers what it carries.
///
/// # Errors
/// [`Forged`] if it is not as the peer has made it.
pub(crate) fn open<'a>(
    level: Protection,
    cipher: &mut Cipher,
    (header, raw): (&Header, &[u8; HEADER_LEN]),
    body: &'a mut [u8],
) -> Result<&'a [u8], Forged> {
    match level {
        Protection::Sealed => {
            let cipher = cipher.as_mut().ok_or(Forged)?;
            cipher
                .open(header.lane, header.pn, raw, body)
                .map(|body| &*body)
        }
        Protection::Checksum => {
            let (text, tail) = body.split_last_chunk::<SUM_LEN>().ok_or(Forged)?;
            if sum(raw, text) == *tail {
                Ok(text)
            } else {
                Err(Forged)
            }
        }
        Protection::Plain => Ok(body),
    }
}
