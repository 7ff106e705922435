//! A stream taken apart.

use alloc::vec::Vec;

use crate::options::Verb;
use crate::{IAC, SB, SE};

/// Bytes of a subnegotiation that are kept. The longest one that means something is a signature; one that is longer
/// is dropped whole.
pub const SUBNEGOTIATION_MAX: usize = 256;

/// A piece of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// Bytes for the port; never empty.
    Data(&'a [u8]),
    /// The other side offers or asks for an option.
    Option(Verb, u8),
    /// What was said about an option: its number and the bytes after it.
    Subnegotiation(u8, &'a [u8]),
    /// Another command, such as 243 for a break.
    Command(u8),
}

/// Takes a stream apart, however it is cut into pieces. Its memory is bounded by [`SUBNEGOTIATION_MAX`].
#[derive(Clone, Debug, Default)]
pub struct Parser {
    state: State,
    held: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Data,
    /// After IAC.
    Command,
    /// After IAC and a verb.
    Option(Verb),
    /// After IAC SB.
    Subnegotiation,
    /// After an IAC in there.
    SubnegotiationCommand,
}

impl Parser {
    /// Takes the next bytes and gives what they are, in order.
    pub fn feed(&mut self, mut bytes: &[u8], mut take: impl FnMut(Item<'_>)) {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.state == State::Data {
                let until = bytes.iter().position(|byte| *byte == IAC);
                let (data, after) = bytes.split_at(until.unwrap_or(bytes.len()));
                if data.is_empty() {
                    self.state = State::Command;
                    bytes = rest;
                } else {
                    take(Item::Data(data));
                    bytes = after;
                }
                continue;
            }
            self.step(first, &mut take);
            bytes = rest;
        }
    }

    fn step(&mut self, byte: u8, take: &mut impl FnMut(Item<'_>)) {
        self.state = match (self.state, byte) {
            (State::Data, _) => State::Data,
            (State::Command, IAC) => {
                take(Item::Data(&[IAC]));
                State::Data
            }
            (State::Command, SB) => {
                self.held.clear();
                State::Subnegotiation
            }
            (State::Command, byte) => match Verb::from_byte(byte) {
                Some(verb) => State::Option(verb),
                None => {
                    take(Item::Command(byte));
                    State::Data
                }
            },
            (State::Option(verb), option) => {
                take(Item::Option(verb, option));
                State::Data
            }
            (State::Subnegotiation, IAC) => State::SubnegotiationCommand,
            (State::Subnegotiation, byte) => {
                self.hold(byte);
                State::Subnegotiation
            }
            (State::SubnegotiationCommand, IAC) => {
                self.hold(IAC);
                State::Subnegotiation
            }
            (State::SubnegotiationCommand, SE) => {
                self.end(take);
                State::Data
            }
            // Not allowed. What was said so far is incomplete and dropped, as most others do.
            (State::SubnegotiationCommand, _) => State::Data,
        };
    }

    fn hold(&mut self, byte: u8) {
        // One more than allowed marks it as too long.
        if self.held.len() <= SUBNEGOTIATION_MAX {
            self.held.push(byte);
        }
    }

    fn end(&self, take: &mut impl FnMut(Item<'_>)) {
        if self.held.len() > SUBNEGOTIATION_MAX {
            return;
        }
        if let Some((&option, said)) = self.held.split_first() {
            take(Item::Subnegotiation(option, said));
        }
    }
}

/// Adds bytes of the port to what is sent.
pub fn push_data(bytes: &[u8], out: &mut Vec<u8>) {
    for piece in bytes.split_inclusive(|byte| *byte == IAC) {
        out.extend_from_slice(piece);
        if piece.last() == Some(&IAC) {
            out.push(IAC);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    #[derive(Clone, Debug, PartialEq)]
    enum Owned {
        Data(Vec<u8>),
        Option(Verb, u8),
        Said(u8, Vec<u8>),
        Command(u8),
    }

    /// Everything in the stream, neighbouring data as one.
    fn parse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Owned> {
        let mut parser = Parser::default();
        let mut all: Vec<Owned> = Vec::new();
        for piece in pieces {
            parser.feed(piece, |item| match (item, all.last_mut()) {
                (Item::Data(data), Some(Owned::Data(before))) => before.extend(data),
                (Item::Data(data), _) => all.push(Owned::Data(data.to_vec())),
                (Item::Option(verb, option), _) => all.push(Owned::Option(verb, option)),
                (Item::Subnegotiation(option, said), _) => {
                    all.push(Owned::Said(option, said.to_vec()));
                }
                (Item::Command(byte), _) => all.push(Owned::Command(byte)),
            });
        }
        all
    }

    #[test]
    fn data_commands_options_and_subnegotiations_are_told_apart() {
        let stream = [
            b'a', 255, 255, b'b', 255, 251, 44, 255, 243, 255, 250, 44, 1, 255, 255, 2, 255, 240,
            b'c',
        ];
        let expected = [
            Owned::Data(b"a\xffb".to_vec()),
            Owned::Option(Verb::Will, 44),
            Owned::Command(243),
            Owned::Said(44, vec![1, 255, 2]),
            Owned::Data(b"c".to_vec()),
        ];
        assert_eq!(parse([&stream[..]]), expected);
        assert_eq!(
            parse(stream.chunks(1)),
            expected,
            "wherever the stream is cut"
        );
    }

    #[test]
    fn an_endless_subnegotiation_is_dropped_and_takes_no_memory() {
        let mut stream = vec![255, 250, 44];
        stream.extend(vec![7; 100_000]);
        let mut parser = Parser::default();
        parser.feed(&stream, |item| unreachable!("{item:?}"));
        assert!(parser.held.len() <= SUBNEGOTIATION_MAX + 1);
        let mut after = Vec::new();
        parser.feed(&[255, 240, b'x'], |item| {
            after.push(matches!(item, Item::Data(b"x")));
        });
        assert_eq!(after, [true]);
    }

    proptest! {
        #[test]
        fn data_pass_unchanged_however_they_are_cut(data: Vec<u8>, cut in 1..20usize) {
            let mut sent = Vec::new();
            push_data(&data, &mut sent);
            let expected = if data.is_empty() { vec![] } else { vec![Owned::Data(data)] };
            prop_assert_eq!(parse(sent.chunks(cut)), expected);
        }

        #[test]
        fn any_bytes_are_parsed_alike_wherever_they_are_cut(bytes: Vec<u8>, cut in 1..20usize) {
            prop_assert_eq!(parse(bytes.chunks(cut)), parse([&bytes[..]]));
        }
    }
}
