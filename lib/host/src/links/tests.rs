use super::*;
use crate::interfaces::Change;
use crate::link_spec::Place;
use crate::netlink::Netlink;
use rustix::event::epoll::CreateFlags;
use std::net::SocketAddr;
use std::os::fd::AsFd;

const OWN: Own = Own {
    port: 0,
    name: [7; 8],
};

fn links(wanted: &[&str]) -> Result<Links, StartError> {
    let (_, interfaces) = Netlink::open().unwrap();
    let wanted = wanted.iter().map(|text| text.parse().unwrap()).collect();
    Links::open(wanted, OWN, &interfaces)
}

fn ip(config: &LinkConfig) -> String {
    let address: SocketAddr = config.address.socket_address().unwrap();
    assert_ne!(address.port(), 0);
    address.ip().to_string()
}

#[test]
fn a_link_can_be_an_address_of_the_loopback_and_has_its_mtu() {
    let links = links(&["127.0.77.1"]).unwrap();
    let [config] = links.configs().try_into().unwrap();
    assert_eq!(
        (config.name.as_str(), ip(&config).as_str()),
        ("127.0.77.1", "127.0.77.1")
    );
    let shown = std::fs::read_to_string("/sys/class/net/lo/mtu").unwrap();
    let mtu = (shown.trim().parse::<u32>().unwrap() - 28).min(65_472);
    assert_eq!(u32::from(config.mtu), mtu);
    assert!(config.up && config.device.is_empty());
}

#[test]
fn an_interface_is_found_by_its_name_and_sockets_are_bound_to_it() {
    let [config] = links(&["lo"]).unwrap().configs().try_into().unwrap();
    assert_eq!(
        (ip(&config).as_str(), config.device.as_str()),
        ("127.0.0.1", "lo")
    );
}

#[test]
fn one_interface_used_in_two_ways_is_two_links_with_two_names() {
    let links = links(&["nosuch0", "ethernet:nosuch0"]).unwrap();
    let names = links.configs().into_iter().map(|config| config.name);
    let names: Vec<String> = names.collect();
    assert_eq!(names, ["nosuch0", "ethernet:nosuch0"]);
}

#[test]
fn a_link_that_is_not_there_yet_is_waited_for() {
    let links = links(&["nosuch0", "192.0.2.77"]).unwrap();
    for config in links.configs() {
        assert!(!config.up && config.address.is_none(), "{config:?}");
    }
    assert!(
        links.slots[0].config.why.contains("no such interface"),
        "{links:?}"
    );
    assert!(
        links.slots[1]
            .config
            .why
            .contains("no interface of this machine")
    );
}

#[test]
fn what_is_there_and_cannot_be_used_is_refused() {
    let taken = links(&["127.0.77.2"]).unwrap();
    let (_, interfaces) = Netlink::open().unwrap();
    let port = taken.configs()[0].address.socket_address().unwrap().port();
    let again = vec!["127.0.77.2".parse().unwrap()];
    let why = Links::open(again, Own { port, ..OWN }, &interfaces)
        .unwrap_err()
        .to_string();
    assert!(
        why.contains("127.0.77.2") && why.contains("--port"),
        "{why}"
    );
    let why = links(&["lo", "lo"]).unwrap_err().to_string();
    assert!(why.contains("twice"), "{why}");
}

#[test]
fn a_link_that_goes_and_returns_gets_another_socket_and_keeps_its_number_and_port() {
    let mut links = links(&["lo", "127.0.77.3"]).unwrap();
    let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
    let epoll = epoll.as_fd();
    let first = links.configs();
    let (_, interfaces) = Netlink::open().unwrap();
    let quiet = links.update(&interfaces, epoll, 0);
    assert_eq!(quiet, Update::default());
    let gone = links.update(&Interfaces::default(), epoll, 0);
    assert!(gone.changed && !gone.again);
    assert!(links.driver(0).is_none() && links.driver(1).is_none());
    assert!(links.configs().iter().all(|config| !config.up));
    assert_eq!(
        links.configs()[0].address,
        first[0].address,
        "as it was last"
    );
    assert!(links.update(&interfaces, epoll, 0).changed);
    for (before, after) in first.iter().zip(links.configs()) {
        assert_eq!(
            (before.address, before.epoch + 1),
            (after.address, after.epoch)
        );
    }
}

#[test]
fn interfaces_that_come_are_used_where_none_were_named_and_push_out_only_what_is_gone() {
    let mut links = Links::open(Vec::new(), OWN, &Interfaces::default()).unwrap();
    assert!(links.configs().is_empty());
    for number in 0..LINKS_MAX {
        let gone = LinkSpec::interface(&format!("gone{number}"));
        links.slots.push(Slot::new(gone));
    }
    let (_, real) = Netlink::open().unwrap();
    let lo = real.by_name("lo").unwrap();
    let mut interfaces = Interfaces::default();
    for (index, name) in [(1, "lo"), (2, "second")] {
        let mut new = lo.clone();
        (new.index, new.name, new.loopback) = (index, name.to_owned(), false);
        new.addresses.clear();
        interfaces.apply(Change::Interface(new));
        interfaces.apply(Change::Address(index, lo.addresses[0]));
    }
    let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
    links.update(&interfaces, epoll.as_fd(), 0);
    let configs = links.configs();
    assert_eq!(configs.len(), LINKS_MAX);
    assert_eq!(
        (configs[0].name.as_str(), ip(&configs[0]).as_str()),
        ("lo", "127.0.0.1")
    );
    assert_eq!(configs[1].name, "second", "both found a place");
    assert!(matches!(&links.slots[2].spec.place, Place::Interface(name) if name == "gone2"));
}
