//! Error numbers that cross processes and nodes.
//!
//! The numbers are fixed on the wire: Linux' asm-generic values where Linux has the name, and from
//! 1000 on for names that only QNX has. `docs/protocol/errno.md` is the same table in prose.

use core::fmt;
use core::num::NonZeroU16;

use crate::codec::{Decode, Encode, Malformed, Reader, Writer};

/// What a server, a manager or the transport answers instead of a result.
pub type Result<T = ()> = core::result::Result<T, Errno>;

/// An error number, as POSIX and QNX programs know it. Never zero.
///
/// A number that this version does not know is carried through untouched.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Errno(NonZeroU16);

macro_rules! errnos {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        impl Errno {
            $(
                #[doc = concat!("`", stringify!($name), "`: ", $text, ".")]
                pub const $name: Self = Self::fixed($number);
            )*

            /// All numbers that have a name, in ascending order.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The symbol, such as `ENOENT`, or `E?` for a number without one.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self.number() {
                    $($number => stringify!($name),)*
                    _ => "E?",
                }
            }

            /// The usual words, without a capital letter or a full stop.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self.number() {
                    $($number => $text,)*
                    _ => "unknown error",
                }
            }
        }
    };
}

errnos! {
    EPERM = 1, "operation not permitted";
    ENOENT = 2, "no such file or directory";
    ESRCH = 3, "no such process";
    EINTR = 4, "interrupted system call";
    EIO = 5, "input/output error";
    ENXIO = 6, "no such device or address";
    E2BIG = 7, "argument list too long";
    ENOEXEC = 8, "exec format error";
    EBADF = 9, "bad file descriptor";
    ECHILD = 10, "no child processes";
    EAGAIN = 11, "resource temporarily unavailable";
    ENOMEM = 12, "cannot allocate memory";
    EACCES = 13, "permission denied";
    EFAULT = 14, "bad address";
    ENOTBLK = 15, "block device required";
    EBUSY = 16, "device or resource busy";
    EEXIST = 17, "file exists";
    EXDEV = 18, "invalid cross-device link";
    ENODEV = 19, "no such device";
    ENOTDIR = 20, "not a directory";
    EISDIR = 21, "is a directory";
    EINVAL = 22, "invalid argument";
    ENFILE = 23, "too many open files in system";
    EMFILE = 24, "too many open files";
    ENOTTY = 25, "inappropriate ioctl for device";
    ETXTBSY = 26, "text file busy";
    EFBIG = 27, "file too large";
    ENOSPC = 28, "no space left on device";
    ESPIPE = 29, "illegal seek";
    EROFS = 30, "read-only file system";
    EMLINK = 31, "too many links";
    EPIPE = 32, "broken pipe";
    EDOM = 33, "numerical argument out of domain";
    ERANGE = 34, "numerical result out of range";
    EDEADLK = 35, "resource deadlock avoided";
    ENAMETOOLONG = 36, "file name too long";
    ENOLCK = 37, "no locks available";
    ENOSYS = 38, "function not implemented";
    ENOTEMPTY = 39, "directory not empty";
    ELOOP = 40, "too many levels of symbolic links";
    ENOMSG = 42, "no message of desired type";
    EIDRM = 43, "identifier removed";
    ECHRNG = 44, "channel number out of range";
    EL2NSYNC = 45, "level 2 not synchronized";
    EL3HLT = 46, "level 3 halted";
    EL3RST = 47, "level 3 reset";
    ELNRNG = 48, "link number out of range";
    EUNATCH = 49, "protocol driver not attached";
    ENOCSI = 50, "no CSI structure available";
    EL2HLT = 51, "level 2 halted";
    EBADE = 52, "invalid exchange";
    EBADR = 53, "invalid request descriptor";
    EXFULL = 54, "exchange full";
    ENOANO = 55, "no anode";
    EBADRQC = 56, "invalid request code";
    EBADSLT = 57, "invalid slot";
    EBFONT = 59, "bad font file format";
    ENOSTR = 60, "device not a stream";
    ENODATA = 61, "no data available";
    ETIME = 62, "timer expired";
    ENOSR = 63, "out of streams resources";
    ENONET = 64, "machine is not on the network";
    ENOPKG = 65, "package not installed";
    EREMOTE = 66, "object is remote";
    ENOLINK = 67, "link has been severed";
    EADV = 68, "advertise error";
    ESRMNT = 69, "Srmount error";
    ECOMM = 70, "communication error on send";
    EPROTO = 71, "protocol error";
    EMULTIHOP = 72, "multihop attempted";
    EDOTDOT = 73, "RFS specific error";
    EBADMSG = 74, "bad message";
    EOVERFLOW = 75, "value too large for defined data type";
    ENOTUNIQ = 76, "name not unique on network";
    EBADFD = 77, "file descriptor in bad state";
    EREMCHG = 78, "remote address changed";
    ELIBACC = 79, "can not access a needed shared library";
    ELIBBAD = 80, "accessing a corrupted shared library";
    ELIBSCN = 81, ".lib section in a.out corrupted";
    ELIBMAX = 82, "attempting to link in too many shared libraries";
    ELIBEXEC = 83, "cannot exec a shared library directly";
    EILSEQ = 84, "invalid or incomplete multibyte or wide character";
    ERESTART = 85, "interrupted system call should be restarted";
    ESTRPIPE = 86, "streams pipe error";
    EUSERS = 87, "too many users";
    ENOTSOCK = 88, "socket operation on non-socket";
    EDESTADDRREQ = 89, "destination address required";
    EMSGSIZE = 90, "message too long";
    EPROTOTYPE = 91, "protocol wrong type for socket";
    ENOPROTOOPT = 92, "protocol not available";
    EPROTONOSUPPORT = 93, "protocol not supported";
    ESOCKTNOSUPPORT = 94, "socket type not supported";
    EOPNOTSUPP = 95, "operation not supported";
    EPFNOSUPPORT = 96, "protocol family not supported";
    EAFNOSUPPORT = 97, "address family not supported by protocol";
    EADDRINUSE = 98, "address already in use";
    EADDRNOTAVAIL = 99, "cannot assign requested address";
    ENETDOWN = 100, "network is down";
    ENETUNREACH = 101, "network is unreachable";
    ENETRESET = 102, "network dropped connection on reset";
    ECONNABORTED = 103, "software caused connection abort";
    ECONNRESET = 104, "connection reset by peer";
    ENOBUFS = 105, "no buffer space available";
    EISCONN = 106, "transport endpoint is already connected";
    ENOTCONN = 107, "transport endpoint is not connected";
    ESHUTDOWN = 108, "cannot send after transport endpoint shutdown";
    ETOOMANYREFS = 109, "too many references: cannot splice";
    ETIMEDOUT = 110, "connection timed out";
    ECONNREFUSED = 111, "connection refused";
    EHOSTDOWN = 112, "host is down";
    EHOSTUNREACH = 113, "no route to host";
    EALREADY = 114, "operation already in progress";
    EINPROGRESS = 115, "operation now in progress";
    ESTALE = 116, "stale file handle";
    EUCLEAN = 117, "structure needs cleaning";
    ENOTNAM = 118, "not a XENIX named type file";
    ENAVAIL = 119, "no XENIX semaphores available";
    EISNAM = 120, "is a named type file";
    EREMOTEIO = 121, "remote I/O error";
    EDQUOT = 122, "disk quota exceeded";
    ENOMEDIUM = 123, "no medium found";
    EMEDIUMTYPE = 124, "wrong medium type";
    ECANCELED = 125, "operation canceled";
    ENOKEY = 126, "required key not available";
    EKEYEXPIRED = 127, "key has expired";
    EKEYREVOKED = 128, "key has been revoked";
    EKEYREJECTED = 129, "key was rejected by service";
    EOWNERDEAD = 130, "owner died";
    ENOTRECOVERABLE = 131, "state not recoverable";
    ERFKILL = 132, "operation not possible due to RF-kill";
    EHWPOISON = 133, "memory page has hardware error";
    EBADFSYS = 1000, "corrupted file system";
    ENOREMOTE = 1001, "remote access is not possible here";
    ESRVRFAULT = 1002, "the server's buffer is bad";
    EENDIAN = 1003, "byte order is not supported";
    EMORE = 1004, "more to do, send the message again";
    ECTRLTERM = 1005, "remapped to the controlling terminal";
    ENOLIC = 1006, "no license available";
}

