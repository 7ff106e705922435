//! What a machine offers: serial ports and directories, as written in options.

use std::fmt::{Display, Formatter};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A terminal device offered under a path: `--serial DEVICE=PATH[,OPTION...]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SerialOffer {
    /// The device of this machine, such as `/dev/ttyUSB0`.
    pub(crate) device: PathBuf,
    /// The path that clients open, such as `/dev/ser1`.
    pub(crate) path: String,
    /// Bits per second; the device keeps what it has if none is given.
    pub(crate) baud: Option<u32>,
    /// Permissions of the path.
    pub(crate) mode: u32,
}

/// A directory offered under a path: `--export DIRECTORY=PATH[,ro]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExportOffer {
    /// The directory of this machine.
    pub(crate) directory: PathBuf,
    /// The path that clients see.
    pub(crate) path: String,
    /// Whether every change is refused with EROFS.
    pub(crate) read_only: bool,
}

/// Permissions of a serial port nobody said anything about: the owner and the group, as
/// distributions give real ones.
pub(crate) const SERIAL_MODE: u32 = 0o660;

impl FromStr for SerialOffer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (device, path, options) = split(text, "DEVICE=PATH[,baud=RATE][,mode=OCTAL]")?;
        let mut offer = Self {
            device: device.into(),
            path,
            baud: None,
            mode: SERIAL_MODE,
        };
        for option in options {
            match option.split_once('=') {
                Some(("baud", rate)) => offer.baud = Some(baud(rate)?),
                Some(("mode", octal)) => offer.mode = mode(octal)?,
                _ => {
                    return Err(format!(
                        "found option '{option}', expected 'baud=RATE' or 'mode=OCTAL'"
                    ));
                }
            }
        }
        Ok(offer)
    }
}

impl Display for SerialOffer {
    /// The option that says the same.
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}={},mode={:o}",
            self.device.display(),
            self.path,
            self.mode
        )?;
        self.baud.map_or(Ok(()), |baud| write!(f, ",baud={baud}"))
    }
}

impl Display for ExportOffer {
    /// The option that says the same.
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let access = if self.read_only { "ro" } else { "rw" };
        write!(f, "{}={},{access}", self.directory.display(), self.path)
    }
}

impl FromStr for ExportOffer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (directory, path, options) = split(text, "DIRECTORY=PATH[,ro]")?;
        let mut offer = Self {
            directory: directory.into(),
            path,
            read_only: false,
        };
        for option in options {
            match option {
                "ro" => offer.read_only = true,
                "rw" => offer.read_only = false,
                _ => return Err(format!("found option '{option}', expected 'ro' or 'rw'")),
            }
        }
        Ok(offer)
    }
}

/// A path that a manager may own: absolute, not the root, without empty or dotted parts.
pub(crate) fn owned_path(text: &str) -> Result<String, String> {
    let Some(relative) = text.strip_prefix('/') else {
        return Err(format!(
            "found '{text}', expected a path that begins with '/'"
        ));
    };
    let plain = relative
        .split('/')
        .all(|part| !matches!(part, "" | "." | ".."));
    if !plain {
        let expected = "expected an absolute path without '//', '.' or '..' and not '/' itself";
        return Err(format!("found '{text}', {expected}"));
    }
    if text.contains(',') {
        return Err(format!("found '{text}', expected a path without ','"));
    }
    if text == "/net" || text.starts_with("/net/") {
        return Err(format!(
            "found '{text}', but /net belongs to the network manager"
        ));
    }
    Ok(text.to_owned())
}

/// A device or directory of this machine, in a form that an option can say.
pub(crate) fn owned_source(source: &Path) -> Result<PathBuf, String> {
    match source.to_str() {
        Some(text) if !text.is_empty() && !text.contains('=') => Ok(source.to_owned()),
        _ => {
            let expected = "expected a path of this machine in UTF-8 without '='";
            Err(format!("found '{}', {expected}", source.display()))
        }
    }
}

/// A permission word in octal, without type bits.
pub(crate) fn mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|&mode| mode <= 0o777)
        .ok_or_else(|| format!("found mode '{text}', expected octal digits from 0 to 777"))
}

fn baud(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|&rate| rate > 0)
        .ok_or_else(|| format!("found baud '{text}', expected bits per second such as 115200"))
}

fn split<'a>(text: &'a str, expected: &str) -> Result<(&'a str, String, Vec<&'a str>), String> {
    let wrong = || format!("found '{text}', expected {expected}");
    let (here, rest) = text.split_once('=').ok_or_else(wrong)?;
    if here.is_empty() {
        return Err(wrong());
    }
    let mut parts = rest.split(',');
    let path = parts.next().ok_or_else(wrong)?;
    Ok((here, owned_path(path)?, parts.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_offer_names_device_path_and_options() {
        let offer: SerialOffer = "/dev/ttyUSB0=/dev/ser1,baud=115200,mode=666"
            .parse()
            .expect("is well formed");
        assert_eq!(offer.device, PathBuf::from("/dev/ttyUSB0"));
        assert_eq!(offer.path, "/dev/ser1");
        assert_eq!((offer.baud, offer.mode), (Some(115_200), 0o666));
        let plain: SerialOffer = "/dev/ttyS0=/dev/ser1".parse().expect("is well formed");
        assert_eq!((plain.baud, plain.mode), (None, SERIAL_MODE));
    }

    #[test]
    fn an_offer_written_out_reads_back_the_same() {
        for text in [
            "/dev/a=/dev/ser1,mode=660",
            "/dev/a=/dev/ser1,mode=600,baud=9600",
        ] {
            let offer: SerialOffer = text.parse().expect(text);
            assert_eq!(offer.to_string(), text);
        }
        for text in ["/srv=/srv,ro", "/srv=/srv,rw"] {
            let offer: ExportOffer = text.parse().expect(text);
            assert_eq!(offer.to_string(), text);
        }
    }

    #[test]
    fn an_export_is_writable_unless_it_says_otherwise() {
        assert!(
            !"/srv=/srv"
                .parse::<ExportOffer>()
                .expect("is well formed")
                .read_only
        );
        assert!(
            "/srv=/srv,ro"
                .parse::<ExportOffer>()
                .expect("is well formed")
                .read_only
        );
    }

    #[test]
    fn every_bad_offer_is_refused_with_what_was_found_and_expected() {
        let cases = [
            ("/dev/ttyS0", "expected DEVICE=PATH"),
            ("=/dev/ser1", "expected DEVICE=PATH"),
            ("/dev/ttyS0=dev/ser1", "begins with '/'"),
            ("/dev/ttyS0=/dev//ser1", "without '//'"),
            ("/dev/ttyS0=/dev/../ser1", "without '//'"),
            ("/dev/ttyS0=/", "not '/' itself"),
            (
                "/dev/ttyS0=/net/lab1/ser1",
                "belongs to the network manager",
            ),
            ("/dev/ttyS0=/dev/ser1=2,fast", "found option 'fast'"),
            ("/dev/ttyS0=/dev/ser1,fast", "found option 'fast'"),
            ("/dev/ttyS0=/dev/ser1,baud=quick", "found baud 'quick'"),
            ("/dev/ttyS0=/dev/ser1,mode=888", "found mode '888'"),
            ("/dev/ttyS0=/dev/ser1,mode=7777", "found mode '7777'"),
        ];
        for (text, expected) in cases {
            let error = text.parse::<SerialOffer>().expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
        let error = "/srv=/srv,fast"
            .parse::<ExportOffer>()
            .expect_err("unknown option");
        assert_eq!(error, "found option 'fast', expected 'ro' or 'rw'");
    }
}
