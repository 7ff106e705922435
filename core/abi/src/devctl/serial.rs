use bitflags::bitflags;

use super::{Devctl, class};
use crate::codec::{Decode, Encode, Malformed, Reader, Writer};
use crate::io::{choice, flag_codec, record};

bitflags! {
    /// What is done to arriving bytes; POSIX names.
    #[doc(alias = "c_iflag")]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct InputModes: u32 {
        /// A break is not delivered.
        const IGNBRK = 0x1;
        /// A break interrupts.
        const BRKINT = 0x2;
        /// Bytes with wrong parity are not delivered.
        const IGNPAR = 0x4;
        /// Wrong parity is marked.
        const PARMRK = 0x8;
        /// Parity is checked.
        const INPCK = 0x10;
        /// The eighth bit is cleared.
        const ISTRIP = 0x20;
        /// Newline becomes carriage return.
        const INLCR = 0x40;
        /// Carriage return is not delivered.
        const IGNCR = 0x80;
        /// Carriage return becomes newline.
        const ICRNL = 0x100;
        /// Output obeys start and stop characters.
        const IXON = 0x200;
        /// Any character starts output again.
        const IXANY = 0x400;
        /// Start and stop characters are sent.
        const IXOFF = 0x800;
        /// A full queue rings the bell.
        const IMAXBEL = 0x1000;
        /// Input is UTF-8.
        const IUTF8 = 0x2000;
    }
}

bitflags! {
    /// What is done to leaving bytes; POSIX names.
    #[doc(alias = "c_oflag")]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct OutputModes: u32 {
        /// The other bits count.
        const OPOST = 0x1;
        /// Newline becomes carriage return and newline.
        const ONLCR = 0x2;
        /// Carriage return becomes newline.
        const OCRNL = 0x4;
        /// No carriage return at column 0.
        const ONOCR = 0x8;
        /// Newline also returns.
        const ONLRET = 0x10;
        /// Tabs become spaces.
        const TABS = 0x20;
    }
}

bitflags! {
    /// The line's format and wires; POSIX names. The number of bits is in the two lowest bits.
    #[doc(alias = "c_cflag")]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct ControlModes: u32 {
        /// Six bits a byte. With neither size bit it is five.
        const CS6 = 0x1;
        /// Seven bits a byte.
        const CS7 = 0x2;
        /// Eight bits a byte.
        const CS8 = 0x3;
        /// Two stop bits.
        const CSTOPB = 0x4;
        /// The receiver is on.
        const CREAD = 0x8;
        /// There is a parity bit.
        const PARENB = 0x10;
        /// It makes the sum odd.
        const PARODD = 0x20;
        /// It is fixed: mark with [`Self::PARODD`], else space.
        const CMSPAR = 0x40;
        /// The last close hangs up.
        const HUPCL = 0x80;
        /// Modem lines are ignored.
        const CLOCAL = 0x100;
        /// Flow is controlled by RTS and CTS.
        const CRTSCTS = 0x200;
    }
}

bitflags! {
    /// Line editing and signals; POSIX names.
    #[doc(alias = "c_lflag")]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct LocalModes: u32 {
        /// Special characters send signals.
        const ISIG = 0x1;
        /// Input comes in edited lines.
        const ICANON = 0x2;
        /// Input is echoed.
        const ECHO = 0x4;
        /// Erasing is shown.
        const ECHOE = 0x8;
        /// Erasing a line ends it.
        const ECHOK = 0x10;
        /// Newline is echoed in any case.
        const ECHONL = 0x20;
        /// Signals do not discard the queues.
        const NOFLSH = 0x40;
        /// Background writers are stopped.
        const TOSTOP = 0x80;
        /// Control characters are shown as `^X`.
        const ECHOCTL = 0x100;
        /// Erasing a line erases it on the screen.
        const ECHOKE = 0x200;
        /// Extended characters work.
        const IEXTEN = 0x400;
    }
}

bitflags! {
    /// Wires of a serial line.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct ModemLines: u32 {
        /// Data terminal ready (ours).
        const DTR = 0x1;
        /// Request to send (ours).
        const RTS = 0x2;
        /// Clear to send (theirs).
        const CTS = 0x4;
        /// Data set ready (theirs).
        const DSR = 0x8;
        /// Carrier detected (theirs).
        const CD = 0x10;
        /// Ring (theirs).
        const RI = 0x20;
    }
}

