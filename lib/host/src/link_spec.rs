//! A link as an operator asks for it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use abi::system::{LinkKind, Protection};

/// Smallest MTU: every medium of IPv6 carries it, and so must every link.
pub(crate) const MTU_MIN: u32 = 1280;
const MTU_MAX: u32 = 65_535;
/// The kernel's own rule for names of interfaces: `IFNAMSIZ` with its final zero byte.
const NAME_MAX: usize = 15;
/// What a path can name in a link policy.
const DIRECTORY_NAME_MAX: usize = 55;
const EXPECTED: &str = "expected an interface such as eth0 or ethernet:eth0, an IP address, or memory:/DIRECTORY, then options";

/// A link and how it is to be used: `eth0`, `192.0.2.7`, `fe80::1%eth0`, `ethernet:eth1` or `memory:/run/lab`, with
/// options after commas.
///
/// A directory is for nodes of one machine that both can reach it, as containers may. Whoever may write there is
/// trusted, so it must belong to the node's user or root alone.
///
/// | option | |
/// |---|---|
/// | `mtu=BYTES` | packets no larger than this, headers of IP included; 1280 to 65535 |
/// | `speed=BITS` | bits per second that it carries, such as `100M` or `2.5G`, where the interface does not know |
/// | `trusted` | nobody reads or forges packets on this medium; always so with `memory:` |
/// | `cipher=off` | packets are not encrypted; only on a trusted link. `cipher=on` encrypts on `memory:`, too |
/// | `crc=off` | nor do they carry a checksum; only with `cipher=off` |
/// | `ack=on`, `ack=off` | whether packets are acknowledged: always, where the medium may lose them |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkSpec {
    pub(crate) kind: LinkKind,
    pub(crate) place: Place,
    pub(crate) mtu: Option<u32>,
    /// In bytes per second.
    pub(crate) speed: Option<u64>,
    pub(crate) trusted: bool,
    pub(crate) protection: Protection,
}

/// Where a link is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Interface(String),
    /// Port and interface only where they were given.
    Address {
        ip: IpAddr,
        interface: Option<String>,
        port: Option<u16>,
    },
    /// Shared by nodes of one machine.
    Directory(PathBuf),
}

impl LinkSpec {
    /// An interface, with UDP and no options.
    pub(crate) fn interface(name: &str) -> Self {
        Self {
            kind: LinkKind::Udp,
            place: Place::Interface(name.to_owned()),
            mtu: None,
            speed: None,
            trusted: false,
            protection: Protection::Sealed,
        }
    }

    /// What tables and messages call it: the interface, the address without port, or the directory's last component.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.place {
            Place::Interface(name) => name.clone(),
            Place::Address {
                ip,
                interface: Some(interface),
                ..
            } => format!("{ip}%{interface}"),
            Place::Address { ip, .. } => ip.to_string(),
            Place::Directory(directory) => {
                let last = directory.file_name().unwrap_or_default();
                last.to_string_lossy().into_owned()
            }
        }
    }

    fn option(&mut self, option: &str, asked: &mut Asked) -> Result<(), String> {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let twice = |known: bool| {
            let text = format!("found '{key}' twice, expected it once");
            if known { Err(text) } else { Ok(()) }
        };
        match key {
            "mtu" => {
                twice(self.mtu.is_some())?;
                self.mtu = Some(mtu(value)?);
            }
            "speed" => {
                twice(self.speed.is_some())?;
                self.speed = Some(speed(value)?);
            }
            "trusted" if value.is_empty() && option == key => {
                twice(self.trusted)?;
                self.trusted = true;
            }
            "cipher" => {
                twice(asked.cipher.is_some())?;
                asked.cipher = Some(switch(key, value)?);
            }
            "crc" => {
                twice(asked.crc.is_some())?;
                asked.crc = Some(switch(key, value)?);
            }
            "ack" => {
                twice(asked.ack.is_some())?;
                asked.ack = Some(switch(key, value)?);
            }
            _ => {
                return Err(format!(
                    "found option '{option}', expected mtu=BYTES, speed=BITS, trusted, cipher=on|off, crc=on|off or ack=on|off"
                ));
            }
        }
        Ok(())
    }

    /// Refuses what would not be sound.
    fn settle(&mut self, asked: &Asked) -> Result<(), String> {
        if asked.ack == Some(false) {
            let medium = self.kind.text().to_lowercase();
            return Err(format!(
                "found 'ack=off', but {medium} may lose packets, and what is lost is sent again only if its \
                 acknowledgement is missing"
            ));
        }
        if asked.cipher == Some(false) && !self.trusted {
            return Err(
                "found 'cipher=off' on a link that is not declared trusted: everybody on its medium could read and \
                 forge packets; add 'trusted' if nobody there does"
                    .to_owned(),
            );
        }
        let memory = self.kind == LinkKind::Memory;
        self.protection = match (asked.cipher, asked.crc) {
            // Memory does not err.
            (None, None | Some(false)) if memory => Protection::Plain,
            (None, Some(true)) if memory => Protection::Checksum,
            (Some(false), Some(false)) => Protection::Plain,
            (Some(false), _) => Protection::Checksum,
            (_, Some(false)) => {
                return Err(
                    "found 'crc=off' without 'cipher=off': the cipher itself checks every packet, there is no other \
                     checksum to leave out"
                        .to_owned(),
                );
            }
            _ => Protection::Sealed,
        };
        Ok(())
    }
}

