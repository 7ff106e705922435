//! The bytes of every message, written out. `docs/protocol` describes the same bytes in words; a
//! change here is a change of the protocol.

#![allow(clippy::unwrap_used, clippy::panic)]

extern crate slashnet_abi as abi;

mod connect;
mod devctl;
mod documents;
mod io;
mod socket;
mod strictness;
mod version;
mod watches;

use abi::{Decode, Encode, Malformed};

/// Bytes from hexadecimal digits; spaces and bars only separate.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|b| !matches!(b, b' ' | b'|' | b'\n'))
        .collect();
    assert!(digits.len().is_multiple_of(2), "half a byte in {text}");
    let pairs = digits
        .chunks_exact(2)
        .map(|pair| std::str::from_utf8(pair).unwrap());
    pairs
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

/// The value has these bytes, these bytes are the value, one byte less is an error, and one byte more
/// is refused.
fn fixed<T>(value: &T, text: &str)
where
    T: Encode + for<'a> Decode<'a> + PartialEq + std::fmt::Debug,
{
    let bytes = hex(text);
    assert_eq!(value.to_bytes().unwrap(), bytes, "{value:?}");
    assert_eq!(T::from_bytes(&bytes).as_ref(), Ok(value));
    for cut in 0..bytes.len() {
        assert_eq!(
            T::from_bytes(&bytes[..cut]),
            Err(Malformed::Truncated),
            "{cut} of {value:?}"
        );
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert_eq!(
        T::from_bytes(&longer),
        Err(Malformed::Trailing),
        "{value:?}"
    );
    let mut exact = vec![0xaa; bytes.len()];
    assert_eq!(value.write_to(&mut exact), Ok(bytes.len()));
    assert_eq!(exact, bytes);
    if let Some((_, short)) = exact.split_last_mut() {
        assert!(value.write_to(short).is_err());
    }
}
