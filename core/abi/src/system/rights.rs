//! Rights on the daemon socket. Rules and a client's part of them travel as bytes, in the form of `core/rights`.

use alloc::vec::Vec;
use core::time::Duration;

use super::field::{choice, record};
use super::session::Identity;
use crate::ids::{NodeName, SessionId, Uid};

choice! {
    /// Which of the node's rules. The running ones are asked first.
    pub enum RightsLayer {
        /// Made by command; kept in the state directory.
        Running = 0,
        /// Read from the config file.
        Config = 1,
    }
}

record! {
    /// All rules of the node, in the order in which they are tried.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct RightsList {
        /// Grows with each change.
        pub generation: u64,
        /// Those that come first.
        pub running: Vec<u8>,
        /// Those of the config file.
        pub config: Vec<u8>,
    }

    /// Replaces one layer of rules.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct SetRights {
        /// Of the list that was changed; if another change came before, the answer is ESTALE.
        pub generation: u64,
        /// Which.
        pub layer: RightsLayer,
        /// All rules of the layer.
        pub rules: Vec<u8>,
    }

    /// Asks what a client might do, and why.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Why {
        /// The client's node; may be the own one.
        pub node: NodeName,
        /// The user there.
        pub user: Uid,
        /// Number of the operation.
        pub operation: u8,
        /// Absolute path on this node.
        pub path: Vec<u8>,
    }

    /// Whether the rules let it, and why.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Because {
        /// No rule stands against it; file permissions are another matter.
        pub is_allowed: bool,
        /// The rule that decided: its place in the list, from 0.
        pub rule: Option<u16>,
        /// That rule as text; empty if there is none.
        pub text: Vec<u8>,
        /// Whom the client is here to file permissions, where no rule says more.
        pub user: Uid,
        /// Whom the rule makes it.
        pub identity: Option<Identity>,
    }

    /// Rights of the clients of these sessions have changed.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct NewRights {
        /// Local numbers.
        pub sessions: Vec<SessionId>,
        /// What they are from now on.
        pub rights: Vec<u8>,
    }

    /// A server has refused something because of a rule.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Denied {
        /// Local number of the client's session.
        pub session: SessionId,
        /// Number of the operation.
        pub operation: u8,
        /// The rule, if there was one.
        pub rule: Option<u16>,
        /// Where, cut to 1024 bytes.
        pub path: Vec<u8>,
        /// How often since it was told last, at least 1.
        pub count: u32,
    }

    /// What was refused to whom.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct DenialRow {
        /// The client's node.
        pub node: NodeName,
        /// The user there.
        pub user: Uid,
        /// Number of the operation.
        pub operation: u8,
        /// Where.
        pub path: Vec<u8>,
        /// The rule that decided the last time.
        pub rule: Option<u16>,
        /// How often.
        pub count: u64,
        /// How long ago the last time was.
        pub ago: Duration,
    }
}
