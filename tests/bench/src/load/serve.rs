//! The server.

use std::sync::{Mutex, PoisonError};

use abi::{ChannelFlags, ChannelId};
use ipc::{Channel, Endpoint, Message, Received};

use crate::Outcome;
use crate::executed::Executed;

/// Serves until it is killed.
pub(crate) fn run() -> Outcome<()> {
    let endpoint = Endpoint::connect(&ipc::default_directory())?;
    let channel = Channel::create(&endpoint, ChannelFlags::empty())?;
    let ChannelId(id) = channel.id();
    println!("ready {} {id}", endpoint.pid().0);
    let executed = Mutex::new(Executed::default());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| scope.spawn(|| answer_all(&channel, &executed)))
            .collect();
        for worker in workers {
            worker.join().map_err(|_panic| "a worker ended")??;
        }
        Ok(())
    })
}

fn answer_all(channel: &Channel, executed: &Mutex<Executed>) -> Outcome<()> {
    let mut bytes = vec![0; SIZE_MAX];
    loop {
        let Received::Message(message) = channel.receive(&mut bytes)? else {
            continue;
        };
        // What becomes of one message must not end the server: its client may have gone.
        if let Err(error) = answer(message, &mut bytes, executed) {
            eprintln!("load: {error}");
        }
    }
}

fn answer(message: Message, bytes: &mut [u8], executed: &Mutex<Executed>) -> Outcome<()> {
    let word = |bytes: &[u8], at: usize| -> Outcome<u32> {
        Ok(u32::from_le_bytes(
            bytes.get(at..at + 4).ok_or("a short message")?.try_into()?,
        ))
    };
    let (client, number, echo) = (word(bytes, 0)?, word(bytes, 4)?, word(bytes, 8)? == ECHO);
    let mut executed = executed.lock().unwrap_or_else(PoisonError::into_inner);
    if number == REPORT {
        let tally = executed.tally(client);
        let report = [tally.once.to_le_bytes(), tally.again.to_le_bytes()].concat();
        return Ok(message.reply(0, &report)?);
    }
    executed.mark(client, number);
    drop(executed);
    let mut len = message.info().received;
    let whole = usize::try_from(message.info().len)?.min(bytes.len());
    while len < whole {
        match message.read_at(len as u64, &mut bytes[len..whole])? {
            0 => return Err("a message shorter than announced".into()),
            count => len += count,
        }
    }
    let reply = if echo { &bytes[..len] } else { &[] };
    Ok(message.reply(i64::try_from(len)?, reply)?)
}

/// More than a client has messages under way.
const WORKERS: usize = 16;
/// The longest message.
pub(crate) const SIZE_MAX: usize = 1 << 20;
/// Instead of a number: how much has been executed?
pub(crate) const REPORT: u32 = u32::MAX;
/// Third word of a message that is to come back.
pub(crate) const ECHO: u32 = 1;
