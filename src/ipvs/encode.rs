//! The other half of the codec, for tests: rows as a kernel would send them.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use crate::model::{
    Counters, DestKey, Family, Forwarding, Protocol, RealServer, ServiceFlags, ServiceKey, Tunnel,
    TunnelKind, VirtualServer, Weight,
};

use super::abi;
use super::rows;
use super::wire::{self, Writer, attrs, messages};

/// The attributes that `body` writes.
pub fn nest(body: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    wire::message(&mut out, 0, 0, 0, abi::GET_INFO, body).unwrap();
    messages(&out).next().unwrap().unwrap().generic().unwrap().1.to_vec()
}

/// The attributes but for those kinds.
pub fn without(bytes: &[u8], kinds: &[u16]) -> Vec<u8> {
    nest(|w| attrs(bytes).map(Result::unwrap).filter(|a| !kinds.contains(&a.kind)).for_each(|a| w.raw(&a)))
}

pub fn service(row: &VirtualServer) -> Vec<u8> {
    let id = nest(|w| rows::put_service_id(w, row.key));
    let id = rows::nested(&id, abi::CMD_ATTR_SERVICE).unwrap().to_vec();
    let rest = nest(|w| {
        w.put(abi::SVC_ATTR_SCHED_NAME, &c_string(&row.scheduler));
        w.put(abi::SVC_ATTR_FLAGS, &[row.flags.0.to_ne_bytes(), [0xff; 4]].concat());
        w.put(abi::SVC_ATTR_TIMEOUT, &row.persistence_timeout.to_ne_bytes());
        let netmask = match row.key.family() {
            Family::V4 => u32::MAX.checked_shl(32 - u32::from(row.netmask_prefix)).unwrap_or(0).to_be_bytes(),
            Family::V6 => u32::from(row.netmask_prefix).to_ne_bytes(),
        };
        w.put(abi::SVC_ATTR_NETMASK, &netmask);
        if let Some(name) = &row.persistence_engine {
            w.put(abi::SVC_ATTR_PE_NAME, &c_string(name));
        }
        put_counters(w, abi::SVC_ATTR_STATS64, row.counters);
    });
    [id, rest].concat()
}

pub fn destination(row: &RealServer) -> Vec<u8> {
    let (family, mut addr) = match row.key.addr {
        std::net::IpAddr::V4(addr) => (abi::AF_INET, addr.octets().to_vec()),
        std::net::IpAddr::V6(addr) => (abi::AF_INET6, addr.octets().to_vec()),
    };
    addr.resize(16, 0);
    let tunnel = row.tunnel.unwrap_or(Tunnel { kind: TunnelKind::Ipip, port: 0, flags: 0 });
    let kind = match tunnel.kind {
        TunnelKind::Ipip => 0,
        TunnelKind::Gue => 1,
        TunnelKind::Gre => 2,
        TunnelKind::Other(number) => number,
    };
    let method: u32 = match row.forwarding {
        Forwarding::Masq => 0,
        Forwarding::Local => 1,
        Forwarding::Tunnel => 2,
        Forwarding::Route => 3,
        Forwarding::Bypass => 4,
    };
    nest(|w| {
        w.put(abi::DEST_ATTR_ADDR, &addr);
        w.put(abi::DEST_ATTR_PORT, &row.key.port.to_be_bytes());
        w.put(abi::DEST_ATTR_FWD_METHOD, &method.to_ne_bytes());
        w.put(abi::DEST_ATTR_WEIGHT, &row.weight.0.to_ne_bytes());
        w.put(abi::DEST_ATTR_TUN_TYPE, &[kind]);
        w.put(abi::DEST_ATTR_TUN_PORT, &tunnel.port.to_be_bytes());
        w.put(abi::DEST_ATTR_TUN_FLAGS, &tunnel.flags.to_ne_bytes());
        w.put(abi::DEST_ATTR_U_THRESH, &row.upper_threshold.to_ne_bytes());
        w.put(abi::DEST_ATTR_L_THRESH, &row.lower_threshold.to_ne_bytes());
        w.put(abi::DEST_ATTR_ACTIVE_CONNS, &row.active_connections.to_ne_bytes());
        w.put(abi::DEST_ATTR_INACT_CONNS, &row.inactive_connections.to_ne_bytes());
        w.put(abi::DEST_ATTR_PERSIST_CONNS, &row.persistent_connections.to_ne_bytes());
        w.put(abi::DEST_ATTR_ADDR_FAMILY, &family.to_ne_bytes());
        put_counters(w, abi::DEST_ATTR_STATS64, row.counters);
    })
}

