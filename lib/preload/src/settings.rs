//! Terminal settings in the C library's and the kernel's words.

use libc::{c_int, tcflag_t};
use preload_messages::{Settings, When};

/// `struct termios` of the kernel, which differs from the C library's.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct KernelTermios {
    modes: [tcflag_t; 4],
    discipline: libc::cc_t,
    characters: [libc::cc_t; 19],
}

/// Bits of `c_cflag` that the kernel forgets for a pseudo terminal, and one that means nothing without them.
pub(crate) const FRAME: tcflag_t = libc::CSIZE | libc::PARENB | libc::PARODD;

/// The lowest number that is a speed and not a code of the C library's older words.
const SPEED_MIN: u32 = 50;

pub(crate) fn of_termios(termios: &libc::termios) -> Settings {
    let mut characters = [0; 19];
    characters.copy_from_slice(&termios.c_cc[..19]);
    let mut control = termios.c_cflag;
    // The newest C library has numbers in place of codes.
    if control & libc::CBAUD == 0 && termios.c_ospeed >= SPEED_MIN {
        control |= libc::BOTHER;
    }
    Settings {
        modes: [termios.c_iflag, termios.c_oflag, control, termios.c_lflag],
        discipline: termios.c_line,
        characters,
        speeds: [termios.c_ispeed, termios.c_ospeed],
    }
}

pub(crate) const fn of_termios2(termios: &libc::termios2) -> Settings {
    Settings {
        modes: [
            termios.c_iflag,
            termios.c_oflag,
            termios.c_cflag,
            termios.c_lflag,
        ],
        discipline: termios.c_line,
        characters: termios.c_cc,
        speeds: [termios.c_ispeed, termios.c_ospeed],
    }
}

pub(crate) const fn of_kernel_termios(termios: &KernelTermios) -> Settings {
    Settings {
        modes: termios.modes,
        discipline: termios.discipline,
        characters: termios.characters,
        speeds: [0, 0],
    }
}

impl KernelTermios {
    pub(crate) const fn set_frame(&mut self, bits: tcflag_t) {
        self.modes[2] = with_frame(self.modes[2], bits);
    }
}

/// `c_cflag` with these bits of the frame.
pub(crate) const fn with_frame(control: tcflag_t, bits: tcflag_t) -> tcflag_t {
    control & !FRAME | bits & FRAME
}

/// When settings take effect, by the second argument of `tcsetattr`.
pub(crate) const fn when_of_action(action: c_int) -> Option<When> {
    match action {
        libc::TCSANOW => Some(When::Now),
        libc::TCSADRAIN => Some(When::Drain),
        libc::TCSAFLUSH => Some(When::Flush),
        _ => None,
    }
}