/// What options said, before it is known whether it is sound.
#[derive(Default)]
struct Asked {
    ack: Option<bool>,
    cipher: Option<bool>,
    crc: Option<bool>,
}

impl FromStr for LinkSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let place = parts.next().unwrap_or_default();
        let mut spec = match place.split_once(':') {
            Some(("memory", directory)) => Self {
                kind: LinkKind::Memory,
                place: shared_directory(directory).ok_or_else(|| unknown(text))?,
                trusted: true,
                ..Self::interface("")
            },
            Some(("ethernet", name)) => Self {
                kind: LinkKind::Ethernet,
                place: Place::Interface(interface_name(name).ok_or_else(|| unknown(text))?),
                ..Self::interface("")
            },
            _ => Self {
                place: address(place)
                    .or_else(|| interface_name(place).map(Place::Interface))
                    .ok_or_else(|| unknown(text))?,
                ..Self::interface("")
            },
        };
        if let Place::Address { ip, .. } = &spec.place
            && (ip.is_unspecified() || ip.is_multicast())
        {
            return Err(format!(
                "found link '{ip}', expected the address of one interface; without any link all interfaces are used"
            ));
        }
        let mut asked = Asked::default();
        let at = |why: String| format!("link '{place}': {why}");
        for option in parts {
            spec.option(option, &mut asked).map_err(at)?;
        }
        spec.settle(&asked).map_err(at)?;
        Ok(spec)
    }
}

impl fmt::Display for LinkSpec {
    /// Kind and place, for messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.place, self.kind) {
            (Place::Directory(directory), _) => write!(f, "memory:{}", directory.display()),
            (_, LinkKind::Ethernet) => write!(f, "ethernet:{}", self.name()),
            _ => f.write_str(&self.name()),
        }
    }
}

fn unknown(text: &str) -> String {
    format!("found link '{text}', {EXPECTED}")
}

fn interface_name(text: &str) -> Option<String> {
    let legal = |letter: char| {
        !(matches!(letter, '/' | ':') || letter.is_whitespace() || letter.is_control())
    };
    let good = (1..=NAME_MAX).contains(&text.len())
        && text.chars().all(legal)
        && !matches!(text, "." | "..");
    good.then(|| text.to_owned())
}

/// An absolute path whose last component can be the name of a link.
fn shared_directory(text: &str) -> Option<Place> {
    let directory = PathBuf::from(text);
    let name = directory.file_name()?.to_str()?;
    let good = directory.is_absolute()
        && name.len() <= DIRECTORY_NAME_MAX
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'~');
    good.then_some(Place::Directory(directory))
}

fn address(text: &str) -> Option<Place> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(Place::Address {
            ip: address.ip(),
            interface: None,
            port: Some(address.port()).filter(|port| *port > 0),
        });
    }
    let (ip, interface) = match text.split_once('%') {
        Some((ip, interface)) => (ip, Some(interface_name(interface)?)),
        None => (text, None),
    };
    let ip = ip.parse().ok()?;
    Some(Place::Address {
        ip,
        interface,
        port: None,
    })
}

fn switch(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        other => Err(format!(
            "found '{key}={other}', expected {key}=on or {key}=off"
        )),
    }
}

fn mtu(value: &str) -> Result<u32, String> {
    value
        .parse()
        .ok()
        .filter(|mtu| (MTU_MIN..=MTU_MAX).contains(mtu))
        .ok_or_else(|| format!("found 'mtu={value}', expected {MTU_MIN} to {MTU_MAX} bytes"))
}

