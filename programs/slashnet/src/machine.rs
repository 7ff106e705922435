//! What `slashnet up` and `slashnet node` shall run, from options and config file together.

use std::path::PathBuf;

use abi::NodeName;
use abi::system::Detect;
use host::LinkSpec;

use crate::command::{GlobalOptions, NodeOptions, UpOptions};
use crate::config::{self, Config, Mount};
use crate::failure::{Failure, Outcome};
use crate::offer::{ExportOffer, SerialOffer};

/// A node and what it offers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) name: NodeName,
    pub(crate) dir: Option<PathBuf>,
    pub(crate) links: Vec<String>,
    pub(crate) port: Option<u16>,
    pub(crate) detect: Option<Detect>,
    pub(crate) one_port: bool,
    pub(crate) mount: Mount,
    /// An option or the config file says where to mount, so that a failure is one.
    pub(crate) mount_is_asked_for: bool,
    pub(crate) detach: bool,
    pub(crate) log: Option<String>,
    pub(crate) serials: Vec<SerialOffer>,
    pub(crate) exports: Vec<ExportOffer>,
    pub(crate) rights: Vec<String>,
}

impl Machine {
    /// Merges options and config file: an option replaces what the file says under the same name.
    pub(crate) fn of(global: &GlobalOptions, options: &UpOptions) -> Outcome<Self> {
        let file = match &options.node.config {
            Some(path) => config::read(path)?,
            None => Config::default(),
        };
        let mount_is_asked_for = options.mount.is_some() || file.mount.is_some();
        let mount = match (&options.mount, options.no_mount) {
            (_, true) => Mount::Nowhere,
            (Some(point), _) => Mount::At(point.clone()),
            (None, false) => file.mount.map_or_else(default_mount, Ok)?,
        };
        let links = replaced(&options.node.links, file.links);
        for text in &links {
            link(text).map_err(|why| Failure::usage("--link", why))?;
        }
        let name = options
            .node
            .name
            .clone()
            .or(file.name)
            .map_or_else(host_name, Ok)?;
        Ok(Self {
            name: node_name(&name).map_err(|why| Failure::usage("--name", why))?,
            dir: global.dir.clone().or(file.dir),
            links,
            port: options.node.port.or(file.port),
            detect: options.node.detect.or(file.detect),
            one_port: options.node.one_port || file.one_port,
            mount,
            mount_is_asked_for,
            detach: options.detach || file.detach,
            log: global.log.clone().or(file.log),
            serials: replaced(&options.serials, file.serials),
            exports: replaced(&options.exports, file.exports),
            rights: replaced(&options.node.rights, file.rights),
        })
    }

    /// The same for `slashnet node`, which offers and mounts nothing.
    pub(crate) fn of_node(global: &GlobalOptions, options: &NodeOptions) -> Outcome<Self> {
        let bare = UpOptions {
            node: options.clone(),
            no_mount: true,
            ..UpOptions::default()
        };
        Self::of(global, &bare)
    }
}

/// Checks a node's name.
pub(crate) fn node_name(text: &str) -> Result<NodeName, String> {
    NodeName::parse(text).map_err(|_| {
        let expected = "expected 1 to 63 letters, digits, '-' or '_'";
        format!("found name '{text}', {expected}")
    })
}

/// Checks a link and its options.
pub(crate) fn link(text: &str) -> Result<String, String> {
    text.parse::<LinkSpec>().map(|_| text.to_owned())
}

/// The words for how fast a broken way is found.
pub(crate) fn detection(text: &str) -> Result<Detect, String> {
    match text {
        "fast" => Ok(Detect::Fast),
        "default" => Ok(Detect::Default),
        "relaxed" => Ok(Detect::Relaxed),
        other => Err(format!(
            "found '{other}', expected fast, default or relaxed"
        )),
    }
}

/// The word for it.
pub(crate) const fn detection_word(detect: Detect) -> &'static str {
    match detect {
        Detect::Fast => "fast",
        Detect::Default => "default",
        Detect::Relaxed => "relaxed",
    }
}

fn replaced<T: Clone>(options: &[T], file: Vec<T>) -> Vec<T> {
    if options.is_empty() {
        file
    } else {
        options.to_vec()
    }
}

fn default_mount() -> Outcome<Mount> {
    if rustix::process::geteuid().is_root() {
        return Ok(Mount::At("/net".into()));
    }
    match std::env::var_os("HOME") {
        Some(home) => Ok(Mount::At(PathBuf::from(home).join("net"))),
        None => Err(Failure::usage(
            "--mount",
            "HOME is not set, so say where to mount, or use --no-mount",
        )),
    }
}

/// The first label of the host name; what cannot stand in a node's name becomes `-`.
fn host_name() -> Outcome<String> {
    let names = rustix::system::uname();
    let host = names.nodename().to_string_lossy();
    let label = host.split('.').next().unwrap_or_default();
    let name: String = label
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() || letter == '_' {
                letter
            } else {
                '-'
            }
        })
        .take(NodeName::LEN_MAX)
        .collect();
    if name.is_empty() {
        return Err(Failure::usage(
            "--name",
            "this machine has no host name, so give one",
        ));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_GLOBAL: GlobalOptions = GlobalOptions {
        dir: None,
        log: None,
        supervised: None,
    };

    #[test]
    fn an_option_replaces_what_the_file_says() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "name = 'file'\nport = 9\nlink = ['eth0']\nmount = false\ndetect = 'fast'\none-port = true\n\
                    [[export]]\ndirectory = '/a'\npath = '/a'\n";
        std::fs::write(file.path(), text).unwrap();
        let node = NodeOptions {
            name: Some("option".to_owned()),
            links: vec!["eth1".to_owned()],
            detect: Some(Detect::Relaxed),
            config: Some(file.path().to_owned()),
            ..NodeOptions::default()
        };
        let machine = Machine::of(
            &NO_GLOBAL,
            &UpOptions {
                node,
                ..UpOptions::default()
            },
        )
        .unwrap();
        assert_eq!(machine.name.as_str(), "option");
        assert_eq!(machine.links, ["eth1"]);
        assert_eq!(machine.port, Some(9));
        assert_eq!(
            (machine.detect, machine.one_port),
            (Some(Detect::Relaxed), true)
        );
        assert_eq!(machine.mount, Mount::Nowhere);
        assert_eq!(machine.exports.len(), 1);
    }

    #[test]
    fn only_who_says_where_to_mount_is_failed_for_it() {
        let asked = |text: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            let node = NodeOptions {
                config: Some(file.path().to_owned()),
                ..NodeOptions::default()
            };
            let options = UpOptions {
                node,
                ..UpOptions::default()
            };
            Machine::of(&NO_GLOBAL, &options)
                .unwrap()
                .mount_is_asked_for
        };
        assert!(asked("name = 'lab1'\nmount = '/net'"));
        assert!(!asked("name = 'lab1'"));
    }

    #[test]
    fn every_word_for_detection_is_read_and_written() {
        for word in ["fast", "default", "relaxed"] {
            assert_eq!(detection(word).map(detection_word), Ok(word));
        }
        assert!(detection("quick").is_err_and(|why| why.contains("relaxed")));
    }
}