impl Errno {
    /// The other name of [`Self::EAGAIN`].
    pub const EWOULDBLOCK: Self = Self::EAGAIN;
    /// The other name of [`Self::EDEADLK`].
    pub const EDEADLOCK: Self = Self::EDEADLK;
    /// The other name of [`Self::EOPNOTSUPP`].
    pub const ENOTSUP: Self = Self::EOPNOTSUPP;

    const fn fixed(number: u16) -> Self {
        Self(NonZeroU16::new(number).expect("zero is not an error"))
    }

    /// The error with this number; 0, which no correct peer sends as an error, becomes `EIO`.
    #[must_use]
    pub const fn from_wire(number: u16) -> Self {
        match NonZeroU16::new(number) {
            Some(number) => Self(number),
            None => Self::EIO,
        }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0.get()
    }

    /// The error with this name, or `None`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|errno| errno.name() == name)
    }

    /// The number Linux programs know: the same one, or the nearest for names only QNX has.
    #[must_use]
    pub const fn linux(self) -> i32 {
        let near = match self {
            Self::EBADFSYS => Self::EUCLEAN,
            Self::ENOREMOTE => Self::ENETUNREACH,
            Self::ESRVRFAULT => Self::EFAULT,
            Self::EENDIAN => Self::EPROTO,
            Self::EMORE => Self::EAGAIN,
            Self::ECTRLTERM => Self::ENOTTY,
            Self::ENOLIC => Self::EPERM,
            known if known.number() < Self::EBADFSYS.number() => known,
            _ => Self::EIO,
        };
        near.number() as i32
    }

    /// Whether a search over a union goes on to its next server after this error (P33).
    #[must_use]
    pub const fn continues_union(self) -> bool {
        let network = self.number() >= Self::ENETDOWN.number()
            && self.number() <= Self::EHOSTUNREACH.number();
        network
            || matches!(
                self,
                Self::ENOSYS
                    | Self::ENOENT
                    | Self::ENXIO
                    | Self::ESRCH
                    | Self::EBADFSYS
                    | Self::EROFS
            )
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            "E?" => write!(f, "E{}: {}", self.number(), self.text()),
            name => write!(f, "{name}: {}", self.text()),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            "E?" => write!(f, "E{}", self.number()),
            name => f.write_str(name),
        }
    }
}

