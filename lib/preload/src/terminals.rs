//! Functions with terminals.

use std::ffi::c_void;

use libc::{c_int, c_uint, c_ulong, tcflag_t};
use preload_messages::{Control, Question, Settings, When};

use crate::broker::{Said, Told, ask};
use crate::real::{fail, real, set_errno};
use crate::settings::{
    KernelTermios, of_kernel_termios, of_termios, of_termios2, when_of_action, with_frame,
};

/// Asks for the device number of a terminal, whatever file leads to it.
const TIOCGDEV: c_ulong = 0x8004_5432;
/// The major number of terminal sides of pseudo terminals.
const PSEUDO_TERMINALS: c_uint = 136;

fn real_ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int {
    real!(
        ioctl as fn(c_int, c_ulong, *mut c_void) -> c_int,
        (fd, request, argument),
        -1
    )
}

/// The number of the pseudo terminal that `fd` is, if it is one.
fn number(fd: c_int) -> Option<u32> {
    let before = crate::real::errno();
    let mut device: c_uint = 0;
    let status = real_ioctl(fd, TIOCGDEV, (&raw mut device).cast());
    set_errno(before);
    let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xf_ff00);
    (status == 0 && major == PSEUDO_TERMINALS).then_some(minor)
}

/// Controls the port behind `fd`, if that is one.
fn control(fd: c_int, control: Control) -> Told {
    match number(fd) {
        Some(number) => ask(&Question::Control { number, control }),
        None => Told::NotOurs,
    }
}

/// What a function returns for a control; None if the C library's own is to be called.
fn finish(told: Told, done: impl FnOnce(&Said)) -> Option<c_int> {
    match told {
        Told::Done(said) => {
            done(&said);
            Some(0)
        }
        Told::Failed(errno) => Some(fail(errno)),
        Told::NotOurs => None,
    }
}

fn set(fd: c_int, when: When, settings: Settings) -> Option<c_int> {
    let status = finish(control(fd, Control::Set(when, settings)), |_| ())?;
    if status == 0 && when == When::Flush {
        // What has arrived here already; the broker hears of it and flushes the port.
        real!(
            tcflush as fn(c_int, c_int) -> c_int,
            (fd, libc::TCIFLUSH),
            -1
        );
    }
    Some(status)
}

/// The bits of the frame that the kernel has forgotten.
fn frame(fd: c_int) -> Option<tcflag_t> {
    match control(fd, Control::Frame) {
        Told::Done(said) => Some(said.number),
        _ => None,
    }
}

/// In place of the C library's.
///
/// # Safety
/// As `tcgetattr(3)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcgetattr(fd: c_int, termios: *mut libc::termios) -> c_int {
    let status = real!(
        tcgetattr as fn(c_int, *mut libc::termios) -> c_int,
        (fd, termios),
        -1
    );
    if status == 0
        && let Some(bits) = frame(fd)
    {
        // SAFETY: the C library has just filled it.
        let termios = unsafe { &mut *termios };
        termios.c_cflag = with_frame(termios.c_cflag, bits);
    }
    status
}

/// In place of the C library's.
///
/// # Safety
/// As `tcsetattr(3)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcsetattr(
    fd: c_int,
    action: c_int,
    termios: *const libc::termios,
) -> c_int {
    if let Some(when) = when_of_action(action)
        && !termios.is_null()
    {
        // SAFETY: the caller gives a pointer to one.
        let settings = of_termios(unsafe { &*termios });
        if let Some(status) = set(fd, when, settings) {
            return status;
        }
    }
    real!(
        tcsetattr as fn(c_int, c_int, *const libc::termios) -> c_int,
        (fd, action, termios),
        -1
    )
}

/// In place of the C library's.
#[unsafe(no_mangle)]
pub extern "C" fn tcdrain(fd: c_int) -> c_int {
    finish(control(fd, Control::Drain), |_| ())
        .unwrap_or_else(|| real!(tcdrain as fn(c_int) -> c_int, (fd), -1))
}

/// In place of the C library's.
#[unsafe(no_mangle)]
pub extern "C" fn tcsendbreak(fd: c_int, duration: c_int) -> c_int {
    // The C library's own takes a positive duration for tenths of a second.
    let millis = u32::try_from(duration).unwrap_or(0).saturating_mul(100);
    finish(control(fd, Control::Break(millis)), |_| ())
        .unwrap_or_else(|| real!(tcsendbreak as fn(c_int, c_int) -> c_int, (fd, duration), -1))
}

