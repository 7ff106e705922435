//! What this node has asked other nodes, and what it does with their answers.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;

use abi::system::peer::{Introduce, PeerReply, PeerRequest, Whose};
use abi::system::{DeathCause, Redirect, Reply, Resolved, Rows, Table};
use abi::{ChannelId, Errno, Instant, Nd, Pid};
use transport::SessionKey;

use super::Node;
use crate::interface::{Level, ProgramKey};
use crate::limits::{ASK_WAIT, INTRODUCE_WAIT};
use crate::network_manager::Tag;

/// Why a question was asked.
#[derive(Debug)]
pub(super) enum Ask {
    /// For a program, whose answer it becomes.
    Forwarded {
        program: ProgramKey,
        serial: u32,
        nd: Nd,
    },
    /// For a program that wants a session.
    Introduced {
        program: ProgramKey,
        serial: u32,
        nd: Nd,
        introduce: Box<Introduce>,
    },
    /// For a session that shall have more lanes.
    Extended { session: abi::SessionId },
    /// To find lost sessions.
    Checked,
    /// Only to tell something.
    Told,
}

/// Questions that are not answered yet.
#[derive(Debug, Default)]
pub(super) struct Asks {
    by_tag: BTreeMap<Tag, Ask>,
    last: u64,
}

impl Asks {
    pub(super) fn none_left(&self) -> bool {
        self.by_tag.is_empty()
    }
}

