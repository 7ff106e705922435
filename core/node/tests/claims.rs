//! Sessions that outlive a daemon belong to the processes that had them, and to nobody else.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod support;

use abi::system::{
    Death, DeathCause, Denied, LiveSession, Notice, Offer, Query, QueryKind, Reply, Request, Rows,
    Ticket,
};
use abi::{Nd, Pid, SessionId, Uid};
use rights::Operation;
use support::talk::*;
use support::{Lab, Program, ms};

const THIEF: u32 = 1001;

/// A server of lab2 whose daemon has been killed and is back, and what it has of a client on lab1.
struct Restarted {
    lab: Lab,
    client: Program,
    ticket: Ticket,
    offer: Offer,
}

fn restarted() -> Restarted {
    let mut lab = Lab::new(2);
    let (server, welcome) = lab.program(LAB2);
    let (client, _) = lab.program(LAB1);
    let (ticket, offer) = introduce(&mut lab, client, server, welcome.pid);
    lab.kill(LAB2);
    lab.start(LAB2);
    Restarted {
        lab,
        client,
        ticket,
        offer,
    }
}

impl Restarted {
    /// A program of lab2 comes with this claim; says whether it got the session.
    fn claims(&mut self, uid: u32, previous: Pid, claim: LiveSession) -> bool {
        let local = claim.local;
        let (program, _) = self.lab.program_of(LAB2, uid, previous, vec![claim]);
        let (_, notice) = self.lab.notice(program);
        let lost = Death {
            sessions: vec![local],
            cause: DeathCause::Session,
        };
        match notice {
            Notice::Rights(rights) => {
                assert_eq!(rights.sessions, [local]);
                true
            }
            Notice::Death(death) => {
                assert_eq!(death, lost);
                false
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_process_cannot_claim_the_session_of_another_one() {
    let mut it = restarted();
    let claim = served_to(&it.offer, "lab1");
    assert!(!it.claims(THIEF, Pid(0), claim.clone()), "with its proof");
    let mut invented = claim.clone();
    invented.local = SessionId(4711);
    assert!(!it.claims(THIEF, Pid(0), invented), "one that never was");
    let owner = it.ticket.pid;
    assert!(it.claims(1000, owner, claim), "its owner still gets it");
    it.lab.run(ms(10_000));
    assert!(it.lab.notices(it.client).is_empty(), "and it lives");
}

#[test]
fn a_claim_must_be_what_the_session_was() {
    let mut it = restarted();
    let claim = served_to(&it.offer, "lab1");
    let changes: [fn(&mut LiveSession); 4] = [
        |claim| claim.user = Uid(0),
        |claim| claim.node = None,
        |claim| claim.pid = Pid(claim.pid.0 + 1),
        |claim| claim.peer = SessionId(claim.peer.0 ^ 1),
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut other = claim.clone();
        change(&mut other);
        assert!(!it.claims(1000, it.ticket.pid, other), "change {number}");
    }
}

#[test]
fn after_the_time_to_come_back_nothing_can_be_claimed() {
    let mut it = restarted();
    it.lab.run(ms(3100));
    let claim = served_to(&it.offer, "lab1");
    assert!(!it.claims(1000, it.ticket.pid, claim));
}

#[test]
fn who_never_had_a_session_learns_no_rights_and_denies_nothing() {
    let mut lab = Lab::new(2);
    let (owner, _) = lab.program(LAB2);
    let forged = LiveSession {
        local: SessionId(9),
        peer: SessionId(9),
        role: abi::system::SessionRole::Server,
        node: Some(support::name("lab1")),
        pid: Pid(1),
        lanes: vec![],
        user: Uid(1000),
        proof: [0; 16],
    };
    let (thief, _) = lab.program_of(LAB2, THIEF, Pid(0), vec![forged]);
    let denied = |session| {
        Request::Denied(Denied {
            session,
            operation: Operation::Write.number(),
            rule: None,
            path: b"/dev/ser1".to_vec(),
            count: 1,
        })
    };
    lab.send(thief, 0, &denied(SessionId(9)), None);
    let notices = lab.notices(thief);
    assert!(
        !notices
            .iter()
            .any(|(_, notice, _)| matches!(notice, Notice::Rights(_))),
        "{notices:?}"
    );
    // Nor does the asking end of a real session.
    let (server, welcome) = lab.program(LAB2);
    let (client, _) = lab.program(LAB1);
    let (ticket, _) = introduce(&mut lab, client, server, welcome.pid);
    lab.send(client, 0, &denied(ticket.local), None);
    let (owner1, _) = lab.program(LAB1);
    for owner in [owner, owner1] {
        let query = Request::Query(Query {
            what: QueryKind::Denials,
            nd: Nd::LOCAL,
            from: 0,
        });
        let Reply::Table(table) = lab.ask(owner, &query) else {
            panic!()
        };
        assert_eq!(table.rows, Rows::Denials(vec![]));
    }
}
