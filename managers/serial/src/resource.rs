//! The port as a resource.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use abi::devctl::{
    CHR_DRAIN, CHR_EXCLUSIVE, CHR_FLUSH, CHR_INPUT_COUNT, CHR_LINE_STATUS, CHR_MODEM_GET,
    CHR_MODEM_SET, CHR_OUTPUT_COUNT, CHR_REFUSE, CHR_SEND_BREAK, CHR_SET_BREAK, CHR_TAKE_OVER,
    CHR_TCGETATTR, CHR_TCSETATTR, CHR_USERS, CHR_WANTED, CHR_WINDOW_GET, CHR_WINDOW_SET,
    PortAccess, TakeOver,
};
use abi::{Errno, OpenFlags, Result};
use resmgr::{
    Answer, DevctlCall, DevctlRequest, NotifyRequest, OpenFile, OpenRequest, Opening, ReadRequest,
    Resource, SeekRequest, WriteRequest, posix,
};

use crate::port::Port;
use crate::users::{Entry, User, Whose, Wishes, told};

/// A serial port as clients see it.
#[derive(Debug)]
pub struct SerialPort {
    port: Arc<Port>,
}

/// What an open file has of the port.
#[derive(Debug)]
pub(crate) struct Held {
    /// The device that it was opened on.
    life: u64,
    pub(crate) user: Arc<User>,
}

/// The longest time that users may think over whether they give the port away.
const PATIENCE_MAX: Duration = Duration::from_secs(60);
/// The same, at least: without time to refuse, a wish would be an order.
const PATIENCE_MIN: Duration = Duration::from_secs(1);
/// How long a port that was taken over is kept for whoever took it.
const KEPT: Duration = Duration::from_secs(10);

impl SerialPort {
    pub(crate) fn new(port: Arc<Port>) -> Self {
        Self { port }
    }

    /// Lets an open in that may have it, or leaves it waiting for its turn.
    fn enter(&self, open: OpenRequest) -> Answer {
        let life = match self.port.life() {
            Ok(life) => life,
            Err(errno) => return open.fail(errno),
        };
        match self.port.users.enter(&open) {
            Entry::Granted(user) => open.accept_as(Opening::new().state(Held { life, user })),
            Entry::Busy => open.fail(Errno::EBUSY),
            Entry::Later => {
                let answer = self.port.users.waiting.park(open);
                // The one before may have left before this one was parked.
                self.admit();
                answer
            }
        }
    }

    /// Lets those in whose turn has come.
    fn admit(&self) {
        let users = &self.port.users;
        while users.holders().is_empty()
            && let Some(open) = users.waiting.take()
        {
            let _ = self.enter(open);
        }
    }

    fn take_over(&self, call: DevctlCall<()>, wish: TakeOver) -> Answer {
        let asker = Whose::of(call.credentials());
        let done = self.hand_over(&call, asker, wish);
        call.finish(done)
    }

    fn hand_over(&self, call: &DevctlCall<()>, asker: Whose, wish: TakeOver) -> Result {
        let users = &self.port.users;
        let holders = users.holders();
        if let Some(file) = call.open_file() {
            let fields = file.attributes().lock();
            let both = posix::access::READ | posix::access::WRITE;
            posix::access::check(&fields, call.credentials(), both)?;
            if wish.force && !Wishes::is_own(asker, &holders) {
                posix::access::check_owner(&fields, call.credentials())?;
            }
        }
        if !wish.force {
            let patience = Duration::from_millis(wish.patience_ms.into());
            let patience = patience.clamp(PATIENCE_MIN, PATIENCE_MAX);
            let have_left = || users.holders().is_empty();
            let gives_up = || call.is_unblock_requested();
            let mut asker = told(asker, PortAccess::WRITE, 0);
            self.port.name_nodes(std::slice::from_mut(&mut asker));
            users.wishes.ask(asker, patience, have_left, gives_up)?;
        }
        let holders = users.holders();
        users.hand_over(&holders, asker, Instant::now() + KEPT);
        self.port.hang_up(&holders);
        Ok(())
    }
}

impl Resource for SerialPort {
    fn open(&self, open: OpenRequest) -> Answer {
        if !open.path().is_empty() {
            return open.fail(Errno::ENOTDIR);
        }
        if let Err(errno) = posix::open::verify(&open) {
            return open.fail(errno);
        }
        if !open.flags().intersects(OpenFlags::READ_WRITE) {
            // Only to look at it, which works without the device too.
            return open.accept();
        }
        self.enter(open)
    }

