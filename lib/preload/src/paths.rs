//! Functions with paths.

use std::ffi::CStr;

use libc::{FILE, c_char, c_int, c_uint, c_void, mode_t};
use preload_messages::Question;

use crate::broker::{Said, Told, ask, may_be_port};
use crate::real::{fail, real, set_errno};

/// What stands for a port where only its kind and rights are asked for: a terminal that every process may name.
const A_TERMINAL: &CStr = c"/dev/tty";

/// What a path leads to.
#[allow(
    clippy::large_enum_variant,
    reason = "lives for one call; a box would need memory"
)]
enum Leads {
    /// To a port; the terminal to open in its place.
    ToPort(Said),
    /// To a port that cannot be opened.
    Nowhere(c_int),
    /// Somewhere that is nothing of ours.
    Elsewhere,
}

/// # Safety
/// `path` is null or a string that ends.
unsafe fn bytes_of<'a>(path: *const c_char) -> &'a [u8] {
    if path.is_null() {
        return &[];
    }
    // SAFETY: by the contract of this function.
    unsafe { CStr::from_ptr(path) }.to_bytes()
}

fn open_port(path: &[u8], flags: c_int) -> Leads {
    if !may_be_port(path) || flags & (libc::O_DIRECTORY | libc::O_PATH) != 0 {
        return Leads::Elsewhere;
    }
    let exclusive = flags & libc::O_EXCL != 0;
    match ask(&Question::Open { path, exclusive }) {
        Told::Done(said) => Leads::ToPort(said),
        Told::Failed(errno) => Leads::Nowhere(errno),
        Told::NotOurs => Leads::Elsewhere,
    }
}

/// Flags that make no sense for a terminal that is there.
const MEANT_FOR_FILES: c_int = libc::O_CREAT | libc::O_EXCL | libc::O_TRUNC;

/// Gives an `open` without a directory, with its name and its type of mode.
macro_rules! opens {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// As `open(2)`.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
            // SAFETY: the caller's path is a string.
            match open_port(unsafe { bytes_of(path) }, flags) {
                Leads::Nowhere(errno) => fail(errno),
                Leads::ToPort(terminal) => real!(
                    open as fn(*const c_char, c_int, mode_t) -> c_int,
                    (terminal.text(), flags & !MEANT_FOR_FILES, 0),
                    -1
                ),
                Leads::Elsewhere => real!(
                    $name as fn(*const c_char, c_int, mode_t) -> c_int,
                    (path, flags, mode),
                    -1
                ),
            }
        }
    )*};
}

opens! {
    /// In place of the C library's. Variadic in C: one further argument is passed as if it were not.
    open;
    /// As `open`, for files of any length.
    open64;
    /// What a checking compiler makes of `open` without a mode; the mode is not looked at.
    __open_2;
    /// The same for `open64`.
    __open64_2;
}

macro_rules! opens_at {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// As `openat(2)`.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            directory: c_int,
            path: *const c_char,
            flags: c_int,
            mode: mode_t,
        ) -> c_int {
            // SAFETY: the caller's path is a string.
            match open_port(unsafe { bytes_of(path) }, flags) {
                Leads::Nowhere(errno) => fail(errno),
                Leads::ToPort(terminal) => real!(
                    open as fn(*const c_char, c_int, mode_t) -> c_int,
                    (terminal.text(), flags & !MEANT_FOR_FILES, 0),
                    -1
                ),
                Leads::Elsewhere => real!(
                    $name as fn(c_int, *const c_char, c_int, mode_t) -> c_int,
                    (directory, path, flags, mode),
                    -1
                ),
            }
        }
    )*};
}

opens_at! {
    /// In place of the C library's. Variadic in C: one further argument is passed as if it were not.
    openat;
    /// As `openat`, for files of any length.
    openat64;
    /// What a checking compiler makes of `openat` without a mode; the mode is not looked at.
    __openat_2;
    /// The same for `openat64`.
    __openat64_2;
}