fn speed(value: &str) -> Result<u64, String> {
    let refused = || {
        format!(
            "found 'speed={value}', expected bits per second such as 100M, 1G or 2.5G, at most 1000G"
        )
    };
    let unit = match value.chars().last() {
        Some('k' | 'K') => 1e3,
        Some('M') => 1e6,
        Some('G') => 1e9,
        _ => return Err(refused()),
    };
    let number: f64 = value[..value.len() - 1]
        .parse()
        .map_err(|_none| refused())?;
    let bits = number * unit;
    if (8e3..=1e12).contains(&bits) {
        Ok((bits / 8.0) as u64)
    } else {
        Err(refused())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> LinkSpec {
        text.parse().unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    #[test]
    fn a_link_is_an_interface_or_an_address_of_one() {
        assert_eq!(spec("eth0").place, Place::Interface("eth0".into()));
        assert_eq!(spec("en0.7").name(), "en0.7");
        let port = |text: &str| match spec(text).place {
            Place::Address { port, .. } => port,
            _ => panic!("{text} is an address"),
        };
        assert_eq!(port("192.0.2.7"), None);
        assert_eq!(port("127.77.0.1:4000"), Some(4000));
        assert_eq!(port("[::1]:4000"), Some(4000));
        assert_eq!(spec("fe80::1").name(), "fe80::1");
        assert_eq!(spec("fe80::1%eth0").name(), "fe80::1%eth0");
        assert_eq!(spec("ethernet:eth1").kind, LinkKind::Ethernet);
        assert_eq!(spec("ethernet:eth1").to_string(), "ethernet:eth1");
    }

    #[test]
    fn options_say_how_a_link_is_used() {
        let eth0 = spec("eth0,mtu=9000,speed=2.5G,crc=on,ack=on");
        assert_eq!((eth0.mtu, eth0.speed), (Some(9000), Some(312_500_000)));
        assert_eq!(eth0.protection, Protection::Sealed);
        assert_eq!(spec("eth0,trusted").protection, Protection::Sealed);
        let plain = |text: &str| spec(text).protection;
        assert_eq!(plain("eth0,trusted,cipher=off"), Protection::Checksum);
        assert_eq!(plain("eth0,cipher=off,crc=off,trusted"), Protection::Plain);
    }

    #[test]
    fn a_shared_directory_is_trusted_and_needs_no_cipher_unless_told_so() {
        let memory = spec("memory:/run/shared/lab");
        assert_eq!((memory.kind, memory.trusted), (LinkKind::Memory, true));
        assert_eq!(
            (memory.name().as_str(), memory.to_string().as_str()),
            ("lab", "memory:/run/shared/lab")
        );
        assert_eq!(memory.protection, Protection::Plain);
        assert_eq!(spec("memory:/a,crc=on").protection, Protection::Checksum);
        assert_eq!(spec("memory:/a,cipher=on").protection, Protection::Sealed);
        assert_eq!(
            spec("memory:/a,cipher=off,crc=on").protection,
            Protection::Checksum
        );
    }

    #[test]
    fn what_is_no_link_or_not_sound_is_refused_with_the_reason() {
        let refused = [
            ("", "found link ''"),
            ("a/b", "found link 'a/b'"),
            ("two words", "expected an interface"),
            (
                "a-name-longer-than-a-kernel-allows",
                "expected an interface",
            ),
            ("ethernet:", "expected an interface"),
            ("ethernet:10.0.0.1:5", "expected an interface"),
            ("fe80::1%", "expected an interface"),
            ("memory:", "memory:/DIRECTORY"),
            ("memory:run", "memory:/DIRECTORY"),
            ("memory:/", "memory:/DIRECTORY"),
            ("memory:/a/b~c", "memory:/DIRECTORY"),
            ("memory:/a,ack=off", "memory may lose packets"),
            ("0.0.0.0", "one interface"),
            ("eth0,", "found option ''"),
            ("eth0,fast", "found option 'fast', expected mtu"),
            ("eth0,trusted=yes", "found option 'trusted=yes'"),
            ("eth0,mtu=1279", "expected 1280 to 65535"),
            ("eth0,mtu=-1", "expected 1280"),
            ("eth0,mtu=1500,mtu=1500", "'mtu' twice"),
            ("eth0,speed=1000", "such as 100M"),
            ("eth0,speed=-1G", "such as 100M"),
            ("eth0,speed=G", "such as 100M"),
            ("eth0,speed=nanG", "such as 100M"),
            ("eth0,crc=maybe", "crc=on or crc=off"),
            ("eth0,ack=off", "udp may lose packets"),
            ("ethernet:eth0,ack=off,trusted", "ethernet may lose packets"),
            ("eth0,cipher=off", "not declared trusted"),
            ("eth0,trusted,crc=off", "the cipher itself checks"),
        ];
        for (text, expected) in refused {
            let why = text.parse::<LinkSpec>().expect_err(text);
            assert!(why.contains(expected), "{text}: {why}");
        }
    }
}