impl Node {
    /// Asks another node. Exactly one answer or failure follows.
    ///
    /// # Errors
    /// ENOENT for an unknown node, EAGAIN if too much waits for it already.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        node: u16,
        ask: Ask,
        request: &PeerRequest,
    ) -> Result<(), Errno> {
        self.asks.last += 1;
        let tag = Tag(self.asks.last);
        let wait = if matches!(ask, Ask::Introduced { .. } | Ask::Extended { .. }) {
            INTRODUCE_WAIT
        } else {
            ASK_WAIT
        };
        self.network.ask(now, node, tag, request, wait)?;
        self.asks.by_tag.insert(tag, ask);
        Ok(())
    }

    pub(super) fn peer_answered(
        &mut self,
        now: Instant,
        peer: u16,
        tag: Tag,
        session: Option<SessionKey>,
        answer: Result<PeerReply, Errno>,
    ) {
        let Some(ask) = self.asks.by_tag.remove(&tag) else {
            return;
        };
        let answer = match answer {
            Ok(PeerReply::Error(refusal)) => Err(refusal.errno),
            other => other,
        };
        match ask {
            Ask::Told => {}
            Ask::Extended { session } => self.extended(now, peer, session, answer),
            Ask::Checked => match answer {
                Ok(PeerReply::Unknown(unknown)) => {
                    // The answer repeats our own numbers, so its `mine` is ours.
                    let swap =
                        |pair: &abi::system::peer::SessionPair| abi::system::peer::SessionPair {
                            mine: pair.yours,
                            yours: pair.mine,
                        };
                    let gone: alloc::vec::Vec<_> = unknown.sessions.iter().map(swap).collect();
                    self.other_ends_gone(peer, &gone, DeathCause::Process);
                }
                Err(Errno::EAGAIN) => {
                    self.schedule_check(now, peer, core::time::Duration::from_secs(1))
                }
                _ => {}
            },
            Ask::Forwarded {
                program,
                serial,
                nd,
            } => {
                self.no_longer_waiting(program);
                match answer {
                    Ok(answer) => self.pass_on(program, serial, nd, answer),
                    Err(errno) => self.refuse_far(program, serial, peer, errno),
                }
            }
            Ask::Introduced {
                program,
                serial,
                nd,
                introduce,
            } => match (answer, session) {
                (Ok(PeerReply::Accepted(accepted)), Some(session)) => {
                    self.introduced(now, (program, serial, nd), &introduce, &accepted, session);
                }
                (Err(errno), _) => {
                    self.no_longer_waiting(program);
                    self.refuse_far(program, serial, peer, errno);
                }
                _ => {
                    self.no_longer_waiting(program);
                    self.refuse_far(program, serial, peer, Errno::EPROTO);
                }
            },
        }
    }

    fn refuse_far(&mut self, program: ProgramKey, serial: u32, peer: u16, errno: Errno) {
        let name = self.network.name_of(peer);
        let text = match errno {
            Errno::EHOSTDOWN => format!(
                "{name} does not answer: it is off, its node is not running, or it does not trust this node"
            ),
            Errno::EHOSTUNREACH => format!("there is no way to {name} over the links of this node"),
            errno => format!("{name} says: {}", errno.text()),
        };
        self.refuse(program, serial, errno, &text);
    }

    /// Another node's answer in a program's terms (P44).
    fn pass_on(&mut self, program: ProgramKey, serial: u32, nd: Nd, answer: PeerReply) {
        let reply = match answer {
            PeerReply::Resolved(resolved) => {
                let candidates = resolved.candidates.into_iter().filter_map(|entry| {
                    let nd = self.network.translate(entry.node, nd)?;
                    Some(abi::connect::Candidate {
                        nd,
                        ..entry.candidate
                    })
                });
                Reply::Resolved(Resolved {
                    candidates: candidates.collect(),
                    path: resolved.path,
                    path_flags: resolved.path_flags,
                    root: 0,
                })
            }
            PeerReply::Number(number) => Reply::Nd(Nd::new(number, 0)),
            PeerReply::Symlink(symlink) => Reply::Symlink(symlink),
            PeerReply::Listing(listing) => Reply::Listing(listing),
            PeerReply::Described(description) => Reply::Described(description),
            PeerReply::Redirect(redirect) => {
                let network = &self.network;
                match network.translate_path(redirect.node, nd, &redirect.policy) {
                    Ok(nd) => Reply::Redirect(Redirect {
                        nd,
                        pid: Pid::PROCESS_MANAGER,
                        channel: ChannelId::PROCESS_MANAGER,
                        path: redirect.path,
                    }),
                    Err((errno, text)) => return self.refuse(program, serial, errno, &text),
                }
            }
            PeerReply::Prefixes(prefixes) => {
                let rows = prefixes.rows.into_iter().filter_map(|entry| {
                    let nd = self.network.translate(entry.node, nd)?;
                    Some(abi::system::PrefixRow { nd, ..entry.row })
                });
                Reply::Table(Table {
                    rows: Rows::Prefixes(rows.collect()),
                    next: prefixes.next,
                })
            }
            other => {
                self.log(
                    Level::Warn,
                    format!(
                        "node {nd}: {} answers nothing that was asked",
                        other.kind_name()
                    ),
                );
                return self.refuse(
                    program,
                    serial,
                    Errno::EPROTO,
                    "the other node's answer makes no sense",
                );
            }
        };
        self.reply(program, serial, &reply);
    }

    pub(super) fn joined(
        &mut self,
        program: ProgramKey,
        serial: u32,
        outcome: Result<abi::system::Joined, (Errno, String)>,
    ) {
        match outcome {
            Ok(joined) => self.reply(program, serial, &Reply::Joined(joined)),
            Err((errno, text)) => self.refuse(program, serial, errno, &text),
        }
    }

    /// What this node calls a node that another one means (N11).
    pub(super) fn number_here(&self, asker: u16, whose: Whose) -> Result<u16, Errno> {
        let nd = match whose {
            Whose::Yours => Nd::new(asker, 0),
            Whose::Mine => Nd::LOCAL,
            Whose::Other(_) => self
                .network
                .translate(whose, Nd::LOCAL)
                .ok_or(Errno::ENOENT)?,
        };
        Ok(nd.node())
    }

    /// The owner of a name, for another node.
    pub(super) fn whose(&self, asker: u16, nd: Nd) -> Option<Whose> {
        if nd.is_local() {
            Some(Whose::Mine)
        } else if nd.node() == asker {
            Some(Whose::Yours)
        } else {
            self.network
                .key_of(nd.node())
                .map(|key| Whose::Other(key.0))
        }
    }
}
