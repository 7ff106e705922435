//! A device that another machine shares by RFC 2217, when that machine behaves badly.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use abi::devctl::{CHR_FLUSH, FlushQueue};
use abi::{Errno, OpenFlags};
use resmgr::Attributes;
use resmgr::testing::TestManager;
use serial_manager::PortOptions;
use telnet::{Item, Message, Options, Parser, Side, option};

/// Ends a broken test; far longer than a command may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Writes in a row that find no room before the line counts as full.
const FULL: u32 = 1000;

/// Agrees to everything until it is told to take no more bytes.
fn serve(mut connection: &TcpStream, takes: &AtomicBool) {
    let (mut parser, mut options) = (Parser::default(), Options::server());
    let mut space = [0; 4096];
    while takes.load(Ordering::SeqCst) {
        let count = connection.read(&mut space).unwrap();
        let mut out = Vec::new();
        parser.feed(&space[..count], |item| match item {
            Item::Option(verb, number) => options.hear(verb, number, &mut out),
            Item::Subnegotiation(option::COM_PORT, said) => {
                let said = Message::parse(said).unwrap().said;
                let side = Side::Server;
                Message { side, said }.push(&mut out);
            }
            _ => {}
        });
        connection.write_all(&out).unwrap();
    }
}

#[test]
fn a_terminal_server_that_takes_no_bytes_does_not_hold_up_a_command_for_ever() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let takes = Arc::new(AtomicBool::new(true));
    let server = std::thread::spawn({
        let takes = Arc::clone(&takes);
        move || {
            let (connection, _) = listener.accept().unwrap();
            serve(&connection, &takes);
            connection
        }
    });
    let options: PortOptions = format!("rfc2217://{address}=/dev/ser1").parse().unwrap();
    let (_moving, resource) = serial_manager::open(&options).unwrap();
    let manager = TestManager::new(Attributes::device(0o666), resource);
    let nonblocking = OpenFlags::READ_WRITE | OpenFlags::NONBLOCK;
    let file = manager.client(5, 5).open("", nonblocking).unwrap();
    takes.store(false, Ordering::SeqCst);
    let chunk = vec![b'x'; 16 * 1024];
    let mut refused = 0;
    while refused < FULL {
        match file.write(&chunk) {
            Ok(_) => refused = 0,
            Err(Errno::EAGAIN) => {
                refused += 1;
                std::thread::yield_now();
            }
            Err(errno) => panic!("{errno}"),
        }
    }
    let (tell, told) = channel();
    let asker = std::thread::spawn(move || {
        tell.send(file.devctl(CHR_FLUSH, &FlushQueue::Output))
            .unwrap();
    });
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Err(Errno::ETIMEDOUT)));
    asker.join().unwrap();
    drop(server.join().unwrap());
}
