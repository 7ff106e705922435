use alloc::vec::Vec;

use super::{Devctl, class};
use crate::codec::{Decode, Encode, Malformed, Reader, Writer};

/// Asks to be told once when something in the open directory changes: a name, or the attributes or content of what it
/// names, whoever changes it. The result numbers the lease; it ends with that news, and with the open file through which
/// the client asks for [`LEASE_NEWS`].
///
/// Refused with `EBADF` if the directory is not open for reading, `EOPNOTSUPP` where the server could not notice every change, `EINVAL` if the client does not ask for news,
/// `ENOSPC` if there are too many.
pub const DIRECTORY_LEASE: Devctl<(), u64> = Devctl::from_device(class::FILES, 1, 8);

/// Waits for news of the client's leases. Answered at least every [`LEASE_BEAT_MS`], if need be with none, so that a client
/// knows soon when it would hear of none.
pub const LEASE_NEWS: Devctl<(), BrokenLeases> =
    Devctl::from_device(class::FILES, 2, BrokenLeases::BYTES_MAX);

/// Longest time between two answers to [`LEASE_NEWS`], in milliseconds.
pub const LEASE_BEAT_MS: u64 = 250;

/// The leases that have ended since the last news.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokenLeases {
    /// At most [`Self::COUNT_MAX`]; the rest with the next news.
    pub numbers: Vec<u64>,
}

impl BrokenLeases {
    /// Most numbers in one answer.
    pub const COUNT_MAX: usize = 1000;
    const BYTES_MAX: u16 = 8002;
}

impl Encode for BrokenLeases {
    fn encode(&self, w: &mut Writer<'_>) {
        w.list16(&self.numbers);
    }
}

impl Decode<'_> for BrokenLeases {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            numbers: r.list16(Self::COUNT_MAX)?,
        })
    }
}
