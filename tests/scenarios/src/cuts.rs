//! Cuts of single links, by packet filters in a network namespace of the test's own.

use std::net::Ipv4Addr;
use std::process::Command;

/// The filters of this network namespace.
#[derive(Debug)]
pub struct Cuts {
    /// What the links of a cluster's nodes have in common, by link.
    networks: Vec<String>,
}

impl Cuts {
    /// No cuts yet. Each link counts the packets of programs. `links` are the addresses of one node of the cluster.
    #[must_use]
    pub fn new(links: &[Ipv4Addr]) -> Self {
        let networks: Vec<_> = links.iter().map(network).collect();
        nft("add table ip cuts");
        nft("add chain ip cuts programs { type filter hook output priority 0 ; }");
        nft("add chain ip cuts cuts { type filter hook output priority 1 ; }");
        for (link, network) in networks.iter().enumerate() {
            nft(&format!("add counter ip cuts link{link}"));
            let programs = "udp sport 41001-41999 udp dport 41001-41999";
            nft(&format!(
                "add rule ip cuts programs ip daddr {network} {programs} counter name link{link}"
            ));
        }
        Self { networks }
    }

    /// Loses every packet of a link from now on, without a word.
    pub fn cut(&self, link: usize) {
        let network = &self.networks[link];
        nft(&format!("add rule ip cuts cuts ip daddr {network} drop"));
    }

    /// Ends all cuts.
    pub fn mend(&self) {
        nft("flush chain ip cuts cuts");
    }

    /// Loses packets between programs, but not those of nodes.
    pub fn close_ports_of_programs(&self) {
        nft("add rule ip cuts cuts udp sport 41001-41999 drop");
        nft("add rule ip cuts cuts udp dport 41001-41999 drop");
    }

    /// Packets between programs that went over a link so far.
    #[must_use]
    pub fn packets(&self, link: usize) -> u64 {
        let output = nft(&format!("list counter ip cuts link{link}"));
        let mut words = output.split_whitespace();
        let packets = words.by_ref().find(|word| *word == "packets");
        let number = packets.and_then(|_| words.next());
        number.and_then(|number| number.parse().ok()).unwrap()
    }
}

/// The half of the last byte's values that a link of a cluster has.
fn network(address: &Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("{a}.{b}.{c}.{}/25", d & 0x80)
}

fn nft(command: &str) -> String {
    let output = Command::new("nft").arg(command).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nft {command}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
