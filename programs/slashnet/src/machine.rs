//! What `slashnet up` and `slashnet node` shall run, from options and config file together.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use abi::NodeName;

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
    pub(crate) mount: Mount,
    /// An option or the config file says where to mount, so that a failure is one.
    pub(crate) mount_is_asked_for: bool,
    pub(crate) detach: bool,
    pub(crate) log: Option<String>,
    pub(crate) serials: Vec<SerialOffer>,
    pub(crate) exports: Vec<ExportOffer>,
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
            mount,
            mount_is_asked_for,
            detach: options.detach || file.detach,
            log: global.log.clone().or(file.log),
            serials: replaced(&options.serials, file.serials),
            exports: replaced(&options.exports, file.exports),
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

/// Checks the form of a link: an address, an address with a port, or an interface name.
pub(crate) fn link(text: &str) -> Result<String, String> {
    let address = text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok();
    // The kernel's own rule for interface names: IFNAMSIZ with its final zero byte, no '/', no
    // blanks.
    let interface = (1..16).contains(&text.len())
        && !text.contains(|letter: char| {
            letter == '/' || letter.is_whitespace() || letter.is_control()
        });
    if address || interface {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "found link '{text}', expected an interface such as eth0 or an IP address"
        ))
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
        let text = "name = 'file'\nport = 9\nlink = ['eth0']\nmount = false\n\
                    [[export]]\ndirectory = '/a'\npath = '/a'\n";
        std::fs::write(file.path(), text).unwrap();
        let node = NodeOptions {
            name: Some("option".to_owned()),
            links: vec!["eth1".to_owned()],
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
    fn a_link_is_an_interface_or_an_address() {
        for good in [
            "eth0",
            "en0.7",
            "192.0.2.7",
            "fe80::1",
            "127.77.0.1:4000",
            "[::1]:4000",
        ] {
            assert_eq!(link(good).as_deref(), Ok(good));
        }
        for bad in ["", "a/b", "two words", "a-name-longer-than-a-kernel-allows"] {
            assert!(link(bad).is_err(), "{bad}");
        }
    }
}
