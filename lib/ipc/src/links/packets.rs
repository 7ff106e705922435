//! The packets of one read, as the transport takes them.

use abi::LinkAddress;
use drivers::ReceiveBatch;
use transport::Arrivals;

/// The packets of a batch, one after the other.
pub(super) struct Packets<'a> {
    batch: &'a mut ReceiveBatch,
    next: usize,
}

impl<'a> Packets<'a> {
    pub(super) const fn new(batch: &'a mut ReceiveBatch) -> Self {
        Self { batch, next: 0 }
    }
}

impl Arrivals for Packets<'_> {
    fn next(&mut self) -> Option<(&LinkAddress, &mut [u8])> {
        self.next += 1;
        self.batch.packet(self.next - 1)
    }
}
