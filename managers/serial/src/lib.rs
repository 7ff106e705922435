//! Serial ports of this machine, offered under pathnames.
//!
//! The manager holds the terminal device, raw and exclusively, from its start to its end. Any number
//! of clients open the port, unless its options say otherwise; what arrives goes to whoever read first, what is
//! written leaves in order. `port` is the heart, `controls` its settings, `users` who may have it, `access` who may open its path, `device` the system
//! calls or another program's port, `line_settings` the settings in the system's and the protocol's words, `resource`
//! what clients see of it.
//!
//! [`terminal`] gives ports to programs that know nothing of Slashnet, [`rfc2217`] to programs that reach them by TCP.

mod accepting;
mod access;
mod arrival;
mod com_port;
mod controls;
mod device;
mod keepalive;
mod line_settings;
mod options;
mod port;
mod resource;
pub mod rfc2217;
pub mod terminal;
mod users;

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;

use abi::Errno;
use client::Namespace;
use resmgr::{Endpoint, Running, Server};

pub use self::options::{BadPort, FlowControl, LineOptions, Parity, PortOptions, Replug};
pub use self::resource::SerialPort;
pub use self::users::Sharing;

use self::port::Port;

/// Why a port does not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortError {
    /// The device or the pathname.
    pub what: String,
    /// The reason.
    pub errno: Errno,
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errno {
            Errno::EBUSY => write!(f, "{}: another program uses it ({})", self.what, self.errno),
            Errno::ENOTTY => write!(f, "{}: not a serial port ({})", self.what, self.errno),
            errno => write!(f, "{}: {errno}", self.what),
        }
    }
}

impl std::error::Error for PortError {}

impl From<PortError> for Errno {
    fn from(error: PortError) -> Self {
        error.errno
    }
}

/// Serves these ports until the returned value is dropped.
///
/// # Errors
/// A device that cannot be opened, or a pathname that cannot be owned.
pub fn serve(endpoint: &Endpoint, ports: &[PortOptions]) -> Result<Serving, PortError> {
    let at = |what: String| move |errno| PortError { what, errno };
    let mut server = Server::new(endpoint)
        .map_err(at("serial".into()))?
        .threads(1..=8);
    let mut moving = Vec::new();
    for options in ports {
        let names = Namespace::of(endpoint);
        let (port, resource) =
            start(options, Some(names)).map_err(at(options.device.display().to_string()))?;
        moving.push(port);
        let attributes =
            access::attributes(options).map_err(at(options.device.display().to_string()))?;
        server = server
            .attach(&options.prefix, attributes, resource)
            .map_err(at(options.prefix.clone()))?;
    }
    let running = server.start().map_err(at("serial".into()))?;
    Ok(Serving {
        running,
        _moving: moving,
    })
}

/// Opens one port and starts moving its bytes; for managers that offer more than serial ports.
///
/// # Errors
/// EBUSY if another program holds the device, ENOTTY if it is no terminal, EINVAL for a speed it
/// cannot do, EAGAIN if no thread can be started, and what `open` answers.
pub fn open(options: &PortOptions) -> Result<(Moving, SerialPort), Errno> {
    start(options, None)
}

fn start(options: &PortOptions, names: Option<Namespace>) -> Result<(Moving, SerialPort), Errno> {
    let port = Port::open(options.clone(), names)?;
    let runner = Arc::clone(&port);
    let thread = std::thread::Builder::new()
        .name("serial".into())
        .spawn(move || runner.run())
        .map_err(|_| Errno::EAGAIN)?;
    let resource = SerialPort::new(Arc::clone(&port));
    Ok((
        Moving {
            port,
            thread: Some(thread),
        },
        resource,
    ))
}

/// Serial ports at work. Dropping it ends the service and gives the devices back.
#[derive(Debug)]
pub struct Serving {
    running: Running,
    _moving: Vec<Moving>,
}

impl Serving {
    /// How many connections are open to the ports.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.running.open_connections()
    }
}

/// The thread that moves the bytes of one port; ends when dropped.
#[derive(Debug)]
pub struct Moving {
    port: Arc<Port>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Moving {
    fn drop(&mut self) {
        self.port.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
