use super::*;
use crate::ipvs::fixtures::RICH_SAVE;

fn service(table: &[VirtualServer], key: &str) -> VirtualServer {
    table.iter().find(|s| s.key.to_string() == key).unwrap_or_else(|| panic!("no {key}")).clone()
}

fn faults(text: &str) -> Vec<(usize, String)> {
    parse(text).unwrap_err().faults.into_iter().map(|f| (f.line, f.what)).collect()
}

#[test]
fn what_ipvsadm_printed_is_read_in_full() {
    let table = parse(RICH_SAVE).unwrap();
    let keys: Vec<_> = table.iter().map(|s| s.key.to_string()).collect();
    assert_eq!(
        keys,
        [
            "10.0.0.100:0/tcp",
            "10.0.0.100:53/udp",
            "10.0.0.100:80/tcp",
            "10.0.0.100:81/tcp",
            "10.0.0.100:5060/sctp",
            "10.0.0.100:5061/udp",
            "[fd00::100]:443/tcp",
            "[fd00::100]:444/tcp",
            "fwmark:7/ipv4",
            "fwmark:7/ipv6",
        ]
    );

    let web = service(&table, "10.0.0.100:80/tcp");
    assert_eq!((web.scheduler.as_str(), web.flags, web.netmask_prefix), ("wrr", ServiceFlags(2), 32));
    let dests: Vec<_> =
        web.destinations.iter().map(|d| (d.key.to_string(), d.forwarding, d.weight.0, d.tunnel)).collect();
    let tunnel = |kind, port, flags| Some(Tunnel { kind, port, flags });
    assert_eq!(
        dests,
        [
            ("10.0.0.1:80".to_owned(), Forwarding::Route, 4, None),
            ("10.0.0.11:80".to_owned(), Forwarding::Route, 1, None),
            ("10.0.0.12:80".to_owned(), Forwarding::Route, 65535, None),
            ("10.0.0.13:8080".to_owned(), Forwarding::Masq, 5, None),
            ("10.0.0.14:80".to_owned(), Forwarding::Tunnel, 3, tunnel(TunnelKind::Ipip, 0, 0)),
            ("10.0.0.15:80".to_owned(), Forwarding::Tunnel, 3, tunnel(TunnelKind::Gue, 6080, 1)),
            ("10.0.0.16:80".to_owned(), Forwarding::Tunnel, 3, tunnel(TunnelKind::Gue, 6081, 0)),
            ("10.0.0.17:80".to_owned(), Forwarding::Tunnel, 3, tunnel(TunnelKind::Gue, 6082, 2)),
            ("10.0.0.18:80".to_owned(), Forwarding::Tunnel, 2147483647, tunnel(TunnelKind::Gre, 0, 1)),
            ("10.0.0.19:80".to_owned(), Forwarding::Route, 0, None),
        ]
    );

    let persistent = service(&table, "[fd00::100]:443/tcp");
    assert_eq!(persistent.flags, ServiceFlags(0x1b));
    assert_eq!((persistent.persistence_timeout, persistent.netmask_prefix), (300, 64));
    let sip = service(&table, "10.0.0.100:5061/udp");
    assert_eq!(sip.persistence_engine.as_deref(), Some("sip"));
    assert!(sip.flags.one_packet() && sip.flags.persistent() && sip.destinations.is_empty());
    let mark = service(&table, "fwmark:7/ipv4");
    assert_eq!((mark.netmask_prefix, mark.flags), (24, ServiceFlags(0x1b)));
    assert_eq!(mark.destinations[0].key.to_string(), "10.0.0.11:0");
    assert_eq!(service(&table, "fwmark:7/ipv6").destinations[0].key.to_string(), "[fd00::11]:0");
    assert_eq!(service(&table, "10.0.0.100:81/tcp").destinations[0].key.to_string(), "[fd00::21]:81");
    assert_eq!(service(&table, "10.0.0.100:81/tcp").flags, ServiceFlags(0x22));
}

