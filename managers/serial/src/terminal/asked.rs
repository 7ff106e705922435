//! What programs ask of terminals, in the kernel's words.

use abi::devctl::ModemLines;
use abi::{Errno, Result};
use preload_messages::Settings;
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OutputModes, SpecialCodeIndex, Termios,
};

/// Places of the kernel's `c_cc`, in its order.
const CHARACTERS: [SpecialCodeIndex; 17] = [
    SpecialCodeIndex::VINTR,
    SpecialCodeIndex::VQUIT,
    SpecialCodeIndex::VERASE,
    SpecialCodeIndex::VKILL,
    SpecialCodeIndex::VEOF,
    SpecialCodeIndex::VTIME,
    SpecialCodeIndex::VMIN,
    SpecialCodeIndex::VSWTC,
    SpecialCodeIndex::VSTART,
    SpecialCodeIndex::VSTOP,
    SpecialCodeIndex::VSUSP,
    SpecialCodeIndex::VEOL,
    SpecialCodeIndex::VREPRINT,
    SpecialCodeIndex::VDISCARD,
    SpecialCodeIndex::VWERASE,
    SpecialCodeIndex::VLNEXT,
    SpecialCodeIndex::VEOL2,
];

/// Speeds that have codes in `c_cflag`.
const SPEEDS: [(libc::speed_t, u32); 31] = [
    (libc::B0, 0),
    (libc::B50, 50),
    (libc::B75, 75),
    (libc::B110, 110),
    (libc::B134, 134),
    (libc::B150, 150),
    (libc::B200, 200),
    (libc::B300, 300),
    (libc::B600, 600),
    (libc::B1200, 1200),
    (libc::B1800, 1800),
    (libc::B2400, 2400),
    (libc::B4800, 4800),
    (libc::B9600, 9600),
    (libc::B19200, 19_200),
    (libc::B38400, 38_400),
    (libc::B57600, 57_600),
    (libc::B115200, 115_200),
    (libc::B230400, 230_400),
    (libc::B460800, 460_800),
    (libc::B500000, 500_000),
    (libc::B576000, 576_000),
    (libc::B921600, 921_600),
    (libc::B1000000, 1_000_000),
    (libc::B1152000, 1_152_000),
    (libc::B1500000, 1_500_000),
    (libc::B2000000, 2_000_000),
    (libc::B2500000, 2_500_000),
    (libc::B3000000, 3_000_000),
    (libc::B3500000, 3_500_000),
    (libc::B4000000, 4_000_000),
];

const LINES: [(libc::c_int, ModemLines); 6] = [
    (libc::TIOCM_DTR, ModemLines::DTR),
    (libc::TIOCM_RTS, ModemLines::RTS),
    (libc::TIOCM_CTS, ModemLines::CTS),
    (libc::TIOCM_DSR, ModemLines::DSR),
    (libc::TIOCM_CD, ModemLines::CD),
    (libc::TIOCM_RI, ModemLines::RI),
];

/// Changes `termios` to what a program has asked for.
///
/// # Errors
/// EINVAL for a speed that there is not.
pub(crate) fn apply(asked: &Settings, termios: &mut Termios) -> Result {
    let [input, output, control, local] = asked.modes;
    termios.input_modes = InputModes::from_bits_retain(input);
    termios.output_modes = OutputModes::from_bits_retain(output);
    let speeds = libc::CBAUD | libc::CIBAUD;
    termios.control_modes = ControlModes::from_bits_retain(control & !speeds);
    termios.local_modes = LocalModes::from_bits_retain(local);
    for (index, code) in CHARACTERS.into_iter().zip(asked.characters) {
        termios.special_codes[index] = code;
    }
    let speed = speed(control & libc::CBAUD, asked.speeds[1])?;
    termios.set_speed(speed).map_err(|_| Errno::EINVAL)
}

/// A speed by its code; the code of "other" has its number beside it.
fn speed(code: libc::speed_t, number: u32) -> Result<u32> {
    if code == libc::BOTHER {
        return Ok(number);
    }
    let known = SPEEDS.iter().find(|(known, _)| *known == code);
    known.map(|(_, speed)| *speed).ok_or(Errno::EINVAL)
}

pub(crate) fn modem_bits(lines: ModemLines) -> u32 {
    let on = LINES.iter().filter(|(_, line)| lines.contains(*line));
    on.fold(0, |bits, (bit, _)| bits | bit.cast_unsigned())
}

pub(crate) fn modem_lines(bits: u32) -> ModemLines {
    let on = LINES
        .iter()
        .filter(|(bit, _)| bits & bit.cast_unsigned() != 0);
    on.fold(ModemLines::empty(), |lines, (_, line)| lines | *line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_known_by_its_code_or_by_its_number() {
        assert_eq!(speed(libc::B9600, 1), Ok(9600));
        assert_eq!(speed(libc::BOTHER, 250_000), Ok(250_000));
        assert_eq!(speed(0o7777, 1), Err(Errno::EINVAL));
    }

    #[test]
    fn wires_have_the_same_names_on_both_sides() {
        for bits in 0..1024 {
            let known = LINES
                .iter()
                .fold(0, |all, (bit, _)| all | bit.cast_unsigned());
            assert_eq!(modem_bits(modem_lines(bits)), bits & known);
        }
    }
}
