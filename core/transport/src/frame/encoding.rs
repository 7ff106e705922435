//! Frames as bytes.

use abi::codec::{Decode, Encode, Malformed, Reader, Writer};

use super::{ACK_WORDS, Ack, Data, FIRST, Frame, Head, OpState, POLICY, REPLY, WireOp};
use crate::event::Meta;
use crate::policy::Policy;

const KIND_PADDING: u8 = 0;
pub(super) const KIND_DATA: u8 = 1;
pub(super) const KIND_DATA64: u8 = 2;
pub(super) const KIND_PULLED: u8 = 3;
pub(super) const KIND_PUSHED: u8 = 4;
const KIND_ACK: u8 = 5;
const KIND_OPSTAT: u8 = 6;
const KIND_QUERY: u8 = 7;
const KIND_CREDIT: u8 = 8;
const KIND_PULL: u8 = 9;
const KIND_CANCEL: u8 = 10;
const KIND_PING: u8 = 11;
const KIND_PONG: u8 = 12;
const KIND_LANE_LEFT: u8 = 13;
const KIND_CLOSE: u8 = 14;

impl Data<'_> {
    /// Bytes of the frame before the fragment.
    pub fn overhead(&self) -> usize {
        let wide = if self.is_wide() { 4 } else { 0 };
        14 + wide
            + match &self.head {
                Head::None => usize::from(self.flags & REPLY == 0) * 4,
                Head::Request { meta, policy, .. } => {
                    let policy = usize::from(*policy != Policy::LoadBalance);
                    4 + 9 + 2 * wide + policy + meta.as_bytes().len()
                }
                Head::Reply { .. } => 16 + wide,
            }
    }

    fn is_wide(&self) -> bool {
        let fits = |n: u64| u32::try_from(n).is_ok();
        !(fits(self.offset)
            && match self.head {
                Head::None => true,
                Head::Request {
                    total, reply_max, ..
                } => fits(total) && fits(reply_max),
                Head::Reply { total, .. } => fits(total),
            })
    }

    /// Writes the frame except for the fragment's bytes.
    pub fn encode_head(&self, w: &mut Writer<'_>) {
        let wide = self.is_wide();
        let size = |w: &mut Writer<'_>, n: u64| if wide { w.u64(n) } else { w.u32(n as u32) };
        w.u8(if wide { KIND_DATA64 } else { KIND_DATA });
        w.u8(self.flags);
        w.u16(self.op.slot);
        w.u32(self.op.seq);
        size(w, self.offset);
        w.u16(self.bytes.len() as u16);
        if self.flags & REPLY == 0 {
            w.u32(self.unscheduled);
        }
        match &self.head {
            Head::None => {}
            Head::Request {
                total,
                reply_max,
                policy,
                meta,
            } => {
                size(w, *total);
                size(w, *reply_max);
                if *policy != Policy::LoadBalance {
                    w.u8(policy.to_byte());
                }
                w.u8(meta.as_bytes().len() as u8);
                w.bytes(meta.as_bytes());
            }
            Head::Reply {
                total,
                status,
                worked,
            } => {
                size(w, *total);
                w.i64(*status);
                w.u32(*worked);
            }
        }
    }
}

fn decode_data<'a>(r: &mut Reader<'a>, wide: bool) -> Result<Data<'a>, Malformed> {
    let size = |r: &mut Reader<'a>| {
        if wide {
            r.u64()
        } else {
            r.u32().map(u64::from)
        }
    };
    let flags = r.u8()?;
    let op = WireOp::decode(r)?;
    let offset = size(r)?;
    let len = usize::from(r.u16()?);
    let unscheduled = if flags & REPLY == 0 { r.u32()? } else { 0 };
    let policed = flags & POLICY != 0;
    if policed && flags & (FIRST | REPLY) != FIRST {
        return Err(Malformed::Invalid);
    }
    let head = if flags & FIRST == 0 {
        Head::None
    } else if offset != 0 {
        return Err(Malformed::Invalid);
    } else if flags & REPLY == 0 {
        let (total, reply_max) = (size(r)?, size(r)?);
        let policy = if policed {
            decode_policy(r.u8()?)?
        } else {
            Policy::LoadBalance
        };
        let meta_len = usize::from(r.u8()?);
        let meta = Meta::new(r.bytes(meta_len)?).ok_or(Malformed::TooMany)?;
        Head::Request {
            total,
            reply_max,
            policy,
            meta,
        }
    } else {
        Head::Reply {
            total: size(r)?,
            status: r.i64()?,
            worked: r.u32()?,
        }
    };
    let bytes = r.bytes(len)?;
    checked_end(offset, bytes)?;
    Ok(Data {
        flags,
        op,
        offset,
        unscheduled,
        head,
        bytes,
    })
}

