//! Programs of the lab: they come, ask, wait and leave.

use std::time::Duration;

use abi::system::{
    self, Death, DeathCause, FromNode, Hello, LiveSession, Narrow, Notice, Reply, Request, Welcome,
};
use abi::{Gid, Pid, SessionId, Uid};
use slashnet_node::{Attached, Caller, Descriptors, Input, ProgramKey};

use super::{Lab, Program, STEPS_MAX};

impl Lab {
    pub fn program(&mut self, node: usize) -> (Program, Welcome) {
        self.program_of(node, 1000, Pid(0), vec![])
    }

    /// Opens a door for a program; the host says that it went well.
    pub fn door(&mut self, program: Program, root: &[u8]) -> Reply {
        self.serial += 1;
        let serial = self.serial;
        let narrow = Request::Narrow(Narrow {
            root: root.to_vec(),
        });
        self.send(program, serial, &narrow, None);
        if let Some((key, serial)) = self.nodes[program.node].doors.pop() {
            let opened = Input::DoorOpened {
                program: key,
                serial,
                outcome: Ok(b"/run/lab/views/7".to_vec()),
            };
            self.input(program.node, opened);
        }
        self.answer(program, serial)
    }

    /// A program of a user that comes in by another one's door.
    pub fn program_by(&mut self, owner: Program, uid: u32) -> Program {
        self.comes(owner.node, uid, (Pid(0), vec![]), Some(owner)).0
    }

    /// A program of a user, perhaps one that was here before.
    pub fn program_of(
        &mut self,
        node: usize,
        uid: u32,
        previous: Pid,
        sessions: Vec<LiveSession>,
    ) -> (Program, Welcome) {
        self.comes(node, uid, (previous, sessions), None)
    }

    fn comes(
        &mut self,
        node: usize,
        uid: u32,
        (previous, sessions): (Pid, Vec<LiveSession>),
        door: Option<Program>,
    ) -> (Program, Welcome) {
        self.nodes[node].programs += 1;
        let key = ProgramKey(self.nodes[node].programs);
        let pid = if previous.0 == 0 {
            Pid(500 + key.0 as u32)
        } else {
            previous
        };
        let caller = Caller {
            pid,
            started: 1,
            uid: Uid(uid),
            gid: Gid(uid),
            groups: vec![Gid(0), Gid(27)],
        };
        let connected = match door {
            None => Input::Connected {
                program: key,
                caller,
            },
            Some(owner) => Input::ConnectedByDoor {
                program: key,
                caller,
                owner: owner.key,
            },
        };
        self.input(node, connected);
        let program = Program { node, key };
        let hello = Hello {
            version: system::VERSION,
            program: b"test".to_vec(),
            previous,
            sessions,
        };
        match self.ask(program, &Request::Hello(hello)) {
            Reply::Welcome(welcome) => (program, welcome),
            other => panic!("{other:?}"),
        }
    }

    pub fn send(
        &mut self,
        program: Program,
        serial: u32,
        request: &Request,
        descriptors: Option<Descriptors>,
    ) {
        let bytes = system::packet(serial, request).unwrap();
        self.input(
            program.node,
            Input::Packet {
                program: program.key,
                bytes,
                descriptors,
            },
        );
    }

    /// Asks and lets time pass until the answer is there.
    pub fn ask(&mut self, program: Program, request: &Request) -> Reply {
        self.serial += 1;
        let serial = self.serial;
        self.send(program, serial, request, None);
        self.answer(program, serial)
    }

    pub fn answer(&mut self, program: Program, serial: u32) -> Reply {
        self.answer_with(program, serial).0
    }

    pub fn answer_with(&mut self, program: Program, serial: u32) -> (Reply, Attached) {
        let limit = self.now.checked_add(Duration::from_secs(30)).unwrap();
        for _ in 0..STEPS_MAX {
            let inbox = self.nodes[program.node]
                .inbox
                .entry(program.key)
                .or_default();
            let place = inbox
                .iter()
                .position(|(s, m, _)| *s == serial && matches!(m, FromNode::Reply(_)));
            if let Some(place) = place {
                let (_, FromNode::Reply(reply), attached) = inbox.remove(place) else {
                    unreachable!()
                };
                return (reply, attached);
            }
            assert!(self.step(limit), "no answer within 30 s");
        }
        panic!("the nodes go round in circles");
    }

    pub fn refusal(&mut self, program: Program, request: &Request) -> abi::Errno {
        match self.ask(program, request) {
            Reply::Error(refusal) => refusal.errno,
            other => panic!("granted: {other:?}"),
        }
    }

    /// Notices that have come, with their serials.
    pub fn notices(&mut self, program: Program) -> Vec<(u32, Notice, Attached)> {
        let inbox = self.nodes[program.node]
            .inbox
            .remove(&program.key)
            .unwrap_or_default();
        let notice = |(serial, message, attached)| match message {
            FromNode::Notice(notice) => Some((serial, notice, attached)),
            FromNode::Reply(_) => None,
        };
        inbox.into_iter().filter_map(notice).collect()
    }

    /// Lets time pass until the node says something unasked.
    pub fn notice(&mut self, program: Program) -> (u32, Notice) {
        let limit = self.now.checked_add(Duration::from_secs(30)).unwrap();
        for _ in 0..STEPS_MAX {
            let inbox = self.nodes[program.node]
                .inbox
                .entry(program.key)
                .or_default();
            if let Some(place) = inbox
                .iter()
                .position(|(_, m, _)| matches!(m, FromNode::Notice(_)))
            {
                let (serial, FromNode::Notice(notice), _) = inbox.remove(place) else {
                    unreachable!()
                };
                return (serial, notice);
            }
            assert!(self.step(limit), "no notice within 30 s");
        }
        panic!("the nodes go round in circles");
    }

    /// Lets time pass until the node says something unasked, which must be the end of this session.
    #[track_caller]
    pub fn expect_death(&mut self, program: Program, session: SessionId, cause: DeathCause) {
        let sessions = vec![session];
        let death = Notice::Death(Death { sessions, cause });
        assert_eq!(self.notice(program).1, death);
    }

    pub fn leave(&mut self, program: Program) {
        self.input(
            program.node,
            Input::Disconnected {
                program: program.key,
            },
        );
    }
}
