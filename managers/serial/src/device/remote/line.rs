//! The line of a shared port, as the other side tells it.

use abi::Result;
use abi::devctl::{ModemLines, Termios as WireTermios};
use telnet::{ComPort, ModemState};

use crate::com_port::{QUESTIONS, place};
use crate::device::ErrorCounts;

/// What is known of the line.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) settings: WireTermios,
    pub(super) errors: ErrorCounts,
    /// What was said about each setting last, by its place in the list of questions.
    heard: [Option<u32>; QUESTIONS],
    /// Answers that are still to come.
    expected: usize,
    theirs: u8,
    ours: ModemLines,
    suspended: bool,
}

impl Line {
    pub(super) fn hear(&mut self, said: &ComPort<'_>) {
        match said {
            ComPort::ModemState(state) => self.theirs = state.lines(),
            ComPort::LineState(state) => self.count(*state),
            ComPort::Suspend => self.suspended = true,
            ComPort::Resume => self.suspended = false,
            other => {
                if let Some((place, value)) = place(other) {
                    self.heard[place] = Some(value);
                    self.expected = self.expected.saturating_sub(1);
                }
            }
        }
    }

    fn count(&mut self, state: u8) {
        // The bits of a UART: overrun, parity, framing, break.
        for (count, bit) in self.errors.0.iter_mut().zip([0x02, 0x04, 0x08, 0x10]) {
            *count = count.wrapping_add(i32::from(state & bit != 0));
        }
    }

    pub(super) fn expect(&mut self, answers: usize) {
        self.expected = answers;
    }

    pub(super) fn has_heard(&self) -> Option<Result<()>> {
        (self.expected == 0).then_some(Ok(()))
    }

    /// Whether the other side has set what it was asked for.
    pub(super) fn agrees(&self, wanted: &ComPort<'_>) -> bool {
        place(wanted).is_none_or(|(place, value)| self.heard[place] == Some(value))
    }

    pub(super) const fn take(&mut self, settings: &WireTermios) {
        self.settings = *settings;
    }

    pub(super) const fn is_suspended(&self) -> bool {
        self.suspended
    }

    pub(super) fn switch(&mut self, on: ModemLines, off: ModemLines) {
        self.ours = (self.ours | on) - off;
    }

    pub(super) fn wires(&self) -> ModemLines {
        let theirs = [
            (ModemState::CTS, ModemLines::CTS),
            (ModemState::DSR, ModemLines::DSR),
            (ModemState::RI, ModemLines::RI),
            (ModemState::CD, ModemLines::CD),
        ];
        let on = theirs.iter().filter(|(bit, _)| self.theirs & bit != 0);
        on.fold(self.ours, |all, (_, line)| all | *line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::com_port::{of_options, questions};
    use telnet::{Control, Parity};

    #[test]
    fn a_line_is_asked_for_setting_by_setting() {
        let options: crate::PortOptions = "/x=/dev/ser1,9600,7e2,rtscts".parse().unwrap();
        let asked = questions(&of_options(&options.line)).unwrap();
        let expected = [
            ComPort::Baud(9600),
            ComPort::DataSize(7),
            ComPort::Parity(Some(Parity::Even)),
            ComPort::StopSize(2),
            ComPort::Control(Control::FlowHardware),
        ];
        assert_eq!(asked, expected);
        let mut line = Line::default();
        line.expect(asked.len());
        asked.iter().for_each(|said| line.hear(said));
        assert!(line.has_heard().is_some() && asked.iter().all(|said| line.agrees(said)));
        line.hear(&ComPort::Baud(19_200));
        assert!(!line.agrees(&asked[0]), "the other side has another speed");
    }

    #[test]
    fn wires_and_errors_are_kept_as_they_are_told() {
        let mut line = Line::default();
        line.hear(&ComPort::ModemState(ModemState(
            ModemState::CTS | ModemState::CD | 0x0f,
        )));
        line.switch(ModemLines::DTR, ModemLines::empty());
        assert_eq!(
            line.wires(),
            ModemLines::DTR | ModemLines::CTS | ModemLines::CD
        );
        line.hear(&ComPort::LineState(0x10));
        assert_eq!(line.errors.0, [0, 0, 0, 1, 0]);
    }
}
