//! Every interleaving of the sleep and wake protocol, with the store buffers of a real processor.
//!
//! Both flags of a ring follow one protocol: the waiter sets the flag, fences, looks again and sleeps; the
//! notifier publishes, fences, looks at the flag and rings. The model walks all schedules of a waiter that
//! must see `ITEMS` publications, and says whether one of them leaves it asleep beside something to do.

use std::collections::HashSet;

const ITEMS: u8 = 3;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fences {
    Both,
    OnlyNotifier,
    OnlyWaiter,
}

/// One processor's stores that the other does not see yet; at most one for each variable.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Buffer {
    position: Option<u8>,
    flag: Option<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Waiter {
    Look,
    SetFlag,
    Fence,
    LookAgain,
    ClearFlag,
    Asleep,
    Done,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Notifier {
    Publish,
    Fence,
    LookAtFlag,
    TakeFlag,
    Ring,
    Done,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    position: u8,
    flag: u8,
    bell: bool,
    waiter: Waiter,
    seen: u8,
    waiter_buffer: Buffer,
    notifier: Notifier,
    published: u8,
    notifier_buffer: Buffer,
}

impl State {
    const START: Self = Self {
        position: 0,
        flag: 0,
        bell: false,
        waiter: Waiter::Look,
        seen: 0,
        waiter_buffer: Buffer {
            position: None,
            flag: None,
        },
        notifier: Notifier::Publish,
        published: 0,
        notifier_buffer: Buffer {
            position: None,
            flag: None,
        },
    };

    fn waiter_step(mut self, fences: Fences) -> Option<Self> {
        match self.waiter {
            Waiter::Look => {
                self.waiter = if self.seen == self.position {
                    Waiter::SetFlag
                } else {
                    Waiter::Look
                };
                self.seen = self.position;
                if self.seen == ITEMS {
                    self.waiter = Waiter::Done;
                }
            }
            Waiter::SetFlag => {
                self.waiter_buffer.flag = Some(1);
                self.waiter = Waiter::Fence;
            }
            Waiter::Fence => {
                if fences != Fences::OnlyNotifier {
                    self = self.flush_waiter();
                }
                self.waiter = Waiter::LookAgain;
            }
            Waiter::LookAgain => {
                let something = self.position != self.seen;
                self.waiter = if something {
                    Waiter::ClearFlag
                } else {
                    Waiter::Asleep
                };
            }
            Waiter::ClearFlag => {
                self.waiter_buffer.flag = Some(0);
                self.waiter = Waiter::Look;
            }
            Waiter::Asleep if self.bell => {
                self.bell = false;
                self.waiter = Waiter::Look;
            }
            Waiter::Asleep | Waiter::Done => return None,
        }
        Some(self)
    }

    fn notifier_step(mut self, fences: Fences) -> Option<Self> {
        match self.notifier {
            Notifier::Publish => {
                self.published += 1;
                self.notifier_buffer.position = Some(self.published);
                self.notifier = Notifier::Fence;
            }
            Notifier::Fence => {
                if fences != Fences::OnlyWaiter {
                    self = self.flush_notifier();
                }
                self.notifier = Notifier::LookAtFlag;
            }
            Notifier::LookAtFlag => {
                self.notifier = if self.flag == 1 {
                    Notifier::TakeFlag
                } else {
                    self.next()
                };
            }
            Notifier::TakeFlag => {
                // A locked instruction drains the buffer first.
                self = self.flush_notifier();
                self.notifier = if self.flag == 1 {
                    Notifier::Ring
                } else {
                    self.next()
                };
                self.flag = 0;
            }
            Notifier::Ring => {
                self.bell = true;
                self.notifier = self.next();
            }
            Notifier::Done => return None,
        }
        Some(self)
    }

    fn next(&self) -> Notifier {
        if self.published == ITEMS {
            Notifier::Done
        } else {
            Notifier::Publish
        }
    }

    fn flush_waiter(mut self) -> Self {
        self.flag = self.waiter_buffer.flag.take().unwrap_or(self.flag);
        self
    }

    fn flush_notifier(mut self) -> Self {
        self.position = self
            .notifier_buffer
            .position
            .take()
            .unwrap_or(self.position);
        self
    }
}

fn somebody_sleeps_for_ever(fences: Fences) -> bool {
    let mut known = HashSet::from([State::START]);
    let mut open = vec![State::START];
    let mut forgotten = false;
    while let Some(state) = open.pop() {
        let steps = [
            state.waiter_step(fences),
            state.notifier_step(fences),
            Some(state.flush_waiter()),
            Some(state.flush_notifier()),
        ];
        let mut moved = false;
        for next in steps.into_iter().flatten() {
            moved |= next != state;
            if known.insert(next) {
                open.push(next);
            }
        }
        forgotten |= !moved && state.waiter != Waiter::Done;
    }
    forgotten
}

#[test]
fn nobody_sleeps_beside_work_in_any_schedule() {
    assert!(!somebody_sleeps_for_ever(Fences::Both));
}

#[test]
fn each_fence_is_needed() {
    assert!(somebody_sleeps_for_ever(Fences::OnlyNotifier));
    assert!(somebody_sleeps_for_ever(Fences::OnlyWaiter));
}
