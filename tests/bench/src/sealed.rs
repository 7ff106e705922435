//! Ping-pong over UDP in trains, each packet sealed as Slashnet seals it, with nothing else: no acknowledgements, no
//! repetitions, no wait but the kernel's. What encryption alone leaves of the reference.

use std::net::UdpSocket;
use std::os::fd::{AsFd, BorrowedFd};

use transport::cipher::HEADER_LEN;
use transport::{PacketCipher, Role};

use crate::Outcome;
use crate::datagram::{JOINED_MAX, SEGMENT, TRAIN, connected};
use crate::echo::whole;
use crate::figures::Figures;
use crate::network::enable_offload;
use crate::pair::{ChildOptions, Side, repeat};

pub(crate) fn run(options: &ChildOptions, socket: BorrowedFd<'_>) -> Outcome<Option<Figures>> {
    let udp = connected(options, socket)?;
    enable_offload(udp.as_fd(), SEGMENT)?;
    let role = match options.side {
        Side::Client => Role::Client,
        Side::Server => Role::Server,
    };
    let mut end = End {
        udp,
        cipher: ipc::session_cipher(&[7; 32], role)?,
        sent: 0,
        received: 0,
        train: vec![0; TRAIN],
        read: vec![0; JOINED_MAX],
    };
    let mut message = vec![1; options.size];
    if options.side == Side::Server {
        // It is killed when the client has ended; patience is for the client.
        end.udp.set_read_timeout(None)?;
        loop {
            end.receive(&mut message)?;
            end.send(&message)?;
        }
    }
    repeat(options, || {
        end.send(&message)?;
        end.receive(&mut message)
    })
    .map(Some)
}

struct End {
    udp: UdpSocket,
    cipher: Box<dyn PacketCipher>,
    /// Packets so far, whose numbers they are.
    sent: u64,
    received: u64,
    train: Vec<u8>,
    read: Vec<u8>,
}

impl End {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        for content in message.chunks(CONTENT * PACKETS) {
            let mut len = 0;
            for part in content.chunks(CONTENT) {
                let packet = &mut self.train[len..][..part.len() + OVERHEAD];
                let (head, body) = packet
                    .split_first_chunk_mut::<HEADER_LEN>()
                    .ok_or("a packet without a head")?;
                body[..part.len()].copy_from_slice(part);
                let life = self.cipher.key_life();
                if self.sent > 0 && self.sent.is_multiple_of(life) {
                    self.cipher.next_key();
                }
                head[1] = (self.sent / life % 2) as u8;
                self.cipher.seal(0, self.sent, head, body);
                self.sent += 1;
                len += part.len() + OVERHEAD;
            }
            self.udp.send(&self.train[..len])?;
        }
        Ok(())
    }

    fn receive(&mut self, message: &mut [u8]) -> Outcome<()> {
        let mut got = 0;
        while got < message.len() {
            let len = self.udp.recv(&mut self.read)?;
            for packet in self.read[..len].chunks_mut(SEGMENT) {
                let (head, body) = packet
                    .split_first_chunk_mut::<HEADER_LEN>()
                    .ok_or("a packet without a head")?;
                let content = self.cipher.open(0, self.received, head, body);
                let content = content.map_err(|_forged| "a packet does not open")?;
                self.received += 1;
                message
                    .get_mut(got..got + content.len())
                    .ok_or("more than was sent")?
                    .copy_from_slice(content);
                got += content.len();
            }
        }
        whole(got, message.len())
    }
}

/// What a packet has besides its content: its head and the tag of the cipher.
const OVERHEAD: usize = HEADER_LEN + 16;
/// Bytes of a message in a packet.
const CONTENT: usize = SEGMENT - OVERHEAD;
const PACKETS: usize = TRAIN / SEGMENT;
