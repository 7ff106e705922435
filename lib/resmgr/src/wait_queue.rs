//! Requests that wait: parked by a handler, woken in order, never forgotten.
//!
//! A manager parks what it cannot answer yet and takes it out again when there is something to
//! say. Unblocks and disconnects are handled here once, so no manager has to: a client that gives
//! up gets EINTR, or ETIMEDOUT if its time is over (`I40`, `R15`), a client that is gone is
//! forgotten (`R14`).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use abi::{ConnectionId, Errno, SenderId};

use crate::request::{Answer, Request};

/// Requests of one kind that wait for the same thing, first come, first served.
///
/// Thread safe. Holds at most [`WaitQueue::LIMIT`] requests unless made `with_limit`.
/// Dropping the queue answers everything in it with EIO.
#[derive(Debug)]
pub struct WaitQueue<R: Request> {
    waiting: Arc<Waiting<R>>,
}

impl<R: Request> WaitQueue<R> {
    /// Default bound: more clients blocked on one device than this is a runaway, not a use.
    pub const LIMIT: usize = 16_384;

    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limit(Self::LIMIT)
    }

    /// An empty queue that holds at most `limit` requests.
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        Self {
            waiting: Arc::new(Waiting {
                requests: Mutex::new(VecDeque::new()),
                limit,
            }),
        }
    }

    /// Leaves `request` waiting at the end of the queue.
    ///
    /// Answers EAGAIN at once when it is a read or write of a non-blocking file, or the queue is
    /// full, and EINTR when the client has given up already. May be called while the manager holds its own locks.
    pub fn park(&self, request: R) -> Answer {
        self.enter(request, VecDeque::push_back)
    }

    /// Like [`park`](Self::park), but ahead of all others: for a request that was taken out and
    /// could only be served in part.
    pub fn park_first(&self, request: R) -> Answer {
        self.enter(request, VecDeque::push_front)
    }

    fn enter(&self, mut request: R, insert: fn(&mut VecDeque<R>, R)) -> Answer {
        if request.is_nonblocking() {
            return request.refuse(Errno::EAGAIN);
        }
        request.prepare_to_wait();
        let (id, place) = (request.ticket(), request.place());
        let parked = Arc::clone(request.parked());
        {
            let mut requests = lock(&self.waiting.requests);
            if requests.len() >= self.waiting.limit {
                drop(requests);
                return request.refuse(Errno::EAGAIN);
            }
            let queue: Weak<Waiting<R>> = Arc::downgrade(&self.waiting);
            parked.register(id, place, queue);
            insert(&mut requests, request);
        }
        // The unblock or disconnect pulse may have come between receive and park; then nobody else
        // will look.
        self.waiting.end_if_abandoned(id, place, &parked);
        Answer::given()
    }

    /// Takes out the request that has waited longest.
    #[must_use = "a request dropped unanswered answers EIO"]
    pub fn take(&self) -> Option<R> {
        let request = lock(&self.waiting.requests).pop_front()?;
        request
            .parked()
            .unregister(request.ticket(), request.place());
        Some(request)
    }

    /// Takes out the first request for which `ready` is true. `ready` runs under the queue's lock: a call of this queue
    /// from within it never returns.
    #[must_use = "a request dropped unanswered answers EIO"]
    pub fn take_if(&self, mut ready: impl FnMut(&R) -> bool) -> Option<R> {
        let mut requests = lock(&self.waiting.requests);
        let index = requests.iter().position(&mut ready)?;
        let request = requests.remove(index)?;
        drop(requests);
        request
            .parked()
            .unregister(request.ticket(), request.place());
        Some(request)
    }

    /// Answers all waiting requests with `errno`.
    pub fn refuse_all(&self, errno: Errno) {
        // Bounded by what waits now: a refused client may come back at once and wait again.
        for _ in 0..self.len() {
            let Some(request) = self.take() else { return };
            let _ = request.refuse(errno);
        }
    }

    /// Whether a request for which `wanted` is true waits. `wanted` runs under the queue's lock, as in
    /// [`take_if`](Self::take_if).
    #[must_use]
    pub fn any(&self, wanted: impl FnMut(&R) -> bool) -> bool {
        lock(&self.waiting.requests).iter().any(wanted)
    }

    /// Shows all waiting requests in their order, under the queue's lock, as [`take_if`](Self::take_if) does.
    pub fn for_each(&self, see: impl FnMut(&R)) {
        lock(&self.waiting.requests).iter().for_each(see);
    }

    /// How many requests wait.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.waiting.requests).len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<R: Request> Default for WaitQueue<R> {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug)]
struct Waiting<R> {
    requests: Mutex<VecDeque<R>>,
    limit: usize,
}

impl<R: Request> Waiting<R> {
    fn remove(&self, id: u64, place: Place) -> Option<R> {
        let mut requests = lock(&self.requests);
        let index = position(&requests, id, place)?;
        requests.remove(index)
    }

