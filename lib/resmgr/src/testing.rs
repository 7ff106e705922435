//! Managers under test: the whole framework without a daemon, a channel or a thread.
//!
//! A [`TestManager`] takes encoded messages on the calling thread, exactly as a server takes them from
//! its channel. Requests that the manager parks stay unanswered until it takes them out, or the
//! test [interrupts](Sent::interrupt) them or lets the [client die](TestClient::die).

mod file;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use abi::connect::{Connect, ConnectStatus, ConnectType, Extra};
use abi::credentials::Credentials;
use abi::io::Request;
use abi::{
    ConnectionId, Encode, Errno, Gid, Handle, Nd, NodeName, OpenFlags, Pid, Pulse, Result,
    SenderId, Uid,
};

use rights::text::{self, NoNames};
use rights::{Client, ClientRights, Operation};

use crate::attributes::Attributes;
use crate::dispatch::Dispatch;
use crate::envelope::Carrier;
use crate::resource::Resource;
use crate::wait_queue::{Place, lock};

/// What a client got: the status and the bytes of the reply.
pub type Reply = (i64, Vec<u8>);

/// A server without a channel.
#[derive(Clone, Debug)]
pub struct TestManager {
    dispatch: Arc<Dispatch>,
    tickets: Arc<AtomicU64>,
    senders: Arc<AtomicU32>,
    rights: Arc<TestRights>,
}

/// What the node would say of rights, and hear of refusals.
#[derive(Debug)]
struct TestRights {
    generation: AtomicU64,
    rights: Mutex<Arc<ClientRights>>,
    denials: Mutex<Vec<(Operation, Vec<u8>)>>,
}

impl TestManager {
    /// Serves `resource` under handle 1, as if attached with `attributes`.
    #[must_use]
    pub fn new(attributes: Attributes, resource: impl Resource) -> Self {
        Self::with_message_bytes(attributes, resource, 80 * 1024)
    }

    /// With buffers of a given size, to see large messages come in pieces.
    #[must_use]
    pub fn with_message_bytes(
        attributes: Attributes,
        resource: impl Resource,
        message_bytes: usize,
    ) -> Self {
        let dispatch = Dispatch::new(message_bytes);
        dispatch.attachments.add(b"/", attributes, resource);
        Self {
            dispatch: Arc::new(dispatch),
            tickets: Arc::default(),
            senders: Arc::default(),
            rights: Arc::new(TestRights {
                generation: AtomicU64::new(0),
                rights: Mutex::new(Arc::new(ClientRights::default_rights())),
                denials: Mutex::default(),
            }),
        }
    }

    /// Changes what all clients may do, also with files that are open.
    pub fn set_rights(&self, rights: ClientRights) {
        *lock(&self.rights.rights) = Arc::new(rights);
        self.rights.generation.fetch_add(1, Ordering::Release);
    }

    /// Changes what all clients may do to what these rules let user 1000 of node lab1 do.
    ///
    /// # Panics
    /// If the rules make no sense.
    pub fn set_rules(&self, rules: &str) {
        let client = Client {
            node: NodeName::parse("lab1").expect("a name"),
            is_own: false,
            user: Uid(1000),
        };
        let rules = text::rules(rules, &NoNames).expect("rules that make sense");
        self.set_rights(rules.for_client(&client));
    }

    /// What was refused because of rights, and told to the node, since this was asked last.
    #[must_use]
    pub fn denials(&self) -> Vec<(Operation, Vec<u8>)> {
        std::mem::take(&mut *lock(&self.rights.denials))
    }

    /// A client process of this user.
    #[must_use]
    pub fn client(&self, uid: u32, gid: u32) -> TestClient {
        let sender = self.senders.fetch_add(1, Ordering::Relaxed) + 1;
        let credentials = Credentials::new(Nd::LOCAL, Pid(1000 + sender), Uid(uid), Gid(gid));
        self.client_with(credentials)
    }

    /// A client process with these credentials.
    #[must_use]
    pub fn client_with(&self, credentials: Credentials) -> TestClient {
        let sender = self.senders.fetch_add(1, Ordering::Relaxed) + 1;
        TestClient {
            manager: self.clone(),
            sender: SenderId(sender),
            credentials: Arc::new(credentials),
            connections: Arc::default(),
        }
    }

    /// How many connections are open.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.dispatch.hub.bindings.len()
    }

    /// How many requests wait in wait queues.
    #[must_use]
    pub fn waiting_requests(&self) -> usize {
        self.dispatch.hub.parked.len()
    }

    /// How many ranges are locked by way of [`posix::lock`](crate::posix::lock).
    #[must_use]
    pub fn held_locks(&self) -> usize {
        self.dispatch.hub.locks.held()
    }
}