bitflags! {
    /// What went wrong on a serial line since it was last asked.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct LineErrors: u32 {
        /// The hardware lost bytes.
        const OVERRUN = 0x1;
        /// Wrong parity.
        const PARITY = 0x2;
        /// No stop bit.
        const FRAMING = 0x4;
        /// A break arrived. Not an error, but told in the same way.
        const BREAK = 0x8;
        /// The driver's queue lost bytes.
        const QUEUE = 0x10;
    }
}

flag_codec!(InputModes: u32);
flag_codec!(OutputModes: u32);
flag_codec!(ControlModes: u32);
flag_codec!(LocalModes: u32);
flag_codec!(ModemLines: u32);
flag_codec!(LineErrors: u32);

/// Places in [`Termios::characters`].
#[doc(alias = "c_cc")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum ControlCharacter {
    /// Sends an interrupt signal.
    Intr = 0,
    /// Sends a quit signal.
    Quit = 1,
    /// Erases a character.
    Erase = 2,
    /// Erases a line.
    Kill = 3,
    /// Ends the input.
    Eof = 4,
    /// Not a character: tenths of a second that a raw read waits.
    Time = 5,
    /// Not a character: bytes that a raw read waits for.
    Min = 6,
    /// Starts output again.
    Start = 7,
    /// Stops output.
    Stop = 8,
    /// Sends a suspend signal.
    Susp = 9,
    /// Ends a line too.
    Eol = 10,
    /// Shows the line again.
    Reprint = 11,
    /// Discards output.
    Discard = 12,
    /// Erases a word.
    Werase = 13,
    /// The next character is not special.
    Lnext = 14,
    /// Ends a line too.
    Eol2 = 15,
}

/// How a terminal or serial line behaves, in numbers that are the same on every system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Termios {
    /// Input.
    pub input: InputModes,
    /// Output.
    pub output: OutputModes,
    /// Line.
    pub control: ControlModes,
    /// Editing.
    pub local: LocalModes,
    /// Special characters by [`ControlCharacter`]; 0 is "none".
    pub characters: [u8; Self::CHARACTERS],
    /// Bits per second from the line; 0 is "as `output_speed`".
    pub input_speed: u32,
    /// Bits per second to the line; 0 hangs up.
    pub output_speed: u32,
}

impl Termios {
    /// How many special characters there are.
    pub const CHARACTERS: usize = 16;
    /// Bytes of an encoded structure.
    pub const ENCODED_LEN: usize = 40;

    /// The special character, or the number in its place.
    #[must_use]
    pub const fn character(&self, which: ControlCharacter) -> u8 {
        self.characters[which as usize]
    }

    /// Sets the special character, or the number in its place.
    pub const fn set_character(&mut self, which: ControlCharacter, value: u8) {
        self.characters[which as usize] = value;
    }
}

impl Encode for Termios {
    fn encode(&self, w: &mut Writer<'_>) {
        self.input.encode(w);
        self.output.encode(w);
        self.control.encode(w);
        self.local.encode(w);
        w.bytes(&self.characters);
        w.u32(self.input_speed);
        w.u32(self.output_speed);
    }
}

impl Decode<'_> for Termios {
    fn decode(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            input: InputModes::decode(r)?,
            output: OutputModes::decode(r)?,
            control: ControlModes::decode(r)?,
            local: LocalModes::decode(r)?,
            characters: r.array()?,
            input_speed: r.u32()?,
            output_speed: r.u32()?,
        })
    }
}

choice! {
    /// When a change takes effect.
    pub enum When {
        /// At once.
        #[doc(alias = "TCSANOW")]
        #[default]
        Now = 0,
        /// When the output has left.
        #[doc(alias = "TCSADRAIN")]
        Drain = 1,
        /// When the output has left; the input is discarded.
        #[doc(alias = "TCSAFLUSH")]
        Flush = 2,
    }
}

choice! {
    /// Which queue to discard.
    pub enum FlushQueue {
        /// What has arrived and was not read.
        #[doc(alias = "TCIFLUSH")]
        Input = 0,
        /// What was written and has not left.
        #[doc(alias = "TCOFLUSH")]
        Output = 1,
        /// Both.
        #[doc(alias = "TCIOFLUSH")]
        #[default]
        Both = 2,
    }
}