#[test]
fn defaults_are_ipvsadms() {
    let text = "# a comment\n\n-A -t 10.0.0.1:80 -p\n-a -t 10.0.0.1:80 -r 10.0.0.2 -x 9 -y 8\n\
                -A -f 3\n-a -f 3 -r 10.0.0.2\n-A -t [fd00::1]:80 -s rr -p -o\n";
    let table = parse(text).unwrap();
    let first = service(&table, "10.0.0.1:80/tcp");
    assert_eq!((first.scheduler.as_str(), first.persistence_timeout), ("wlc", 360));
    let dest = &first.destinations[0];
    assert_eq!(
        (dest.key.to_string().as_str(), dest.weight.0, dest.forwarding),
        ("10.0.0.2:80", 1, Forwarding::Route)
    );
    assert_eq!((dest.upper_threshold, dest.lower_threshold), (9, 8));
    assert_eq!(service(&table, "fwmark:3/ipv4").destinations[0].key.to_string(), "10.0.0.2:0");
    let v6 = service(&table, "[fd00::1]:80/tcp");
    assert_eq!((v6.netmask_prefix, v6.flags.one_packet()), (128, true));
    assert_eq!(parse("").unwrap(), []);
}

#[test]
fn every_faulty_line_is_named_with_the_allowed_form() {
    let text = "-A -t 10.0.0.100:80 -s rr\n\
                -A -t 10.0.0.100:80 -s wrr\n\
                -a -t 10.0.0.100:80 -r 10.0.0.11:80 -g -w -1\n\
                -D -t 10.0.0.100:80\n\
                -a -t 10.0.0.100:81 -r 10.0.0.11:80\n\
                -a -t 10.0.0.100:80 -r 10.0.0.11:80 -g -w 2147483648\n\
                -a -t 10.0.0.100:80 -r 10.0.0.11:80 -q\n\
                -a -t 10.0.0.100:80 -r 10.0.0.11:80\n\
                -a -t 10.0.0.100:80 -r 10.0.0.11:80 -m\n";
    let error = parse(text).unwrap_err();
    assert_eq!(error.faults.iter().map(|f| f.line).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7, 9]);
    let shown = error.to_string();
    for part in [
        "line 2: virtual server 10.0.0.100:80/tcp is there already; allowed: one -A line each",
        "line 3: `-w -1` is no number in range; allowed: -w 0 to -w 2147483647",
        "line 4: `-D` begins no line of a saved table",
        "line 5: there is no virtual server 10.0.0.100:81/tcp above",
        "line 6: weight 2147483648 of 10.0.0.11:80 is above the kernel's largest",
        "line 7: `-q` is not known here; allowed: -a (-t|-u|",
        "line 9: 10.0.0.100:80/tcp has the real server 10.0.0.11:80 already",
    ] {
        assert!(shown.contains(part), "{part}\nnot in\n{shown}");
    }
}

#[test]
fn tables_that_no_kernel_could_hold_are_refused() {
    for (line, what) in [
        ("-A", "no virtual server"),
        ("-A -t", "-t without its value"),
        ("-A -t www:http", "`www:http` is no address and port"),
        ("-A -t 10.0.0.1:80 -u 10.0.0.1:80", "more than one of"),
        ("-A -t 10.0.0.1:80 -6", "-6 belongs to -f"),
        ("-A -f 0", "mark 0 is no firewall mark"),
        ("-A -f +1", "`-f +1` is no number"),
        ("-A -f 1 -s a-name-that-is-too-long", "is no name"),
        ("-A -f 1 -b nonsense", "`nonsense` is no scheduler flag"),
        ("-A -f 1 -M 255.255.255.0", "-M without -p means nothing"),
        ("-A -f 1 -p -M 255.0.255.0", "is no netmask for ipv4"),
        ("-A -f 1 -6 -p -M 129", "is no netmask for ipv6"),
        ("-A -f 1 -6 -p -M 0", "is no netmask for ipv6"),
        ("-a -f 9 -r nonsense", "`nonsense` is no real server"),
        ("-a -f 9", "no real server (-r)"),
        ("-a -f 9 -r [fd00::1]:0 -g", "is of another address family"),
        ("-a -f 9 -r 10.0.0.1:0 -i --tun-type gue", "has no port"),
        ("-a -f 9 -r 10.0.0.1:0 -i --tun-type vxlan", "`vxlan` is no kind of tunnel"),
        ("-a -f 9 -r 10.0.0.1:0 -g --tun-port 7", "which is no tunnel"),
        ("-a -f 9 -r 10.0.0.1:0 -y 7", "lower threshold"),
    ] {
        let found = faults(&format!("-A -f 9\n{line}\n"));
        assert_eq!(found.len(), 1, "{line}: {found:?}");
        assert_eq!(found[0].0, 2);
        assert!(found[0].1.contains(what), "{line}: {found:?}");
    }
}

#[test]
fn a_wrong_file_does_not_flood() {
    let error = parse(&"nonsense\n".repeat(1000)).unwrap_err();
    assert_eq!((error.faults.len(), error.more), (MAX_FAULTS, 950));
    assert!(error.to_string().ends_with("and 950 more"));
}
