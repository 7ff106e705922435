//! The number in an eventfd.

use std::os::fd::AsFd;

/// Adds to the number, which makes the descriptor readable. Fails only if the number is as large as it can be, and
/// then the descriptor is readable already.
pub(crate) fn put(event: impl AsFd, number: u64) {
    #[expect(
        clippy::host_endian_bytes,
        reason = "the kernel reads an eventfd's number in host order"
    )]
    let bytes = number.to_ne_bytes();
    let _ = rustix::io::write(event, &bytes);
}

/// Takes the number; 0 if nobody has put one there since the last time.
pub(crate) fn take(event: impl AsFd) -> u64 {
    let mut bytes = [0; 8];
    if rustix::io::read(event, &mut bytes).is_err() {
        return 0;
    }
    #[expect(
        clippy::host_endian_bytes,
        reason = "the kernel gives an eventfd's number in host order"
    )]
    u64::from_ne_bytes(bytes)
}
