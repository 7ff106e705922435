//! How a node that holds a one-time code and the node that made it come to trust each other.
//!
//! Only the holder of a code can make the first message, and only the node that made the code can read it. A used or
//! expired code gets a clear answer, which is as secret as the code was; everything else gets silence.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use abi::system::peer::Introduction;
use abi::system::{Joined, VERSION};
use abi::{Decode, Encode, Errno, Instant, LinkAddress, Nd};

use super::code::{BadCode, Invitation};
use super::identity_map::IdentityMap;
use super::trust::{InviteRecord, TrustRecord};
use super::{NetworkEvent, NetworkManager, load, wire};
use crate::crypto::{Crypto, Initiator, Pattern, PublicKey, Secret};
use crate::interface::ProgramKey;
use crate::limits::{
    ADDRESSES_MAX, INVITE_MEMORY, INVITE_TTL_MAX, INVITES_MAX, JOIN_RETRY, JOIN_WAIT, JOINS_MAX,
    PEERS_MAX,
};

/// Codes of this node, and joins of this node with codes of others.
#[derive(Default)]
pub(crate) struct Joining {
    invites: BTreeMap<[u8; 8], Invite>,
    joins: Vec<Join>,
}

/// A code that this node has made.
struct Invite {
    record: InviteRecord,
    expires: Instant,
    /// When even the memory of it goes.
    forgotten: Instant,
}

impl Invite {
    /// `None` if it is to be forgotten already. The calendar may have been set back since the code was made, but no code
    /// lives longer than any may.
    fn new(now: Instant, calendar: u64, record: InviteRecord) -> Option<Self> {
        let after = |at: u64| Duration::from_nanos(at.saturating_sub(calendar));
        let memory = INVITE_MEMORY.as_nanos() as u64;
        let forgotten = after(record.expires.saturating_add(memory));
        let expires = after(record.expires).min(INVITE_TTL_MAX);
        (!forgotten.is_zero()).then_some(Self {
            record,
            expires: now.checked_add(expires)?,
            forgotten: now.checked_add(forgotten.min(INVITE_TTL_MAX + INVITE_MEMORY))?,
        })
    }
}

/// A code that this node is using.
struct Join {
    program: ProgramKey,
    serial: u32,
    index: u32,
    key: PublicKey,
    kept: Secret,
    initiator: Box<dyn Initiator>,
    packet: Vec<u8>,
    addresses: Vec<LinkAddress>,
    cookie: bool,
    next: Instant,
    ends: Instant,
}

impl Joining {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.joins.iter().map(|join| join.next.min(join.ends)).min()
    }

    pub(super) fn take_cookie(
        &mut self,
        now: Instant,
        crypto: &dyn Crypto,
        index: u32,
        nonce: &[u8; 24],
        sealed: &[u8; 32],
    ) {
        for join in self
            .joins
            .iter_mut()
            .filter(|join| join.index == index && !join.cookie)
        {
            let sealing = load::sealing_key(crypto, &join.key);
            if let Ok(cookie) =
                crypto.open_cookie(&sealing, nonce, &load::bound(&join.packet), sealed)
            {
                wire::add_cookie(crypto, &mut join.packet, &cookie);
                (join.cookie, join.next) = (true, now);
            }
        }
    }
}

impl NetworkManager {
    /// Makes a code that lives for `ttl`.
    ///
    /// # Errors
    /// EAGAIN if too many codes are remembered.
    pub(crate) fn invite(&mut self, now: Instant, ttl: Duration) -> Result<String, Errno> {
        self.joining
            .invites
            .retain(|_, invite| invite.forgotten > now);
        if self.joining.invites.len() >= INVITES_MAX {
            return Err(Errno::EAGAIN);
        }
        let secret = self.nonce();
        let addresses = self.own_addresses();
        let invitation = Invitation {
            key: self.me,
            secret,
            addresses,
        };
        let calendar = self.crypto.wall_clock();
        let record = InviteRecord {
            id: invitation.id(&*self.crypto),
            joining: invitation.psk(&*self.crypto),
            kept: invitation.kept_secret(&*self.crypto),
            expires: calendar.saturating_add(ttl.as_nanos() as u64),
            used_by: None,
            last_timestamp: 0,
        };
        let invite = Invite::new(now, calendar, record).ok_or(Errno::EINVAL)?;
        self.joining.invites.insert(invite.record.id, invite);
        Ok(invitation.write(&*self.crypto))
    }

    /// Codes of an earlier run are good in this one.
    pub(super) fn restore_invites(&mut self, now: Instant, records: &[InviteRecord]) {
        let calendar = self.crypto.wall_clock();
        for record in records.iter().take(INVITES_MAX) {
            if let Some(invite) = Invite::new(now, calendar, record.clone()) {
                self.joining.invites.insert(record.id, invite);
            }
        }
    }

