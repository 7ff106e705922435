//! Programs that come: by the node's own socket, or by a door.

use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use abi::Pid;
use node::{Input, ProgramKey};
use rustix::event::epoll::{self, EventData, EventFlags};

use super::{ACCEPT_PAUSE, BURST, DOOR, EventLoop, HEARTBEAT, KIND_SHIFT, LISTENER};
use crate::clock;
use crate::program_socket::ProgramSocket;

impl EventLoop {
    /// Takes the programs that wait, at the socket or at the door of `owner`.
    pub(super) fn accept(&mut self, owner: Option<ProgramKey>) {
        for _ in 0..BURST {
            let listener = match owner {
                None => Some(&self.listener),
                Some(owner) => self.doors.listener(owner),
            };
            let Some(listener) = listener else {
                return;
            };
            let watched = self.programs.len() < self.watched_max;
            match ProgramSocket::accept(listener, watched) {
                Ok(Some((socket, caller))) => {
                    self.last_program += 1;
                    let program = ProgramKey(self.last_program);
                    if self.watch(program, &socket).is_ok() {
                        self.programs.insert(program, socket);
                        self.page.beat();
                        self.next_beat = self
                            .next_beat
                            .or_else(|| clock::now().checked_add(HEARTBEAT));
                        self.doors.came(program, owner);
                        self.input(match owner {
                            None => Input::Connected { program, caller },
                            Some(owner) => Input::ConnectedByDoor {
                                program,
                                caller,
                                owner,
                            },
                        });
                    }
                }
                Ok(None) => return,
                Err(rustix::io::Errno::ACCESS) => {
                    tracing::warn!("a program in another pid namespace is turned away");
                }
                Err(error) => {
                    tracing::warn!("cannot take a program's connection: {error}");
                    self.listen(EventFlags::empty());
                    self.accept_again = clock::now().checked_add(ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }

    /// Waits for programs at all sockets, or at none.
    pub(super) fn listen(&self, flags: EventFlags) {
        let own = (LISTENER << KIND_SHIFT, self.listener.as_fd());
        let doors = self.doors.listeners();
        let doors = doors.map(|(owner, listener)| (DOOR << KIND_SHIFT | owner.0, listener));
        for (number, listener) in std::iter::once(own).chain(doors) {
            let number = EventData::new_u64(number);
            if let Err(error) = epoll::modify(&self.epoll, listener, number, flags) {
                tracing::warn!("cannot change what is waited for: {error}");
            }
        }
    }

    /// Opens a door, and tells the node what came of it.
    pub(super) fn open_door(&mut self, program: ProgramKey, serial: u32, process: (Pid, u64)) {
        let node = self.socket_path.parent().unwrap_or(Path::new("/"));
        let mut outcome = self.doors.open(program, process, node);
        if let Some(listener) = self.doors.listener(program) {
            let number = EventData::new_u64(DOOR << KIND_SHIFT | program.0);
            if let Err(error) = epoll::add(&self.epoll, listener, number, EventFlags::IN) {
                self.doors.close(program);
                outcome = Err(error.to_string());
            }
        }
        let input = Input::DoorOpened {
            program,
            serial,
            outcome: outcome.map(|directory| directory.as_os_str().as_bytes().to_vec()),
        };
        self.node.handle(clock::now(), input);
    }
}