/// A policy that is worth a byte.
fn decode_policy(byte: u8) -> Result<Policy, Malformed> {
    Policy::from_byte(byte)
        .filter(|policy| *policy != Policy::LoadBalance)
        .ok_or(Malformed::Invalid)
}

/// No fragment reaches beyond the last offset there is.
fn checked_end(offset: u64, bytes: &[u8]) -> Result<u64, Malformed> {
    offset
        .checked_add(bytes.len() as u64)
        .ok_or(Malformed::Invalid)
}

impl Encode for WireOp {
    fn encode(&self, w: &mut Writer<'_>) {
        w.u16(self.slot);
        w.u32(self.seq);
    }
}

impl Decode<'_> for WireOp {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (slot, seq) = (r.u16()?, r.u32()?);
        if seq == 0 {
            Err(Malformed::Invalid)
        } else {
            Ok(Self { slot, seq })
        }
    }
}

impl Encode for Ack {
    fn encode(&self, w: &mut Writer<'_>) {
        w.u8(self.lane);
        w.u64(self.largest);
        w.u16(self.delay);
        w.u8(self.words);
        for word in self.bitmap.iter().take(usize::from(self.words)) {
            w.u64(*word);
        }
    }
}

impl Decode<'_> for Ack {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (lane, largest, delay, words) = (r.u8()?, r.u64()?, r.u16()?, r.u8()?);
        let mut bitmap = [0; ACK_WORDS];
        if usize::from(words) > ACK_WORDS {
            return Err(Malformed::TooMany);
        }
        for word in bitmap.iter_mut().take(usize::from(words)) {
            *word = r.u64()?;
        }
        Ok(Self {
            lane,
            largest,
            delay,
            words,
            bitmap,
        })
    }
}

impl Encode for OpState {
    fn encode(&self, w: &mut Writer<'_>) {
        w.u8(match self {
            Self::Receiving => 1,
            Self::Executing => 2,
            Self::Unknown => 3,
            Self::Gone => 4,
            Self::Cancelled => 5,
        });
    }
}

impl Decode<'_> for OpState {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match r.u8()? {
            1 => Self::Receiving,
            2 => Self::Executing,
            3 => Self::Unknown,
            4 => Self::Gone,
            5 => Self::Cancelled,
            _ => return Err(Malformed::Unknown),
        })
    }
}

impl Encode for Frame<'_> {
    /// Fragments are not written, only their lengths: the caller appends the bytes.
    fn encode(&self, w: &mut Writer<'_>) {
        match self {
            Self::Padding => w.u8(KIND_PADDING),
            Self::Data(data) => data.encode_head(w),
            Self::Pulled {
                op,
                id,
                offset,
                last,
                bytes,
            } => {
                w.u8(KIND_PULLED);
                w.bool(*last);
                op.encode(w);
                w.u32(*id);
                w.u64(*offset);
                w.u16(bytes.len() as u16);
            }
            Self::Pushed {
                op,
                id,
                start,
                total,
                offset,
                last,
                bytes,
            } => {
                w.u8(KIND_PUSHED);
                w.bool(*last);
                op.encode(w);
                w.u32(*id);
                w.u64(*start);
                w.u64(*total);
                w.u64(*offset);
                w.u16(bytes.len() as u16);
            }
            Self::Ack(ack) => {
                w.u8(KIND_ACK);
                ack.encode(w);
            }
            Self::OpStat { .. }
            | Self::Query { .. }
            | Self::Credit { .. }
            | Self::Pull { .. }
            | Self::Cancel { .. }
            | Self::Ping { .. }
            | Self::Pong { .. }
            | Self::LaneLeft { .. }
            | Self::Close { .. } => self.encode_control(w),
        }
    }
}

