//! What the preload library asks the broker of `slashnet run`, and its answers.
//!
//! Both are on one machine and of one version. A question is one packet of a Unix socket of packets, its answer
//! another; a connection carries one of each. The library runs inside any program, between `vfork` and `exec` and in
//! signal handlers too, so nothing here allocates.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod bytes;

use bytes::{Reader, Writer};

/// What proves that a question comes from a program that the broker was started for.
pub type Token = [u8; 16];
/// The variable that says where the broker is: the name of its abstract socket, a colon, and the token in hexadecimal digits.
pub const VARIABLE: &str = "SLASHNET_RUN";
/// The variable with the names that are mapped, each between colons.
pub const NAMES_VARIABLE: &str = "SLASHNET_RUN_NAMES";
/// The longest question in bytes.
pub const QUESTION_MAX: usize = 4096 + 64;
/// The longest answer in bytes.
pub const ANSWER_MAX: usize = 256;
/// The status of a path or terminal that the broker has nothing to do with.
pub const NOT_OURS: u16 = u16::MAX;

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question<'a> {
    /// Open a port: the answer's text is the terminal to open instead.
    Open {
        /// The path as the program gave it.
        path: &'a [u8],
        /// Whether it wants the port for itself.
        exclusive: bool,
    },
    /// Whether a path is a port.
    Look {
        /// The path as the program gave it.
        path: &'a [u8],
    },
    /// Control the port behind a terminal, `/dev/pts/NUMBER`.
    Control {
        /// Which terminal.
        number: u32,
        /// What to do.
        control: Control,
    },
}

/// What is done to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Tell the bits of `c_cflag` that the kernel forgets, as the answer's number.
    Frame,
    /// Set line and terminal.
    Set(When, Settings),
    /// Wait until everything has left.
    Drain,
    /// Send a break of so many milliseconds; 0 is the port's own length.
    Break(u32),
    /// Switch the break condition.
    SetBreak(bool),
    /// Tell the modem lines, as bits of `TIOCMGET`.
    Modem,
    /// Switch our modem lines: those to switch on, those to switch off.
    SetModem(u32, u32),
    /// Keep others from opening the port, or no longer.
    Exclusive(bool),
    /// How many bytes have not left.
    OutputCount,
}

/// When settings take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum When {
    /// At once.
    Now = 0,
    /// When the output has left.
    Drain = 1,
    /// When the output has left; the input is thrown away.
    Flush = 2,
}

/// The kernel's `struct termios2` of this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `c_iflag`, `c_oflag`, `c_cflag`, `c_lflag`.
    pub modes: [u32; 4],
    /// `c_line`.
    pub discipline: u8,
    /// `c_cc`.
    pub characters: [u8; 19],
    /// `c_ispeed` and `c_ospeed`.
    pub speeds: [u32; 2],
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// 0, or the number of an error, or [`NOT_OURS`].
    pub status: u16,
    /// A number that was asked for.
    pub number: u32,
    /// A text that was asked for.
    pub text: &'a [u8],
}

impl Answer<'_> {
    /// An answer without more.
    #[must_use]
    pub const fn status(status: u16) -> Self {
        Self {
            status,
            number: 0,
            text: &[],
        }
    }

    /// Writes it; how long it is. None if it does not fit.
    pub fn write(&self, space: &mut [u8]) -> Option<usize> {
        let mut to = Writer::new(space);
        to.u16(self.status)?;
        to.u32(self.number)?;
        to.bytes(self.text)?;
        Some(to.written())
    }

    /// Reads one.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Answer<'_>> {
        let mut from = Reader(bytes);
        Some(Answer {
            status: from.u16()?,
            number: from.u32()?,
            text: from.0,
        })
    }
}

impl<'a> Question<'a> {
    /// Writes it; how long it is. None if it does not fit.
    pub fn write(&self, token: &Token, space: &mut [u8]) -> Option<usize> {
        let mut to = Writer::new(space);
        to.bytes(token)?;
        match self {
            Question::Open { path, exclusive } => {
                to.u8(1)?;
                to.u8(u8::from(*exclusive))?;
                to.bytes(path)?;
            }
            Question::Look { path } => {
                to.u8(2)?;
                to.bytes(path)?;
            }
            Question::Control { number, control } => {
                to.u8(3)?;
                to.u32(*number)?;
                control.write(&mut to)?;
            }
        }
        Some(to.written())
    }

    /// Reads one; None for what is none, or is not from whom it should be.
    #[must_use]
    pub fn read(token: &Token, bytes: &'a [u8]) -> Option<Self> {
        let mut from = Reader(bytes);
        if from.array::<16>()? != *token {
            return None;
        }
        Some(match from.u8()? {
            1 => Self::Open {
                exclusive: from.u8()? == 1,
                path: from.0,
            },
            2 => Self::Look { path: from.0 },
            3 => Self::Control {
                number: from.u32()?,
                control: Control::read(from)?,
            },
            _ => return None,
        })
    }
}

