//! What is said about a port (RFC 2217, section 3).

use alloc::vec::Vec;

use crate::{IAC, SB, SE, option};

/// Who says it: the numbers differ by 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The side that uses the port.
    Client,
    /// The side that has it.
    Server,
}

/// What a side says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Which side.
    pub side: Side,
    /// What.
    pub said: ComPort<'a>,
}

/// Something about a port. From the client a wish or a question, from the server what is true now. A value of 0 in
/// baud, data size, parity and stop size is a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComPort<'a> {
    /// Who one is; empty is a question.
    Signature(&'a [u8]),
    /// Bits per second.
    Baud(u32),
    /// Data bits of a frame: 5 to 8.
    DataSize(u8),
    /// Parity of a frame; None is a question.
    Parity(Option<Parity>),
    /// Stop bits of a frame: 1, 2, or 3 for one and a half.
    StopSize(u8),
    /// Flow control, break and our wires.
    Control(Control),
    /// Errors and queues of the line, as a UART's line status register has them.
    LineState(u8),
    /// The other side's wires and what has changed.
    ModemState(ModemState),
    /// Send no data for now.
    Suspend,
    /// Send data again.
    Resume,
    /// Which line states to tell of.
    LineStateMask(u8),
    /// Which modem states to tell of.
    ModemStateMask(u8),
    /// Throw away what waits.
    Purge(Purge),
}

/// Parity of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Parity {
    /// There is none.
    None = 1,
    /// The number of ones is odd.
    Odd = 2,
    /// The number of ones is even.
    Even = 3,
    /// Always 1.
    Mark = 4,
    /// Always 0.
    Space = 5,
}

impl Parity {
    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::None,
            2 => Self::Odd,
            3 => Self::Even,
            4 => Self::Mark,
            5 => Self::Space,
            _ => return None,
        })
    }
}

/// What waits and is thrown away, seen from the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Purge {
    /// What it has received.
    Input = 1,
    /// What it was to send.
    Output = 2,
    /// Both.
    Both = 3,
}

/// Values of the control command, with the numbers of the RFC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names say all there is to say")]
pub enum Control {
    AskFlow = 0,
    FlowNone = 1,
    FlowSoftware = 2,
    FlowHardware = 3,
    AskBreak = 4,
    BreakOn = 5,
    BreakOff = 6,
    AskDtr = 7,
    DtrOn = 8,
    DtrOff = 9,
    AskRts = 10,
    RtsOn = 11,
    RtsOff = 12,
    AskInputFlow = 13,
    InputFlowNone = 14,
    InputFlowSoftware = 15,
    InputFlowHardware = 16,
    FlowDcd = 17,
    InputFlowDtr = 18,
    FlowDsr = 19,
}

impl Control {
    const ALL: [Self; 20] = [
        Self::AskFlow,
        Self::FlowNone,
        Self::FlowSoftware,
        Self::FlowHardware,
        Self::AskBreak,
        Self::BreakOn,
        Self::BreakOff,
        Self::AskDtr,
        Self::DtrOn,
        Self::DtrOff,
        Self::AskRts,
        Self::RtsOn,
        Self::RtsOff,
        Self::AskInputFlow,
        Self::InputFlowNone,
        Self::InputFlowSoftware,
        Self::InputFlowHardware,
        Self::FlowDcd,
        Self::InputFlowDtr,
        Self::FlowDsr,
    ];
}

/// Wires of the other side, and which of them have changed: the bits of a UART's modem status register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ModemState(pub u8);

impl ModemState {
    /// Clear to send.
    pub const CTS: u8 = 0x10;
    /// Data set ready.
    pub const DSR: u8 = 0x20;
    /// Ring.
    pub const RI: u8 = 0x40;
    /// Carrier detected.
    pub const CD: u8 = 0x80;

    /// Wires that are on, and as changed those that differ from `before`.
    #[must_use]
    pub const fn of(lines: u8, before: u8) -> Self {
        let lines = lines & 0xf0;
        Self(lines | (lines ^ before & 0xf0) >> 4)
    }

    /// The wires that are on.
    #[must_use]
    pub const fn lines(self) -> u8 {
        self.0 & 0xf0
    }
}

