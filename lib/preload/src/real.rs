//! The C library's own functions, which those here stand in front of.

use std::ffi::CStr;
use std::sync::atomic::{AtomicPtr, Ordering};

use libc::{c_int, c_void};

/// A function that is looked up when it is first needed.
pub(crate) struct Real {
    name: &'static CStr,
    address: AtomicPtr<c_void>,
}

impl Real {
    pub(crate) const fn new(name: &'static CStr) -> Self {
        Self {
            name,
            address: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    /// Its address; None if this C library has no such function.
    pub(crate) fn address(&self) -> Option<*mut c_void> {
        let mut address = self.address.load(Ordering::Relaxed);
        if address.is_null() {
            // SAFETY: the name is a string that ends, and RTLD_NEXT is meant for libraries as this one.
            address = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
            // Two threads that look at once find the same.
            self.address.store(address, Ordering::Relaxed);
        }
        (!address.is_null()).then_some(address)
    }
}

/// Calls the C library's function of this name, with this type.
macro_rules! real {
    ($name:ident as fn($($type:ty),*) -> $result:ty, ($($argument:expr),*), $missing:expr) => {{
        static REAL: $crate::real::Real = {
            const NAME: &std::ffi::CStr = match std::ffi::CStr::from_bytes_with_nul(
                concat!(stringify!($name), "\0").as_bytes(),
            ) {
                Ok(name) => name,
                Err(_) => c"",
            };
            $crate::real::Real::new(NAME)
        };
        match REAL.address() {
            Some(address) => {
                // SAFETY: the C library's function of this name has this type on all machines that are built for.
                let function = unsafe {
                    std::mem::transmute::<*mut libc::c_void, unsafe extern "C" fn($($type),*) -> $result>(address)
                };
                // SAFETY: the arguments are the program's own, or made here as the function wants them.
                unsafe { function($($argument),*) }
            }
            None => {
                $crate::real::set_errno(libc::ENOSYS);
                $missing
            }
        }
    }};
}
pub(crate) use real;

pub(crate) fn errno() -> c_int {
    // SAFETY: the address of this thread's errno is always good.
    unsafe { *libc::__errno_location() }
}

pub(crate) fn set_errno(errno: c_int) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno }
}

/// Sets errno and gives what functions return then.
pub(crate) fn fail(errno: c_int) -> c_int {
    set_errno(errno);
    -1
}
