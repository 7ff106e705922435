use std::sync::{Arc, Mutex};

use abi::credentials::Credentials;
use abi::io::{Events, Notify, NotifyAction};
use abi::{Encode, Errno};

use super::sealed::Sealed;
use super::{Answer, Request};
use crate::envelope::Envelope;
use crate::open_file::Opened;
use crate::wait_queue::{Parked, Place, lock};

/// A client asks whether it could read or write, or waits until it can. [`Notices`](crate::Notices)
/// serves it.
///
/// A client that watches several files of the manager sends one message for all of them (`R52`); the
/// manager gets one request for each, and the first that is answered with an event answers all.
#[doc(alias = "io_notify_t")]
#[derive(Debug)]
pub struct NotifyRequest {
    notify: Notify,
    credentials: Arc<Credentials>,
    source: Source,
}

/// Where the answer goes.
#[derive(Debug)]
enum Source {
    Alone(Box<Envelope>),
    Part(Part),
}

impl NotifyRequest {
    pub(crate) fn new(envelope: Envelope, notify: Notify) -> Self {
        Self {
            notify,
            credentials: Arc::clone(envelope.credentials()),
            source: Source::Alone(Box::new(envelope)),
        }
    }

    /// What is asked for.
    #[must_use]
    pub fn arguments(&self) -> Notify {
        self.notify
    }

    /// Who asks.
    #[must_use]
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Answers with the events that are true, whether they were asked for or not.
    pub fn reply(self, events: &Events) -> Answer {
        match self.source {
            Source::Alone(envelope) => match events.to_bytes() {
                Ok(bytes) => envelope.reply(0, &bytes),
                Err(overflow) => envelope.fail(overflow.into()),
            },
            Source::Part(part) => part.answer(Ok(*events)),
        }
        Answer::given()
    }

    /// Answers if `now` is enough of an answer, and gives the request back if it has to wait. For a manager that
    /// keeps its own list; with `changed` an event has become true this moment.
    ///
    /// # Errors
    /// The request, if none of the events that it waits for is true.
    #[must_use = "a request dropped unanswered answers EIO"]
    pub fn settle(self, now: Events, changed: bool) -> Result<Answer, Self> {
        let asked = self.arguments();
        let now = now & (asked.events | Events::ALWAYS);
        let answered = match asked.action {
            NotifyAction::Report => true,
            NotifyAction::Transition if !changed => now.intersects(Events::ALWAYS),
            NotifyAction::Arm | NotifyAction::Transition => !now.is_empty(),
        };
        if answered {
            Ok(self.reply(&now))
        } else {
            Err(self)
        }
    }

    /// Answers, or refuses.
    pub fn finish(self, result: abi::Result<Events>) -> Answer {
        match result {
            Ok(events) => self.reply(&events),
            Err(errno) => self.fail(errno),
        }
    }

    /// Refuses the request.
    pub fn fail(self, errno: Errno) -> Answer {
        match self.source {
            Source::Alone(envelope) => envelope.fail(errno),
            Source::Part(part) => part.answer(Err(errno)),
        }
        Answer::given()
    }
}

impl Sealed for NotifyRequest {
    fn refuse(self, errno: Errno) -> Answer {
        self.fail(errno)
    }

    fn forget(self) {
        match self.source {
            Source::Alone(envelope) => envelope.forget(),
            Source::Part(part) => part.answer(Err(Errno::EINTR)),
        }
    }

    fn prepare_to_wait(&mut self) {
        if let Source::Alone(envelope) = &mut self.source {
            envelope.shed_buffer();
        }
    }

    fn is_nonblocking(&self) -> bool {
        false
    }

    fn abandoned(&self) -> Option<Errno> {
        match &self.source {
            Source::Alone(envelope) => envelope.abandoned(),
            Source::Part(part) => part.abandoned(),
        }
    }

    fn ticket(&self) -> u64 {
        match &self.source {
            Source::Alone(envelope) => envelope.ticket(),
            Source::Part(part) => part.batch.ticket,
        }
    }

    fn place(&self) -> Place {
        match &self.source {
            Source::Alone(envelope) => envelope.place(),
            Source::Part(part) => part.place,
        }
    }

    fn parked(&self) -> &Arc<Parked> {
        match &self.source {
            Source::Alone(envelope) => &envelope.hub.parked,
            Source::Part(part) => &part.batch.parked,
        }
    }
}

impl Request for NotifyRequest {}