    fn close(&self, file: &OpenFile) {
        let Some(held) = file.state::<Held>() else {
            return;
        };
        if held.user.breaks.load(Ordering::SeqCst) {
            let _ = self
                .port
                .with_device(held.life, |device| device.set_break(false));
        }
        self.port.users.leave(&held.user);
        self.admit();
    }

    fn read(&self, file: &OpenFile, read: ReadRequest) -> Answer {
        match posix::read::verify(file, &read).and_then(|()| life_of(file)) {
            Ok(life) => self.port.read(life, read),
            Err(errno) => read.fail(errno),
        }
    }

    fn write(&self, file: &OpenFile, write: WriteRequest) -> Answer {
        match posix::write::verify(file, &write).and_then(|()| life_of(file)) {
            Ok(life) => {
                file.attributes().lock().stamp_written();
                self.port.write(life, write)
            }
            Err(errno) => write.fail(errno),
        }
    }

    fn seek(&self, _file: &OpenFile, seek: SeekRequest) -> Answer {
        seek.fail(Errno::ESPIPE)
    }

    fn notify(&self, file: &OpenFile, notify: NotifyRequest) -> Answer {
        match life_of(file) {
            Ok(life) => self.port.notify(life, notify),
            Err(errno) => notify.fail(errno),
        }
    }

    fn devctl(&self, file: &OpenFile, devctl: DevctlRequest) -> Answer {
        let life = || life_of(file);
        let port = &*self.port;
        devctl
            .on(CHR_TCGETATTR, |()| port.settings(life()?))
            .take(CHR_TCSETATTR, |call, set| {
                let done = life()
                    .and_then(|life| port.set_settings(life, &set, || call.is_unblock_requested()));
                call.finish(done)
            })
            .take(CHR_SEND_BREAK, |call, millis| {
                let done = life()
                    .and_then(|life| port.send_break(life, millis, || call.is_unblock_requested()));
                call.finish(done)
            })
            .take(CHR_DRAIN, |call, ()| {
                let done = life().and_then(|life| port.drain(life, || call.is_unblock_requested()));
                call.finish(done)
            })
            .on(CHR_SET_BREAK, |on| {
                port.with_device(life()?, |device| device.set_break(on))?;
                held_by(file)?.user.breaks.store(on, Ordering::SeqCst);
                Ok(())
            })
            .on(CHR_EXCLUSIVE, |on| {
                port.users.set_exclusive(&held_by(file)?.user, on)
            })
            .on(CHR_USERS, |()| Ok(port.named_users()))
            .take(CHR_TAKE_OVER, |call, wish| self.take_over(call, wish))
            .take(CHR_WANTED, |call, ()| match held_by(file) {
                Ok(held) => port.users.wishes.listen(&held.user, call),
                Err(errno) => call.fail(errno),
            })
            .on(CHR_REFUSE, |()| {
                held_by(file)?;
                port.users.wishes.refuse()
            })
            .on(CHR_FLUSH, |queue| port.flush(life()?, queue))
            .on(CHR_LINE_STATUS, |()| port.line_status(life()?))
            .on(CHR_INPUT_COUNT, |()| port.input_count(life()?))
            .on(CHR_OUTPUT_COUNT, |()| {
                port.with_device(life()?, |device| device.output_count())
            })
            .on(CHR_MODEM_GET, |()| {
                port.with_device(life()?, |device| device.modem_lines())
            })
            .on(CHR_MODEM_SET, |set| {
                port.with_device(life()?, |device| device.set_modem_lines(set.on, set.off))
            })
            .on(CHR_WINDOW_GET, |()| {
                port.with_device(life()?, |device| device.window())
            })
            .on(CHR_WINDOW_SET, |size| {
                port.with_device(life()?, |device| device.set_window(size))
            })
            .otherwise(|devctl| posix::devctl::default(file, devctl))
    }
}

/// EBADF for a file that was opened only to look at the port, EIO for one whose port somebody has taken over.
fn held_by(file: &OpenFile) -> Result<&Held> {
    let held = file.state::<Held>().ok_or(Errno::EBADF)?;
    if held.user.is_hung_up() {
        return Err(Errno::EIO);
    }
    Ok(held)
}

fn life_of(file: &OpenFile) -> Result<u64> {
    held_by(file).map(|held| held.life)
}

/// Whether what waits is through a file whose port somebody has taken over.
pub(crate) fn is_hung_up(file: Option<&OpenFile>) -> bool {
    file.and_then(|file| file.state::<Held>())
        .is_some_and(|held| held.user.is_hung_up())
}
