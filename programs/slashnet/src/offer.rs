//! What a machine offers: serial ports and directories, as written in options.

use std::fmt::{Display, Formatter};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serial_manager::{BadPort, PortOptions};

/// A terminal device offered under a path: `--serial DEVICE=PATH[,OPTION...]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SerialOffer {
    /// The port as its manager knows it.
    pub(crate) port: PortOptions,
    text: String,
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

impl FromStr for SerialOffer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port: PortOptions = text.parse().map_err(|bad: BadPort| {
            let bad = bad.to_string();
            bad.strip_prefix("serial port: ")
                .map(str::to_owned)
                .unwrap_or(bad)
        })?;
        owned_path(&port.prefix)?;
        Ok(Self {
            port,
            text: text.to_owned(),
        })
    }
}

impl Display for SerialOffer {
    /// The option that says the same.
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
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
    fn a_serial_offer_is_what_its_manager_understands() {
        let offer: SerialOffer = "/dev/ttyUSB0=/dev/ser1,9600,8n1,mode=660"
            .parse()
            .expect("is well formed");
        assert_eq!(offer.port.device, PathBuf::from("/dev/ttyUSB0"));
        assert_eq!(offer.port.prefix, "/dev/ser1");
        assert_eq!(
            (offer.port.line.baud, offer.port.permissions),
            (9600, Some(0o660))
        );
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
            (
                "/dev/ttyS0=/dev/ser1,fast",
                "found 'fast', expected a speed",
            ),
            (
                "/dev/ttyS0=/dev/ser1,mode=888",
                "found 'mode=888', expected",
            ),
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