impl<'a> Message<'a> {
    /// What was said in a subnegotiation of the COM port option; None for what this RFC does not know.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (&number, value) = bytes.split_first()?;
        let (side, number) = match number {
            0..=99 => (Side::Client, number),
            _ => (Side::Server, number - 100),
        };
        let byte = || match value {
            [byte] => Some(*byte),
            _ => None,
        };
        let said = match number {
            0 => ComPort::Signature(value),
            1 => ComPort::Baud(big_endian(value)?),
            2 => ComPort::DataSize(byte().filter(|bits| matches!(bits, 0 | 5..=8))?),
            3 => match byte()? {
                0 => ComPort::Parity(None),
                parity => ComPort::Parity(Some(Parity::from_byte(parity)?)),
            },
            4 => ComPort::StopSize(byte().filter(|bits| *bits <= 3)?),
            5 => ComPort::Control(*Control::ALL.get(usize::from(byte()?))?),
            6 => ComPort::LineState(byte()?),
            7 => ComPort::ModemState(ModemState(byte()?)),
            8 => ComPort::Suspend,
            9 => ComPort::Resume,
            10 => ComPort::LineStateMask(byte()?),
            11 => ComPort::ModemStateMask(byte()?),
            12 => ComPort::Purge(match byte()? {
                1 => Purge::Input,
                2 => Purge::Output,
                3 => Purge::Both,
                _ => return None,
            }),
            _ => return None,
        };
        Some(Self { side, said })
    }

    /// Adds it to what is sent.
    pub fn push(&self, out: &mut Vec<u8>) {
        let (number, value): (u8, &[u8]) = match &self.said {
            ComPort::Signature(text) => (0, text),
            ComPort::Baud(baud) => return self.push_value(1, &bytes_of(*baud), out),
            ComPort::DataSize(bits) => (2, &[*bits]),
            ComPort::Parity(parity) => {
                return self.push_value(3, &[parity.map_or(0, |parity| parity as u8)], out);
            }
            ComPort::StopSize(bits) => (4, &[*bits]),
            ComPort::Control(control) => return self.push_value(5, &[*control as u8], out),
            ComPort::LineState(state) => (6, &[*state]),
            ComPort::ModemState(ModemState(state)) => (7, &[*state]),
            ComPort::Suspend => (8, &[]),
            ComPort::Resume => (9, &[]),
            ComPort::LineStateMask(mask) => (10, &[*mask]),
            ComPort::ModemStateMask(mask) => (11, &[*mask]),
            ComPort::Purge(purge) => return self.push_value(12, &[*purge as u8], out),
        };
        self.push_value(number, value, out);
    }

    fn push_value(&self, number: u8, value: &[u8], out: &mut Vec<u8>) {
        let number = match self.side {
            Side::Client => number,
            Side::Server => number + 100,
        };
        out.extend_from_slice(&[IAC, SB, option::COM_PORT, number]);
        crate::push_data(value, out);
        out.extend_from_slice(&[IAC, SE]);
    }
}

/// Numbers of this RFC are big-endian, unlike ours.
fn big_endian(bytes: &[u8]) -> Option<u32> {
    match bytes {
        [a, b, c, d] => {
            Some(u32::from(*a) << 24 | u32::from(*b) << 16 | u32::from(*c) << 8 | u32::from(*d))
        }
        _ => None,
    }
}

const fn bytes_of(number: u32) -> [u8; 4] {
    [
        (number >> 24) as u8,
        (number >> 16) as u8,
        (number >> 8) as u8,
        number as u8,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Item, Parser};
    use proptest::prelude::*;

    /// What arrives of what was sent.
    fn again(message: &Message<'_>, check: impl FnOnce(Option<Message<'_>>)) {
        let mut sent = Vec::new();
        message.push(&mut sent);
        let mut said = Vec::new();
        Parser::default().feed(&sent, |item| match item {
            Item::Subnegotiation(option::COM_PORT, bytes) => said.extend_from_slice(bytes),
            other => unreachable!("{other:?}"),
        });
        check(Message::parse(&said));
    }

    #[test]
    fn everything_that_can_be_said_is_understood() {
        let all = [
            ComPort::Signature(b"Slash\xffnet"),
            ComPort::Baud(115_200),
            ComPort::Baud(0xff_ff),
            ComPort::DataSize(7),
            ComPort::Parity(Some(Parity::Even)),
            ComPort::Parity(None),
            ComPort::StopSize(2),
            ComPort::LineState(0xff),
            ComPort::ModemState(ModemState::of(ModemState::CTS, ModemState::CD)),
            ComPort::Suspend,
            ComPort::Resume,
            ComPort::LineStateMask(1),
            ComPort::ModemStateMask(255),
            ComPort::Purge(Purge::Both),
        ];
        let controls = Control::ALL.into_iter().map(ComPort::Control);
        for said in all.into_iter().chain(controls) {
            for side in [Side::Client, Side::Server] {
                let message = Message { side, said };
                again(&message, |heard| assert_eq!(heard, Some(message)));
            }
        }
    }

    // RFC 2217 section 3: SET-BAUDRATE as the client sends it, with its number in network order.
    #[test]
    fn the_bytes_are_those_of_the_rfc() {
        let mut sent = Vec::new();
        let said = ComPort::Baud(9600);
        Message {
            side: Side::Client,
            said,
        }
        .push(&mut sent);
        assert_eq!(sent, [255, 250, 44, 1, 0, 0, 0x25, 0x80, 255, 240]);
        assert_eq!(Control::ALL.map(|control| control as u8)[19], 19);
    }

    #[test]
    fn changed_wires_are_those_that_differ() {
        let state = ModemState::of(
            ModemState::CTS | ModemState::DSR,
            ModemState::DSR | ModemState::CD,
        );
        assert_eq!(state.lines(), ModemState::CTS | ModemState::DSR);
        assert_eq!(state.0 & 0x0f, (ModemState::CTS | ModemState::CD) >> 4);
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_written_back_the_same(bytes: Vec<u8>) {
            if let Some(message) = Message::parse(&bytes) {
                again(&message, |heard| assert_eq!(heard, Some(message)));
            }
        }
    }
}