record! {
    /// A change of [`Termios`].
    pub struct SetTermios {
        /// When.
        pub when: When,
        /// What.
        pub termios: Termios,
    }
}

record! {
    /// State of a serial line.
    pub struct LineStatus {
        /// The wires that are on.
        pub lines: ModemLines,
        /// What went wrong since the last time.
        pub errors: LineErrors,
    }
}

record! {
    /// A change of our wires. A wire in both sets is switched on.
    pub struct ModemSet {
        /// Wires to switch on.
        pub on: ModemLines,
        /// Wires to switch off.
        pub off: ModemLines,
    }
}

record! {
    /// Size of a terminal's window.
    #[doc(alias = "winsize")]
    pub struct WindowSize {
        /// Lines of text.
        pub rows: u16,
        /// Characters in a line.
        pub columns: u16,
        /// Width in pixels; 0 if not known.
        pub width: u16,
        /// Height in pixels; 0 if not known.
        pub height: u16,
    }
}

/// How the line behaves now.
#[doc(alias = "DCMD_CHR_TCGETATTR")]
pub const CHR_TCGETATTR: Devctl<(), Termios> = Devctl::from_device(class::CHR, 1, 40);
/// Changes how the line behaves. `EINVAL` for what the device cannot do.
#[doc(alias = "DCMD_CHR_TCSETATTR")]
pub const CHR_TCSETATTR: Devctl<SetTermios, ()> = Devctl::to_device(class::CHR, 2, 42);
/// Wires and errors.
#[doc(alias = "DCMD_CHR_LINESTATUS")]
pub const CHR_LINE_STATUS: Devctl<(), LineStatus> = Devctl::from_device(class::CHR, 3, 8);
/// Sends a break of so many milliseconds; 0 is the device's own length.
#[doc(alias = "DCMD_CHR_TCSENDBREAK")]
pub const CHR_SEND_BREAK: Devctl<u32, ()> = Devctl::to_device(class::CHR, 4, 4);
/// Answers when all output has left.
#[doc(alias = "tcdrain")]
pub const CHR_DRAIN: Devctl<(), ()> = Devctl::plain(class::CHR, 5);
/// Discards a queue.
#[doc(alias = "DCMD_CHR_TCFLUSH")]
pub const CHR_FLUSH: Devctl<FlushQueue, ()> = Devctl::to_device(class::CHR, 6, 2);
/// Switches our wires.
#[doc(alias = "DCMD_CHR_SERCTL")]
pub const CHR_MODEM_SET: Devctl<ModemSet, ()> = Devctl::to_device(class::CHR, 7, 8);
/// The wires that are on.
pub const CHR_MODEM_GET: Devctl<(), ModemLines> = Devctl::from_device(class::CHR, 8, 4);
/// Bytes that have arrived and were not read.
#[doc(alias = "DCMD_CHR_ISCHARS")]
#[doc(alias = "FIONREAD")]
pub const CHR_INPUT_COUNT: Devctl<(), u32> = Devctl::from_device(class::CHR, 9, 4);
/// Bytes that were written and have not left.
#[doc(alias = "DCMD_CHR_OSCHARS")]
pub const CHR_OUTPUT_COUNT: Devctl<(), u32> = Devctl::from_device(class::CHR, 10, 4);
/// The window's size.
#[doc(alias = "DCMD_CHR_GETSIZE")]
pub const CHR_WINDOW_GET: Devctl<(), WindowSize> = Devctl::from_device(class::CHR, 11, 8);
/// Sets the window's size.
#[doc(alias = "DCMD_CHR_SETSIZE")]
pub const CHR_WINDOW_SET: Devctl<WindowSize, ()> = Devctl::to_device(class::CHR, 12, 8);
/// Switches the break condition; closing the file ends it.
#[doc(alias = "TIOCSBRK")]
pub const CHR_SET_BREAK: Devctl<bool, ()> = Devctl::to_device(class::CHR, 13, 1);
/// Keeps others from opening the port while this file is open, or no longer.
#[doc(alias = "TIOCEXCL")]
pub const CHR_EXCLUSIVE: Devctl<bool, ()> = Devctl::to_device(class::CHR, 14, 1);
