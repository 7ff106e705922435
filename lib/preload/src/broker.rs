//! Questions to the broker: one connection each, nothing kept.

use std::ffi::CStr;

use libc::{c_char, c_int};
use preload_messages::{
    ANSWER_MAX, Answer, NAMES_VARIABLE, NOT_OURS, QUESTION_MAX, Question, VARIABLE, parse_place,
};

/// What the broker said.
#[allow(
    clippy::large_enum_variant,
    reason = "lives for one call; a box would need memory"
)]
pub(crate) enum Told {
    /// It is done.
    Done(Said),
    /// It failed with this errno.
    Failed(c_int),
    /// The broker has nothing to do with it, or there is none.
    NotOurs,
}

/// What an answer says besides.
pub(crate) struct Said {
    pub(crate) number: u32,
    text: [u8; ANSWER_MAX],
}

impl Said {
    /// The text; it ends with a zero byte.
    pub(crate) fn text(&self) -> *const c_char {
        self.text.as_ptr().cast()
    }
}

/// Asks.
pub(crate) fn ask(question: &Question<'_>) -> Told {
    let before = crate::real::errno();
    let told = exchange(question).unwrap_or(Told::NotOurs);
    crate::real::set_errno(before);
    told
}

fn exchange(question: &Question<'_>) -> Option<Told> {
    let (name, token) = parse_place(variable(VARIABLE)?)?;
    let mut packet = [0; QUESTION_MAX];
    let length = question.write(&token, &mut packet)?;
    let socket = Socket::connect(name)?;
    socket.send(packet.get(..length)?)?;
    let mut space = [0; ANSWER_MAX];
    let length = match socket.receive(&mut space) {
        Ok(length) => length,
        Err(errno) => return Some(Told::Failed(errno)),
    };
    let answer = Answer::read(space.get(..length)?)?;
    Some(match answer.status {
        0 => {
            let mut text = [0; ANSWER_MAX];
            // The status is in front of the text, so the last byte stays zero.
            text.get_mut(..answer.text.len())?
                .copy_from_slice(answer.text);
            Told::Done(Said {
                number: answer.number,
                text,
            })
        }
        NOT_OURS => Told::NotOurs,
        errno => Told::Failed(errno.into()),
    })
}

/// The value of a variable of the environment.
fn variable(name: &str) -> Option<&'static [u8]> {
    let mut text = [0; 32];
    text.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
    // SAFETY: the name ends with a zero byte: none of ours is that long.
    let value = unsafe { libc::getenv(text.as_ptr().cast()) };
    // SAFETY: a value that is not null is a string that ends. A program that changes its environment at this moment
    // breaks the C library's own functions as well.
    (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) }.to_bytes())
}

/// Whether a path may be a port, as far as can be told without asking.
pub(crate) fn may_be_port(path: &[u8]) -> bool {
    if path.first() != Some(&b'/') || variable(VARIABLE).is_none() {
        return false;
    }
    is_mapped(path)
        || path.starts_with(b"/net/")
        || path.starts_with(b"/dev/") && !path.starts_with(b"/dev/pts/") && is_missing(path)
}

fn is_mapped(path: &[u8]) -> bool {
    variable(NAMES_VARIABLE)
        .is_some_and(|names| names.split(|byte| *byte == b':').any(|name| name == path))
}

/// Whether this machine has nothing of that name itself.
fn is_missing(path: &[u8]) -> bool {
    let mut text = [0; libc::PATH_MAX as usize];
    let Some(space) = text.get_mut(..path.len()) else {
        return false;
    };
    space.copy_from_slice(path);
    if text.last() != Some(&0) {
        return false;
    }
    let before = crate::real::errno();
    // SAFETY: the path ends with a zero byte. The system call itself, because `access` is one of ours.
    let status = unsafe {
        libc::syscall(
            libc::SYS_faccessat,
            libc::AT_FDCWD,
            text.as_ptr(),
            libc::F_OK,
        )
    };
    let missing = status != 0 && crate::real::errno() == libc::ENOENT;
    crate::real::set_errno(before);
    missing
}

/// A connection to the broker.
struct Socket(c_int);

impl Socket {
    fn connect(name: &[u8]) -> Option<Self> {
        // SAFETY: no pointers.
        let fd =
            unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return None;
        }
        let socket = Self(fd);
        let mut address = libc::sockaddr_un {
            sun_family: libc::AF_UNIX as libc::sa_family_t,
            sun_path: [0; 108],
        };
        // A zero byte in front makes it a name that is no file.
        let space = address.sun_path.get_mut(1..=name.len())?;
        for (to, from) in space.iter_mut().zip(name) {
            *to = *from as c_char;
        }
        let length = size_of::<libc::sa_family_t>() + 1 + name.len();
        let length = libc::socklen_t::try_from(length).ok()?;
        loop {
            // SAFETY: the address lives until the call returns, and as many bytes of it are set.
            let status = unsafe { libc::connect(fd, (&raw const address).cast(), length) };
            match (status, crate::real::errno()) {
                (0, _) => return socket.is_trusted().then_some(socket),
                (_, libc::EINTR) => {}
                _ => return None,
            }
        }
    }

    /// Whoever comes first may use the name once the broker has ended, and what is answered is opened with the rights of
    /// the program.
    fn is_trusted(&self) -> bool {
        let mut peer = libc::ucred {
            pid: 0,
            uid: libc::uid_t::MAX,
            gid: 0,
        };
        let mut length = size_of::<libc::ucred>() as libc::socklen_t;
        // SAFETY: both places live until the call returns, and the length is that of the first.
        let status = unsafe {
            libc::getsockopt(
                self.0,
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                (&raw mut peer).cast(),
                &raw mut length,
            )
        };
        // SAFETY: no pointers.
        let own = unsafe { libc::geteuid() };
        status == 0 && (peer.uid == 0 || peer.uid == own)
    }

    fn send(&self, packet: &[u8]) -> Option<()> {
        loop {
            // SAFETY: the packet lives until the call returns.
            let sent = unsafe {
                libc::send(
                    self.0,
                    packet.as_ptr().cast(),
                    packet.len(),
                    libc::MSG_NOSIGNAL,
                )
            };
            match (sent, crate::real::errno()) {
                (0.., _) => return Some(()),
                (_, libc::EINTR) => {}
                _ => return None,
            }
        }
    }

    /// Waits for the answer. A signal whose handler does not ask for calls to go on ends it, as it ends `tcdrain`.
    fn receive(&self, space: &mut [u8]) -> Result<usize, c_int> {
        // SAFETY: the space lives until the call returns and is as long as is said.
        let received = unsafe { libc::recv(self.0, space.as_mut_ptr().cast(), space.len(), 0) };
        match usize::try_from(received) {
            // The broker has ended.
            Ok(0) => Err(libc::EIO),
            Ok(length) => Ok(length),
            Err(_) => Err(crate::real::errno()),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours and not used after this.
        unsafe { libc::close(self.0) };
    }
}
