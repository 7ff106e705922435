//! Long packets of shared memory taken where they are: their bytes go from the ring to their owner at once.

use drivers::memory::InPlace;
use transport::cipher::HEADER_LEN;
use transport::frame::{FRAGMENT_HEAD_MAX, lone_fragment};
use transport::{Buffer, Memory};

use crate::regions::Regions;

/// A packet on its way into the transport.
pub(crate) struct Arriving<'a, 'b> {
    pub(crate) regions: &'a mut Regions,
    pub(crate) packet: InPlace<'b>,
    /// Address of the copy that the transport reads.
    pub(crate) base: usize,
    /// The copy lacks the bytes of the packet's only fragment.
    pub(crate) is_head: bool,
}

/// Copies of the packet what the transport reads: all of it, or the head of a long one whose rest is one fragment;
/// then the flag is set. The peer may change the packet meanwhile; what counts is what was copied.
pub(crate) fn look<'a>(packet: &InPlace<'_>, space: &'a mut [u8]) -> (&'a mut [u8], bool) {
    let len = packet.len().min(space.len());
    let space = &mut space[..len];
    const HEAD: usize = HEADER_LEN + FRAGMENT_HEAD_MAX;
    if len < LONG {
        packet.copy(0, space);
        return (space, false);
    }
    packet.copy(0, &mut space[..HEAD]);
    let is_head = lone_fragment(&space[HEADER_LEN..HEAD], len - HEADER_LEN).is_some();
    if !is_head {
        packet.copy(HEAD, &mut space[HEAD..]);
    }
    (space, is_head)
}

impl Memory for Arriving<'_, '_> {
    fn load(&mut self, from: Buffer, offset: u64, into: &mut [u8]) {
        self.regions.load(from, offset, into);
    }

    fn store(&mut self, to: Buffer, offset: u64, bytes: &[u8]) {
        if !self.is_head {
            self.regions.store(to, offset, bytes);
            return;
        }
        let mut at = bytes.as_ptr().addr() - self.base;
        let packet = &self.packet;
        self.regions.arrive(to, offset, bytes.len(), |place| {
            packet.copy(at, place);
            at += place.len();
        });
    }
}

/// Packets below this are copied whole.
const LONG: usize = 2048;