impl Frame<'_> {
    fn encode_control(&self, w: &mut Writer<'_>) {
        match self {
            Self::OpStat { op, state } => {
                w.u8(KIND_OPSTAT);
                op.encode(w);
                state.encode(w);
            }
            Self::Query { op } => {
                w.u8(KIND_QUERY);
                op.encode(w);
            }
            Self::Credit { slots, bytes } => {
                w.u8(KIND_CREDIT);
                w.u16(*slots);
                w.u64(*bytes);
            }
            Self::Pull {
                op,
                id,
                offset,
                len,
            } => {
                w.u8(KIND_PULL);
                op.encode(w);
                w.u32(*id);
                w.u64(*offset);
                w.u64(*len);
            }
            Self::Cancel { op, reason, charge } => {
                w.u8(KIND_CANCEL);
                op.encode(w);
                w.u8(*reason);
                w.u32(*charge);
            }
            Self::Ping { id, time } | Self::Pong { id, time } => {
                w.u8(if matches!(self, Self::Ping { .. }) {
                    KIND_PING
                } else {
                    KIND_PONG
                });
                w.u32(*id);
                w.u64(*time);
            }
            Self::LaneLeft { lane } => {
                w.u8(KIND_LANE_LEFT);
                w.u8(*lane);
            }
            Self::Close { code } => {
                w.u8(KIND_CLOSE);
                w.u16(*code);
            }
            Self::Padding
            | Self::Data(_)
            | Self::Pulled { .. }
            | Self::Pushed { .. }
            | Self::Ack(_) => {}
        }
    }
}

impl<'a> Decode<'a> for Frame<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(match r.u8()? {
            KIND_PADDING => {
                r.rest();
                Self::Padding
            }
            KIND_DATA => Self::Data(decode_data(r, false)?),
            KIND_DATA64 => Self::Data(decode_data(r, true)?),
            KIND_PULLED => {
                let (last, op, id, offset) = (r.bool()?, WireOp::decode(r)?, r.u32()?, r.u64()?);
                let len = usize::from(r.u16()?);
                let bytes = r.bytes(len)?;
                checked_end(offset, bytes)?;
                Self::Pulled {
                    op,
                    id,
                    offset,
                    last,
                    bytes,
                }
            }
            KIND_PUSHED => decode_pushed(r)?,
            KIND_ACK => Self::Ack(Ack::decode(r)?),
            KIND_OPSTAT => Self::OpStat {
                op: WireOp::decode(r)?,
                state: OpState::decode(r)?,
            },
            KIND_QUERY => Self::Query {
                op: WireOp::decode(r)?,
            },
            KIND_CREDIT => Self::Credit {
                slots: r.u16()?,
                bytes: r.u64()?,
            },
            KIND_PULL => {
                let (op, id, offset, len) = (WireOp::decode(r)?, r.u32()?, r.u64()?, r.u64()?);
                offset.checked_add(len).ok_or(Malformed::Invalid)?;
                Self::Pull {
                    op,
                    id,
                    offset,
                    len,
                }
            }
            KIND_CANCEL => Self::Cancel {
                op: WireOp::decode(r)?,
                reason: r.u8()?,
                charge: r.u32()?,
            },
            KIND_PING => Self::Ping {
                id: r.u32()?,
                time: r.u64()?,
            },
            KIND_PONG => Self::Pong {
                id: r.u32()?,
                time: r.u64()?,
            },
            KIND_LANE_LEFT => Self::LaneLeft { lane: r.u8()? },
            KIND_CLOSE => Self::Close { code: r.u16()? },
            _ => return Err(Malformed::Unknown),
        })
    }
}

fn decode_pushed<'a>(r: &mut Reader<'a>) -> Result<Frame<'a>, Malformed> {
    let (last, op, id) = (r.bool()?, WireOp::decode(r)?, r.u32()?);
    let (start, total, offset) = (r.u64()?, r.u64()?, r.u64()?);
    let len = usize::from(r.u16()?);
    let bytes = r.bytes(len)?;
    start.checked_add(total).ok_or(Malformed::Invalid)?;
    if checked_end(offset, bytes)? > total {
        return Err(Malformed::Invalid);
    }
    Ok(Frame::Pushed {
        op,
        id,
        start,
        total,
        offset,
        last,
        bytes,
    })
}
