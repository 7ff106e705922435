//! What travels with every operation besides the sender's bytes.

use abi::codec::{Malformed, Reader};
use abi::{ChannelId, ConnectionId, Decode};

/// The head of one operation, at most [`Meta::LEN_MAX`] bytes on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) kind: Kind,
    /// Larger is more urgent.
    pub(crate) priority: u8,
    /// The client's number for the connection, as the server reports it (I26).
    pub(crate) connection: ConnectionId,
    /// Which of the session's attachments: all connections to one channel share one (I7).
    pub(crate) attachment: u32,
    pub(crate) channel: ChannelId,
    /// Pulses sent over the attachment before this operation, modulo 2^32. The receiver waits for them,
    /// because operations may overtake each other on the way and QNX keeps their order (I66).
    pub(crate) pulses_before: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A message; its bytes are the operation's bytes.
    Message,
    Pulse {
        code: i8,
        subtype: u16,
        value: u64,
    },
    /// Is the channel there? Answered by the library.
    Attach,
    /// The last connection of the attachment has gone.
    Detach,
}

impl Meta {
    /// Bytes of the longest head.
    pub(crate) const LEN_MAX: usize = 32;

    /// Writes the head and returns its length.
    pub(crate) fn encode(&self, into: &mut [u8; Self::LEN_MAX]) -> usize {
        let (kind, code, subtype, value) = match self.kind {
            Kind::Message => (0, 0, 0, None),
            Kind::Pulse {
                code,
                subtype,
                value,
            } => (1, code, subtype, Some(value)),
            Kind::Attach => (2, 0, 0, None),
            Kind::Detach => (3, 0, 0, None),
        };
        into[0] = kind;
        into[1] = self.priority;
        into[2] = code as u8;
        into[4..6].copy_from_slice(&subtype.to_le_bytes());
        into[8..12].copy_from_slice(&self.connection.0.to_le_bytes());
        into[12..16].copy_from_slice(&self.attachment.to_le_bytes());
        into[16..20].copy_from_slice(&self.channel.0.to_le_bytes());
        into[20..24].copy_from_slice(&self.pulses_before.to_le_bytes());
        let Some(value) = value else { return 24 };
        into[24..32].copy_from_slice(&value.to_le_bytes());
        32
    }
}

impl Decode<'_> for Meta {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let kind = r.u8()?;
        let priority = r.u8()?;
        let code = r.i8()?;
        r.u8()?;
        let subtype = r.u16()?;
        r.u16()?;
        let (connection, attachment) = (ConnectionId::decode(r)?, r.u32()?);
        let (channel, pulses_before) = (ChannelId::decode(r)?, r.u32()?);
        let kind = match kind {
            0 => Kind::Message,
            1 => Kind::Pulse {
                code,
                subtype,
                value: r.u64()?,
            },
            2 => Kind::Attach,
            3 => Kind::Detach,
            _ => return Err(Malformed::Invalid),
        };
        Ok(Self {
            kind,
            priority,
            connection,
            attachment,
            channel,
            pulses_before,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(kind: Kind) -> Meta {
        Meta {
            kind,
            priority: 10,
            connection: ConnectionId(0x0102_0304),
            attachment: 5,
            channel: ChannelId(7),
            pulses_before: 0x0a0b_0c0d,
        }
    }

    #[test]
    fn a_message_has_fixed_head_bytes() {
        let mut bytes = [0; Meta::LEN_MAX];
        let len = head(Kind::Message).encode(&mut bytes);
        let golden = [
            0, 10, 0, 0, 0, 0, 0, 0, 4, 3, 2, 1, 5, 0, 0, 0, 7, 0, 0, 0, 0x0d, 0x0c, 0x0b, 0x0a,
        ];
        assert_eq!(bytes[..len], golden);
        assert_eq!(Meta::from_bytes(&golden), Ok(head(Kind::Message)));
    }

    #[test]
    fn the_head_of_the_page_is_one() {
        let page = include_str!("../../../docs/protocol/channels.md");
        let (_, block) = page.split_once("```hex head").unwrap();
        let mut bytes = [0; Meta::LEN_MAX];
        let shown = Meta {
            connection: ConnectionId(2),
            attachment: 1,
            pulses_before: 0,
            ..head(Kind::Message)
        };
        let len = shown.encode(&mut bytes);
        let digits = bytes[..len].iter().map(|byte| format!("{byte:02x}"));
        let block = block.split("```").next().unwrap();
        assert_eq!(block.replace([' ', '\n'], ""), digits.collect::<String>());
    }

    #[test]
    fn every_kind_comes_back() {
        let pulse = Kind::Pulse {
            code: -3,
            subtype: 0x0506,
            value: u64::MAX - 1,
        };
        for kind in [Kind::Message, pulse, Kind::Attach, Kind::Detach] {
            let mut bytes = [0; Meta::LEN_MAX];
            let len = head(kind).encode(&mut bytes);
            assert_eq!(Meta::from_bytes(&bytes[..len]), Ok(head(kind)));
            assert!(Meta::from_bytes(&bytes[..len - 1]).is_err());
        }
        assert!(Meta::from_bytes(&[9; 24]).is_err());
    }
}
