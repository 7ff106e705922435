//! What the node wants done.

use std::os::fd::{AsFd, OwnedFd};

use abi::LinkAddress;
use node::{Attached, Descriptors, Level, Output, ProgramKey};
use rustix::event::epoll::EventFlags;

use super::{EventLoop, KIND_SHIFT, RELAY};
use crate::clock;

impl EventLoop {
    /// Does all that the node wants done.
    pub(super) fn drain(&mut self) {
        loop {
            match self.node.poll(clock::now()) {
                Output::Wait(at) => {
                    self.wait = at;
                    return;
                }
                Output::Packet {
                    program,
                    bytes,
                    descriptors,
                } => self.send(program, bytes, descriptors),
                Output::Discard(descriptors) => drop(self.held.take(descriptors)),
                Output::Disconnect(program) => {
                    self.forget(program);
                }
                Output::Datagram {
                    link,
                    to,
                    bytes,
                    segment,
                } => self.transmit(link, &to, &bytes, segment),
                Output::NamesChanged => self.page.names_changed(),
                Output::LaneRow { index, row } => self.page.set_lane(index, row.as_ref()),
                Output::LinksChanged => self.page.links_changed(),
                Output::RelayOpen { program, memory } => self.open_relay(program, memory),
                Output::RelayRoute {
                    session,
                    program,
                    targets,
                } => self.relays.route(session, program, targets),
                Output::OpenDoor {
                    program,
                    serial,
                    process,
                    started,
                } => self.open_door(program, serial, (process, started)),
                Output::Keep { kept, promised } => {
                    let version = self.trust.keep(kept);
                    if let Some(program) = promised {
                        self.held_back.until(version, program);
                    }
                }
                Output::Log(level, text) => match level {
                    Level::Debug => tracing::debug!("{text}"),
                    Level::Info => tracing::info!("{text}"),
                    Level::Warn => tracing::warn!("{text}"),
                },
                Output::Stopped => self.stopped = true,
            }
        }
    }

    /// Without the doorbells, which are kept until then, the program knows that nobody listens.
    fn open_relay(&mut self, program: ProgramKey, memory: Descriptors) {
        let parts = self.held.take_with_doorbells(memory);
        let event = RELAY << KIND_SHIFT | program.0;
        if let Err(error) = self.relays.open(program, parts, self.epoll.as_fd(), event) {
            tracing::warn!("a program's relay cannot be served: {error}");
            drop(self.held.take(memory));
        }
    }

    fn send(&mut self, program: ProgramKey, bytes: Vec<u8>, descriptors: Attached) {
        let descriptors = match descriptors {
            Attached::Nothing => Vec::new(),
            Attached::NodePage => self
                .page
                .descriptor()
                .try_clone_to_owned()
                .into_iter()
                .collect(),
            Attached::Passed(descriptors) => self.held.take(descriptors),
            Attached::WithDoorbells(memory) => self.held.take_with_doorbells(memory),
        };
        if let Some((bytes, descriptors)) = self.held_back.hold(program, bytes, descriptors) {
            self.send_now(program, bytes, descriptors);
        }
    }

    pub(super) fn trust_kept(&mut self) {
        let written = self.trust.written();
        self.say_held_back(written);
    }

    pub(super) fn say_held_back(&mut self, written: u64) {
        for (program, bytes, descriptors) in self.held_back.kept(written) {
            self.send_now(program, bytes, descriptors);
        }
    }

    fn send_now(&mut self, program: ProgramKey, bytes: Vec<u8>, descriptors: Vec<OwnedFd>) {
        let Some(socket) = self.programs.get_mut(&program) else {
            return;
        };
        let was_behind = socket.is_behind();
        let alive = socket.send(bytes, descriptors);
        let behind = socket.is_behind();
        if !alive {
            // The loss is handled like any other, when the loop comes round: the node is in the middle of its outputs.
            let _ = rustix::net::shutdown(socket.descriptor(), rustix::net::Shutdown::Both);
        } else if behind && !was_behind {
            self.wait_for(program, EventFlags::IN | EventFlags::OUT);
        }
    }

    fn transmit(&mut self, link: u8, to: &LinkAddress, bytes: &[u8], segment: usize) {
        let packets = (bytes, segment.max(1));
        if self.unsent.send(&self.links, link, to, packets) {
            self.wait_for_link(link, EventFlags::IN | EventFlags::OUT);
        }
    }
}
