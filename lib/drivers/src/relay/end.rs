//! The node's end of a relay.

use std::os::fd::BorrowedFd;

use abi::LinkAddress;
use rustix::event::epoll::EventFlags;

use super::{Record, put, record_of};
use crate::{DriverError, MemoryDriver, PacketDriver};

/// The node's end of the rings that it shares with a program.
///
/// The program is not trusted: what it puts into the rings is copied out and checked before anybody looks at it, and
/// an error means that it broke the rules of the rings, from which on they are not used any more.
#[derive(Debug)]
pub struct RelayEnd {
    memory: MemoryDriver,
    space: Box<[u8]>,
    /// Packets in `space` that have not gone yet.
    held: Option<Held>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    record: Record,
    start: usize,
    end: usize,
}

/// Packets of a program on their way out.
#[derive(Clone, Copy, Debug)]
pub struct Relayed<'a> {
    /// The link that the program named.
    pub link: u8,
    /// Where the packets go. Whether the program may send there is for the caller to decide.
    pub to: LinkAddress,
    /// The packets.
    pub bytes: &'a [u8],
    /// Bytes of each packet but the last, which may be shorter.
    pub segment: usize,
}

/// How far [`RelayEnd::forward`] has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is left. [`RelayEnd::arm`] before sleep.
    Empty,
    /// As many trains as were allowed have gone; there may be more.
    More,
    /// The caller did not take all of a train; the rest is offered again next time.
    Blocked,
}

impl RelayEnd {
    /// From the node's end of a pair of rings whose other end is a program's.
    #[must_use]
    pub fn new(memory: MemoryDriver) -> Self {
        let space = vec![0; memory.properties().max_frame].into_boxed_slice();
        memory.keep_free();
        Self {
            memory,
            space,
            held: None,
        }
    }

    /// Hands at most `trains` trains to `send`, which returns the bytes that it took or threw away: whole packets, and
    /// less than all only if it can take no more now.
    ///
    /// # Errors
    ///
    /// `Io(EPROTO)`, from then on always: the program broke the rules of the rings.
    pub fn forward(
        &mut self,
        trains: usize,
        send: &mut dyn FnMut(Relayed<'_>) -> usize,
    ) -> Result<Progress, DriverError> {
        for _ in 0..trains {
            if self.held.is_none() && !self.take()? {
                return Ok(Progress::Empty);
            }
            if !self.offer(send) {
                return Ok(Progress::Blocked);
            }
        }
        Ok(Progress::More)
    }

    /// Puts packets from `from`, which came in on `link`, into the program's ring. Returns the bytes for which there was
    /// room; the rest is lost, as in a socket that nobody reads. The program hears of it by
    /// [`Self::ring_if_asked`].
    ///
    /// # Errors
    ///
    /// `TooBig` for packets larger than half the ring, `Io(EPROTO)` as for [`Self::forward`].
    pub fn give(
        &self,
        link: u8,
        from: &LinkAddress,
        bytes: &[u8],
        segment: usize,
    ) -> Result<usize, DriverError> {
        put(&self.memory, link, from, bytes, segment)
    }

    /// Wakes the program for what [`Self::give`] has put into the ring, if it sleeps.
    pub fn ring_if_asked(&self) {
        self.memory.ring_if_asked();
    }

    /// The descriptor that epoll waits on, with the flags of [`Self::events`]. Never read from it.
    #[must_use]
    pub fn readable(&self) -> BorrowedFd<'_> {
        self.memory.readable()
    }

    /// Flags for epoll.
    #[must_use]
    pub fn events(&self) -> EventFlags {
        self.memory.events(false)
    }

    /// Says that the caller is about to sleep in epoll. True if something is there already: do not sleep.
    /// Not to be asked while [`Progress::Blocked`]: then the caller waits for what blocks it.
    #[must_use]
    pub fn arm(&self) -> bool {
        self.held.is_some() || self.memory.arm()
    }

    /// The rings.
    #[must_use]
    pub fn memory(&self) -> &MemoryDriver {
        &self.memory
    }

    /// Copies the next train out. False if there is none. One that is malformed goes nowhere, like one that was sent.
    fn take(&mut self) -> Result<bool, DriverError> {
        let (held, space) = (&mut self.held, &mut self.space);
        let count = self.memory.receive_in_place(&mut |arrived| {
            let end = arrived.len().saturating_sub(Record::LEN);
            if let (Some(record), Some(room)) = (record_of(&arrived), space.get_mut(..end)) {
                arrived.copy(Record::LEN, room);
                *held = Some(Held {
                    record,
                    start: 0,
                    end,
                });
            }
            false
        })?;
        Ok(count > 0)
    }

    /// False if `send` left something of the train held.
    fn offer(&mut self, send: &mut dyn FnMut(Relayed<'_>) -> usize) -> bool {
        let Some(held) = &mut self.held else {
            return true;
        };
        let bytes = &self.space[held.start..held.end];
        let taken = send(Relayed {
            link: held.record.link,
            to: held.record.address,
            bytes,
            segment: usize::from(held.record.segment),
        });
        held.start += taken.min(bytes.len());
        let done = held.start == held.end;
        if done {
            self.held = None;
        }
        done
    }
}
