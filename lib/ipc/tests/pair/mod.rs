//! A client and a server for tests, joined by shared memory or by encrypted UDP.
#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::panic)] // Every test file uses another part.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use abi::{ChannelFlags, Errno, Nd, Pid, Pulse};
use ipc::{Channel, Connection, Endpoint, Message, Received};

/// A client and a server, joined in one of the ways under test.
pub(crate) struct Pair {
    pub(crate) client: Endpoint,
    pub(crate) server: Endpoint,
    pub(crate) nd: Nd,
}

impl Pair {
    pub(crate) fn memory() -> Self {
        let (client, server) = ipc::direct::pair().unwrap();
        Self {
            client,
            server,
            nd: Nd::LOCAL,
        }
    }

    pub(crate) fn udp() -> Self {
        let (client, server) = ipc::direct::udp_pair().unwrap();
        Self {
            client,
            server,
            nd: Nd(1),
        }
    }

    pub(crate) fn channel(&self, flags: ChannelFlags) -> Arc<Channel> {
        Arc::new(Channel::create(&self.server, flags).unwrap())
    }

    pub(crate) fn connect(&self, channel: &Channel) -> Connection {
        Connection::attach(&self.client, self.nd, Pid(2), channel.id()).unwrap()
    }

    /// A channel, a thread that serves it until it is destroyed, and a connection to it.
    pub(crate) fn serve(
        &self,
        room: usize,
        mut handle: impl FnMut(Message, &mut [u8]) + Send + 'static,
    ) -> (Connection, Served) {
        let channel = self.channel(ChannelFlags::empty());
        let receiver = Arc::clone(&channel);
        let thread = thread::spawn(move || {
            let mut buffer = vec![0; room];
            loop {
                match receiver.receive(&mut buffer) {
                    Ok(Received::Message(message)) => handle(message, &mut buffer),
                    Ok(Received::Pulse(_)) => {}
                    Err(errno) => return assert_eq!(errno, Errno::ESRCH),
                }
            }
        });
        (
            self.connect(&channel),
            Served {
                channel,
                thread: Some(thread),
            },
        )
    }
}

pub(crate) struct Served {
    channel: Arc<Channel>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.channel.destroy();
        let ended = self.thread.take().unwrap().join();
        assert!(
            ended.is_ok() || thread::panicking(),
            "the server has panicked"
        );
    }
}

pub(crate) fn message(received: Received) -> Message {
    match received {
        Received::Message(message) => message,
        Received::Pulse(pulse) => panic!("a pulse instead of a message: {pulse:?}"),
    }
}

pub(crate) fn pulse(received: Received) -> Pulse {
    match received {
        Received::Pulse(pulse) => pulse,
        Received::Message(message) => panic!("a message instead of a pulse: {message:?}"),
    }
}

pub(crate) fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(10))
}

pub(crate) fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (at.wrapping_mul(31) ^ (at >> 8) ^ seed) as u8)
        .collect()
}

/// Runs each test over both kinds of session.
#[macro_export]
macro_rules! over_both {
    ($($(#[$doc:meta])* fn $name:ident($pair:ident) $body:block)*) => {
        $($(#[$doc])* fn $name($pair: Pair) $body)*
        mod memory {
            $(#[test] fn $name() { super::$name($crate::pair::Pair::memory()) })*
        }
        mod udp {
            $(#[test] fn $name() { super::$name($crate::pair::Pair::udp()) })*
        }
    };
}
