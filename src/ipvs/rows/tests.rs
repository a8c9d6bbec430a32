use proptest::prelude::*;

use super::*;
use crate::ipvs::fixtures::{self, FAMILY, RICH_SAVE};
use crate::ipvs::wire::{self, Message, messages};
use crate::ipvs::{encode, save_format};

/// The answers of the capturing kernel under a heading: data messages only.
fn answers(received: &[Vec<u8>]) -> Vec<Message<'_>> {
    let all = received.iter().flat_map(|datagram| messages(datagram)).map(Result::unwrap);
    all.filter(|message| message.kind == FAMILY).collect()
}

fn captured_services() -> Vec<VirtualServer> {
    let capture = fixtures::exchange("get_service dump");
    let mut services: Vec<_> = answers(&capture.received)
        .iter()
        .map(|message| service(nested(message.generic().unwrap().1, abi::CMD_ATTR_SERVICE).unwrap()).unwrap())
        .collect();
    services.sort_by_key(|s| s.key);
    services
}

/// The rows of one GET_DEST dump, as bytes.
fn captured_dests(key: &str) -> Vec<Vec<u8>> {
    let capture = fixtures::exchange(&format!("get_dest {key}"));
    let rows = answers(&capture.received);
    rows.iter().map(|m| nested(m.generic().unwrap().1, abi::CMD_ATTR_DEST).unwrap().to_vec()).collect()
}

fn captured_dest(service: &str, dest: &str) -> (Vec<u8>, RealServer) {
    let family = service.parse::<ServiceKey>().unwrap().family();
    let rows = captured_dests(service).into_iter().map(|bytes| {
        let row = destination(&bytes, family).unwrap();
        (bytes, row)
    });
    rows.into_iter().find(|(_, row)| row.key.to_string() == dest).expect("a captured row")
}

#[test]
fn the_capture_reads_as_the_table_that_ipvsadm_saved_from_the_same_kernel() {
    let mut read = captured_services();
    let without_dests = ["10.0.0.100:0/tcp", "10.0.0.100:5061/udp"];
    for service in &mut read {
        let key = service.key.to_string();
        if !without_dests.contains(&key.as_str()) {
            let rows = captured_dests(&key);
            service.destinations =
                rows.iter().map(|row| destination(row, service.key.family()).unwrap()).collect();
            service.destinations.sort_by_key(|d| d.key);
        }
    }
    let mut saved = save_format::parse(RICH_SAVE).unwrap();
    for service in &mut saved {
        if !service.flags.persistent() {
            service.persistence_timeout = 0;
        }
        for dest in &mut service.destinations {
            if dest.key.to_string() == "10.0.0.12:80" {
                // Made with -x 1000 -y 500, which ipvsadm does not save.
                (dest.upper_threshold, dest.lower_threshold) = (1000, 500);
            }
        }
    }
    assert_eq!(read, saved);
}

#[test]
fn settings_and_daemons_are_read() {
    let body = |capture: &fixtures::Exchange| answers(&capture.received)[0].generic().unwrap().1.to_vec();
    let info = super::info(&body(&fixtures::exchange("get_info"))).unwrap();
    assert_eq!(info, IpvsInfo { version: 0x010201, connection_table_size: 4096 });
    let timeouts = super::timeouts(&body(&fixtures::exchange("get_config"))).unwrap();
    assert_eq!(timeouts, Timeouts { tcp: 900, tcp_fin: 120, udp: 300 });
    let family = fixtures::exchange("getfamily");
    let message = messages(&family.received[0]).next().unwrap().unwrap();
    assert_eq!(family_id(message.generic().unwrap().1), Ok(FAMILY));

    // The two daemons came in one datagram, of another boot with another family id.
    let capture = fixtures::daemons();
    let daemons: Vec<_> = messages(&capture.received[0])
        .map(|m| daemon(nested(m.unwrap().generic().unwrap().1, abi::CMD_ATTR_DAEMON).unwrap()).unwrap())
        .collect();
    let expected = |role, sync_id, max_len, group: &str, port, ttl| SyncDaemon {
        role,
        interface: "d0".to_owned(),
        sync_id,
        max_len: Some(max_len),
        group: Some(group.parse().unwrap()),
        port: Some(port),
        ttl: Some(ttl),
    };
    assert_eq!(
        daemons,
        [
            expected(SyncRole::Master, 7, 1472, "224.0.0.81", 8848, 1),
            expected(SyncRole::Backup, 8, 1400, "ff05::81", 9999, 3),
        ]
    );
}

