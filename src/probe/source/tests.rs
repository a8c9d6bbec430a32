use std::net::TcpListener;

use super::*;
use crate::model::LocalReason;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn set(addresses: &[&str]) -> BTreeSet<IpAddr> {
    addresses.iter().map(|text| ip(text)).collect()
}

/// `eth0 10.0.0.1/24`, and ` -` behind it: not usable.
fn host(lines: &[&str]) -> Vec<HostAddress> {
    let address = |line: &&str| {
        let (line, usable) = line.strip_suffix(" -").map_or((*line, true), |line| (line, false));
        let (interface, rest) = line.split_once(' ').unwrap();
        let (addr, prefix) = rest.split_once('/').unwrap();
        let (addr, prefix) = (ip(addr), prefix.parse().unwrap());
        HostAddress { addr, prefix, interface: interface.to_owned(), usable }
    };
    lines.iter().map(address).collect()
}

#[test]
fn the_best_node_address() {
    const NONE: &str = "none";
    for (case, lines, virtual_addresses, target, expected) in [
        (
            "a VIP beside the node's address",
            &["eth0 fd00:10::11/64", "eth0 fd00:10::100/128", "eth0 fe80::1/64", "lo ::1/128"][..],
            &["fd00:10::100"][..],
            "fd00:10::21",
            "fd00:10::11",
        ),
        (
            "the VIP is the primary address",
            &["eth0 10.0.0.100/24", "eth0 10.0.0.11/24", "lo 127.0.0.1/8"],
            &["10.0.0.100"],
            "10.0.0.21",
            "10.0.0.11",
        ),
        (
            "several VIPs",
            &["eth0 10.0.0.100/24", "eth0 10.0.0.20/24", "eth0 10.0.0.11/24"],
            &["10.0.0.100", "10.0.0.20"],
            "10.0.0.21",
            "10.0.0.11",
        ),
        ("the VIP alone", &["eth0 10.0.0.100/24", "lo 127.0.0.1/8"], &["10.0.0.100"], "10.0.0.21", NONE),
        (
            "deprecated, tentative or on an interface that is down",
            &["eth0 fd00:10::100/64", "eth0 fd00:10::11/64 -"],
            &["fd00:10::100"],
            "fd00:10::21",
            NONE,
        ),
        (
            "the longest common prefix",
            &["eth0 fd00:10::100/64", "eth0 fd00:10::11/64", "eth0 fd00:10::20/64"],
            &["fd00:10::100"],
            "fd00:10::21",
            "fd00:10::20",
        ),
        (
            "equally good ones: always the same",
            &["eth0 10.0.0.100/24", "eth0 10.0.0.3/24", "eth0 10.0.0.2/24"],
            &["10.0.0.100"],
            "10.0.0.21",
            "10.0.0.2",
        ),
        (
            "the target's subnet before the interface",
            &["lo 10.9.0.100/32", "lo 10.9.0.1/32", "eth0 10.0.0.11/24"],
            &["10.9.0.100"],
            "10.0.0.21",
            "10.0.0.11",
        ),
        (
            "a target behind a gateway: the interface of the VIP before a longer prefix",
            &["eth0 10.0.0.100/24", "eth0 10.0.0.11/24", "lo 10.7.0.1/32", "eth1 10.7.7.1/24"],
            &["10.0.0.100"],
            "10.7.0.21",
            "10.0.0.11",
        ),
        (
            "the host's own address on lo",
            &["eth0 10.0.0.100/24", "lo 10.7.0.1/32", "eth1 192.0.2.1/24"],
            &["10.0.0.100"],
            "10.8.0.21",
            "10.7.0.1",
        ),
        (
            "only another network's",
            &["eth0 10.0.0.100/24", "eth1 192.0.2.1/24"],
            &["10.0.0.100"],
            "10.0.0.21",
            NONE,
        ),
        (
            "only a link-local one for a global target",
            &["eth0 fd00:10::100/128", "eth0 fe80::1/64"],
            &["fd00:10::100"],
            "fd00:10::21",
            NONE,
        ),
        (
            "link-local: on the same interface",
            &["eth0 fe80::100/64", "eth0 fd00::1/64", "eth1 fe80::20/64", "eth0 fe80::1/64"],
            &["fe80::100"],
            "fe80::21",
            "fe80::1",
        ),
        (
            "link-local: another interface's is none",
            &["eth0 fe80::100/64", "eth1 fe80::20/64"],
            &["fe80::100"],
            "fe80::21",
            NONE,
        ),
        (
            "the target is this host's secondary address",
            &["eth0 10.0.0.100/24", "eth0 10.0.0.11/24", "eth0 10.0.0.12/24"],
            &["10.0.0.100"],
            "10.0.0.12",
            "10.0.0.12",
        ),
        (
            "the other family's is none",
            &["eth0 fd00:10::100/128", "eth0 10.0.0.11/24"],
            &["fd00:10::100"],
            "fd00:10::21",
            NONE,
        ),
    ] {
        let chosen = ip(virtual_addresses[0]);
        let found = node_address(&host(lines), &set(virtual_addresses), chosen, ip(target));
        assert_eq!(found.map_or(NONE.to_owned(), |addr| addr.to_string()), expected, "{case}");
    }
}

