//! Line settings as this machine's terminals know them, and as the protocol carries them.

use abi::devctl::{
    ControlCharacter, ControlModes as WireControl, InputModes as WireInput,
    LocalModes as WireLocal, OutputModes as WireOutput, Termios as WireTermios,
};
use abi::{Errno, Result};
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OutputModes, SpecialCodeIndex, Termios,
};

use crate::options::{FlowControl, LineOptions, Parity};

/// Gives two functions that translate single flags between two flag types.
macro_rules! same_flags {
    ($to_wire:ident, $from_wire:ident, $local:ident, $wire:ident: $($flag:ident),* $(,)?) => {
        fn $to_wire(local: $local) -> $wire {
            let mut wire = $wire::empty();
            $(wire.set($wire::$flag, local.contains($local::$flag));)*
            wire
        }

        /// Flags that the protocol does not carry stay as they are.
        fn $from_wire(wire: $wire, local: &mut $local) {
            $(local.set($local::$flag, wire.contains($wire::$flag));)*
        }
    };
}

same_flags!(
    input_to_wire, input_from_wire, InputModes, WireInput:
    IGNBRK, BRKINT, IGNPAR, PARMRK, INPCK, ISTRIP, INLCR, IGNCR, ICRNL, IXON, IXANY, IXOFF,
    IMAXBEL, IUTF8,
);
same_flags!(
    output_to_wire, output_from_wire, OutputModes, WireOutput:
    OPOST, ONLCR, OCRNL, ONOCR, ONLRET,
);
same_flags!(
    control_to_wire, control_from_wire, ControlModes, WireControl:
    CSTOPB, CREAD, PARENB, PARODD, CMSPAR, HUPCL, CLOCAL, CRTSCTS,
);
same_flags!(
    local_to_wire, local_from_wire, LocalModes, WireLocal:
    ISIG, ICANON, ECHO, ECHOE, ECHOK, ECHONL, NOFLSH, TOSTOP, ECHOCTL, ECHOKE, IEXTEN,
);

/// Where the protocol's special characters are here. Time and minimum are missing: the manager
/// itself waits for bytes, so the terminal must always answer with what is there.
const CHARACTERS: [(ControlCharacter, SpecialCodeIndex); 14] = [
    (ControlCharacter::Intr, SpecialCodeIndex::VINTR),
    (ControlCharacter::Quit, SpecialCodeIndex::VQUIT),
    (ControlCharacter::Erase, SpecialCodeIndex::VERASE),
    (ControlCharacter::Kill, SpecialCodeIndex::VKILL),
    (ControlCharacter::Eof, SpecialCodeIndex::VEOF),
    (ControlCharacter::Start, SpecialCodeIndex::VSTART),
    (ControlCharacter::Stop, SpecialCodeIndex::VSTOP),
    (ControlCharacter::Susp, SpecialCodeIndex::VSUSP),
    (ControlCharacter::Eol, SpecialCodeIndex::VEOL),
    (ControlCharacter::Reprint, SpecialCodeIndex::VREPRINT),
    (ControlCharacter::Discard, SpecialCodeIndex::VDISCARD),
    (ControlCharacter::Werase, SpecialCodeIndex::VWERASE),
    (ControlCharacter::Lnext, SpecialCodeIndex::VLNEXT),
    (ControlCharacter::Eol2, SpecialCodeIndex::VEOL2),
];

const SIZES: [(WireControl, ControlModes); 4] = [
    (WireControl::empty(), ControlModes::CS5),
    (WireControl::CS6, ControlModes::CS6),
    (WireControl::CS7, ControlModes::CS7),
    (WireControl::CS8, ControlModes::CS8),
];

/// The settings as the protocol carries them.
pub(crate) fn to_wire(termios: &Termios) -> WireTermios {
    let mut control = control_to_wire(termios.control_modes);
    let size = termios.control_modes & ControlModes::CSIZE;
    for (wire, local) in SIZES {
        if size == local {
            control |= wire;
        }
    }
    let mut output = output_to_wire(termios.output_modes);
    output.set(
        WireOutput::TABS,
        termios.output_modes & OutputModes::TABDLY == OutputModes::TAB3,
    );
    let mut wire = WireTermios {
        input: input_to_wire(termios.input_modes),
        output,
        control,
        local: local_to_wire(termios.local_modes),
        characters: [0; WireTermios::CHARACTERS],
        input_speed: termios.input_speed(),
        output_speed: termios.output_speed(),
    };
    for (character, index) in CHARACTERS {
        wire.set_character(character, termios.special_codes[index]);
    }
    wire.set_character(ControlCharacter::Min, 1);
    wire
}

/// Changes `termios` to what the protocol carried.
///
/// # Errors
/// EINVAL for a speed that no terminal has.
pub(crate) fn apply_wire(wire: &WireTermios, termios: &mut Termios) -> Result {
    input_from_wire(wire.input, &mut termios.input_modes);
    output_from_wire(wire.output, &mut termios.output_modes);
    termios.output_modes.remove(OutputModes::TABDLY);
    if wire.output.contains(WireOutput::TABS) {
        termios.output_modes |= OutputModes::TAB3;
    }
    control_from_wire(wire.control, &mut termios.control_modes);
    let size = wire.control & WireControl::CS8;
    for (wire, local) in SIZES {
        if size == wire {
            set_size(termios, local);
        }
    }
    local_from_wire(wire.local, &mut termios.local_modes);
    for (character, index) in CHARACTERS {
        termios.special_codes[index] = wire.character(character);
    }
    answer_with_what_is_there(termios);
    let input_speed = if wire.input_speed == 0 {
        wire.output_speed
    } else {
        wire.input_speed
    };
    termios
        .set_output_speed(wire.output_speed)
        .map_err(|_| Errno::EINVAL)?;
    termios
        .set_input_speed(input_speed)
        .map_err(|_| Errno::EINVAL)
}

/// Makes the line raw, and sets speed, frame and flow control.
///
/// # Errors
/// EINVAL for a speed that no terminal has.
pub(crate) fn apply_options(options: &LineOptions, termios: &mut Termios) -> Result {
    termios.make_raw();
    answer_with_what_is_there(termios);
    let control = &mut termios.control_modes;
    control.insert(ControlModes::CREAD | ControlModes::CLOCAL);
    control.set(ControlModes::CSTOPB, options.stop_bits == 2);
    control.set(ControlModes::PARENB, options.parity != Parity::None);
    control.set(ControlModes::PARODD, options.parity == Parity::Odd);
    control.remove(ControlModes::CMSPAR);
    control.set(ControlModes::CRTSCTS, options.flow == FlowControl::Hardware);
    let software = options.flow == FlowControl::Software;
    termios
        .input_modes
        .set(InputModes::IXON | InputModes::IXOFF, software);
    set_size(
        termios,
        match options.data_bits {
            5 => ControlModes::CS5,
            6 => ControlModes::CS6,
            7 => ControlModes::CS7,
            _ => ControlModes::CS8,
        },
    );
    termios.set_speed(options.baud).map_err(|_| Errno::EINVAL)
}

fn set_size(termios: &mut Termios, size: ControlModes) {
    termios.control_modes.remove(ControlModes::CSIZE);
    termios.control_modes.insert(size);
}

/// With a minimum of 0 a terminal answers 0 bytes for "nothing yet", as for a hang-up.
fn answer_with_what_is_there(termios: &mut Termios) {
    termios.special_codes[SpecialCodeIndex::VMIN] = 1;
    termios.special_codes[SpecialCodeIndex::VTIME] = 0;
}
