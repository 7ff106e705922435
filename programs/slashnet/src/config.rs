//! The config file: all that the options of `slashnet up` say, as TOML.
//!
//! A file is taken whole or refused with the line, what was found there and what was expected.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use abi::system::Detect;
use rights::Rules;
use rights::text::NoNames;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use crate::failure::{During, Failure, Outcome};
use crate::offer::{self, ExportOffer, SerialOffer};

/// What a config file says. Everything is optional.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) name: Option<String>,
    pub(crate) dir: Option<PathBuf>,
    pub(crate) links: Vec<String>,
    pub(crate) port: Option<u16>,
    pub(crate) detect: Option<Detect>,
    pub(crate) one_port: bool,
    pub(crate) mount: Option<Mount>,
    pub(crate) detach: bool,
    pub(crate) log: Option<String>,
    pub(crate) serials: Vec<SerialOffer>,
    pub(crate) exports: Vec<ExportOffer>,
    /// Rules, with numbers instead of names.
    pub(crate) rights: Vec<String>,
}

/// Where the path space is to be mounted: `mount = "/net"` or `mount = false`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mount {
    At(PathBuf),
    Nowhere,
}

/// Reads and checks the file at `path`.
pub(crate) fn read(path: &Path) -> Outcome<Config> {
    let bytes = std::fs::read(path).during(path.display())?;
    refused_by_line(&bytes)
        .map_err(|(line, text)| Failure::usage(format!("{}:{line}", path.display()), text))
}

/// The rules of the config file at `path`.
pub(crate) fn rights(path: &Path) -> Outcome<Rules> {
    let rules = read(path)?.rights.join("\n");
    rights::text::rules(&rules, &NoNames)
        .map_err(|(_, bad)| Failure::usage(path.display(), bad.to_string()))
}

/// The file, or the line that is wrong and what is wrong with it.
fn refused_by_line(bytes: &[u8]) -> Result<Config, (usize, String)> {
    let complaint = match std::str::from_utf8(bytes) {
        Ok(text) => match parse(text) {
            Ok(config) => return Ok(config),
            Err(complaint) => complaint,
        },
        Err(error) => Complaint {
            at: error.valid_up_to()..bytes.len(),
            text: format!(
                "found byte 0x{:02x}, expected text in UTF-8",
                bytes[error.valid_up_to()]
            ),
        },
    };
    let before = &bytes[..complaint.at.start.min(bytes.len())];
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    Err((line, complaint.text))
}

/// What is wrong with a config file, and where.
struct Complaint {
    at: Range<usize>,
    text: String,
}

/// The file as TOML sees it, before the values are checked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    name: Option<Spanned<String>>,
    dir: Option<PathBuf>,
    #[serde(default)]
    link: Vec<Spanned<String>>,
    port: Option<Spanned<u16>>,
    detect: Option<Spanned<String>>,
    #[serde(default)]
    one_port: bool,
    mount: Option<Mount>,
    #[serde(default)]
    detach: bool,
    log: Option<Spanned<String>>,
    #[serde(default)]
    serial: Vec<SerialTable>,
    #[serde(default)]
    export: Vec<ExportTable>,
    #[serde(default)]
    rights: Vec<Spanned<String>>,
}

/// `[[serial]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SerialTable {
    device: Spanned<PathBuf>,
    path: Spanned<String>,
    baud: Option<Spanned<u32>>,
    frame: Option<Spanned<String>>,
    flow: Option<Spanned<Flow>>,
    mode: Option<Spanned<String>>,
}

/// The words of `flow`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Flow {
    None,
    RtsCts,
    XonXoff,
}

/// `[[export]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ExportTable {
    directory: Spanned<PathBuf>,
    path: Spanned<String>,
    #[serde(default)]
    read_only: bool,
}

fn parse(text: &str) -> Result<Config, Complaint> {
    let file: File = toml::from_str(text).map_err(|error| Complaint {
        at: error.span().unwrap_or(0..0),
        text: found_and_expected(error.message()),
    })?;
    let name = file
        .name
        .map(|name| check(name, |text| node_name(&text)))
        .transpose()?;
    let port = file.port.map(|port| check(port, nonzero)).transpose()?;
    let detect = |text: String| crate::machine::detection(&text);
    let detect = file.detect.map(|text| check(text, detect)).transpose()?;
    let log = file.log.map(|log| check(log, logging_filter)).transpose()?;
    let link = |link: Spanned<String>| check(link, |text| crate::machine::link(&text));
    Ok(Config {
        name,
        dir: file.dir,
        links: file.link.into_iter().map(link).collect::<Result<_, _>>()?,
        port,
        detect,
        one_port: file.one_port,
        mount: file.mount,
        detach: file.detach,
        log,
        serials: file
            .serial
            .into_iter()
            .map(serial)
            .collect::<Result<_, _>>()?,
        exports: file
            .export
            .into_iter()
            .map(export)
            .collect::<Result<_, _>>()?,
        rights: file
            .rights
            .into_iter()
            .map(|rule| check(rule, |text| crate::users::rule(&text)))
            .collect::<Result<_, _>>()?,
    })
}

