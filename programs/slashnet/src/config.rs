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
    share: Option<Spanned<String>>,
    replug: Option<Spanned<String>>,
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
        named("mode", table.mode),
        named("share", table.share),
        named("replug", table.replug),
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

/// An option that says its name, and where it stands.
fn named(name: &str, value: Option<Spanned<String>>) -> Option<(Range<usize>, String)> {
    let value = value?;
    Some((value.span(), format!("{name}={}", value.into_inner())))
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
    crate::logging::checked(&text)
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
mod tests;
