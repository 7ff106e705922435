//! What can be done to a path.

use core::fmt;

use abi::codec::{Decode, Encode, Malformed, Reader, Writer};

/// What can be done to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// List a directory.
    List = 0,
    /// Open for reading, and read.
    Read = 1,
    /// Open for writing, write, change the length.
    Write = 2,
    /// Make a file, directory, device node or link.
    Create = 3,
    /// Take a name away, by removing or renaming.
    Remove = 4,
    /// Change permissions, owner, times and extended attributes.
    Change = 5,
    /// Lock ranges.
    Lock = 6,
    /// Control a device.
    Devctl = 7,
    /// Own a path as a resource manager. Programs of this node only.
    Attach = 8,
    /// Make and remove links of the process manager. Programs of this node only.
    Link = 9,
    /// Look a path up and read its attributes. No rule names it: whoever may do anything at a path or below it may
    /// look it up, and nobody else.
    Look = 10,
}

impl Operation {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::List,
        Self::Read,
        Self::Write,
        Self::Create,
        Self::Remove,
        Self::Change,
        Self::Lock,
        Self::Devctl,
        Self::Attach,
        Self::Link,
        Self::Look,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// What a number on the wire means.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The word for it in rules and on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Read => "read",
            Self::Write => "write",
            Self::Create => "create",
            Self::Remove => "remove",
            Self::Change => "change",
            Self::Lock => "lock",
            Self::Devctl => "devctl",
            Self::Attach => "attach",
            Self::Link => "link",
            Self::Look => "look",
        }
    }

    /// The operation of a word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.word() == word)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// A set of operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Operations(u16);

impl Operations {
    /// No operation.
    pub const NONE: Self = Self(0);
    /// What `all` means in a rule: everything that is done to files and devices. To own paths and to link them must be
    /// said expressly.
    pub const FILES: Self = Self(0xff);
    /// Everything that a rule may name.
    pub const EVERY: Self = Self(0x3ff);

    /// The set of one.
    #[must_use]
    pub const fn of(operation: Operation) -> Self {
        Self(1 << operation.number())
    }

    /// A bit for each operation, at its number.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The set of these bits, if all of them mean something that a rule may name.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Option<Self> {
        if bits & !Self::EVERY.0 == 0 {
            Some(Self(bits))
        } else {
            None
        }
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `operation` is one of them.
    #[must_use]
    pub const fn has(self, operation: Operation) -> bool {
        self.0 & 1 << operation.number() != 0
    }

    /// Those of either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// One after the other, in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = Operation> {
        Operation::ALL
            .into_iter()
            .filter(move |&operation| self.has(operation))
    }
}

impl fmt::Display for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = *self;
        let mut comma = "";
        if self.and(Self::FILES) == Self::FILES {
            f.write_str("all")?;
            rest = self.without(Self::FILES);
            comma = ",";
        }
        for operation in rest.iter() {
            write!(f, "{comma}{operation}")?;
            comma = ",";
        }
        Ok(())
    }
}

impl Encode for Operations {
    fn encode(&self, w: &mut Writer<'_>) {
        w.u16(self.0);
    }
}

impl Decode<'_> for Operations {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Self::from_bits(r.u16()?).ok_or(Malformed::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn numbers_and_words_lead_back_to_their_operation() {
        for operation in Operation::ALL {
            assert_eq!(Operation::from_number(operation.number()), Some(operation));
            assert_eq!(Operation::from_word(operation.word()), Some(operation));
        }
        assert_eq!(Operation::from_number(11), None);
        assert_eq!(Operation::from_word("all"), None);
    }

    #[test]
    fn all_stands_for_what_is_done_to_files_only() {
        assert_eq!(Operations::FILES.to_string(), "all");
        let more = Operations::FILES.or(Operations::of(Operation::Link));
        assert_eq!(more.to_string(), "all,link");
        let few = Operations::of(Operation::Write).or(Operations::of(Operation::Read));
        assert_eq!(few.to_string(), "read,write");
        let spoken = Operations::EVERY.iter().count();
        assert_eq!(spoken, 10, "no rule names look");
        assert_eq!(Operations::from_bits(1 << 10), None);
    }
}
