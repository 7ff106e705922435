//! Cables between nodes: one for each link number, that can be cut, lose packets and be too narrow.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use abi::LinkAddress;
use abi::link_address::Internet;

use super::{Datagram, Fate, ms};

/// How a cable is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cable {
    #[default]
    Whole,
    Cut,
    /// Only what goes to this node is lost.
    CutTo(usize),
}

#[derive(Default)]
struct State {
    cables: BTreeMap<u8, Cable>,
    limits: BTreeMap<u8, usize>,
    /// Packets of a million that are lost.
    loss: u64,
    random: u64,
    offered: u64,
    carried: u64,
    hellos: u64,
    tape: Option<Rc<RefCell<Vec<Datagram>>>>,
}

/// All cables of a lab.
#[derive(Clone, Default)]
pub struct Cables(Rc<RefCell<State>>);

/// Which cable an address is on, and which node it is.
fn place(address: &LinkAddress) -> (u8, usize) {
    match address.internet() {
        Some(Internet::V4([_, _, cable, node], _)) => (cable, usize::from(node) - 1),
        _ => (u8::MAX, usize::MAX),
    }
}

impl Cables {
    pub fn set(&self, link: usize, cable: Cable) {
        self.0.borrow_mut().cables.insert(link as u8, cable);
    }

    /// Larger packets do not pass.
    pub fn limit(&self, link: usize, bytes: usize) {
        self.0.borrow_mut().limits.insert(link as u8, bytes);
    }

    pub fn lose(&self, seed: u64, millionths: u64) {
        let mut state = self.0.borrow_mut();
        (state.loss, state.random) = (millionths, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    }

    /// Probes sent so far.
    pub fn offered(&self) -> u64 {
        self.0.borrow().offered
    }

    /// Packets that got through.
    pub fn carried(&self) -> u64 {
        self.0.borrow().carried
    }

    /// Handshakes begun, each address counted.
    pub fn hellos(&self) -> u64 {
        self.0.borrow().hellos
    }

    /// Keeps a copy of every probe that gets through from now on.
    pub fn record(&self) -> Rc<RefCell<Vec<Datagram>>> {
        let tape = Rc::new(RefCell::new(Vec::new()));
        self.0.borrow_mut().tape = Some(Rc::clone(&tape));
        tape
    }

    pub fn fate(&self) -> Fate {
        let state = Rc::clone(&self.0);
        Box::new(move |datagram| state.borrow_mut().carry(datagram))
    }
}

impl State {
    fn carry(&mut self, datagram: &Datagram) -> Vec<Duration> {
        let kind = datagram.bytes[0] & 31;
        self.offered += u64::from(kind == 6);
        self.hellos += u64::from(kind == 1);
        let ((from, _), (to, node)) = (place(&datagram.from), place(&datagram.to));
        let cable = self.cables.get(&to).copied().unwrap_or_default();
        let limit = self.limits.get(&to).copied().unwrap_or(usize::MAX);
        let cut = cable == Cable::Cut || cable == Cable::CutTo(node);
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let lost = self.random % 1_000_000 < self.loss;
        if from != to || cut || lost || datagram.bytes.len() > limit {
            return vec![];
        }
        self.carried += 1;
        if let Some(tape) = self.tape.as_ref().filter(|_| kind == 6) {
            tape.borrow_mut().push(datagram.clone());
        }
        vec![ms(1)]
    }
}
