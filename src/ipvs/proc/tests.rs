use super::*;
use crate::ipvs::fixtures::{PROC_NET_IP_VS, RICH_SAVE};
use crate::ipvs::save_format;

#[test]
fn the_kernels_file_shows_the_table_that_ipvsadm_saved() {
    let (info, shown) = parse(PROC_NET_IP_VS).unwrap();
    assert_eq!(info, Some(IpvsInfo { version: 0x010201, connection_table_size: 4096 }));
    let hidden_flags = abi::SVC_F_SCHED1 | abi::SVC_F_SCHED2 | abi::SVC_F_SCHED3;
    let mut expected = save_format::parse(RICH_SAVE).unwrap();
    for service in &mut expected {
        // What the file does not show.
        service.flags.0 &= !hidden_flags;
        service.persistence_timeout = 0;
        service.persistence_engine = None;
        service.counters = None;
        for dest in &mut service.destinations {
            dest.counters = None;
            dest.tunnel = dest.tunnel.map(|_| Tunnel { kind: TunnelKind::Ipip, port: 0, flags: 0 });
        }
    }
    let shown: Vec<VirtualServer> = shown.iter().map(|s| (**s).clone()).collect();
    assert_eq!(shown, expected);
}

#[test]
fn all_columns_are_read() {
    let text = "IP Virtual Server version 1.2.1 (size=1048576)\n\
                Prot LocalAddress:Port Scheduler Flags\n  \
                -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n\
                FWM  00000009 rr \n\
                TCP  0A000064:0050 wlc  \n  \
                -> 7F000001:0050      Local   7      12         345       \n  \
                -> 0A00000C:0050      Bypass  1      0          0         \n";
    let (info, table) = parse(text).unwrap();
    assert_eq!(info.unwrap().connection_table_size, 1048576);
    let dest = &table[0].destinations[1];
    assert_eq!((dest.forwarding, dest.weight.0), (Forwarding::Local, 7));
    assert_eq!((dest.active_connections, dest.inactive_connections), (12, 345));
    assert_eq!(table[0].destinations[0].forwarding, Forwarding::Bypass);
    assert_eq!(table[1].key.to_string(), "fwmark:9/ipv4", "a mark without real servers counts as IPv4");
}

#[test]
fn an_unknown_line_is_an_error_that_names_it() {
    let text = "IP Virtual Server version 1.2.1 (size=4096)\nTCP  0A000064:0050 rr\n  -> 0A00000B:0050 Teleport 1 0 0\n";
    let fault = parse(text).unwrap_err();
    assert_eq!((fault.line, fault.text.trim()), (3, "-> 0A00000B:0050 Teleport 1 0 0"));
    for line in
        ["QUIC 0A000064:0050 rr", "TCP 0A000064 rr", "TCP 0A000064:0050", "  -> 0A00000B:0050 Route 1 0 0"]
    {
        assert_eq!(parse(line).unwrap_err().line, 1, "{line}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }
}
