//! What a port is to be: `/dev/ttyUSB0=/dev/ser1,115200,8n1,rtscts`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::users::Sharing;

/// One serial port to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortOptions {
    /// The terminal device of this machine.
    pub device: PathBuf,
    /// The pathname to own.
    pub prefix: String,
    /// How the line is set at the start.
    pub line: LineOptions,
    /// Permission bits of the pathname; the device's own unless said otherwise, and 0o666 for a port that another
    /// program shares over TCP. The group is the device's.
    pub permissions: Option<u32>,
    /// Who may have it open at the same time.
    pub sharing: Sharing,
    /// What becomes of open files when the device is unplugged.
    pub replug: Replug,
}

/// What becomes of open files when the device is unplugged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replug {
    /// They fail with EIO for ever: the device that comes back may be another one.
    #[default]
    Fail,
    /// They wait for it: reads and writes go on when it is back, with the settings that it had; controls fail with EIO
    /// meanwhile.
    Wait,
}

/// Speed, frame and flow control of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineOptions {
    /// Bits per second.
    pub baud: u32,
    /// Data bits of a frame: 5 to 8.
    pub data_bits: u8,
    /// Parity bit of a frame.
    pub parity: Parity,
    /// Stop bits of a frame: 1 or 2.
    pub stop_bits: u8,
    /// How either side stops the other.
    pub flow: FlowControl,
}

/// Parity bit of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    /// There is none.
    None,
    /// The number of ones is even.
    Even,
    /// The number of ones is odd.
    Odd,
}

/// How either side stops the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowControl {
    /// Not at all.
    None,
    /// By the RTS and CTS lines.
    Hardware,
    /// By the characters XOFF and XON.
    Software,
}

impl Default for LineOptions {
    fn default() -> Self {
        Self {
            baud: 115_200,
            data_bits: 8,
            parity: Parity::None,
            stop_bits: 1,
            flow: FlowControl::None,
        }
    }
}

/// Why a text is not a serial port: what was found and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPort {
    found: String,
    expected: &'static str,
}

impl fmt::Display for BadPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "serial port: found '{}', expected {}",
            self.found, self.expected
        )
    }
}

impl std::error::Error for BadPort {}

impl FromStr for PortOptions {
    type Err = BadPort;

    /// `DEVICE=PATH[,[baud=]BAUD][,8n1][,rtscts|xonxoff|noflow][,mode=OCTAL][,share=many|one-writer|queue|one]`
    /// `[,replug=fail|wait]`, the parts after PATH in any order. DEVICE is a file or `rfc2217://HOST:PORT`.
    fn from_str(text: &str) -> Result<Self, BadPort> {
        let form =
            "DEVICE=PATH[,BAUD][,8n1][,rtscts|xonxoff|noflow][,mode=660][,share=...][,replug=...]";
        let (device, rest) = text.split_once('=').ok_or_else(|| bad(text, form))?;
        let mut words = rest.split(',');
        let prefix = words.next().unwrap_or_default();
        if device.is_empty() {
            return Err(bad(text, form));
        }
        if !prefix.starts_with('/') {
            return Err(bad(prefix, "a path that begins with '/'"));
        }
        let mut options = Self {
            device: PathBuf::from(device),
            prefix: prefix.to_owned(),
            line: LineOptions::default(),
            permissions: None,
            sharing: Sharing::default(),
            replug: Replug::default(),
        };
        for word in words {
            options.apply(word)?;
        }
        Ok(options)
    }
}

impl PortOptions {
    fn apply(&mut self, word: &str) -> Result<(), BadPort> {
        match word {
            "rtscts" => self.line.flow = FlowControl::Hardware,
            "xonxoff" => self.line.flow = FlowControl::Software,
            "noflow" => self.line.flow = FlowControl::None,
            "replug=fail" => self.replug = Replug::Fail,
            "replug=wait" => self.replug = Replug::Wait,
            _ if word.starts_with("replug=") => {
                return Err(bad(word, "replug=fail or replug=wait"));
            }
            _ if word.starts_with("share=") => self.sharing = sharing(word)?,
            _ if word.starts_with("mode=") => self.permissions = Some(permissions(word)?),
            _ if word.len() == 3
                && word.is_ascii()
                && !word.bytes().all(|byte| byte.is_ascii_digit()) =>
            {
                self.line.apply_frame(word)?;
            }
            _ => self.line.baud = baud(word.strip_prefix("baud=").unwrap_or(word))?,
        }
        Ok(())
    }
}

