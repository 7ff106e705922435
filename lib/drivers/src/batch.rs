//! The packets of one `receive`.

use abi::LinkAddress;

/// Room for received packets, allocated once and used again for every `receive`.
///
/// The memory is touched only as far as packets fill it.
#[derive(Debug)]
pub struct ReceiveBatch {
    pub(crate) buffer: Box<[u8]>,
    packets: Vec<Packet>,
    used: usize,
}

#[derive(Clone, Copy, Debug)]
struct Packet {
    from: LinkAddress,
    start: usize,
    len: usize,
}

impl ReceiveBatch {
    /// A batch that takes four of the largest reads: 256 KiB.
    #[must_use]
    pub fn new() -> Self {
        Self::with_slots(4)
    }

    /// A batch of `slots` (1 to 64) reads of at most [`SLOT`](Self::SLOT) bytes each.
    #[must_use]
    pub fn with_slots(slots: usize) -> Self {
        let slots = slots.clamp(1, 64);
        Self {
            buffer: vec![0; slots * Self::SLOT].into_boxed_slice(),
            packets: Vec::with_capacity(slots * PACKETS_PER_SLOT),
            used: 0,
        }
    }

    /// The largest read of any driver in bytes: a UDP datagram train, or a frame of the memory driver.
    pub const SLOT: usize = 64 * 1024;

    /// Packets in the batch.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// True if there is no packet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Forgets all packets.
    pub fn clear(&mut self) {
        self.packets.clear();
        self.used = 0;
    }

    /// The sender and the bytes of packet `index`, in order of arrival; `None` past the end.
    ///
    /// The address is not copied: 28 bytes in two overlapping moves, read at once, make the CPU wait until all of the
    /// previous packet has reached its place.
    pub fn packet(&mut self, index: usize) -> Option<(&LinkAddress, &mut [u8])> {
        let packet = self.packets.get(index)?;
        let bytes = self
            .buffer
            .get_mut(packet.start..packet.start + packet.len)?;
        Some((&packet.from, bytes))
    }

    /// For drivers: room for one packet of up to `len` bytes, `None` if the batch is full.
    /// It becomes a packet by [`commit`](Self::commit).
    pub fn reserve(&mut self, len: usize) -> Option<&mut [u8]> {
        if self.packets.len() == self.packets.capacity() {
            return None;
        }
        self.buffer.get_mut(self.used..self.used.checked_add(len)?)
    }

    /// For drivers: the first `len` bytes of the last [`reserve`](Self::reserve) are a packet.
    ///
    /// # Panics
    ///
    /// If `len` exceeds the room that was reserved.
    pub fn commit(&mut self, from: LinkAddress, len: usize) {
        assert!(
            len <= self.buffer.len() - self.used,
            "packet longer than its room"
        );
        self.push(from, self.used, len);
        self.used += len;
    }

    /// Bytes and packets for which there is room.
    pub(crate) fn room(&self) -> (usize, usize) {
        let packets = self.packets.capacity() - self.packets.len();
        (self.buffer.len() - self.used, packets)
    }

    /// Records that `len` bytes at `start` are a packet. False, and nothing done, if the batch is full.
    pub(crate) fn push(&mut self, from: LinkAddress, start: usize, len: usize) -> bool {
        let room = self.packets.len() < self.packets.capacity();
        if room {
            self.packets.push(Packet { from, start, len });
        }
        room
    }
}

impl Default for ReceiveBatch {
    fn default() -> Self {
        Self::new()
    }
}

/// The kernel joins at most 64 datagrams into one read (`UDP_GRO_CNT_MAX`).
const PACKETS_PER_SLOT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_back_in_order_and_a_full_batch_refuses() {
        let mut batch = ReceiveBatch::with_slots(1);
        let from = LinkAddress::NONE;
        for value in 0..PACKETS_PER_SLOT {
            batch
                .reserve(2)
                .expect("room")
                .fill(u8::try_from(value).expect("small"));
            batch.commit(from, 2);
        }
        assert!(batch.reserve(1).is_none());
        assert!(!batch.push(from, 0, 1));
        assert_eq!(batch.packet(7).expect("packet").1, &[7, 7]);
        assert!(batch.packet(PACKETS_PER_SLOT).is_none());
        batch.clear();
        assert!(batch.is_empty());
        assert!(batch.reserve(ReceiveBatch::SLOT + 1).is_none());
    }
}
