//! Error numbers of the system in the words of `abi`.

use abi::Errno;

/// The same error, as it travels.
pub(crate) fn errno(number: rustix::io::Errno) -> Errno {
    Errno::from(std::io::Error::from(number))
}
