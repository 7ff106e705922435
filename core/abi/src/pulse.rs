//! Small asynchronous notes.

use crate::codec::{Decode, Encode, Malformed, Reader, Writer};
use crate::ids::SenderId;

/// A small note that needs no answer.
///
/// Codes 0 to 127 are the programs' own; negative ones come from the system (I44).
#[doc(alias = "_pulse")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pulse {
    /// What happened; see the constants.
    pub code: i8,
    /// Refines the code; 0 unless the code says otherwise.
    pub subtype: u16,
    /// What it happened to.
    pub value: u64,
    /// The connection it came over, in the receiver's terms; 0 from the system itself.
    pub sender: SenderId,
    /// Larger is more urgent; 0 to 255.
    pub priority: u8,
}

impl Pulse {
    /// A blocked client wants to leave; `value` is the message's id, `subtype` the number of the
    /// error it would leave with: `EINTR` or `ETIMEDOUT` (I40).
    #[doc(alias = "_PULSE_CODE_UNBLOCK")]
    pub const UNBLOCK: i8 = -32;
    /// The last connection of a client is gone; `sender` says whose.
    #[doc(alias = "_PULSE_CODE_DISCONNECT")]
    pub const DISCONNECT: i8 = -33;
    /// A thread of this process ended; `value` is the thread.
    #[doc(alias = "_PULSE_CODE_THREADDEATH")]
    pub const THREAD_DEATH: i8 = -34;
    /// A server is gone; `value` is the connection that led to it.
    #[doc(alias = "_PULSE_CODE_COIDDEATH")]
    pub const CONNECTION_DEATH: i8 = -35;
    /// Bytes of an encoded pulse.
    pub const ENCODED_LEN: usize = 16;

    /// Whether the pulse came from the system and not from a program.
    #[must_use]
    pub const fn is_system(&self) -> bool {
        self.code < 0
    }
}

impl Encode for Pulse {
    fn encode(&self, w: &mut Writer<'_>) {
        w.i8(self.code);
        w.u8(self.priority);
        w.u16(self.subtype);
        self.sender.encode(w);
        w.u64(self.value);
    }
}

impl Decode<'_> for Pulse {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (code, priority, subtype) = (r.i8()?, r.u8()?, r.u16()?);
        Ok(Self {
            code,
            subtype,
            sender: SenderId::decode(r)?,
            value: r.u64()?,
            priority,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // qnx: I50
    #[test]
    fn a_pulse_has_sixteen_bytes() {
        let pulse = Pulse {
            code: Pulse::UNBLOCK,
            subtype: 0x0102,
            value: 0x1122_3344_5566_7788,
            sender: SenderId(7),
            priority: 10,
        };
        let golden = [
            0xe0, 10, 2, 1, 7, 0, 0, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11,
        ];
        assert_eq!(pulse.to_bytes().unwrap(), golden);
        assert_eq!(Pulse::from_bytes(&golden), Ok(pulse));
        assert_eq!(Pulse::from_bytes(&golden[..15]), Err(Malformed::Truncated));
    }

    // qnx: I44
    #[test]
    fn system_codes_have_the_qnx_numbers() {
        let codes = [
            Pulse::UNBLOCK,
            Pulse::DISCONNECT,
            Pulse::THREAD_DEATH,
            Pulse::CONNECTION_DEATH,
        ];
        assert_eq!(codes, [-32, -33, -34, -35]);
    }
}
