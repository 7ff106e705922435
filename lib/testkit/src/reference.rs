//! The obvious truth about operations, kept beside the transport and never asked of it.

use std::collections::BTreeMap;

use transport::{Delivery, Failure, Policy};

use crate::checkers::{Finding, Kind};
use crate::random::mix;

/// Which bytes are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Content {
    Request,
    Reply,
    Push,
}

/// Byte `offset` of a message of operation `id`.
#[must_use]
pub const fn byte(content: Content, id: u64, offset: u64) -> u8 {
    let salt = match content {
        Content::Request => 1,
        Content::Reply => 2,
        Content::Push => 3,
    };
    // Differs between neighbours, between blocks, and between messages.
    (mix(id * 4 + salt) ^ offset ^ ((offset >> 8) * 31) ^ (offset >> 16)) as u8
}

/// Bytes `from..from + len` of a message.
#[must_use]
pub fn bytes(content: Content, id: u64, from: u64, len: u64) -> Vec<u8> {
    (from..from + len)
        .map(|offset| byte(content, id, offset))
        .collect()
}

/// How the server answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Answer {
    Reply { status: i64, len: u64 },
    Refusal { errno: u16 },
}

/// How an operation ended at the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum End {
    Replied {
        status: i64,
        len: u64,
    },
    Refused {
        errno: u16,
    },
    Failed(Failure),
    /// The client itself died.
    Forgotten,
}

/// One operation.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Operation {
    pub client: usize,
    pub len: u64,
    pub reply_max: u64,
    pub one_way: bool,
    pub policy: Policy,
    pub executed: u32,
    pub answer: Option<Answer>,
    pub pushed: Vec<(u64, u64)>,
    pub end: Option<End>,
}

/// All operations of a run.
#[derive(Clone, Debug, Default)]
pub struct Reference {
    operations: BTreeMap<u64, Operation>,
    open: usize,
    /// A one-way request may end while it is still in a perfect link.
    ends_in_link: bool,
}

type Checked = Result<(), Finding>;

impl Reference {
    /// No operations yet. `ends_in_link`: some links are perfect.
    #[must_use]
    pub fn new(ends_in_link: bool) -> Self {
        Self {
            ends_in_link,
            ..Self::default()
        }
    }

    /// A client asked for an operation; answers its number.
    pub fn asked(
        &mut self,
        client: usize,
        len: u64,
        reply_max: u64,
        one_way: bool,
        policy: Policy,
    ) -> u64 {
        let id = self.operations.len() as u64 + 1;
        let operation = Operation {
            client,
            len,
            reply_max,
            one_way,
            policy,
            executed: 0,
            answer: None,
            pushed: Vec::new(),
            end: None,
        };
        self.operations.insert(id, operation);
        self.open += 1;
        id
    }

    /// The number the next operation gets.
    #[must_use]
    pub fn next_id(&self) -> u64 {
        self.operations.len() as u64 + 1
    }

