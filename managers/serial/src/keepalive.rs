//! Peers that vanish without a word.

use std::net::TcpStream;
use std::time::Duration;

use abi::Result;
use rustix::net::sockopt;

use crate::device::errno;

/// Silence after which the other side is asked whether it is there.
const IDLE: Duration = Duration::from_secs(30);
/// And how often again.
const INTERVAL: Duration = Duration::from_secs(10);
/// After so many questions without an answer it is gone: a minute after it was heard last.
const PROBES: u32 = 3;

/// Ends the connection of a machine that was switched off, or cut off, though nothing is said on a line for hours.
pub(crate) fn set(stream: &TcpStream) -> Result {
    sockopt::set_tcp_keepidle(stream, IDLE).map_err(errno)?;
    sockopt::set_tcp_keepintvl(stream, INTERVAL).map_err(errno)?;
    sockopt::set_tcp_keepcnt(stream, PROBES).map_err(errno)?;
    sockopt::set_socket_keepalive(stream, true).map_err(errno)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_silent_peer_is_asked_and_given_up_within_about_a_minute() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        set(&stream).unwrap();
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        let asking =
            sockopt::tcp_keepintvl(&stream).unwrap() * sockopt::tcp_keepcnt(&stream).unwrap();
        let all = sockopt::tcp_keepidle(&stream).unwrap() + asking;
        assert_eq!(all, Duration::from_secs(60));
    }
}