#[test]
fn the_kernel_is_asked_without_a_packet() {
    // Nobody listens there, and nothing is refused.
    for target in ["127.0.10.21:9", "127.0.0.1:9"] {
        assert_eq!(kernels_choice(target.parse().unwrap(), None), Ok(ip("127.0.0.1")), "{target}");
    }
}

/// A demonstration on one machine: the virtual servers are on loopback too.
#[test]
fn what_stays_on_this_host_is_left_alone() {
    let listener = TcpListener::bind("127.0.10.21:0").unwrap();
    let sources = Sources::new(Clock::start());
    sources.set_virtual_addresses(set(&["127.0.0.1", "127.0.10.100", "127.0.10.21"]));
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let peer = listener.local_addr().unwrap();
    assert_eq!(sources.bind(&socket, peer, None), Ok(()));
    socket.connect(&peer.into()).unwrap();
    assert_eq!(socket.local_addr().unwrap().as_socket().unwrap().ip(), ip("127.0.0.1"));
}

#[test]
fn a_choice_that_has_changed_since_is_noticed_and_asked_for_anew() {
    let sources = Sources::new(Clock::start());
    sources.set_virtual_addresses(set(&["10.0.0.100"]));
    // Nobody listens there, and nothing is sent.
    let peer = "127.0.0.1:9".parse().unwrap();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    assert_eq!(sources.bind(&socket, peer, None), Ok(()));
    assert_eq!(sources.own().drain().map(|(key, _)| key).collect::<Vec<_>>(), [(ip("127.0.0.1"), None)]);

    let (server, now) = (ip("10.0.0.21"), sources.clock.mono());
    for mark in [None, Some(7)] {
        sources.own().insert((server, mark), now);
    }
    assert_eq!(sources.left_from(ip("10.0.0.11"), server, None), Ok(()));
    assert_eq!(sources.own().len(), 2);
    let stop = sources.left_from(ip("10.0.0.100"), server, None).unwrap_err();
    let Stop::Local(LocalReason::LocalError, detail) = stop else { panic!("{stop:?}") };
    assert!(detail.contains("begun to send from 10.0.0.100"), "{detail}");
    assert_eq!(sources.own().keys().collect::<Vec<_>>(), [&(server, Some(7))]);
    // Other virtual addresses, other choices.
    sources.set_virtual_addresses(set(&["10.0.0.100", "10.0.0.101"]));
    assert!(sources.own().is_empty());
}

#[test]
fn the_longest_detail_is_not_cut() {
    let long = "2001:1111:2222:3333:4444:5555:6666:7777";
    let peer = SocketAddr::new(ip(long), 80);
    let stop = no_node_address(ip(long), peer);
    let Stop::Local(LocalReason::LocalError, detail) = stop else { panic!("{stop:?}") };
    assert!(detail.len() <= crate::model::DETAIL_LIMIT_BYTES, "{} bytes", detail.len());
    assert!(detail.contains("write the check's `source`"), "{detail}");
}