/// A message about several files, answered once.
#[derive(Debug)]
pub(crate) struct Batch {
    state: Mutex<State>,
    action: NotifyAction,
    credentials: Arc<Credentials>,
    parked: Arc<Parked>,
    ticket: u64,
}

#[derive(Debug)]
struct State {
    /// None once answered.
    envelope: Option<Envelope>,
    events: Vec<Events>,
    /// How many have not been answered.
    open: usize,
    /// The client gave up.
    ended: Option<Errno>,
    /// All parts have been handed out, so that an answer may go.
    is_complete: bool,
}

impl Batch {
    /// A message about `len` files.
    pub(crate) fn new(envelope: Envelope, len: usize, action: NotifyAction) -> Arc<Self> {
        let credentials = Arc::clone(envelope.credentials());
        let (parked, ticket) = (Arc::clone(&envelope.hub.parked), envelope.ticket());
        let state = State {
            envelope: Some(envelope),
            events: vec![Events::empty(); len],
            open: len,
            ended: None,
            is_complete: false,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            action,
            credentials,
            parked,
            ticket,
        })
    }

    /// The request about one of the files, reached by the connection `place`.
    pub(crate) fn part(
        self: &Arc<Self>,
        index: usize,
        events: Events,
        place: Place,
        opened: Arc<Opened>,
    ) -> NotifyRequest {
        NotifyRequest {
            notify: Notify {
                events,
                action: self.action,
            },
            credentials: Arc::clone(&self.credentials),
            source: Source::Part(Part {
                batch: Arc::clone(self),
                index,
                asked: events,
                place,
                opened,
                is_answered: false,
            }),
        }
    }

    /// One of the files is none.
    pub(crate) fn invalid(&self, index: usize) {
        self.note(index, Ok(Events::INVALID));
    }

    /// All parts are handed out.
    pub(crate) fn complete(&self) {
        let mut state = lock(&self.state);
        state.is_complete = true;
        if let Some(envelope) = &mut state.envelope {
            envelope.shed_buffer();
        }
        self.answer_if_due(state);
    }

    fn note(&self, index: usize, result: Result<Events, Errno>) {
        let mut state = lock(&self.state);
        state.open -= 1;
        match result {
            Ok(events) => state.events[index] = events,
            Err(errno) => state.ended = Some(errno),
        }
        self.answer_if_due(state);
    }

    fn answer_if_due(&self, mut state: std::sync::MutexGuard<'_, State>) {
        let ready = state.events.iter().filter(|events| !events.is_empty());
        let ready = ready.count();
        let is_due = state.ended.is_some() || ready > 0 || state.open == 0;
        if !state.is_complete || !is_due {
            return;
        }
        let Some(envelope) = state.envelope.take() else {
            return;
        };
        let (events, ended) = (std::mem::take(&mut state.events), state.ended);
        let others_wait = state.open > 0;
        drop(state);
        match ended {
            Some(errno) => envelope.fail(errno),
            None => {
                let bytes: Vec<u8> = events
                    .iter()
                    .flat_map(|events| events.bits().to_le_bytes())
                    .collect();
                envelope.reply(ready as i64, &bytes);
            }
        }
        if others_wait {
            self.parked.forget_ticket(self.ticket);
        }
    }
}

/// One file of a [`Batch`].
#[derive(Debug)]
struct Part {
    batch: Arc<Batch>,
    index: usize,
    asked: Events,
    place: Place,
    opened: Arc<Opened>,
    is_answered: bool,
}

impl Part {
    fn answer(mut self, result: Result<Events, Errno>) {
        self.is_answered = true;
        let result = match result {
            Err(errno @ (Errno::EINTR | Errno::ETIMEDOUT)) => Err(errno),
            Err(Errno::EBADF) => Ok(Events::INVALID),
            // Who does not tell is always ready, as far as anybody knows.
            Err(Errno::ENOSYS) => Ok(self.asked & (Events::INPUT | Events::OUTPUT)),
            Err(_) => Ok(Events::ERROR),
            Ok(events) => Ok(events),
        };
        self.batch.note(self.index, result);
    }

    fn abandoned(&self) -> Option<Errno> {
        if self.opened.file.is_closed() {
            return Some(Errno::EBADF);
        }
        match &lock(&self.batch.state).envelope {
            Some(envelope) => envelope.abandoned(),
            None => Some(Errno::EINTR),
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_answered {
            tracing::warn!("a request was dropped unanswered; its client is told of an error");
            self.batch.note(self.index, Ok(Events::ERROR));
        }
    }
}
