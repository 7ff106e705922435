//! Line settings as COM port control says them (RFC 2217).

use abi::devctl::{ControlModes, InputModes, OutputModes, Termios as WireTermios};
use abi::{Errno, Result};
use telnet::{ComPort, Control, Parity};

use crate::options::{FlowControl, LineOptions, Parity as WantedParity};

/// Settings of a line that are asked for one by one.
pub(crate) const QUESTIONS: usize = 5;

/// Which setting is meant, and its value.
pub(crate) fn place(said: &ComPort<'_>) -> Option<(usize, u32)> {
    Some(match said {
        ComPort::Baud(baud) => (0, *baud),
        ComPort::DataSize(bits) => (1, u32::from(*bits)),
        ComPort::Parity(parity) => (2, parity.map_or(0, |parity| parity as u32)),
        ComPort::StopSize(bits) => (3, u32::from(*bits)),
        ComPort::Control(
            control @ (Control::FlowNone | Control::FlowSoftware | Control::FlowHardware),
        ) => (4, *control as u32),
        _ => return None,
    })
}

/// What is asked to set a line.
///
/// # Errors
/// EINVAL for speed 0, which no message can say.
pub(crate) fn questions(termios: &WireTermios) -> Result<[ComPort<'static>; QUESTIONS]> {
    if termios.output_speed == 0 {
        return Err(Errno::EINVAL);
    }
    let control = termios.control;
    let size = 5 + (control & ControlModes::CS8).bits();
    let odd = control.contains(ControlModes::PARODD);
    let parity = match (
        control.contains(ControlModes::PARENB),
        control.contains(ControlModes::CMSPAR),
    ) {
        (false, _) => Parity::None,
        (true, false) if odd => Parity::Odd,
        (true, false) => Parity::Even,
        (true, true) if odd => Parity::Mark,
        (true, true) => Parity::Space,
    };
    let software = InputModes::IXON | InputModes::IXOFF;
    let flow = if control.contains(ControlModes::CRTSCTS) {
        Control::FlowHardware
    } else if termios.input.intersects(software) {
        Control::FlowSoftware
    } else {
        Control::FlowNone
    };
    let stop = if control.contains(ControlModes::CSTOPB) {
        2
    } else {
        1
    };
    Ok([
        ComPort::Baud(termios.output_speed),
        ComPort::DataSize(u8::try_from(size).unwrap_or(8)),
        ComPort::Parity(Some(parity)),
        ComPort::StopSize(stop),
        ComPort::Control(flow),
    ])
}

/// The raw line that options describe.
pub(crate) fn of_options(options: &LineOptions) -> WireTermios {
    let mut control = ControlModes::CREAD | ControlModes::CLOCAL;
    control |= ControlModes::from_bits_truncate(u32::from(options.data_bits.clamp(5, 8) - 5));
    control.set(ControlModes::CSTOPB, options.stop_bits == 2);
    control.set(ControlModes::PARENB, options.parity != WantedParity::None);
    control.set(ControlModes::PARODD, options.parity == WantedParity::Odd);
    control.set(ControlModes::CRTSCTS, options.flow == FlowControl::Hardware);
    let mut input = InputModes::empty();
    let software = InputModes::IXON | InputModes::IXOFF;
    input.set(software, options.flow == FlowControl::Software);
    WireTermios {
        input,
        output: OutputModes::empty(),
        control,
        input_speed: options.baud,
        output_speed: options.baud,
        ..WireTermios::default()
    }
}

/// Changes settings as a client wishes; false for what is a question, or no setting.
pub(crate) fn apply(said: &ComPort<'_>, termios: &mut WireTermios) -> bool {
    let control = &mut termios.control;
    match said {
        ComPort::Baud(baud @ 1..) => {
            (termios.input_speed, termios.output_speed) = (*baud, *baud);
        }
        ComPort::DataSize(bits @ 5..=8) => {
            control.remove(ControlModes::CS8);
            *control |= ControlModes::from_bits_truncate(u32::from(bits - 5));
        }
        ComPort::Parity(Some(parity)) => {
            let odd = matches!(parity, Parity::Odd | Parity::Mark);
            control.set(ControlModes::PARENB, *parity != Parity::None);
            control.set(ControlModes::PARODD, odd);
            let fixed = matches!(parity, Parity::Mark | Parity::Space);
            control.set(ControlModes::CMSPAR, fixed);
        }
        ComPort::StopSize(bits @ 1..=2) => control.set(ControlModes::CSTOPB, *bits == 2),
        // One and a half, which UARTs make of two with five data bits.
        ComPort::StopSize(3) => control.insert(ControlModes::CSTOPB),
        ComPort::Control(
            flow @ (Control::FlowNone | Control::FlowSoftware | Control::FlowHardware),
        ) => {
            control.set(ControlModes::CRTSCTS, *flow == Control::FlowHardware);
            let software = InputModes::IXON | InputModes::IXOFF;
            let wanted = *flow == Control::FlowSoftware;
            termios.input.set(software, wanted);
        }
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_that_can_be_asked_for_is_set_as_asked() {
        let port: crate::PortOptions = "/x=/dev/ser1".parse().unwrap();
        for text in ["5n1", "6e2", "7o1", "8n2"] {
            let mut wanted = port.line;
            wanted.apply_frame(text).unwrap();
            for flow in [
                FlowControl::None,
                FlowControl::Software,
                FlowControl::Hardware,
            ] {
                wanted.flow = flow;
                let wanted = of_options(&wanted);
                let mut line = of_options(&LineOptions::default());
                for said in questions(&wanted).unwrap() {
                    assert!(apply(&said, &mut line));
                }
                assert_eq!(line, wanted, "{text} {flow:?}");
            }
        }
        for parity in [Parity::Mark, Parity::Space] {
            let mut line = of_options(&port.line);
            assert!(apply(&ComPort::Parity(Some(parity)), &mut line));
            assert_eq!(questions(&line).unwrap()[2], ComPort::Parity(Some(parity)));
        }
    }

    #[test]
    fn questions_change_nothing() {
        let mut line = of_options(&LineOptions::default());
        let before = line;
        for said in [
            ComPort::Baud(0),
            ComPort::DataSize(0),
            ComPort::Parity(None),
            ComPort::StopSize(0),
            ComPort::Control(Control::AskFlow),
        ] {
            assert!(!apply(&said, &mut line));
        }
        assert_eq!(line, before);
    }
}
