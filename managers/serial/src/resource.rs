//! The port as a resource.

use std::sync::Arc;

use abi::devctl::{
    CHR_DRAIN, CHR_FLUSH, CHR_INPUT_COUNT, CHR_LINE_STATUS, CHR_MODEM_GET, CHR_MODEM_SET,
    CHR_OUTPUT_COUNT, CHR_SEND_BREAK, CHR_SET_BREAK, CHR_TCGETATTR, CHR_TCSETATTR, CHR_WINDOW_GET,
    CHR_WINDOW_SET,
};
use abi::{Errno, OpenFlags, Result};
use resmgr::{
    Answer, DevctlRequest, NotifyRequest, OpenFile, OpenRequest, Opening, ReadRequest, Resource,
    SeekRequest, WriteRequest, posix,
};

use crate::port::Port;

/// A serial port as clients see it.
#[derive(Debug)]
pub struct SerialPort {
    port: Arc<Port>,
}

/// The device that a file was opened on.
struct Life(u64);

impl SerialPort {
    pub(crate) fn new(port: Arc<Port>) -> Self {
        Self { port }
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
        match self.port.life() {
            Ok(life) => open.accept_as(Opening::new().state(Life(life))),
            Err(errno) => open.fail(errno),
        }
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
                port.with_device(life()?, |device| device.set_break(on))
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

/// EBADF for a file that was opened only to look at the port.
fn life_of(file: &OpenFile) -> Result<u64> {
    file.state::<Life>().map(|life| life.0).ok_or(Errno::EBADF)
}
