//! Operations whose caller goes on and waits later.

use std::io::{IoSlice, IoSliceMut};
use std::sync::Arc;

use super::Route;
use super::asking::{Asked, Question};
use crate::interrupt::Registered;
use crate::regions::{Purpose, Source, Target};
use crate::server::INTERRUPTED;
use crate::shared::Shared;
use crate::wait::WaitIndex;
use crate::{Failure, Reply, SendOptions, clock};

/// An operation under way, with the memory that it moves.
pub(crate) struct Submitted {
    shared: Arc<Shared>,
    route: Route,
    asked: Asked,
    memory: Box<Memory>,
    registered: Option<Registered>,
    /// The transport has the memory, so that nothing here may touch it.
    lent: bool,
}

/// What a caller hands over with an operation and gets back at its end.
struct Memory {
    request: Vec<u8>,
    reply: Vec<u8>,
    /// The two above, as the transport takes them.
    slices: ([IoSlice<'static>; 1], [IoSliceMut<'static>; 1]),
}

impl Memory {
    fn new(request: Vec<u8>, mut reply: Vec<u8>) -> Box<Self> {
        // SAFETY: the bytes stay where they are until the vectors are dropped, with or after the slices; both are
        // reached through the slices alone while an operation has them.
        let slices = unsafe {
            (
                [IoSlice::new(std::slice::from_raw_parts(
                    request.as_ptr(),
                    request.len(),
                ))],
                [IoSliceMut::new(std::slice::from_raw_parts_mut(
                    reply.as_mut_ptr(),
                    reply.len(),
                ))],
            )
        };
        Box::new(Self {
            request,
            reply,
            slices,
        })
    }
}

impl Shared {
    /// Starts an operation and does not wait for its end. Blocks while the session has no free slot.
    pub(crate) fn submit(
        self: &Arc<Self>,
        route: &Route,
        (request, reply): (Vec<u8>, Vec<u8>),
        options: &SendOptions<'_>,
    ) -> Result<Submitted, Failure> {
        let mut memory = Memory::new(request, reply);
        let (slices, interrupt) = (&mut memory.slices, options.interrupt);
        let question = Question::new(&slices.0, &mut slices.1, options);
        let (mut state, asked) = self.prepare(route, &question)?;
        // SAFETY: `Submitted` owns the memory, and takes it back from the transport before it lets go of it.
        // If it is forgotten, the memory is too.
        let (source, target) = unsafe { (Source::lend(&slices.0), Target::lend(&mut slices.1)) };
        let purpose = Purpose::Waited(asked.wait);
        state.regions.add_op(asked.op, source, target, purpose);
        state.pump_soon(asked.at);
        let registered = interrupt.map(|interrupt| self.register(&mut state, interrupt, asked.op));
        self.settle(state);
        Ok(Submitted {
            shared: Arc::clone(self),
            route: *route,
            asked,
            memory,
            registered,
            lent: true,
        })
    }

    /// Sends what is kept back.
    pub(crate) fn flush(&self) {
        let Ok(mut state) = self.enter() else { return };
        if state.held.any() {
            state.pump(clock::now());
        }
        self.settle(state);
    }
}

impl Submitted {
    /// Waits for the end; then the memory of request and reply is the caller's again.
    pub(crate) fn wait(mut self) -> Result<(Reply, Vec<u8>, Vec<u8>), Failure> {
        let shared = Arc::clone(&self.shared);
        let state = shared.enter().map_err(Failure::local)?;
        let (mut state, result) = shared.conclude(state, &self.route, &self.asked);
        state.regions.orphan_op(self.asked.op);
        state.waits.close(self.asked.wait);
        self.lent = false;
        shared.settle(state);
        self.registered = None;
        let reply = result?;
        let memory = &mut *self.memory;
        let request = std::mem::take(&mut memory.request);
        Ok((reply, request, std::mem::take(&mut memory.reply)))
    }

    /// Where its end is waited for.
    pub(crate) fn place(&self) -> (&Arc<Shared>, WaitIndex) {
        (&self.shared, self.asked.wait)
    }

    /// Whether [`wait`](Self::wait) would return at once.
    pub(crate) fn is_ended(&self) -> bool {
        let Ok(state) = self.shared.enter() else {
            return true;
        };
        state.waits.has_outcome(self.asked.wait)
    }
}

impl Drop for Submitted {
    fn drop(&mut self) {
        if !self.lent {
            return;
        }
        let Ok(mut state) = self.shared.enter() else {
            // A forked child's copy of the memory is its own.
            return;
        };
        let (now, op) = (clock::now(), self.asked.op);
        if !state.waits.has_outcome(self.asked.wait) {
            state.transport.cancel(now, op, INTERRUPTED);
            // The server may still read it.
            state.regions.leave_behind(op, self.asked.len as usize);
        }
        state.regions.orphan_op(op);
        state.waits.close(self.asked.wait);
        state.pump(now);
        self.shared.settle(state);
    }
}