impl LineOptions {
    pub(crate) fn apply_frame(&mut self, word: &str) -> Result<(), BadPort> {
        let expected = "data bits 5 to 8, parity n, e or o, stop bits 1 or 2, such as 8n1";
        let [data, parity, stop] = word.as_bytes() else {
            return Err(bad(word, expected));
        };
        self.parity = match parity.to_ascii_lowercase() {
            b'n' => Parity::None,
            b'e' => Parity::Even,
            b'o' => Parity::Odd,
            _ => return Err(bad(word, expected)),
        };
        if !matches!(data, b'5'..=b'8') || !matches!(stop, b'1' | b'2') {
            return Err(bad(word, expected));
        }
        self.data_bits = data - b'0';
        self.stop_bits = stop - b'0';
        Ok(())
    }
}

fn baud(word: &str) -> Result<u32, BadPort> {
    match word.parse() {
        // Faster than any UART that exists; a longer number is a slip of the finger.
        Ok(baud @ 1..=100_000_000) => Ok(baud),
        _ => Err(bad(
            word,
            "a speed such as 115200, a frame such as 8n1, or rtscts",
        )),
    }
}

fn sharing(word: &str) -> Result<Sharing, BadPort> {
    let name = word.strip_prefix("share=").unwrap_or_default();
    let known = Sharing::WORDS.iter().find(|(known, _)| *known == name);
    known.map(|(_, sharing)| *sharing).ok_or_else(|| {
        bad(
            word,
            "share=many, share=one-writer, share=queue or share=one",
        )
    })
}

fn permissions(word: &str) -> Result<u32, BadPort> {
    let digits = word.strip_prefix("mode=").unwrap_or_default();
    match u32::from_str_radix(digits, 8) {
        Ok(bits @ 0..=0o777) => Ok(bits),
        _ => Err(bad(word, "mode= and three octal digits, such as mode=660")),
    }
}

fn bad(found: &str, expected: &'static str) -> BadPort {
    BadPort {
        found: found.to_owned(),
        expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_says_device_path_speed_frame_and_flow_in_any_order() {
        let port: PortOptions = "/dev/ttyUSB0=/dev/ser1,7e2,baud=9600,rtscts,mode=640"
            .parse()
            .unwrap();
        assert_eq!(port.device, PathBuf::from("/dev/ttyUSB0"));
        assert_eq!(port.prefix, "/dev/ser1");
        assert_eq!(port.permissions, Some(0o640));
        let line = LineOptions {
            baud: 9600,
            data_bits: 7,
            parity: Parity::Even,
            stop_bits: 2,
            flow: FlowControl::Hardware,
        };
        assert_eq!(port.line, line);
    }

    #[test]
    fn a_port_without_settings_is_115200_8n1_for_who_may_open_the_device() {
        let port: PortOptions = "/dev/ttyS0=/dev/ser1".parse().unwrap();
        assert_eq!(
            (port.line, port.permissions),
            (LineOptions::default(), None)
        );
    }

    #[test]
    fn a_port_says_who_may_have_it_and_what_unplugging_does() {
        for (name, sharing) in Sharing::WORDS {
            let port = format!("/dev/ttyS0=/dev/ser1,share={name},replug=wait");
            let port: PortOptions = port.parse().unwrap();
            assert_eq!((port.sharing, port.replug), (sharing, Replug::Wait));
        }
    }

    #[test]
    fn a_bad_port_is_refused_with_what_was_found_and_what_was_expected() {
        for (text, found) in [
            ("/dev/ttyS0", "/dev/ttyS0"),
            ("=/dev/ser1", "=/dev/ser1"),
            ("/dev/ttyS0=ser1", "ser1"),
            ("/dev/ttyS0=/dev/ser1,fast", "fast"),
            ("/dev/ttyS0=/dev/ser1,9n1", "9n1"),
            ("/dev/ttyS0=/dev/ser1,8x1", "8x1"),
            ("/dev/ttyS0=/dev/ser1,8n3", "8n3"),
            ("/dev/ttyS0=/dev/ser1,0", "0"),
            ("/dev/ttyS0=/dev/ser1,", ""),
            ("/dev/ttyS0=/dev/ser1,mode=888", "mode=888"),
            ("/dev/ttyS0=/dev/ser1,share=some", "share=some"),
            ("/dev/ttyS0=/dev/ser1,replug=never", "replug=never"),
        ] {
            let refused = text.parse::<PortOptions>().unwrap_err();
            assert_eq!(refused.found, found, "{text}");
            assert!(refused.to_string().contains("expected"), "{refused}");
        }
    }
}