impl core::error::Error for Errno {}

impl Encode for Errno {
    fn encode(&self, w: &mut Writer<'_>) {
        w.u16(self.number());
    }
}

impl Decode<'_> for Errno {
    fn decode(r: &mut Reader<'_>) -> core::result::Result<Self, Malformed> {
        NonZeroU16::new(r.u16()?)
            .map(Self)
            .ok_or(Malformed::Invalid)
    }
}

#[cfg(all(
    feature = "std",
    any(
        target_arch = "mips",
        target_arch = "mips64",
        target_arch = "mips32r6",
        target_arch = "mips64r6",
        target_arch = "sparc",
        target_arch = "sparc64"
    )
))]
compile_error!("this architecture has error numbers of its own; they need a table here");

/// Keeps the number where Linux has it; the others come back from `From<std::io::Error>` unharmed.
#[cfg(feature = "std")]
impl From<Errno> for std::io::Error {
    fn from(errno: Errno) -> Self {
        if errno.number() < Errno::EBADFSYS.number() {
            Self::from_raw_os_error(errno.linux())
        } else {
            Self::other(errno)
        }
    }
}

/// Keeps the number of the operating system, or of an [`Errno`] inside; `EIO` if there is neither.
#[cfg(feature = "std")]
impl From<std::io::Error> for Errno {
    fn from(error: std::io::Error) -> Self {
        if let Some(errno) = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Self>())
        {
            return *errno;
        }
        error
            .raw_os_error()
            .and_then(|number| u16::try_from(number).ok())
            .and_then(NonZeroU16::new)
            .map_or(Self::EIO, Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn numbers_ascend_and_names_are_found() {
        assert!(Errno::ALL.is_sorted());
        for &errno in Errno::ALL {
            assert_eq!(Errno::from_name(errno.name()), Some(errno));
            assert_eq!(Errno::from_wire(errno.number()), errno);
        }
        assert_eq!(Errno::from_name("E?"), None);
    }

    #[test]
    fn errors_read_as_symbol_and_words() {
        assert_eq!(
            Errno::ENOENT.to_string(),
            "ENOENT: no such file or directory"
        );
        assert_eq!(Errno::from_wire(999).to_string(), "E999: unknown error");
        assert_eq!(Errno::from_wire(0), Errno::EIO);
    }

    // qnx: P33
    #[test]
    fn only_absence_and_network_trouble_let_a_union_search_go_on() {
        let continuing: std::vec::Vec<&str> = Errno::ALL
            .iter()
            .filter(|e| e.continues_union())
            .map(|e| e.name())
            .collect();
        let expected = [
            "ENOENT",
            "ESRCH",
            "ENXIO",
            "EROFS",
            "ENOSYS",
            "ENETDOWN",
            "ENETUNREACH",
            "ENETRESET",
            "ECONNABORTED",
            "ECONNRESET",
            "ENOBUFS",
            "EISCONN",
            "ENOTCONN",
            "ESHUTDOWN",
            "ETOOMANYREFS",
            "ETIMEDOUT",
            "ECONNREFUSED",
            "EHOSTDOWN",
            "EHOSTUNREACH",
            "EBADFSYS",
        ];
        assert_eq!(continuing, expected);
    }

    #[test]
    fn linux_gets_a_number_it_knows() {
        for &errno in Errno::ALL {
            assert!((1..=133).contains(&errno.linux()), "{errno}");
        }
        assert_eq!(Errno::from_wire(5000).linux(), Errno::EIO.linux());
        assert_eq!(Errno::ESRVRFAULT.linux(), 14);
    }

    #[cfg(feature = "std")]
    #[test]
    fn errors_survive_the_way_through_io_error() {
        for &errno in Errno::ALL {
            assert_eq!(Errno::from(std::io::Error::from(errno)), errno);
        }
        assert_eq!(Errno::from(std::io::Error::other("no number")), Errno::EIO);
    }
}