/// One client process.
#[derive(Clone, Debug)]
pub struct TestClient {
    manager: TestManager,
    sender: SenderId,
    credentials: Arc<Credentials>,
    connections: Arc<AtomicU32>,
}

impl TestClient {
    /// Opens a path below the prefix.
    ///
    /// # Errors
    /// What the manager refuses with.
    pub fn open(&self, path: &str, flags: OpenFlags) -> Result<TestFile> {
        self.open_with(path, flags, 0o644)
    }

    /// Opens a path below the prefix, with permission bits for a new file.
    ///
    /// # Errors
    /// What the manager refuses with.
    pub fn open_with(&self, path: &str, flags: OpenFlags, mode: u32) -> Result<TestFile> {
        let file = self.connection();
        let mut connect = Connect::open(Handle(1), path.as_bytes(), flags);
        connect.mode = mode;
        let (status, _) = file.send(&encode(&connect)).wait()?;
        assert_eq!(
            status,
            ConnectStatus::Ok.status(),
            "an open answers OK or an error"
        );
        Ok(file)
    }

    /// A connection on which nothing is open yet.
    #[must_use]
    pub fn connection(&self) -> TestFile {
        let id = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        TestFile {
            client: self.clone(),
            connection: ConnectionId(id),
        }
    }

    /// Does something to a path below the prefix.
    ///
    /// # Errors
    /// What the manager refuses with.
    pub fn path(
        &self,
        subtype: ConnectType,
        path: &str,
        mode: u32,
        extra: Extra<'_>,
    ) -> Result<Reply> {
        let mut connect = Connect::open(Handle(1), path.as_bytes(), OpenFlags::empty());
        connect.subtype = subtype;
        connect.mode = mode;
        connect.extra = extra;
        self.connection().send(&encode(&connect)).wait()
    }

    /// Opens a path with `flags`, sends `request`, and closes: one message.
    ///
    /// # Errors
    /// What the manager refuses with.
    pub fn combined(&self, path: &str, flags: OpenFlags, request: &Request<'_>) -> Result<Reply> {
        let message = encode(request);
        let mut connect = Connect::open(Handle(1), path.as_bytes(), flags);
        connect.subtype = ConnectType::CombineClose;
        connect.extra = Extra::Combined(&message);
        let (_, body) = self.connection().send(&encode(&connect)).wait()?;
        let reply = <abi::connect::CombinedReply<'_> as abi::Decode<'_>>::from_bytes(&body)?;
        Ok((reply.status, reply.body.to_vec()))
    }

    /// The process dies with everything it has open.
    pub fn die(&self) {
        let pulse = Pulse {
            code: Pulse::DISCONNECT,
            sender: self.sender,
            ..Pulse::default()
        };
        self.manager.dispatch.pulse(&pulse);
    }
}

/// One connection of a client, usually to an open file.
#[derive(Clone, Debug)]
pub struct TestFile {
    client: TestClient,
    connection: ConnectionId,
}

impl TestFile {
    /// The client's number of the connection.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.connection
    }

    /// The process it belongs to.
    #[must_use]
    pub fn client(&self) -> &TestClient {
        &self.client
    }

    /// A new connection of the same process, on which nothing is open.
    #[must_use]
    pub fn another(&self) -> Self {
        self.client.connection()
    }

    /// Sends raw bytes with room for 1 MiB of reply.
    #[must_use]
    pub fn send(&self, message: &[u8]) -> Sent {
        self.send_with_room(message, 1 << 20)
    }

    /// Sends raw bytes with room for `reply_max` bytes.
    #[must_use]
    pub fn send_with_room(&self, message: &[u8], reply_max: u64) -> Sent {
        let dispatch = &self.client.manager.dispatch;
        let ticket = self.client.manager.tickets.fetch_add(1, Ordering::Relaxed) + 1;
        let state = Arc::new(LetterState {
            message: message.to_vec(),
            reply_max,
            unblock: Mutex::new(false),
            answer: Mutex::new(Progress::default()),
            answered: Condvar::new(),
        });
        let letter = Letter {
            state: Arc::clone(&state),
            credentials: Arc::clone(&self.client.credentials),
            rights: Arc::clone(&self.client.manager.rights),
            place: Place {
                sender: self.client.sender,
                connection: self.connection,
            },
            ticket,
        };
        let mut buffer = dispatch.hub.buffers.take();
        let received = message.len().min(buffer.bytes().len());
        buffer.bytes_mut()[..received].copy_from_slice(&message[..received]);
        dispatch.message(Carrier::Test(letter), buffer, received);
        Sent {
            state,
            ticket,
            dispatch: Arc::clone(dispatch),
        }
    }

    /// Sends an io message; it may stay unanswered.
    #[must_use]
    pub fn start(&self, request: &Request<'_>) -> Sent {
        self.send(&encode(request))
    }
}