/// Every key is tried alone with the device and the path, so that a refusal has its line.
fn serial(table: SerialTable) -> Result<SerialOffer, Complaint> {
    let device = check(table.device, |device| offer::owned_source(&device))?;
    let path = check(table.path, |path| offer::owned_path(&path))?;
    let plain = format!("{}={path}", device.display());
    let mut whole = plain.clone();
    let flow = table.flow.map(|flow| {
        let at = flow.span();
        let word = match flow.into_inner() {
            Flow::None => "noflow",
            Flow::RtsCts => "rtscts",
            Flow::XonXoff => "xonxoff",
        };
        (at, word.to_owned())
    });
    let options = [
        table
            .baud
            .map(|baud| (baud.span(), baud.into_inner().to_string())),
        table.frame.map(|frame| (frame.span(), frame.into_inner())),
        flow,
        table
            .mode
            .map(|mode| (mode.span(), format!("mode={}", mode.into_inner()))),
    ];
    for (at, option) in options.into_iter().flatten() {
        let tried = format!("{plain},{option}").parse::<SerialOffer>();
        tried.map_err(|text| Complaint {
            at: at.clone(),
            text,
        })?;
        whole.push(',');
        whole.push_str(&option);
    }
    whole.parse().map_err(|text| Complaint { at: 0..0, text })
}

fn export(table: ExportTable) -> Result<ExportOffer, Complaint> {
    Ok(ExportOffer {
        directory: check(table.directory, |directory| offer::owned_source(&directory))?,
        path: check(table.path, |text| offer::owned_path(&text))?,
        read_only: table.read_only,
    })
}

fn check<T, U>(
    value: Spanned<T>,
    rule: impl FnOnce(T) -> Result<U, String>,
) -> Result<U, Complaint> {
    let at = value.span();
    rule(value.into_inner()).map_err(|text| Complaint { at, text })
}

fn node_name(text: &str) -> Result<String, String> {
    crate::machine::node_name(text).map(|name| name.to_string())
}

fn logging_filter(text: String) -> Result<String, String> {
    crate::logging::filter(&text).map(|_| text)
}

fn nonzero(port: u16) -> Result<u16, String> {
    match port {
        0 => Err("found port 0, expected 1 to 65535".to_owned()),
        port => Ok(port),
    }
}

/// Puts a parser's message into the words of all our refusals.
fn found_and_expected(message: &str) -> String {
    let message = message.replace('\n', "; ");
    for (theirs, ours) in [
        ("invalid type: ", "found "),
        ("invalid value: ", "found "),
        ("unknown field ", "found unknown key "),
        ("unknown variant ", "found unknown word "),
        ("missing field ", "found a table without the key "),
        (
            "duplicate key",
            "found a key twice, expected it once: duplicate key",
        ),
    ] {
        if let Some(rest) = message.strip_prefix(theirs) {
            let rest = rest
                .replace("expected u16", "expected a whole number from 1 to 65535")
                .replace("expected u32", "expected a whole number up to 4294967295");
            return format!("{ours}{rest}");
        }
    }
    message
}