#[test]
fn requests_are_the_bytes_that_the_kernel_understood() {
    for name in
        ["10.0.0.100:80/tcp", "10.0.0.100:5060/sctp", "[fd00::100]:443/tcp", "fwmark:7/ipv4", "fwmark:7/ipv6"]
    {
        let sent = fixtures::exchange(&format!("get_dest {name}")).sent;
        let seq = messages(&sent).next().unwrap().unwrap().seq;
        let mut built = Vec::new();
        let body = |w: &mut Writer<'_>| put_service_id(w, name.parse().unwrap());
        wire::message(&mut built, FAMILY, abi::NLM_F_DUMP, seq, abi::GET_DEST, body).unwrap();
        assert_eq!(built, sent, "{name}");
    }
    let sent = fixtures::exchange("getfamily").sent;
    let mut built = Vec::new();
    let body = |w: &mut Writer<'_>| w.put(abi::CTRL_ATTR_FAMILY_NAME, abi::FAMILY_NAME);
    wire::message(&mut built, abi::GENL_ID_CTRL, abi::NLM_F_ACK, 101, abi::GET_FAMILY, body).unwrap();
    assert_eq!(built, sent);
}

#[test]
fn errors_of_the_kernel_are_read() {
    for (name, errno) in [("get_service of a missing service", 3), ("stale family", 2)] {
        let capture = fixtures::exchange(name);
        let message = messages(&capture.received[0]).next().unwrap().unwrap();
        assert_eq!((message.kind, message.errno()), (abi::NLMSG_ERROR, Ok(errno)), "{name}");
    }
    // Trap 4: a missing service looks like an empty one.
    let empty = fixtures::exchange("get_dest of a missing service");
    let message = messages(&empty.received[0]).next().unwrap().unwrap();
    assert_eq!((message.kind, message.errno()), (abi::NLMSG_DONE, Ok(0)));
}

/// The DEST nest of the SET_DEST built from a row.
fn reweighted(row: &[u8], family: Family, weight: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let body = |w: &mut Writer<'_>| put_reweighted(w, row, family, Weight(weight));
    wire::message(&mut out, FAMILY, abi::NLM_F_ACK, 1, abi::SET_DEST, body).unwrap();
    let message = messages(&out).next().unwrap().unwrap();
    nested(message.generic().unwrap().1, abi::CMD_ATTR_DEST).unwrap().to_vec()
}

fn kinds_and_values(nest: &[u8]) -> Vec<(u16, Vec<u8>)> {
    attrs(nest).map(Result::unwrap).map(|a| (a.kind, a.value.to_vec())).collect()
}

const NOT_SETTABLE: [u16; 5] = [7, 8, 9, 10, 12];

#[test]
fn a_write_differs_from_the_row_in_nothing_but_the_weight() {
    for key in [
        "10.0.0.100:80/tcp",
        "10.0.0.100:81/tcp",
        "[fd00::100]:444/tcp",
        "fwmark:7/ipv6",
        "10.0.0.100:5060/sctp",
    ] {
        for row in captured_dests(key) {
            let mut expected = kinds_and_values(&row);
            expected.retain(|(kind, _)| !NOT_SETTABLE.contains(kind));
            for (kind, value) in &mut expected {
                if *kind == abi::DEST_ATTR_WEIGHT {
                    *value = 4711_u32.to_ne_bytes().to_vec();
                }
            }
            let family = Family::of(destination(&row, Family::V4).unwrap().key.addr);
            assert_eq!(kinds_and_values(&reweighted(&row, family, 4711)), expected, "{key}");
        }
    }
}

#[test]
fn a_gue_destination_is_written_as_the_kernel_wants_it() {
    let (row, dest) = captured_dest("10.0.0.100:80/tcp", "10.0.0.15:80");
    assert_eq!(dest.tunnel, Some(Tunnel { kind: TunnelKind::Gue, port: 6080, flags: 1 }));
    let mut address = vec![10, 0, 0, 15];
    address.resize(16, 0);
    assert_eq!(
        kinds_and_values(&reweighted(&row, Family::V4, 0)),
        [
            (1, address),
            (2, vec![0, 80]),
            (3, vec![2, 0, 0, 0]),
            (4, vec![0, 0, 0, 0]),
            (13, vec![1]),
            (14, 6080_u16.to_be_bytes().to_vec()),
            (15, vec![1, 0]),
            (5, vec![0; 4]),
            (6, vec![0; 4]),
            (11, vec![2, 0]),
        ]
    );
}

#[test]
fn unknown_attributes_survive_and_a_missing_family_is_added() {
    let (mut row, _) = captured_dest("10.0.0.100:80/tcp", "10.0.0.12:80");
    let invented = [9, 0, 77, 0x80, 1, 2, 3, 4, 5, 0, 0, 0];
    row.extend_from_slice(&invented);
    let written = reweighted(&row, Family::V4, 3);
    assert!(written.ends_with(&invented), "the invented attribute keeps its bytes, its flag included");

    let old_kernel: Vec<u8> = attrs(&row)
        .map(Result::unwrap)
        .filter(|a| a.kind != abi::DEST_ATTR_ADDR_FAMILY)
        .flat_map(|a| {
            let mut raw = a.raw.to_vec();
            raw.resize(raw.len().next_multiple_of(4), 0);
            raw
        })
        .collect();
    assert_eq!(destination(&old_kernel, Family::V4).unwrap().key.to_string(), "10.0.0.12:80");
    assert!(kinds_and_values(&reweighted(&old_kernel, Family::V4, 3)).contains(&(11, vec![2, 0])));
}