fn encode(value: &impl Encode) -> Vec<u8> {
    value
        .to_bytes()
        .expect("test messages fit their length fields")
}

/// A message on its way.
#[derive(Debug)]
pub struct Sent {
    state: Arc<LetterState>,
    ticket: u64,
    dispatch: Arc<Dispatch>,
}

impl Sent {
    /// The answer, if there is one already.
    #[must_use]
    pub fn answer(&self) -> Option<Result<Reply>> {
        lock(&self.state.answer).done.clone()
    }

    /// Waits for the answer, at most 5 seconds.
    ///
    /// # Errors
    /// What the manager refused with; ETIMEDOUT if it did not answer.
    pub fn wait(&self) -> Result<Reply> {
        let progress = lock(&self.state.answer);
        let limit = Duration::from_secs(5);
        let waited = self
            .state
            .answered
            .wait_timeout_while(progress, limit, |progress| progress.done.is_none());
        let Ok((progress, _)) = waited else {
            return Err(Errno::EIO);
        };
        progress.done.clone().unwrap_or(Err(Errno::ETIMEDOUT))
    }

    /// The client wants to give up; it stays blocked until the manager answers.
    pub fn interrupt(&self) {
        *lock(&self.state.unblock) = true;
        let pulse = Pulse {
            code: Pulse::UNBLOCK,
            value: self.ticket,
            ..Pulse::default()
        };
        self.dispatch.pulse(&pulse);
    }
}

/// What a received message is made of without a channel.
#[derive(Debug)]
pub(crate) struct Letter {
    state: Arc<LetterState>,
    credentials: Arc<Credentials>,
    rights: Arc<TestRights>,
    place: Place,
    ticket: u64,
}

#[derive(Debug)]
struct LetterState {
    message: Vec<u8>,
    reply_max: u64,
    unblock: Mutex<bool>,
    answer: Mutex<Progress>,
    answered: Condvar,
}

#[derive(Debug, Default)]
struct Progress {
    written: Vec<u8>,
    done: Option<Result<Reply>>,
}

impl Letter {
    pub(crate) fn credentials(&self) -> &Arc<Credentials> {
        &self.credentials
    }

    pub(crate) fn rights_generation(&self) -> u64 {
        self.rights.generation.load(Ordering::Acquire)
    }

    pub(crate) fn rights(&self) -> Arc<ClientRights> {
        Arc::clone(&lock(&self.rights.rights))
    }

    pub(crate) fn report_denial(&self, operation: Operation, _: Option<u16>, path: &[u8], _: u32) {
        lock(&self.rights.denials).push((operation, path.to_vec()));
    }

    pub(crate) fn place(&self) -> Place {
        self.place
    }

    pub(crate) fn ticket(&self) -> u64 {
        self.ticket
    }

    pub(crate) fn is_unblock_requested(&self) -> bool {
        *lock(&self.state.unblock)
    }

    pub(crate) fn reply_max(&self) -> u64 {
        self.state.reply_max
    }

    pub(crate) fn sent(&self) -> u64 {
        self.state.message.len() as u64
    }

    pub(crate) fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize> {
        let start = usize::try_from(offset).map_err(|_| Errno::EINVAL)?;
        let bytes = self.state.message.get(start..).unwrap_or_default();
        let count = bytes.len().min(into.len());
        into[..count].copy_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<usize> {
        let start = usize::try_from(offset).map_err(|_| Errno::EINVAL)?;
        let room = usize::try_from(self.state.reply_max).map_err(|_| Errno::EINVAL)?;
        let count = bytes.len().min(room.saturating_sub(start));
        let mut progress = lock(&self.state.answer);
        if progress.written.len() < start + count {
            progress.written.resize(start + count, 0);
        }
        progress.written[start..start + count].copy_from_slice(&bytes[..count]);
        Ok(count)
    }

    pub(crate) fn reply(self, status: i64, bytes: &[u8]) -> Result {
        self.write_at(0, bytes)?;
        let mut progress = lock(&self.state.answer);
        let written = std::mem::take(&mut progress.written);
        progress.done = Some(Ok((status, written)));
        self.state.answered.notify_all();
        Ok(())
    }

    pub(crate) fn fail(self, errno: Errno) -> Result {
        lock(&self.state.answer).done = Some(Err(errno));
        self.state.answered.notify_all();
        Ok(())
    }
}
