//! Bounds of rules, each with its reason.

/// Most rules of a node: more than a person can keep in mind, and few enough to look at one after the other.
pub const RULES_MAX: usize = 512;

/// Most bytes of all rules of a node on the wire: a client's part of them goes in one packet with its offer.
pub const RULES_BYTES_MAX: usize = 32 * 1024;

/// Longest prefix in a rule, in bytes.
pub const PREFIX_MAX: usize = 1024;

/// Longest rule as text, in bytes; every byte of a prefix may be written as four.
pub const TEXT_MAX: usize = 8 * 1024;