    /// The codes that are to outlive this run.
    pub(crate) fn invite_records(&self) -> Vec<InviteRecord> {
        let invites = self.joining.invites.values();
        invites.map(|invite| invite.record.clone()).collect()
    }

    /// Joins the node that made a code. [`NetworkEvent::Joined`] follows.
    ///
    /// # Errors
    /// EINVAL with a text that says what is wrong with the code, EEXIST for a code of this node, EAGAIN.
    pub(crate) fn join(
        &mut self,
        now: Instant,
        program: ProgramKey,
        serial: u32,
        code: &[u8],
    ) -> Result<(), (Errno, String)> {
        if self.joining.joins.len() >= JOINS_MAX {
            return Err((
                Errno::EAGAIN,
                String::from("this node is joining others already"),
            ));
        }
        let invitation =
            Invitation::read(&*self.crypto, code).map_err(|bad| (Errno::EINVAL, bad_code(bad)))?;
        if invitation.key == self.me {
            return Err((
                Errno::EEXIST,
                String::from("this node has made the code itself: use it on the other node"),
            ));
        }
        let introduction = self.introduction(0);
        let payload = introduction
            .to_bytes()
            .map_err(|_| (Errno::EMSGSIZE, String::from("too many addresses")))?;
        let psk = invitation.psk(&*self.crypto);
        let Ok((initiator, noise)) =
            self.crypto
                .initiate(Pattern::Join, &invitation.key, &psk, &payload)
        else {
            return Err((Errno::EINVAL, bad_code(BadCode::Format)));
        };
        let index = self.next_random() as u32;
        let id = invitation.id(&*self.crypto);
        let packet = wire::build_hello(
            &*self.crypto,
            Pattern::Join,
            index,
            id,
            &noise,
            &invitation.key,
        );
        self.joining.joins.push(Join {
            program,
            serial,
            index,
            key: invitation.key,
            kept: invitation.kept_secret(&*self.crypto),
            initiator,
            packet,
            addresses: invitation.addresses.clone(),
            cookie: false,
            next: now,
            ends: now.checked_add(JOIN_WAIT).unwrap_or(Instant::MAX),
        });
        self.drive_joins(now);
        Ok(())
    }

    fn introduction(&mut self, refusal: u16) -> Introduction {
        Introduction {
            version: VERSION,
            timestamp: self.crypto.wall_clock(),
            name: self.name,
            addresses: self.own_addresses(),
            refusal,
        }
    }

    pub(super) fn drive_joins(&mut self, now: Instant) {
        let mut due = Vec::new();
        let mut over = Vec::new();
        self.joining.joins.retain_mut(|join| {
            if join.ends <= now {
                over.push((join.program, join.serial, join.addresses.clone()));
                return false;
            }
            if join.next <= now {
                join.next = now.checked_add(JOIN_RETRY).unwrap_or(Instant::MAX);
                due.push((join.packet.clone(), join.addresses.clone()));
            }
            true
        });
        for (packet, addresses) in due {
            for (link, address) in self.ways(&addresses, true) {
                self.packets.push_back((link, address, packet.clone()));
            }
        }
        for (program, serial, addresses) in over {
            let places: Vec<String> = addresses
                .iter()
                .map(|address| format!("{address}"))
                .collect();
            let text = format!(
                "nobody answered at {}: that node is not running, UDP to it is blocked, or it has forgotten the code",
                places.join(", ")
            );
            self.events.push_back(NetworkEvent::Joined {
                program,
                serial,
                outcome: Err((Errno::ETIMEDOUT, text)),
            });
        }
    }

    /// Somebody says that he holds one of our codes.
    pub(super) fn respond_to_join(
        &mut self,
        now: Instant,
        link: u8,
        from: &LinkAddress,
        hello: &wire::Hello<'_>,
    ) {
        self.joining
            .invites
            .retain(|_, invite| invite.forgotten > now);
        let Some(invite) = self.joining.invites.get_mut(&hello.code) else {
            return;
        };
        let Ok(responder) = self
            .crypto
            .respond(Pattern::Join, &invite.record.joining, hello.noise)
        else {
            return;
        };
        let Ok(theirs) = Introduction::from_bytes(responder.payload()) else {
            return;
        };
        if theirs.version != VERSION || theirs.addresses.len() > ADDRESSES_MAX {
            return;
        }
        let key = responder.peer();
        // The same message comes once per link, and again when our answer was lost: it is answered alike. A
        // later one is a second use.
        let again = invite.record.used_by == Some((key, theirs.timestamp))
            && self.by_key.contains_key(&key);
        if theirs.timestamp < invite.record.last_timestamp {
            return;
        }
        invite.record.last_timestamp = theirs.timestamp;
        let kept = invite.record.kept.clone();
        let refusal = if again {
            None
        } else if invite.record.used_by.is_some() {
            Some(Errno::EALREADY)
        } else if invite.expires <= now {
            Some(Errno::ETIME)
        } else {
            let used = self.trust(&theirs, key, kept, *from, None).err();
            if used.is_none()
                && let Some(invite) = self.joining.invites.get_mut(&hello.code)
            {
                invite.record.used_by = Some((key, theirs.timestamp));
            }
            used
        };
        let ours = self.introduction(refusal.map_or(0, Errno::number));
        let Ok(payload) = ours.to_bytes() else { return };
        if let Ok((noise, _)) = responder.answer(&Secret::ZERO, &payload) {
            self.packets.push_back((
                link,
                *from,
                wire::build_answer(Pattern::Join, hello.index, &noise),
            ));
        }
    }

