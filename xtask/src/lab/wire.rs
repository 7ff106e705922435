//! What a cable is like: its rate, its losses, its offload; and what has passed through an interface.
//!
//! All of it is done in the namespace in the middle, so that no host knows of it.

use super::host::{Host, Lab, SWITCH};
use crate::Outcome;
use std::fs;

/// How fast a cable is and how much waits before it.
#[derive(Clone, Copy)]
pub(crate) struct Rate {
    /// In Mbit/s.
    pub(crate) megabits: u32,
    /// In KiB: what a switch of this kind has for a port.
    pub(crate) queue: u32,
}

impl Rate {
    /// A queue of 8 ms, and at least 64 KiB.
    pub(crate) fn megabits(megabits: u32) -> Self {
        Self {
            megabits,
            queue: megabits.max(64),
        }
    }
}

/// What has passed through an interface of a host.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) received_packets: u64,
    pub(crate) sent_packets: u64,
}

impl Counters {
    /// Bytes in both directions.
    pub(crate) fn bytes(self) -> u64 {
        self.received_bytes + self.sent_bytes
    }

    /// Packets in both directions.
    pub(crate) fn packets(self) -> u64 {
        self.received_packets + self.sent_packets
    }
}

impl Lab {
    /// Limits a cable to `rate` towards every host, with drops at the end of the queue.
    pub(crate) fn shape(&self, cable: u8, rate: Rate) -> Outcome {
        for host in self.hosts() {
            Host::find(SWITCH)?.output(&[
                "tc",
                "qdisc",
                "replace",
                "dev",
                &host.port(cable),
                "root",
                "tbf",
                "rate",
                &format!("{}mbit", rate.megabits),
                "burst",
                &format!("{}k", (rate.megabits / 16).max(8)),
                "limit",
                &format!("{}k", rate.queue),
            ])?;
        }
        Ok(())
    }

    /// Loses `percent` of the packets of a cable at random, in each direction.
    pub(crate) fn lose(&self, cable: u8, percent: u32) -> Outcome {
        for host in self.hosts() {
            let port = host.port(cable);
            let rules = format!(
                "table netdev loss-{port} {{
                    chain in {{
                        type filter hook ingress device \"{port}\" priority 0
                        numgen random mod 100 < {percent} counter drop
                    }}
                }}"
            );
            Host::find(SWITCH)?.output(&["nft", &rules])?;
        }
        Ok(())
    }

    /// Has every host cut its packets to the MTU before they leave, and join none that arrive: a plain network card.
    pub(crate) fn without_offload(&self, cables: u8) -> Outcome {
        for host in self.hosts() {
            for cable in 0..cables {
                let interface = format!("eth{cable}");
                host.output(&[
                    "ethtool", "-K", &interface, "gso", "off", "tso", "off", "gro", "off", "tx",
                    "off", "sg", "off",
                ])?;
            }
        }
        Ok(())
    }
}

impl Host {
    /// The name of this host's port of a cable, in the middle.
    pub(crate) fn port(&self, cable: u8) -> String {
        format!("{}-{cable}", self.name())
    }

    /// What has passed through `interface` so far.
    pub(crate) fn counters(&self, interface: &str) -> Outcome<Counters> {
        let path = format!("/proc/{}/net/dev", self.pid());
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        Counters::of(&text, interface).ok_or_else(|| format!("{path}: no {interface}"))
    }
}

impl Counters {
    fn of(table: &str, interface: &str) -> Option<Self> {
        let row = table
            .lines()
            .find_map(|line| line.trim().strip_prefix(interface)?.strip_prefix(':'))?;
        let mut fields = row.split_whitespace().map(str::parse);
        let mut at = |index: usize| fields.nth(index)?.ok();
        Some(Self {
            received_bytes: at(0)?,
            received_packets: at(0)?,
            sent_bytes: at(6)?,
            sent_packets: at(0)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_from_the_row_of_the_interface() {
        let table = "Inter-| Receive | Transmit\n\
            \x20 eth1:       1 2 0 0 0 0 0 0 3 4 0 0 0 0 0 0\n\
            eth10: 101 102 0 0 0 0 0 0 103 104 0 0 0 0 0 0\n";
        let found = Counters::of(table, "eth10").unwrap_or_default();
        assert_eq!((found.bytes(), found.packets()), (204, 206));
        assert_eq!(Counters::of(table, "eth1").map(Counters::bytes), Some(4));
        assert!(Counters::of(table, "eth0").is_none());
    }
}
