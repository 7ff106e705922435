//! What one client may do.

use alloc::vec;
use alloc::vec::Vec;

use abi::codec::{Decode, Encode, Malformed, Reader, Writer};

use crate::limits::{PREFIX_MAX, RULES_BYTES_MAX, RULES_MAX};
use crate::operation::{Operation, Operations};
use crate::path::{is_prefix, is_within, join};
use crate::rule::Identity;

/// The rules that concern one client. A server program gets them from its node with the client's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRights {
    lines: Vec<Line>,
}

/// A rule, without the client for whom it was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Place in the node's rules, from 0.
    pub(crate) number: u16,
    pub(crate) is_allowed: bool,
    pub(crate) operations: Operations,
    pub(crate) prefix: Vec<u8>,
    pub(crate) identity: Option<Identity>,
}

/// What a client may do at one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathRights {
    allowed: u16,
    /// For each operation the line that decided, or [`NO_LINE`].
    lines: [u16; Operation::ALL.len()],
}

/// Whether something may be done, and which rule says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// It may be done.
    pub is_allowed: bool,
    /// Place of the rule in the node's list, from 0; `None` if no rule fits.
    pub rule: Option<u16>,
}

const NO_LINE: u16 = u16::MAX;
/// The number of a line that no rule of a node has.
const NO_RULE: u16 = u16::MAX;

impl ClientRights {
    pub(crate) const fn of(lines: Vec<Line>) -> Self {
        Self { lines }
    }

    /// What a client may do about whom no rule says anything.
    #[must_use]
    pub const fn default_rights() -> Self {
        Self { lines: Vec::new() }
    }

    /// Nothing at all: the rights of a client whose rights are not known.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            lines: vec![Line {
                number: NO_RULE,
                is_allowed: false,
                operations: Operations::EVERY,
                prefix: b"/".to_vec(),
                identity: None,
            }],
        }
    }

    /// No rule says anything about the client: then it is the same at every path.
    #[must_use]
    pub const fn is_default(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether there is a path at which the client may do something to files.
    #[must_use]
    pub fn is_anything_allowed(&self) -> bool {
        self.at(b"/").allows(Operation::Look)
    }

    /// What may be done at a normal path.
    #[must_use]
    pub fn at(&self, path: &[u8]) -> PathRights {
        let mut rights = PathRights {
            allowed: 0,
            lines: [NO_LINE; Operation::ALL.len()],
        };
        let mut undecided = Operations::EVERY;
        let fitting = self.numbered();
        for (index, line) in fitting.filter(|(_, line)| is_within(path, &line.prefix)) {
            let decided = line.operations.and(undecided);
            for operation in decided.iter() {
                rights.decide(operation, line.is_allowed, index);
            }
            undecided = undecided.without(decided);
        }
        for operation in undecided.and(Operations::FILES).iter() {
            rights.decide(operation, true, NO_LINE);
        }
        self.decide_look(path, &mut rights);
        rights
    }

    /// What may be done at `rest` below the normal path `prefix`. Nothing, if `rest` climbs with `..` and there are rules.
    #[must_use]
    pub fn below(&self, prefix: &[u8], rest: &[u8]) -> PathRights {
        if self.is_default() {
            return self.at(b"/");
        }
        match join(prefix, rest) {
            Some(path) => self.at(&path),
            None => PathRights {
                allowed: 0,
                lines: [NO_LINE; Operation::ALL.len()],
            },
        }
    }

    /// Whether there are rules about something inside `rest` below `prefix`, but not at it.
    #[must_use]
    pub fn has_rules_inside(&self, prefix: &[u8], rest: &[u8]) -> bool {
        let Some(path) = join(prefix, rest) else {
            return !self.is_default();
        };
        let inside = |line: &Line| line.prefix != path && is_within(&line.prefix, &path);
        self.lines.iter().any(inside)
    }

    /// Who the client is to file permissions when it does this, if a rule says so.
    #[must_use]
    pub fn identity(&self, at: &PathRights, operation: Operation) -> Option<&Identity> {
        self.line(at, operation)?.identity.as_ref()
    }

    /// Whether `operation` may be done, and the rule that says so.
    #[must_use]
    pub fn decision(&self, at: &PathRights, operation: Operation) -> Decision {
        let number = self.line(at, operation).map(|line| line.number);
        Decision {
            is_allowed: at.allows(operation),
            rule: number.filter(|number| *number != NO_RULE),
        }
    }

    /// Whether any rule makes the client somebody else.
    #[must_use]
    pub fn has_identities(&self) -> bool {
        self.lines.iter().any(|line| line.identity.is_some())
    }

    fn line(&self, at: &PathRights, operation: Operation) -> Option<&Line> {
        let index = at.lines[usize::from(operation.number())];
        self.lines.get(usize::from(index))
    }

    fn numbered(&self) -> impl Iterator<Item = (u16, &Line)> {
        (0..NO_LINE).zip(&self.lines)
    }

    /// Whoever may do something at a path or below it may look the path up: nobody gets anywhere otherwise.
    fn decide_look(&self, path: &[u8], rights: &mut PathRights) {
        let here = Operations::FILES.iter().find(|&op| rights.allows(op));
        if let Some(operation) = here {
            let line = rights.lines[usize::from(operation.number())];
            return rights.decide(Operation::Look, true, line);
        }
        let below = self
            .numbered()
            .find(|(_, line)| line.lets_in() && is_within(&line.prefix, path));
        match below {
            Some((index, _)) => rights.decide(Operation::Look, true, index),
            None => {
                let line = rights.lines[usize::from(Operation::List.number())];
                rights.decide(Operation::Look, false, line);
            }
        }
    }
}

impl Line {
    /// Whether it allows something that is done to files.
    const fn lets_in(&self) -> bool {
        self.is_allowed && !self.operations.and(Operations::FILES).is_empty()
    }
}

impl PathRights {
    /// Whether `operation` may be done.
    #[must_use]
    pub const fn allows(&self, operation: Operation) -> bool {
        self.allowed & 1 << operation.number() != 0
    }

    /// A bit for each operation that may be done, at its number.
    #[must_use]
    pub const fn bits(&self) -> u16 {
        self.allowed
    }

    fn decide(&mut self, operation: Operation, is_allowed: bool, line: u16) {
        if is_allowed {
            self.allowed |= 1 << operation.number();
        }
        self.lines[usize::from(operation.number())] = line;
    }
}

impl Encode for Line {
    fn encode(&self, w: &mut Writer<'_>) {
        w.u16(self.number);
        w.bool(self.is_allowed);
        self.operations.encode(w);
        w.str16(&self.prefix);
        w.option(self.identity.as_ref());
    }
}

impl Decode<'_> for Line {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let line = Self {
            number: r.u16()?,
            is_allowed: r.bool()?,
            operations: Operations::decode(r)?,
            prefix: r.str16(PREFIX_MAX)?.to_vec(),
            identity: r.option()?,
        };
        let is_sound = !line.operations.is_empty() && is_prefix(&line.prefix);
        if is_sound {
            Ok(line)
        } else {
            Err(Malformed::Invalid)
        }
    }
}

impl Encode for ClientRights {
    fn encode(&self, w: &mut Writer<'_>) {
        w.list16(&self.lines);
    }
}

impl Decode<'_> for ClientRights {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        if r.remaining() > RULES_BYTES_MAX {
            return Err(Malformed::TooMany);
        }
        Ok(Self {
            lines: r.list16(RULES_MAX)?,
        })
    }
}