impl Control {
    fn write(&self, to: &mut Writer<'_>) -> Option<()> {
        match self {
            Self::Frame => to.u8(1),
            Self::Set(when, settings) => {
                to.u8(2)?;
                to.u8(*when as u8)?;
                settings.write(to)
            }
            Self::Drain => to.u8(3),
            Self::Break(millis) => {
                to.u8(4)?;
                to.u32(*millis)
            }
            Self::SetBreak(on) => {
                to.u8(5)?;
                to.u8(u8::from(*on))
            }
            Self::Modem => to.u8(6),
            Self::SetModem(on, off) => {
                to.u8(7)?;
                to.u32(*on)?;
                to.u32(*off)
            }
            Self::Exclusive(on) => {
                to.u8(8)?;
                to.u8(u8::from(*on))
            }
            Self::OutputCount => to.u8(9),
        }
    }

    fn read(mut from: Reader<'_>) -> Option<Self> {
        let control = match from.u8()? {
            1 => Self::Frame,
            2 => {
                let when = match from.u8()? {
                    0 => When::Now,
                    1 => When::Drain,
                    2 => When::Flush,
                    _ => return None,
                };
                Self::Set(when, Settings::read(&mut from)?)
            }
            3 => Self::Drain,
            4 => Self::Break(from.u32()?),
            5 => Self::SetBreak(from.u8()? == 1),
            6 => Self::Modem,
            7 => Self::SetModem(from.u32()?, from.u32()?),
            8 => Self::Exclusive(from.u8()? == 1),
            9 => Self::OutputCount,
            _ => return None,
        };
        from.0.is_empty().then_some(control)
    }
}

impl Settings {
    fn write(&self, to: &mut Writer<'_>) -> Option<()> {
        for modes in self.modes {
            to.u32(modes)?;
        }
        to.u8(self.discipline)?;
        to.bytes(&self.characters)?;
        to.u32(self.speeds[0])?;
        to.u32(self.speeds[1])
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            modes: [from.u32()?, from.u32()?, from.u32()?, from.u32()?],
            discipline: from.u8()?,
            characters: from.array()?,
            speeds: [from.u32()?, from.u32()?],
        })
    }
}

/// Where the broker is, from the value of [`VARIABLE`]; None for a value that is none.
#[must_use]
pub fn parse_place(value: &[u8]) -> Option<(&[u8], Token)> {
    let colon = value.iter().position(|byte| *byte == b':')?;
    let (name, rest) = value.split_at(colon);
    let (_, digits) = rest.split_first()?;
    let mut token = Token::default();
    if name.is_empty() || digits.len() != 2 * token.len() {
        return None;
    }
    for (byte, pair) in token.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            let value = char::from(*digit).to_digit(16)?;
            *byte = *byte << 4 | u8::try_from(value).ok()?;
        }
    }
    Some((name, token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TOKEN: Token = *b"0123456789abcdef";

    #[test]
    fn questions_are_read_as_they_were_written() {
        let settings = Settings {
            modes: [1, 2, 3, u32::MAX],
            discipline: 4,
            characters: [5; 19],
            speeds: [9600, 250_000],
        };
        let controls = [
            Control::Frame,
            Control::Set(When::Flush, settings),
            Control::Drain,
            Control::Break(250),
            Control::SetBreak(true),
            Control::Modem,
            Control::SetModem(2, 4),
            Control::Exclusive(true),
            Control::OutputCount,
        ];
        let paths = [
            Question::Open {
                path: b"/dev/ser1",
                exclusive: true,
            },
            Question::Look { path: b"/net/a/b" },
        ];
        let controls = controls.map(|control| Question::Control { number: 7, control });
        for question in controls.into_iter().chain(paths) {
            let mut space = [0; QUESTION_MAX];
            let length = question.write(&TOKEN, &mut space).unwrap();
            assert_eq!(Question::read(&TOKEN, &space[..length]), Some(question));
            assert_eq!(
                Question::read(&[0; 16], &space[..length]),
                None,
                "a stranger"
            );
        }
    }

    #[test]
    fn a_place_is_a_name_and_a_token() {
        let value = b"slashnet-run-5:000102030405060708090a0B0c0d0e0f";
        let token = core::array::from_fn(|index| u8::try_from(index).unwrap());
        assert_eq!(parse_place(value), Some((&b"slashnet-run-5"[..], token)));
        for bad in ["", ":", "a:", "a:00", ":000102030405060708090a0b0c0d0e0f"] {
            assert_eq!(parse_place(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_written_back_the_same(bytes: std::vec::Vec<u8>) {
            let mut packet = TOKEN.to_vec();
            packet.extend(bytes);
            if let Some(question) = Question::read(&TOKEN, &packet) {
                let mut space = [0; QUESTION_MAX];
                let length = question.write(&TOKEN, &mut space).unwrap();
                prop_assert_eq!(Question::read(&TOKEN, &space[..length]), Some(question));
            }
            if let Some(answer) = Answer::read(&packet) {
                let mut space = [0; ANSWER_MAX];
                let length = answer.write(&mut space).unwrap();
                prop_assert_eq!(&space[..length], &packet[..]);
            }
        }
    }
}