/// In place of the C library's. Variadic in C: on all machines that are built for, one further argument is passed as if
/// it were not.
///
/// # Safety
/// As `ioctl(2)`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int {
    // Some programs pass the number sign-extended.
    let known = request & 0xffff_ffff;
    // SAFETY: the caller gives what the request wants.
    let served = unsafe { serve(fd, known, argument) };
    if let Some(status) = served {
        return status;
    }
    let status = real_ioctl(fd, request, argument);
    if status == 0
        && matches!(known, TCGETS | TCGETS2)
        && let Some(bits) = frame(fd)
    {
        // SAFETY: the kernel has just filled one or the other.
        unsafe { mend(known, argument, bits) };
    }
    status
}

/// Puts the bits of the frame into what the kernel has told.
///
/// # Safety
/// `argument` is what the request fills.
unsafe fn mend(request: c_ulong, argument: *mut c_void, bits: tcflag_t) {
    if request == TCGETS {
        // SAFETY: by the contract of this function.
        unsafe { &mut *argument.cast::<KernelTermios>() }.set_frame(bits);
    } else {
        // SAFETY: as above.
        let termios = unsafe { &mut *argument.cast::<libc::termios2>() };
        termios.c_cflag = with_frame(termios.c_cflag, bits);
    }
}

const TCGETS: c_ulong = libc::TCGETS;
const TCGETS2: c_ulong = libc::TCGETS2;
/// The wires that can be switched.
const OURS: u32 = (libc::TIOCM_DTR | libc::TIOCM_RTS) as u32;

/// Requests that a pseudo terminal cannot serve.
///
/// # Safety
/// `argument` is what the request wants.
unsafe fn serve(fd: c_int, request: c_ulong, argument: *mut c_void) -> Option<c_int> {
    // SAFETY: requests that read an int get a pointer to one.
    let lines = || unsafe { argument.cast::<u32>().read() };
    let plain = |told| finish(told, |_| ());
    // Some requests have a number in place of the pointer.
    let value = argument as usize;
    match request {
        libc::TIOCMGET => finish(control(fd, Control::Modem), |said| {
            // SAFETY: the request fills one int.
            unsafe { argument.cast::<u32>().write(said.number) }
        }),
        libc::TIOCMBIS => plain(control(fd, Control::SetModem(lines(), 0))),
        libc::TIOCMBIC => plain(control(fd, Control::SetModem(0, lines()))),
        libc::TIOCMSET => {
            let on = lines();
            plain(control(fd, Control::SetModem(on & OURS, !on & OURS)))
        }
        libc::TIOCSBRK => plain(control(fd, Control::SetBreak(true))),
        libc::TIOCCBRK => plain(control(fd, Control::SetBreak(false))),
        libc::TCSBRK if value == 0 => plain(control(fd, Control::Break(0))),
        libc::TCSBRK => plain(control(fd, Control::Drain)),
        libc::TCSBRKP => {
            let millis = u32::try_from(value).unwrap_or(0).saturating_mul(100);
            plain(control(fd, Control::Break(millis)))
        }
        libc::TIOCEXCL => exclusive(fd, request, true),
        libc::TIOCNXCL => exclusive(fd, request, false),
        libc::TIOCOUTQ => finish(control(fd, Control::OutputCount), |said| {
            // SAFETY: the request fills one int.
            unsafe { argument.cast::<u32>().write(said.number) }
        }),
        // SAFETY: as for this function.
        _ => unsafe { serve_settings(fd, request, argument) },
    }
}

/// # Safety
/// `argument` is what the request wants.
unsafe fn serve_settings(fd: c_int, request: c_ulong, argument: *mut c_void) -> Option<c_int> {
    let when = match request {
        libc::TCSETS | libc::TCSETS2 => When::Now,
        libc::TCSETSW | libc::TCSETSW2 => When::Drain,
        libc::TCSETSF | libc::TCSETSF2 => When::Flush,
        _ => return None,
    };
    if argument.is_null() {
        return None;
    }
    let settings = if matches!(request, libc::TCSETS | libc::TCSETSW | libc::TCSETSF) {
        // SAFETY: these requests read one.
        of_kernel_termios(unsafe { &*argument.cast::<KernelTermios>() })
    } else {
        // SAFETY: the others read one of these.
        of_termios2(unsafe { &*argument.cast::<libc::termios2>() })
    };
    set(fd, when, settings)
}

/// Others are kept from the port, and from the terminal, which this program's own children could open by its name.
fn exclusive(fd: c_int, request: c_ulong, on: bool) -> Option<c_int> {
    let status = finish(control(fd, Control::Exclusive(on)), |_| ())?;
    if status == 0 {
        return Some(real_ioctl(fd, request, std::ptr::null_mut()));
    }
    Some(status)
}