    /// The maker of a code answers.
    pub(super) fn conclude_join(
        &mut self,
        now: Instant,
        from: &LinkAddress,
        index: u32,
        noise: &[u8],
    ) {
        let Some(place) = self
            .joining
            .joins
            .iter()
            .position(|join| join.index == index)
        else {
            return;
        };
        let Ok((payload, _)) = self.joining.joins[place].initiator.finish(noise) else {
            return;
        };
        let join = self.joining.joins.swap_remove(place);
        let outcome = Introduction::from_bytes(&payload)
            .map_err(|_| {
                (
                    Errno::EPROTO,
                    String::from(
                        "the other node answers what makes no sense: is it the same release?",
                    ),
                )
            })
            .and_then(|theirs| self.finish_join(now, &join, &theirs, *from));
        self.events.push_back(NetworkEvent::Joined {
            program: join.program,
            serial: join.serial,
            outcome,
        });
    }

    fn finish_join(
        &mut self,
        now: Instant,
        join: &Join,
        theirs: &Introduction,
        from: LinkAddress,
    ) -> Result<Joined, (Errno, String)> {
        if theirs.refusal != 0 {
            let errno = Errno::from_wire(theirs.refusal);
            let text = match errno {
                Errno::EALREADY => format!(
                    "the code has been used already: ask for a new one on {}",
                    theirs.name
                ),
                Errno::ETIME => {
                    format!("the code has expired: ask for a new one on {}", theirs.name)
                }
                Errno::EEXIST => format!(
                    "{} knows another node by the name {}: start this node with another --name, or forget the other one there",
                    theirs.name, self.name
                ),
                errno => format!("{} refuses: {}", theirs.name, errno.text()),
            };
            return Err((errno, text));
        }
        let program = Some(join.program);
        let number = self.trust(theirs, join.key, join.kept.clone(), from, program).map_err(|errno| {
            let text = match errno {
                Errno::EEXIST => format!(
                    "the other node is called {}, as this one or one that is trusted already; {} trusts this node now: \
                     forget it there and join again under another name",
                    theirs.name, theirs.name
                ),
                errno => String::from(errno.text()),
            };
            (errno, text)
        })?;
        self.start_handshake(now, number);
        Ok(Joined {
            node: theirs.name,
            nd: Nd::new(number, 0),
        })
    }

    /// Takes a node into the trust store. Of its first addresses, the one it was heard from is the best.
    fn trust(
        &mut self,
        theirs: &Introduction,
        key: PublicKey,
        kept: Secret,
        from: LinkAddress,
        promised: Option<ProgramKey>,
    ) -> Result<u16, Errno> {
        if self.peers.len() >= PEERS_MAX {
            return Err(Errno::ENOSPC);
        }
        let free = (1..=u16::MAX)
            .find(|number| !self.peers.contains_key(number))
            .ok_or(Errno::ENOSPC)?;
        // A node that has lost its trust store joins again under its old key.
        let known = self
            .by_key
            .get(&key)
            .copied()
            .filter(|known| self.name_of(*known) == theirs.name);
        if let Some(number) = known {
            if let Some(peer) = self.peers.get_mut(&number) {
                peer.record.secret = Some(kept);
                peer.reached_at(from);
            }
            self.events.push_back(NetworkEvent::Trusted {
                peer: number,
                promised,
            });
            return Ok(number);
        }
        let mut addresses = Vec::from([from]);
        addresses.extend(
            theirs
                .addresses
                .iter()
                .copied()
                .filter(|address| *address != from),
        );
        addresses.truncate(ADDRESSES_MAX);
        let record = TrustRecord {
            name: theirs.name,
            number: free,
            key,
            secret: Some(kept),
            addresses,
            identities: IdentityMap::default(),
        };
        let number = self.add_peer(record).ok_or(Errno::EEXIST)?;
        self.events.push_back(NetworkEvent::Trusted {
            peer: number,
            promised,
        });
        Ok(number)
    }
}

fn bad_code(bad: BadCode) -> String {
    match bad {
        BadCode::Character(character) => {
            format!(
                "the code has {character:?} in it: codes are made of letters, digits and hyphens"
            )
        }
        BadCode::Short => String::from("the code is not complete: copy all of it"),
        BadCode::Checksum => {
            String::from("the code is mistyped or not complete: its checksum is wrong")
        }
        BadCode::Format => String::from("the code is of another version of slashnet"),
    }
}