    /// An operation.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<&Operation> {
        self.operations.get(&id)
    }

    /// Operations without an end.
    #[must_use]
    pub const fn open(&self) -> usize {
        self.open
    }

    /// Numbers of operations without an end.
    pub fn open_ids(&self) -> impl Iterator<Item = u64> + '_ {
        self.operations
            .iter()
            .filter(|(_, operation)| operation.end.is_none())
            .map(|(id, _)| *id)
    }

    /// A server's program has got the operation.
    ///
    /// # Errors
    /// A finding if it was never asked for, got before, or said not to be done.
    pub fn executed(&mut self, id: u64, len: u64, reply_max: u64, one_way: bool) -> Checked {
        let Some(operation) = self.operations.get_mut(&id) else {
            return Err(Finding::new(
                Kind::Wrong,
                format!("operation {id} was never asked for"),
            ));
        };
        operation.executed += 1;
        let said = (operation.len, operation.reply_max, operation.one_way);
        if said != (len, reply_max, one_way) {
            let text = format!("operation {id} arrived as another: {said:?}");
            return Err(Finding::new(Kind::Wrong, text));
        }
        if operation.executed > 1 {
            return Err(Finding::new(
                Kind::Wrong,
                format!("operation {id} was executed twice"),
            ));
        }
        if let Some(End::Failed(Failure {
            delivery: Delivery::NotDone,
            ..
        })) = operation.end
        {
            let text = format!("operation {id} was executed after it was said not to be done");
            return Err(Finding::new(Kind::Wrong, text));
        }
        Ok(())
    }

    /// A server's program has answered.
    pub fn answered(&mut self, id: u64, answer: Answer) {
        if let Some(operation) = self.operations.get_mut(&id) {
            operation.answer = Some(answer);
        }
    }

    /// A push has arrived, as the server was told.
    pub fn pushed(&mut self, id: u64, start: u64, len: u64) {
        if let Some(operation) = self.operations.get_mut(&id) {
            operation.pushed.push((start, len));
        }
    }

    /// The operation has ended at the client.
    ///
    /// # Errors
    /// A finding if it had ended before, or if the end is not what the server did.
    pub fn ended(&mut self, id: u64, end: End) -> Checked {
        let Some(operation) = self.operations.get_mut(&id) else {
            return Err(Finding::new(
                Kind::Wrong,
                format!("an end of the unknown operation {id}"),
            ));
        };
        if let Some(before) = operation.end {
            let text = format!("operation {id} ended twice: {before:?}, {end:?}");
            return Err(Finding::new(Kind::Wrong, text));
        }
        operation.end = Some(end);
        self.open -= 1;
        let right = match end {
            End::Replied { status, len } => match operation.answer {
                Some(Answer::Reply {
                    status: said,
                    len: given,
                }) => status == said && len == given.min(operation.reply_max),
                _ => {
                    let there = operation.executed == 1 || self.ends_in_link;
                    operation.one_way && there && (status, len) == (0, 0)
                }
            },
            End::Refused { errno } => operation.answer == Some(Answer::Refusal { errno }),
            End::Failed(Failure {
                delivery: Delivery::NotDone,
                ..
            }) => operation.executed == 0,
            End::Failed(_) | End::Forgotten => true,
        };
        if right {
            return Ok(());
        }
        Err(Finding::new(
            Kind::Wrong,
            format!("operation {id} ended by {end:?}: {operation:?}"),
        ))
    }

    /// Checks, when nothing is under way any more, that what ended well was executed.
    ///
    /// # Errors
    /// A finding for an operation that was lost in a link.
    pub fn all_there(&self) -> Checked {
        let lost = |operation: &Operation| {
            matches!(operation.end, Some(End::Replied { .. })) && operation.executed == 0
        };
        match self
            .operations
            .iter()
            .find(|(_, operation)| lost(operation))
        {
            None => Ok(()),
            Some((id, _)) => Err(Finding::new(
                Kind::Wrong,
                format!("operation {id} was lost in a link"),
            )),
        }
    }

    /// Operation numbers of a client that has died end here.
    pub fn forget(&mut self, client: usize) {
        for operation in self.operations.values_mut() {
            if operation.client == client && operation.end.is_none() {
                operation.end = Some(End::Forgotten);
                self.open -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use transport::Cause;

    const NOT_DONE: End = End::Failed(Failure {
        cause: Cause::Link,
        delivery: Delivery::NotDone,
    });

    fn asked() -> Reference {
        let mut reference = Reference::new(false);
        assert_eq!(reference.asked(0, 10, 20, false, Policy::LoadBalance), 1);
        reference
    }

    #[test]
    fn an_operation_executed_twice_is_found() {
        let mut reference = asked();
        assert!(reference.executed(1, 10, 20, false).is_ok());
        assert!(reference.executed(1, 10, 20, false).is_err());
        assert!(
            reference.executed(2, 10, 20, false).is_err(),
            "never asked for"
        );
    }

    #[test]
    fn an_operation_that_arrives_changed_is_found() {
        assert!(asked().executed(1, 11, 20, false).is_err());
    }

    #[test]
    fn not_done_is_found_to_be_a_lie_before_and_after() {
        let mut reference = asked();
        assert!(reference.executed(1, 10, 20, false).is_ok());
        assert!(reference.ended(1, NOT_DONE).is_err());
        let mut reference = asked();
        assert!(reference.ended(1, NOT_DONE).is_ok());
        assert!(reference.executed(1, 10, 20, false).is_err());
    }

    #[test]
    fn a_second_end_and_a_wrong_reply_are_found() {
        let mut reference = asked();
        assert!(reference.executed(1, 10, 20, false).is_ok());
        reference.answered(1, Answer::Reply { status: 3, len: 30 });
        let right = End::Replied { status: 3, len: 20 };
        assert!(
            reference
                .clone()
                .ended(1, End::Replied { status: 4, len: 20 })
                .is_err()
        );
        assert!(
            reference
                .clone()
                .ended(1, End::Refused { errno: 3 })
                .is_err()
        );
        assert!(reference.ended(1, right).is_ok());
        assert!(reference.ended(1, right).is_err());
        assert_eq!(reference.open(), 0);
    }

    #[test]
    fn a_one_way_request_that_was_lost_in_a_link_is_found() {
        let mut reference = Reference::new(true);
        reference.asked(0, 10, 0, true, Policy::LoadBalance);
        assert!(
            reference
                .ended(1, End::Replied { status: 0, len: 0 })
                .is_ok()
        );
        assert!(reference.all_there().is_err());
        assert!(reference.executed(1, 10, 0, true).is_ok());
        assert!(reference.all_there().is_ok());
    }
}