impl<'de> Deserialize<'de> for Mount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DirectoryOrFalse;
        impl Visitor<'_> for DirectoryOrFalse {
            type Value = Mount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a directory or false")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Mount, E> {
                Ok(Mount::At(text.into()))
            }

            fn visit_bool<E: Error>(self, wanted: bool) -> Result<Mount, E> {
                if wanted {
                    Err(E::invalid_value(serde::de::Unexpected::Bool(true), &self))
                } else {
                    Ok(Mount::Nowhere)
                }
            }
        }
        deserializer.deserialize_any(DirectoryOrFalse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_says_all_that_options_say() {
        let text = r#"
            name = "lab2"
            dir = "/run/lab2"
            link = ["eth0,mtu=9000", "192.0.2.7"]
            port = 5000
            detect = "fast"
            one-port = true
            mount = "/net"
            detach = true
            log = "debug"
            rights = [
                "allow 1000@lab1 read,write /dev/ser1", # names of users would do, too
                "deny *@* all /",
            ]

            [[serial]]
            device = "/dev/ttyUSB0"
            path = "/dev/ser1"
            baud = 115200
            frame = "8n1"
            flow = "rtscts"
            mode = "666"

            [[export]]
            directory = "/srv"
            path = "/srv"
            read-only = true
        "#;
        let config = parse(text).map_err(|complaint| complaint.text).unwrap();
        assert_eq!(config.name.as_deref(), Some("lab2"));
        assert_eq!(config.links, ["eth0,mtu=9000", "192.0.2.7"]);
        assert_eq!((config.detect, config.one_port), (Some(Detect::Fast), true));
        assert_eq!((config.port, config.detach), (Some(5000), true));
        assert_eq!(config.mount, Some(Mount::At("/net".into())));
        assert_eq!(
            config.serials,
            ["/dev/ttyUSB0=/dev/ser1,115200,8n1,rtscts,mode=666"
                .parse()
                .unwrap()]
        );
        assert_eq!(config.exports, ["/srv=/srv,ro".parse().unwrap()]);
        let rules = ["allow 1000@lab1 read,write /dev/ser1", "deny *@* all /"];
        assert_eq!(config.rights, rules);
    }

    #[test]
    fn an_empty_file_says_nothing() {
        assert_eq!(
            parse("").map_err(|complaint| complaint.text),
            Ok(Config::default())
        );
        let unmounted = parse("mount = false")
            .map_err(|complaint| complaint.text)
            .unwrap();
        assert_eq!(unmounted.mount, Some(Mount::Nowhere));
    }

    /// Line, file, and a part of what is said about it.
    const BAD: &[(usize, &str, &str)] = &[
        (1, "name = 5", "found integer `5`, expected a string"),
        (
            2,
            "\nnmae = 'lab1'",
            "found unknown key `nmae`, expected one of `name`, `dir`",
        ),
        (1, "name = 'lab 1'", "found name 'lab 1', expected"),
        (1, "port = 0", "found port 0, expected 1 to 65535"),
        (
            1,
            "port = 70000",
            "found integer `70000`, expected a whole number from 1 to 65535",
        ),
        (
            1,
            "port = 'high'",
            "found string \"high\", expected a whole number",
        ),
        (
            3,
            "\n\nmount = true",
            "found boolean `true`, expected a directory or false",
        ),
        (
            1,
            "mount = 7",
            "found integer `7`, expected a directory or false",
        ),
        (2, "\nlog = '=='", "found '==', expected error, warn"),
        (2, "link = [\n'']", "found link '', expected"),
        (
            2,
            "link = [\n'eth0,cipher=off']",
            "link 'eth0': found 'cipher=off' on a link that is not declared trusted",
        ),
        (1, "detect = 'quick'", "found 'quick', expected fast"),
        (
            1,
            "link = 'eth0'",
            "found string \"eth0\", expected a sequence",
        ),
        (
            3,
            "[[serial]]\ndevice = '/dev/ttyS0'\npath = 'ser1'",
            "begins with '/'",
        ),
        (
            1,
            "[[serial]]\npath = '/dev/ser1'",
            "without the key `device`",
        ),
        (
            4,
            "[[serial]]\ndevice='/d'\npath='/dev/ser1'\nbaud=0",
            "found '0', expected a speed",
        ),
        (
            4,
            "[[serial]]\ndevice='/d'\npath='/dev/ser1'\nmode='9'",
            "found 'mode=9', expected",
        ),
        (
            2,
            "[[export]]\ndirectory = 1",
            "found integer `1`, expected",
        ),
        (
            4,
            "[[export]]\ndirectory='/s'\npath='/s'\nro=true",
            "found unknown key `ro`",
        ),
        (
            2,
            "[[export]]\ndirectory='/a=b'\npath='/s'",
            "found '/a=b', expected",
        ),
        (3, "[[export]]\ndirectory='/a'\npath='/a,b'", "without ','"),
        (1, "name = 'a", "expected"),
        (
            3,
            "rights = [\n'deny *@* all /',\n'allow *@lab1 reed /']",
            "found 'reed', expected operations",
        ),
        (2, "name = 'a'\nname = 'b'", "found a key twice"),
        (
            4,
            "[[serial]]\ndevice='/d'\npath='/s'\nframe='9n1'",
            "found '9n1', expected",
        ),
        (
            4,
            "[[serial]]\ndevice='/d'\npath='/s'\nflow='dtr'",
            "found unknown word `dtr`, expected",
        ),
    ];

    #[test]
    fn every_bad_file_is_refused_with_line_found_and_expected() {
        for (line, text, expected) in BAD {
            let complaint = parse(text).expect_err(text);
            assert!(
                complaint.text.contains(expected),
                "{text:?}: {}",
                complaint.text
            );
            let found = 1 + text[..complaint.at.start].matches('\n').count();
            assert_eq!(found, *line, "{text:?}: {}", complaint.text);
        }
    }

    #[test]
    fn a_file_that_is_no_text_is_refused_with_its_line() {
        let refused = refused_by_line(b"name = 'a'\nlog = '\xff'\n").unwrap_err();
        assert_eq!(
            refused,
            (2, "found byte 0xff, expected text in UTF-8".to_owned())
        );
    }
}