#[test]
fn rows_that_cannot_be_kept_are_errors() {
    let (row, _) = captured_dest("10.0.0.100:80/tcp", "10.0.0.12:80");
    let mut truncated = row.clone();
    truncated.truncate(row.len() - 3);
    let mut out = Vec::new();
    let body = |w: &mut Writer<'_>| put_reweighted(w, &truncated, Family::V4, Weight(1));
    assert!(wire::message(&mut out, FAMILY, 0, 1, abi::SET_DEST, body).is_err());
    assert!(out.is_empty(), "nothing is left to be sent: {out:?}");

    let without = |kind: u16| {
        let mut bytes = Vec::new();
        for attr in attrs(&row).map(Result::unwrap).filter(|a| a.kind != kind) {
            bytes.extend_from_slice(attr.raw);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    };
    for kind in [abi::DEST_ATTR_ADDR, abi::DEST_ATTR_PORT, abi::DEST_ATTR_FWD_METHOD, abi::DEST_ATTR_WEIGHT] {
        assert!(matches!(destination(&without(kind), Family::V4), Err(RowError::Malformed(_))), "{kind}");
    }
    let mut teleport = row;
    let at = attrs(&teleport.clone()).map(Result::unwrap).take_while(|a| a.kind != 3).count();
    assert_eq!(at, 2, "address (20 bytes) and port (8) come first");
    teleport[28 + 4] = 6;
    assert_eq!(destination(&teleport, Family::V4), Err(RowError::Forwarding(6)));
}

#[test]
fn statistics_prefer_64_bits() {
    let stats = |kind: u16, connections: &[u8]| {
        encode::nest(|w| {
            w.nest(kind, |w| {
                w.put(abi::STATS_ATTR_CONNS, connections);
                w.put(11, &[]);
                w.put(abi::STATS_ATTR_INBYTES, &(1_u64 << 40).to_ne_bytes());
            });
        })
    };
    let base = captured_dest("10.0.0.100:80/tcp", "10.0.0.12:80").0;
    let bare: Vec<u8> = encode::without(&base, &[abi::DEST_ATTR_STATS, abi::DEST_ATTR_STATS64]);
    let short = [bare.clone(), stats(abi::DEST_ATTR_STATS, &7_u32.to_ne_bytes())].concat();
    let counters = destination(&short, Family::V4).unwrap().counters.unwrap();
    assert_eq!((counters.connections, counters.incoming_bytes), (7, 1 << 40));
    let both = [short, stats(abi::DEST_ATTR_STATS64, &(7_u64 << 32).to_ne_bytes())].concat();
    assert_eq!(destination(&both, Family::V4).unwrap().counters.unwrap().connections, 7 << 32);
    assert_eq!(destination(&bare, Family::V4).unwrap().counters, None);
}

/// Everything that is ever done with received bytes.
fn read_all(datagram: &[u8]) {
    for message in messages(datagram).filter_map(Result::ok) {
        let _ = message.errno();
        let Ok((_, body)) = message.generic() else { continue };
        let _ = (info(body), timeouts(body), family_id(body));
        for attr in attrs(body).filter_map(Result::ok) {
            let _ = (service(attr.value), daemon(attr.value));
            for family in [Family::V4, Family::V6] {
                let _ = destination(attr.value, family);
                let mut out = Vec::new();
                let body = |w: &mut Writer<'_>| put_reweighted(w, attr.value, family, Weight(1));
                let _ = wire::message(&mut out, 1, 0, 1, abi::SET_DEST, body);
            }
        }
    }
}

fn captured_datagram() -> impl Strategy<Value = Vec<u8>> {
    let names = [
        "get_service dump",
        "get_dest 10.0.0.100:80/tcp",
        "get_info",
        "get_config",
        "getfamily",
        "stale family",
    ];
    let mut all: Vec<Vec<u8>> = names.iter().flat_map(|name| fixtures::exchange(name).received).collect();
    all.extend(fixtures::daemons().received);
    prop::sample::select(all)
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        read_all(&bytes);
    }

    #[test]
    fn mutated_captures_do_not_panic(
        mut bytes in captured_datagram(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        read_all(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        read_all(&bytes);
    }

    #[test]
    fn what_is_encoded_is_read_back(mut row in encode::any_service()) {
        let dests = std::mem::take(&mut row.destinations);
        prop_assert_eq!(service(&encode::service(&row)), Ok(row.clone()));
        for dest in dests {
            prop_assert_eq!(destination(&encode::destination(&dest), row.key.family()), Ok(dest));
        }
    }
}