    fn end_if_abandoned(&self, id: u64, place: Place, parked: &Parked) {
        let mut requests = lock(&self.requests);
        let Some(index) = position(&requests, id, place) else {
            return;
        };
        let Some(errno) = requests[index].abandoned() else {
            return;
        };
        let request = requests.remove(index);
        drop(requests);
        parked.unregister(id, place);
        if let Some(request) = request {
            let _ = request.refuse(errno);
        }
    }
}

fn position<R: Request>(requests: &VecDeque<R>, id: u64, place: Place) -> Option<usize> {
    requests
        .iter()
        .position(|request| request.ticket() == id && request.place() == place)
}

/// What the server does to a parked request without knowing its kind.
trait Withdraw: Send + Sync {
    fn interrupt(&self, id: u64, place: Place, errno: Errno);
    fn forget(&self, id: u64, place: Place);
}

impl<R: Request> Withdraw for Waiting<R> {
    fn interrupt(&self, id: u64, place: Place, errno: Errno) {
        if let Some(request) = self.remove(id, place) {
            let _ = request.refuse(errno);
        }
    }

    fn forget(&self, id: u64, place: Place) {
        if let Some(request) = self.remove(id, place) {
            request.forget();
        }
    }
}

/// Where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub(crate) sender: SenderId,
    pub(crate) connection: ConnectionId,
}

/// Every parked request of one server, so that pulses find it. A message that asks after several files
/// is several requests with one ticket.
#[derive(Default)]
pub struct Parked {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    entries: HashMap<u64, Vec<Entry>>,
    /// How many requests of a place wait; most that close have none.
    places: HashMap<Place, usize>,
}

impl Table {
    fn left(&mut self, place: Place) {
        if let Some(count) = self.places.get_mut(&place) {
            *count -= 1;
            if *count == 0 {
                self.places.remove(&place);
            }
        }
    }

    fn take_ticket(&mut self, id: u64) -> Vec<Entry> {
        let entries = self.entries.remove(&id).unwrap_or_default();
        for (place, _) in &entries {
            self.left(*place);
        }
        entries
    }
}

/// Where a request came from, and the queue it waits in.
type Entry = (Place, Weak<dyn Withdraw>);

impl Parked {
    fn register(&self, id: u64, place: Place, queue: Weak<dyn Withdraw>) {
        let mut table = lock(&self.table);
        *table.places.entry(place).or_default() += 1;
        table.entries.entry(id).or_default().push((place, queue));
    }

    fn unregister(&self, id: u64, place: Place) {
        let mut table = lock(&self.table);
        let Some(of_message) = table.entries.get_mut(&id) else {
            return;
        };
        let Some(index) = of_message.iter().position(|(other, _)| *other == place) else {
            return;
        };
        of_message.swap_remove(index);
        if of_message.is_empty() {
            table.entries.remove(&id);
        }
        table.left(place);
    }

    /// How many requests wait.
    pub(crate) fn len(&self) -> usize {
        lock(&self.table).places.values().sum()
    }

    /// The client of request `id` wants to go on with this error; false if that request is not
    /// parked.
    pub(crate) fn interrupt(&self, id: u64, errno: Errno) -> bool {
        let entries = lock(&self.table).take_ticket(id);
        let mut found = false;
        for (place, queue) in entries {
            if let Some(queue) = queue.upgrade() {
                queue.interrupt(id, place, errno);
                found = true;
            }
        }
        found
    }

    /// The client closes the connection that these requests came by.
    pub(crate) fn close(&self, closed: Place) {
        if !lock(&self.table).places.contains_key(&closed) {
            return;
        }
        for (id, place, queue) in self.withdraw(|place| place == closed) {
            queue.interrupt(id, place, Errno::EBADF);
        }
    }

    /// Nobody is left to hear the answers of these places.
    pub(crate) fn forget(&self, gone: impl Fn(Place) -> bool) {
        for (id, place, queue) in self.withdraw(gone) {
            queue.forget(id, place);
        }
    }

    /// The message has been answered; what of it still waits need not.
    pub(crate) fn forget_ticket(&self, ticket: u64) {
        let entries = lock(&self.table).take_ticket(ticket);
        for (place, queue) in entries {
            if let Some(queue) = queue.upgrade() {
                queue.forget(ticket, place);
            }
        }
    }

    fn withdraw(&self, gone: impl Fn(Place) -> bool) -> Vec<(u64, Place, Arc<dyn Withdraw>)> {
        let mut withdrawn = Vec::new();
        let mut table = lock(&self.table);
        let before = table.places.len();
        table.places.retain(|place, _| !gone(*place));
        if table.places.len() == before {
            return withdrawn;
        }
        table.entries.retain(|id, of_message| {
            of_message.retain(|(place, queue)| {
                let goes = gone(*place);
                if goes {
                    withdrawn.extend(queue.upgrade().map(|queue| (*id, *place, queue)));
                }
                !goes
            });
            !of_message.is_empty()
        });
        withdrawn
    }
}

impl std::fmt::Debug for Parked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Parked({})", self.len())
    }
}

/// A panic in a handler must not take every later client with it, so poison is not passed on.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
