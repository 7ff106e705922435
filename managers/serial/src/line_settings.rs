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
    let mut output = output_to_wire(termios.output_modes);
    output.set(
        WireOutput::TABS,
        termios.output_modes & OutputModes::TABDLY == OutputModes::TAB3,
    );
    let mut wire = WireTermios {
        input: input_to_wire(termios.input_modes),
        output,
        control: control_of(termios.control_modes),
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

fn control_of(modes: ControlModes) -> WireControl {
    let mut control = control_to_wire(modes);
    let size = modes & ControlModes::CSIZE;
    for (wire, local) in SIZES {
        if size == local {
            control |= wire;
        }
    }
    control
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

/// `port` with the line of a terminal: speed, stop bits, flow control, and size and parity of a frame if `frame` says them.
/// What a terminal does with the bytes of its programs stays there.
pub(crate) fn with_line_of(
    terminal: &Termios,
    frame: Option<ControlModes>,
    port: &WireTermios,
) -> WireTermios {
    let frame_bits = WireControl::CS8 | WireControl::PARENB | WireControl::PARODD;
    let said = to_wire(terminal);
    let mut wanted = *port;
    wanted.control = said.control.difference(frame_bits);
    wanted.control |= match frame {
        Some(modes) => control_of(modes) & frame_bits,
        None => port.control & frame_bits,
    };
    // The manager's own line needs both.
    wanted.control |= WireControl::CREAD | WireControl::CLOCAL;
    let flow = WireInput::IXON | WireInput::IXOFF | WireInput::IXANY;
    wanted.input = port.input.difference(flow) | said.input & flow;
    for character in [ControlCharacter::Start, ControlCharacter::Stop] {
        wanted.set_character(character, said.character(character));
    }
    (wanted.input_speed, wanted.output_speed) = (said.input_speed, said.output_speed);
    wanted
}

/// The line of a port as this machine's terminals say it.
pub(crate) fn control_from(port: &WireTermios) -> ControlModes {
    let mut modes = ControlModes::empty();
    control_from_wire(port.control, &mut modes);
    let size = port.control & WireControl::CS8;
    for (wire, local) in SIZES {
        if size == wire {
            modes |= local;
        }
    }
    modes
}

/// A terminal with the line of `port` that does nothing with the bytes of its programs.
pub(crate) fn raw_like(port: &WireTermios, terminal: &mut Termios) -> Result {
    terminal.make_raw();
    terminal.control_modes = control_from(port) | ControlModes::CREAD;
    let flow = WireInput::IXON | WireInput::IXOFF | WireInput::IXANY;
    input_from_wire(port.input & flow, &mut terminal.input_modes);
    if port.output_speed == 0 {
        return Ok(());
    }
    terminal
        .set_speed(port.output_speed)
        .map_err(|_| Errno::EINVAL)
}

/// Size and parity of a frame.
pub(crate) fn frame_of(options: &LineOptions) -> ControlModes {
    let mut modes = size_of(options);
    modes.set(ControlModes::PARENB, options.parity != Parity::None);
    modes.set(ControlModes::PARODD, options.parity == Parity::Odd);
    modes
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
    set_size(termios, size_of(options));
    termios.set_speed(options.baud).map_err(|_| Errno::EINVAL)
}

const fn size_of(options: &LineOptions) -> ControlModes {
    match options.data_bits {
        5 => ControlModes::CS5,
        6 => ControlModes::CS6,
        7 => ControlModes::CS7,
        _ => ControlModes::CS8,
    }
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