/// `fopen` calls the C library's own `open`, so it is here itself.
macro_rules! stream_opens {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// As `fopen(3)`.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(path: *const c_char, mode: *const c_char) -> *mut FILE {
            // SAFETY: the caller's path and mode are strings.
            let (name, how) = unsafe { (bytes_of(path), bytes_of(mode)) };
            let flags = if how.contains(&b'x') { libc::O_EXCL } else { 0 };
            let led = open_port(name, flags);
            let path = match &led {
                Leads::Nowhere(errno) => {
                    set_errno(*errno);
                    return std::ptr::null_mut();
                }
                Leads::ToPort(terminal) => terminal.text(),
                Leads::Elsewhere => path,
            };
            let plain;
            let mode = if flags != 0 && matches!(led, Leads::ToPort(_)) {
                // The terminal is there, and nobody else has it.
                plain = without_exclusive(how);
                plain.as_ptr().cast()
            } else {
                mode
            };
            real!(
                $name as fn(*const c_char, *const c_char) -> *mut FILE,
                (path, mode),
                std::ptr::null_mut()
            )
        }
    )*};
}

stream_opens! {
    /// In place of the C library's.
    fopen;
    /// In place of the C library's, for files of any length.
    fopen64;
}

/// A mode of `fopen` without its 'x'; it ends with a zero byte.
fn without_exclusive(mode: &[u8]) -> [u8; 16] {
    let mut plain = [0; 16];
    let kept = mode.iter().filter(|letter| **letter != b'x');
    for (to, from) in plain.iter_mut().take(15).zip(kept) {
        *to = *from;
    }
    plain
}

/// The path to ask the kernel about: that of a terminal if this one is a port.
///
/// # Safety
/// `path` is null or a string that ends.
unsafe fn looked_at(path: *const c_char) -> *const c_char {
    // SAFETY: by the contract of this function.
    let name = unsafe { bytes_of(path) };
    if may_be_port(name) && matches!(ask(&Question::Look { path: name }), Told::Done(_)) {
        return A_TERMINAL.as_ptr();
    }
    path
}

/// Gives functions that look at a path, which is one of their arguments.
macro_rules! looks {
    ($result:ty: $($name:ident($($before:ident: $type:ty),*; $($after:ident: $rest:ty),*);)*) => {
        $(looks!(one $result, $name, ($($before: $type),*), ($($after: $rest),*));)*
    };
    (one $result:ty, $name:ident, ($($before:ident: $type:ty),*), ($($after:ident: $rest:ty),*)) => {
        /// In place of the C library's.
        ///
        /// # Safety
        /// As that of the C library.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            $($before: $type,)* path: *const c_char, $($after: $rest),*
        ) -> $result {
            // SAFETY: the caller's path is a string.
            let path = unsafe { looked_at(path) };
            real!(
                $name as fn($($type,)* *const c_char, $($rest),*) -> $result,
                ($($before,)* path, $($after),*),
                -1
            )
        }
    };
}

looks! {
    isize:
    getxattr(; name: *const c_char, value: *mut c_void, size: usize);
    lgetxattr(; name: *const c_char, value: *mut c_void, size: usize);
    listxattr(; list: *mut c_char, size: usize);
    llistxattr(; list: *mut c_char, size: usize);
}

looks! {
    c_int:
    access(; mode: c_int);
    faccessat(directory: c_int; mode: c_int, flags: c_int);
    euidaccess(; mode: c_int);
    eaccess(; mode: c_int);
    stat(; into: *mut c_void);
    stat64(; into: *mut c_void);
    lstat(; into: *mut c_void);
    lstat64(; into: *mut c_void);
    fstatat(directory: c_int; into: *mut c_void, flags: c_int);
    fstatat64(directory: c_int; into: *mut c_void, flags: c_int);
    statx(directory: c_int; flags: c_int, mask: c_uint, into: *mut c_void);
    __xstat(version: c_int; into: *mut c_void);
    __xstat64(version: c_int; into: *mut c_void);
    __lxstat(version: c_int; into: *mut c_void);
    __lxstat64(version: c_int; into: *mut c_void);
    __fxstatat(version: c_int, directory: c_int; into: *mut c_void, flags: c_int);
    __fxstatat64(version: c_int, directory: c_int; into: *mut c_void, flags: c_int);
}
