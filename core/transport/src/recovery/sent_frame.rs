//! What packets carry that must arrive.

use alloc::vec::Vec;

use crate::frame::WireOp;

/// What a packet carried that must arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SentFrame {
    Request {
        op: WireOp,
        offset: u64,
        len: u32,
    },
    Reply {
        op: WireOp,
        offset: u64,
        len: u32,
    },
    Pulled {
        id: u32,
        offset: u64,
        len: u32,
    },
    Pushed {
        id: u32,
        offset: u64,
        len: u32,
    },
    Pull {
        id: u32,
    },
    Cancel {
        op: WireOp,
    },
    Credit,
    /// That a lane, by its place in the session's list, is not used.
    LaneLeft {
        lane: u8,
    },
    Ping,
}

impl SentFrame {
    /// Makes one of neighbours in `frames` that are fragments of one message and follow each other in it, so that what
    /// is done for each is done for all at once.
    pub(crate) fn join(frames: &mut Vec<Self>) {
        frames.dedup_by(|next, kept| kept.takes_in(next));
    }

    /// Adds `next` at the end if it belongs there; answers whether it does.
    fn takes_in(&mut self, next: &Self) -> bool {
        use SentFrame::{Pulled, Pushed, Reply, Request};
        let next = *next;
        let (same, begin, len, at, more) = match (self, next) {
            (
                Request { op, offset, len },
                Request {
                    op: other,
                    offset: at,
                    len: more,
                },
            )
            | (
                Reply { op, offset, len },
                Reply {
                    op: other,
                    offset: at,
                    len: more,
                },
            ) => (*op == other, *offset, len, at, more),
            (
                Pulled { id, offset, len },
                Pulled {
                    id: other,
                    offset: at,
                    len: more,
                },
            )
            | (
                Pushed { id, offset, len },
                Pushed {
                    id: other,
                    offset: at,
                    len: more,
                },
            ) => (*id == other, *offset, len, at, more),
            _ => return false,
        };
        let Some(sum) = len.checked_add(more) else {
            return false;
        };
        let follows = same && begin + u64::from(*len) == at;
        if follows {
            *len = sum;
        }
        follows
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn only_what_follows_in_the_same_message_is_joined() {
        let op = |slot| WireOp { slot, seq: 1 };
        let reply = |slot, offset, len| SentFrame::Reply {
            op: op(slot),
            offset,
            len,
        };
        let request = |offset, len| SentFrame::Request {
            op: op(1),
            offset,
            len,
        };
        let pulled = |id, offset, len| SentFrame::Pulled { id, offset, len };
        let pushed = |id, offset, len| SentFrame::Pushed { id, offset, len };
        let mut frames = vec![
            reply(1, 0, 10),
            reply(1, 10, 5),
            reply(1, 15, 5),
            reply(1, 21, 4),
            reply(2, 25, 4),
            request(29, 1),
            request(30, 2),
            SentFrame::Credit,
            request(32, 2),
            pulled(1, 34, 1),
            pushed(1, 35, 1),
            pushed(1, 36, u32::MAX),
            pushed(2, 37, 3),
            pushed(2, 40, 3),
        ];
        SentFrame::join(&mut frames);
        let joined = vec![
            reply(1, 0, 20),
            reply(1, 21, 4),
            reply(2, 25, 4),
            request(29, 3),
            SentFrame::Credit,
            request(32, 2),
            pulled(1, 34, 1),
            pushed(1, 35, 1),
            pushed(1, 36, u32::MAX),
            pushed(2, 37, 6),
        ];
        assert_eq!(frames, joined);
    }
}