fn put_counters(w: &mut Writer<'_>, kind: u16, counters: Option<Counters>) {
    if let Some(c) = counters {
        w.nest(kind, |w| {
            w.put(abi::STATS_ATTR_CONNS, &c.connections.to_ne_bytes());
            w.put(abi::STATS_ATTR_INPKTS, &c.incoming_packets.to_ne_bytes());
            w.put(abi::STATS_ATTR_OUTPKTS, &c.outgoing_packets.to_ne_bytes());
            w.put(abi::STATS_ATTR_INBYTES, &c.incoming_bytes.to_ne_bytes());
            w.put(abi::STATS_ATTR_OUTBYTES, &c.outgoing_bytes.to_ne_bytes());
        });
    }
}

fn c_string(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

/// Any virtual server, with up to three real servers.
pub fn any_service() -> impl Strategy<Value = VirtualServer> {
    let id = (any_key(), "[a-z]{1,15}", any::<u32>(), any::<u32>());
    let rest = (0_u8..=32, prop::option::of("[a-z]{1,15}"), prop::option::of(any_counters()));
    (id, rest, prop::collection::vec(any_destination(), 0..3)).prop_map(|(id, rest, destinations)| {
        let (key, scheduler, flags, persistence_timeout) = id;
        let (netmask_prefix, persistence_engine, counters) = rest;
        VirtualServer {
            key,
            scheduler,
            flags: ServiceFlags(flags),
            persistence_timeout,
            netmask_prefix,
            persistence_engine,
            counters,
            destinations,
        }
    })
}

fn any_key() -> impl Strategy<Value = ServiceKey> {
    let protocol = prop::sample::select(vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp]);
    let family = prop::sample::select(vec![Family::V4, Family::V6]);
    prop_oneof![
        (any_addr(), any::<u16>(), protocol).prop_map(|(addr, port, protocol)| ServiceKey::Address {
            addr,
            port,
            protocol
        }),
        (1_u32.., family).prop_map(|(mark, family)| ServiceKey::Fwmark { mark, family }),
    ]
}

fn any_addr() -> impl Strategy<Value = std::net::IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| Ipv4Addr::from(bits).into()),
        any::<u128>().prop_map(|bits| Ipv6Addr::from(bits).into()),
    ]
}

fn any_counters() -> impl Strategy<Value = Counters> {
    any::<[u64; 5]>().prop_map(|n| Counters {
        connections: n[0],
        incoming_packets: n[1],
        outgoing_packets: n[2],
        incoming_bytes: n[3],
        outgoing_bytes: n[4],
    })
}

fn any_destination() -> impl Strategy<Value = RealServer> {
    let forwarding = prop::sample::select(vec![
        Forwarding::Masq,
        Forwarding::Local,
        Forwarding::Tunnel,
        Forwarding::Route,
        Forwarding::Bypass,
    ]);
    let tunnel = (any::<u8>(), any::<u16>(), any::<u16>());
    let key = (any_addr(), any::<u16>());
    (key, forwarding, any::<[u32; 6]>(), tunnel, prop::option::of(any_counters())).prop_map(
        |((addr, port), forwarding, n, (kind, tunnel_port, flags), counters)| {
            let kind = match kind {
                0 => TunnelKind::Ipip,
                1 => TunnelKind::Gue,
                2 => TunnelKind::Gre,
                other => TunnelKind::Other(other),
            };
            let tunnel = Tunnel { kind, port: tunnel_port, flags };
            RealServer {
                key: DestKey { addr, port },
                place: None,
                forwarding,
                weight: Weight(n[0]),
                upper_threshold: n[1],
                lower_threshold: n[2],
                active_connections: n[3],
                inactive_connections: n[4],
                persistent_connections: n[5],
                tunnel: (forwarding == Forwarding::Tunnel).then_some(tunnel),
                counters,
            }
        },
    )
}
