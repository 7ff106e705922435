//! Those who wait for a resource to become ready.

use abi::io::Events;

use crate::request::{Answer, NotifyRequest};
use crate::wait_queue::WaitQueue;

/// The notification list of one resource (`R50`, `R51`): who waits for it to become readable or writable.
///
/// Thread safe. Clients that give up, close or die leave the list by themselves.
///
/// ```
/// use std::sync::Mutex;
/// use abi::io::Events;
/// use resmgr::{Answer, Notices, NotifyRequest, OpenFile, Resource, WriteRequest};
///
/// #[derive(Default)]
/// struct Inbox { letters: Mutex<usize>, notices: Notices }
///
/// impl Resource for Inbox {
///     fn notify(&self, _file: &OpenFile, notify: NotifyRequest) -> Answer {
///         let letters = self.letters.lock().unwrap();
///         let now = if *letters > 0 { Events::INPUT | Events::OUTPUT } else { Events::OUTPUT };
///         // Under the lock, so that no letter is missed.
///         self.notices.watch(notify, now)
///     }
///
///     fn write(&self, _file: &OpenFile, write: WriteRequest) -> Answer {
///         let mut letters = self.letters.lock().unwrap();
///         *letters += 1;
///         self.notices.trigger(Events::INPUT);
///         write.accept_all()
///     }
/// }
/// ```
#[doc(alias = "iofunc_notify_t")]
#[derive(Debug, Default)]
pub struct Notices {
    waiting: WaitQueue<NotifyRequest>,
}

impl Notices {
    /// An empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers with what of `now` the client asks for, or puts it on the list. Hold the lock that guards what
    /// `now` was made from, or a change in between is missed.
    #[doc(alias = "iofunc_notify")]
    pub fn watch(&self, notify: NotifyRequest, now: Events) -> Answer {
        match notify.settle(now, false) {
            Ok(answer) => answer,
            Err(notify) => self.waiting.park(notify),
        }
    }

    /// These events have become true: whoever waits for one of them is told once, and leaves the list.
    #[doc(alias = "iofunc_notify_trigger")]
    pub fn trigger(&self, now: Events) {
        let wanted =
            |notify: &NotifyRequest| now.intersects(notify.arguments().events | Events::ALWAYS);
        while let Some(notify) = self.waiting.take_if(wanted) {
            // Those for which it is not enough are not taken out.
            if let Err(notify) = notify.settle(now, true) {
                let _ = notify.reply(&Events::empty());
            }
        }
    }

    /// Whether anybody waits for one of `events`: a device need not be watched for what nobody wants.
    #[must_use]
    pub fn wants(&self, events: Events) -> bool {
        self.waiting
            .any(|notify| notify.arguments().events.intersects(events))
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}
