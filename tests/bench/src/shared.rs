//! What several subjects measure with, made when the first of them needs it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::Outcome;
use crate::group::Subject;
use crate::nodes::Nodes;

pub(crate) struct Shared<T> {
    nodes: Nodes,
    make: Rc<Make<T>>,
    made: Rc<RefCell<Made<T>>>,
}

type Make<T> = dyn Fn(&Nodes) -> Outcome<T>;
/// Once tried, it is there or the reason why it is not.
type Made<T> = Option<Result<T, String>>;

impl<T: 'static> Shared<T> {
    pub(crate) fn new(nodes: &Nodes, make: impl Fn(&Nodes) -> Outcome<T> + 'static) -> Self {
        Self {
            nodes: nodes.clone(),
            make: Rc::new(make),
            made: Rc::default(),
        }
    }

    /// Measures with it by `measure`, which is told for how long.
    pub(crate) fn subject(
        &self,
        name: &'static str,
        measure: impl Fn(&T, Duration) -> Outcome<f64> + 'static,
    ) -> Subject {
        let (nodes, make) = (self.nodes.clone(), Rc::clone(&self.make));
        let made = Rc::clone(&self.made);
        Subject::new(name, move |time| {
            let mut made = made.borrow_mut();
            let make = || make(&nodes).map_err(|error| error.to_string());
            match made.get_or_insert_with(make) {
                Ok(made) => measure(made, time),
                Err(reason) => Err(reason.clone().into()),
            }
        })
    }
}
