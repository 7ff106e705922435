//! Which options are on, on either side.

use alloc::vec::Vec;

use crate::IAC;

/// What is said about an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Verb {
    /// I do it.
    Will = 251,
    /// I do not.
    Wont = 252,
    /// You should do it.
    Do = 253,
    /// You should not.
    Dont = 254,
}

impl Verb {
    pub(crate) const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            251 => Self::Will,
            252 => Self::Wont,
            253 => Self::Do,
            254 => Self::Dont,
            _ => return None,
        })
    }
}

/// Numbers of options.
pub mod option {
    /// Bytes pass unchanged (RFC 856).
    pub const BINARY: u8 = 0;
    /// What arrives is echoed (RFC 857).
    pub const ECHO: u8 = 1;
    /// No go-ahead marks (RFC 858).
    pub const SUPPRESS_GO_AHEAD: u8 = 3;
    /// COM port control (RFC 2217).
    pub const COM_PORT: u8 = 44;
}

/// The options of one connection. Every offer is answered at most once, so two of these never talk for ever
/// (RFC 1143 says why).
#[derive(Clone, Debug)]
pub struct Options {
    /// Options that we agree to do.
    ours: &'static [u8],
    /// Options that we agree to the other side's doing.
    theirs: &'static [u8],
    state: [State; KNOWN.len()],
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    we: Half,
    they: Half,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Half {
    #[default]
    Off,
    /// We have asked for it and not heard.
    Asked,
    On,
    /// The other side refused.
    Refused,
}

const KNOWN: [u8; 4] = [
    option::BINARY,
    option::ECHO,
    option::SUPPRESS_GO_AHEAD,
    option::COM_PORT,
];

impl Options {
    /// Those of the side that has the port.
    #[must_use]
    pub const fn server() -> Self {
        Self::new(
            &KNOWN,
            &[option::BINARY, option::SUPPRESS_GO_AHEAD, option::COM_PORT],
        )
    }

    /// Those of the side that uses it.
    #[must_use]
    pub const fn client() -> Self {
        Self::new(
            &[option::BINARY, option::SUPPRESS_GO_AHEAD, option::COM_PORT],
            &KNOWN,
        )
    }

    const fn new(ours: &'static [u8], theirs: &'static [u8]) -> Self {
        let off = State {
            we: Half::Off,
            they: Half::Off,
        };
        Self {
            ours,
            theirs,
            state: [off; KNOWN.len()],
        }
    }

    /// Asks for everything that is wanted and was not spoken of yet.
    pub fn open(&mut self, out: &mut Vec<u8>) {
        for (state, number) in self.state.iter_mut().zip(KNOWN) {
            if self.ours.contains(&number) && state.we == Half::Off {
                state.we = Half::Asked;
                say(Verb::Will, number, out);
            }
            if self.theirs.contains(&number) && state.they == Half::Off {
                state.they = Half::Asked;
                say(Verb::Do, number, out);
            }
        }
    }

    /// Hears what the other side says and answers if it must.
    pub fn hear(&mut self, verb: Verb, number: u8, out: &mut Vec<u8>) {
        let Some(index) = KNOWN.iter().position(|known| *known == number) else {
            match verb {
                Verb::Will => say(Verb::Dont, number, out),
                Verb::Do => say(Verb::Wont, number, out),
                Verb::Wont | Verb::Dont => {}
            }
            return;
        };
        let Some(state) = self.state.get_mut(index) else {
            return;
        };
        let (half, agreed, yes, no) = match verb {
            Verb::Will | Verb::Wont => (&mut state.they, self.theirs, Verb::Do, Verb::Dont),
            Verb::Do | Verb::Dont => (&mut state.we, self.ours, Verb::Will, Verb::Wont),
        };
        let offered = matches!(verb, Verb::Will | Verb::Do);
        let agreed = agreed.contains(&number);
        match (offered, *half) {
            (true, Half::Asked) => *half = Half::On,
            (true, Half::Off | Half::Refused) if agreed => {
                *half = Half::On;
                say(yes, number, out);
            }
            (true, Half::Off | Half::Refused) => say(no, number, out),
            (false, Half::On) => {
                *half = Half::Off;
                say(no, number, out);
            }
            (false, Half::Asked | Half::Off) => *half = Half::Refused,
            (true, Half::On) | (false, Half::Refused) => {}
        }
    }

    /// Whether both sides speak of the COM port.
    #[must_use]
    pub fn has_com_port(&self) -> bool {
        self.state
            .last()
            .is_some_and(|state| state.we == Half::On || state.they == Half::On)
    }

    /// Whether the other side has said that it will not speak of the COM port.
    #[must_use]
    pub fn refuses_com_port(&self) -> bool {
        self.state
            .last()
            .is_some_and(|state| state.we == Half::Refused && state.they == Half::Refused)
    }
}

fn say(verb: Verb, number: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[IAC, verb as u8, number]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Item, Parser};
    use alloc::vec;

    /// Lets two sides talk until both are silent; how many bytes were said.
    fn talk(one: &mut Options, two: &mut Options, mut said: Vec<u8>) -> usize {
        let (mut total, mut turn) = (0, 0);
        while !said.is_empty() {
            total += said.len();
            assert!(total < 1000, "they talk for ever");
            let listener = if turn % 2 == 0 { &mut *two } else { &mut *one };
            let mut answer = Vec::new();
            Parser::default().feed(&said, |item| {
                if let Item::Option(verb, number) = item {
                    listener.hear(verb, number, &mut answer);
                }
            });
            said = answer;
            turn += 1;
        }
        total
    }

    #[test]
    fn server_and_client_agree_whoever_begins() {
        for both_begin in [false, true] {
            let (mut server, mut client) = (Options::server(), Options::client());
            let mut said = Vec::new();
            server.open(&mut said);
            if both_begin {
                let mut other = Vec::new();
                client.open(&mut other);
                talk(&mut client, &mut server, other);
            }
            talk(&mut server, &mut client, said);
            assert!(
                server.has_com_port() && client.has_com_port(),
                "{both_begin}"
            );
        }
    }

    #[test]
    fn what_was_agreed_before_one_asks_is_not_asked_for_again() {
        let (mut server, mut client) = (Options::server(), Options::client());
        let mut said = Vec::new();
        server.open(&mut said);
        talk(&mut server, &mut client, said);
        let mut more = Vec::new();
        client.open(&mut more);
        assert!(client.has_com_port() && more.is_empty());
    }

    #[test]
    fn what_nobody_knows_is_refused_once() {
        let mut server = Options::server();
        let mut out = Vec::new();
        server.hear(Verb::Will, 31, &mut out);
        server.hear(Verb::Do, 24, &mut out);
        server.hear(Verb::Dont, 24, &mut out);
        assert_eq!(out, vec![255, 254, 31, 255, 252, 24]);
    }

    #[test]
    fn a_side_without_com_ports_is_known() {
        let mut client = Options::client();
        let mut out = Vec::new();
        client.open(&mut out);
        assert!(!client.refuses_com_port());
        client.hear(Verb::Dont, option::COM_PORT, &mut out);
        client.hear(Verb::Wont, option::COM_PORT, &mut out);
        assert!(client.refuses_com_port());
    }
}
