//! Which rows there are: one for each thing, none twice, none for what is not known.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use lvs_agent::metrics::{Format, encode};
use lvs_agent::model::View;

use crate::parsed::{Family, Sample, by_name, parse};
use crate::{exposition, views};

type Families = BTreeMap<String, Family>;

fn families(view: View) -> Families {
    by_name(parse(&exposition(view, Format::OpenMetrics)))
}

fn samples<'a>(families: &'a Families, name: &str) -> &'a [Sample] {
    families.get(name).map_or(&[], |family| &family.samples)
}

/// The value of the one row with these labels.
fn value(families: &Families, name: &str, labels: &[(&str, &str)]) -> Option<String> {
    let fits = |s: &&Sample| labels.iter().all(|(name, value)| s.label(name) == Some(value));
    let mut found = samples(families, name).iter().filter(fits);
    let value = found.next().map(|sample| sample.value.clone());
    assert_eq!(found.next(), None, "{name}{labels:?} is not one row");
    value
}

#[test]
fn no_series_comes_twice() {
    for view in [views::rich(), views::twins(2, 5), views::stale(), views::proc_only()] {
        for format in [Format::OpenMetrics, Format::Text004] {
            let mut seen = BTreeSet::new();
            for sample in parse(&exposition(view.clone(), format)).iter().flat_map(|f| &f.samples) {
                let mut labels = sample.labels.clone();
                labels.sort();
                let names: BTreeSet<&String> = labels.iter().map(|(name, _)| name).collect();
                assert_eq!(names.len(), labels.len(), "a label comes twice in {sample:?}");
                assert!(seen.insert((sample.name.clone(), labels)), "{sample:?} comes twice");
            }
        }
    }
}

#[test]
fn every_real_server_has_its_row_in_every_family() {
    for view in [views::rich(), views::twins(2, 5)] {
        let snapshot = view.snapshot.clone().expect("a snapshot");
        let in_kernel: usize = snapshot.services.iter().map(|s| s.destinations.len()).sum();
        let managed: Vec<_> = view.services.iter().filter_map(|s| s.managed.as_ref()).collect();
        let judged: usize = managed.iter().map(|s| s.real_servers.len()).sum();
        let probed: usize = managed.iter().map(|s| s.real_servers.len() * s.checks.len()).sum();
        let families = families(view.clone());
        for (rows, names) in [
            (snapshot.services.len(), OF_EACH_VIRTUAL_SERVER),
            (in_kernel, OF_EACH_REAL_SERVER),
            (managed.len(), OF_EACH_MANAGED),
            (4 * managed.len(), &["lvs_virtual_server_real_servers"]),
            (3 * managed.len(), &["lvs_weight_changes_total"]),
            (judged, OF_EACH_JUDGED),
            (probed, OF_EACH_PROBED),
        ] {
            assert!(rows > 0);
            for name in names {
                assert_eq!(samples(&families, name).len(), rows, "{name}");
            }
        }
    }
}

const OF_EACH_VIRTUAL_SERVER: &[&str] = &[
    "ipvs_virtual_server_info",
    "ipvs_virtual_server_real_servers",
    "ipvs_virtual_server_connections_total",
    "ipvs_virtual_server_outgoing_bytes_total",
    "lvs_virtual_server_info",
];
const OF_EACH_REAL_SERVER: &[&str] = &[
    "ipvs_real_server_info",
    "ipvs_real_server_weight",
    "ipvs_real_server_active_connections",
    "ipvs_real_server_inactive_connections",
    "ipvs_real_server_persistent_connections",
    "ipvs_real_server_connections_total",
    "ipvs_real_server_incoming_packets_total",
    "ipvs_real_server_outgoing_packets_total",
    "ipvs_real_server_incoming_bytes_total",
    "ipvs_real_server_outgoing_bytes_total",
];
const OF_EACH_MANAGED: &[&str] = &[
    "lvs_virtual_server_up",
    "lvs_virtual_server_refuses_at_zero",
    "lvs_virtual_server_quorum",
    "lvs_virtual_server_floor",
    "lvs_virtual_server_capacity_low_ratio",
    "lvs_virtual_server_floor_reached",
    "lvs_virtual_server_protected_real_servers",
];
const OF_EACH_JUDGED: &[&str] = &[
    "lvs_real_server_desired_weight",
    "lvs_real_server_transitions_total",
    "lvs_real_server_downtime_seconds_total",
];
const OF_EACH_PROBED: &[&str] =
    &["lvs_check_attempts_total", "lvs_check_consecutive_failures", "lvs_check_consecutive_successes"];

#[test]
fn both_formats_have_the_same_samples() {
    let view = Arc::new(views::rich());
    let machinery = views::machinery();
    let lines = |format| {
        let mut text = String::new();
        encode(&view, &machinery, format, &mut text).unwrap();
        let of_the_view = |line: &&str| !line.starts_with('#') && !line.starts_with("process_");
        // The time it took to read /proc differs.
        let of_the_view = |line: &&str| of_the_view(line) && !line.contains("collector=\"process\"");
        text.lines().filter(of_the_view).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(lines(Format::OpenMetrics), lines(Format::Text004));
}

#[test]
fn states_add_up_to_the_table() {
    let families = families(views::rich());
    for row in samples(&families, "lvs_virtual_server_up") {
        let vs = row.label("virtual_server").expect("a virtual server");
        let states = samples(&families, "lvs_virtual_server_real_servers").iter();
        let states = states.filter(|s| s.label("virtual_server") == Some(vs));
        let sum: u64 = states.map(|s| s.value.parse::<u64>().unwrap()).sum();
        let table = value(&families, "ipvs_virtual_server_real_servers", &[("virtual_server", vs)]);
        assert_eq!(Some(sum.to_string()), table, "{vs}");
    }
}

#[test]
fn counters_beyond_an_i64_and_a_double_are_exact() {
    let families = families(views::rich());
    let of = |name| value(&families, name, &[]);
    assert_eq!(of("ipvs_incoming_bytes_total").as_deref(), Some("18446744073709551615"));
    assert_eq!(of("ipvs_outgoing_bytes_total").as_deref(), Some("9007199254740993"));
    assert_eq!(of("lvs_agent_config_hash").as_deref(), Some("281474976710655"));
}

#[test]
fn what_is_not_known_has_no_row() {
    let families = families(views::rich());
    let of =
        |name, rs| value(&families, name, &[("virtual_server", "10.10.0.100:80/tcp"), ("real_server", rs)]);
    let up = |rs| of("lvs_real_server_up", rs);
    assert_eq!(up("10.10.0.21:80").as_deref(), Some("1"));
    assert_eq!(up("10.10.0.22:80").as_deref(), Some("0"));
    assert_eq!(up("10.10.0.25:80"), None, "not judged yet");
    assert_eq!(of("lvs_real_server_state_change_timestamp_seconds", "10.10.0.25:80"), None);
    assert_eq!(of("lvs_real_server_owed_weight", "10.10.0.24:80"), None, "never seen above 0");
    let drained: Vec<_> = samples(&families, "lvs_real_server_drained").iter().collect();
    let drained: Vec<_> = drained.iter().map(|s| (s.label("real_server"), s.label("reason"))).collect();
    let expected =
        [("10.10.0.21:80", "slow_start"), ("10.10.0.22:80", "check"), ("10.10.0.24:80", "external")];
    assert_eq!(drained, expected.map(|(server, reason)| (Some(server), Some(reason))));
    let flapping = samples(&families, "lvs_real_server_flapping");
    assert_eq!((flapping.len(), flapping[0].label("real_server")), (1, Some("10.10.0.23:80")));
    let held = samples(&families, "lvs_real_server_change_held");
    assert_eq!((held.len(), held[0].label("reason"), held[0].value.as_str()), (1, Some("floor"), "1"));
    let web = [("virtual_server", "10.10.0.100:80/tcp"), ("real_server", "10.10.0.25:80"), ("check", "web")];
    assert_eq!(value(&families, "lvs_check_up", &web), None);
    assert_eq!(value(&families, "lvs_check_last_attempt_timestamp_seconds", &web), None);
    assert_eq!(value(&families, "lvs_check_attempts_total", &web).as_deref(), Some("0"));
    let nothing_owed = [("virtual_server", "10.10.0.101:80/tcp")];
    assert_eq!(value(&families, "lvs_virtual_server_capacity_ratio", &nothing_owed), None);
    let thresholds = samples(&families, "ipvs_real_server_connection_threshold");
    let thresholds: Vec<_> =
        thresholds.iter().map(|s| (s.label("bound").unwrap(), s.value.as_str())).collect();
    assert_eq!(thresholds, [("upper", "1000"), ("lower", "800"), ("upper", "500")]);
    assert_eq!(samples(&families, "ipvs_virtual_server_persistence_timeout_seconds").len(), 2);
}

#[test]
fn unmanaged_virtual_servers_have_a_name_and_the_kernels_rows_only() {
    let view = views::rich();
    let unmanaged: Vec<String> =
        view.services.iter().filter(|s| s.managed.is_none()).map(|s| s.key.to_string()).collect();
    assert_eq!(unmanaged, ["10.10.0.100:53/tcp", "fwmark:7/ipv4"]);
    for (name, family) in families(view) {
        let may = name.starts_with("ipvs_") || name == "lvs_virtual_server_info";
        for sample in &family.samples {
            let vs = sample.label("virtual_server");
            assert!(may || vs.is_none_or(|vs| unmanaged.iter().all(|u| u != vs)), "{sample:?}");
        }
    }
}

#[test]
fn refusing_schedulers_are_named() {
    let families = families(views::rich());
    let refuses = |vs| value(&families, "lvs_virtual_server_refuses_at_zero", &[("virtual_server", vs)]);
    assert_eq!(refuses("10.10.0.101:80/tcp").as_deref(), Some("1"), "dh");
    assert_eq!(refuses("fwmark:7/ipv6").as_deref(), Some("1"), "mh without fallback");
    assert_eq!(refuses("10.10.0.100:53/udp").as_deref(), Some("0"), "sh with fallback");
    assert_eq!(refuses("10.10.0.100:80/tcp").as_deref(), Some("0"), "wrr");
}

#[test]
fn names_arrive_whatever_they_hold() {
    let families = families(views::rich());
    let names = samples(&families, "lvs_virtual_server_info");
    assert!(names.iter().any(|s| s.label("name") == Some("voice \"A\\B\"\nsecond line")));
    let checks = samples(&families, "lvs_check_info");
    let weird = "a \"quoted\" back\\slash and a\nnew line";
    assert!(checks.iter().any(|s| s.label("check") == Some(weird)));
    assert_eq!(
        samples(&families, "lvs_check_up").iter().filter(|s| s.label("check") == Some(weird)).count(),
        2
    );
}

#[test]
fn a_failed_read_shows_at_once_and_the_rows_stay() {
    let good = families(views::rich());
    let stale = families(views::stale());
    assert_eq!(value(&good, "ipvs_up", &[]).as_deref(), Some("1"));
    assert_eq!(value(&stale, "ipvs_up", &[]).as_deref(), Some("0"));
    let ipvs = [("collector", "ipvs")];
    assert_eq!(value(&good, "lvs_agent_collector_success", &ipvs).as_deref(), Some("1"));
    assert_eq!(value(&stale, "lvs_agent_collector_success", &ipvs).as_deref(), Some("0"));
    for name in ["ipvs_real_server_weight", "ipvs_real_server_connections_total", "lvs_real_server_up"] {
        assert_eq!(samples(&good, name), samples(&stale, name), "{name}");
    }
}

#[test]
fn without_a_snapshot_only_the_agent_speaks() {
    let families = families(views::unreadable());
    assert_eq!(value(&families, "ipvs_up", &[]).as_deref(), Some("0"));
    let ipvs: Vec<&String> = families.keys().filter(|name| name.starts_with("ipvs_")).collect();
    assert_eq!(ipvs, ["ipvs_up"]);
    assert_eq!(samples(&families, "lvs_agent_snapshot_timestamp_seconds"), []);
    for mode in ["enforce", "observe"] {
        assert_eq!(value(&families, "lvs_agent_mode", &[("mode", mode)]).as_deref(), Some("0"));
    }
}

#[test]
fn proc_has_weights_and_connections_and_no_more() {
    let families = families(views::proc_only());
    assert_eq!(value(&families, "ipvs_up", &[]).as_deref(), Some("0"));
    assert_eq!(value(&families, "ipvs_estimation_enabled", &[]).as_deref(), Some("0"));
    let ipvs: Vec<&str> =
        families.keys().map(String::as_str).filter(|name| name.starts_with("ipvs_")).collect();
    assert_eq!(
        ipvs,
        [
            "ipvs_estimation_enabled",
            "ipvs_real_server_active_connections",
            "ipvs_real_server_inactive_connections",
            "ipvs_real_server_info",
            "ipvs_real_server_weight",
            "ipvs_sysctl",
            "ipvs_up",
            "ipvs_virtual_server_info",
            "ipvs_virtual_server_real_servers",
        ]
    );
    assert_eq!(samples(&families, "ipvs_real_server_weight").len(), 3);
}

/// Before 5.15 there is no run_estimation, and nothing stands still.
#[test]
fn estimation_is_on_where_it_cannot_be_turned_off() {
    let enabled = |sysctls: Vec<(&'static str, i64)>| {
        let view = views::rich();
        let mut snapshot = view.snapshot.as_deref().cloned().expect("a snapshot");
        snapshot.sysctls = sysctls;
        let families = families(View { snapshot: Some(Arc::new(snapshot)), ..view });
        value(&families, "ipvs_estimation_enabled", &[])
    };
    assert_eq!(enabled(Vec::new()).as_deref(), Some("1"));
    assert_eq!(enabled(vec![("run_estimation", 0)]).as_deref(), Some("0"));
    assert_eq!(enabled(vec![("drop_entry", 0), ("run_estimation", 1)]).as_deref(), Some("1"));
}

#[test]
fn histograms_are_cumulative_and_whole() {
    let families = families(views::rich());
    let of = |suffix: &str, le: Option<&str>| {
        let rows = samples(&families, "lvs_check_duration_seconds").iter();
        let row = rows.filter(|s| s.name.ends_with(suffix) && s.label("le") == le);
        let row = row.filter(|s| s.label("virtual_server") == Some("10.10.0.100:80/tcp"));
        row.filter(|s| s.label("phase") == Some("connect")).map(|s| s.value.clone()).collect::<Vec<_>>()
    };
    assert_eq!(of("_bucket", Some("0.001")), ["2"]);
    assert_eq!(of("_bucket", Some("0.05")), ["2"]);
    assert_eq!(of("_bucket", Some("0.1")), ["3"]);
    assert_eq!(of("_bucket", Some("1.0")), ["3"]);
    assert_eq!(of("_bucket", Some("+Inf")), ["3"]);
    assert_eq!(of("_count", None), ["3"]);
    assert_eq!(of("_sum", None), ["0.0907"]);
}

/// Takes so many bytes and no more.
struct Full(usize);

impl fmt::Write for Full {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.checked_sub(text.len()).ok_or(fmt::Error)?;
        Ok(())
    }
}

#[test]
fn an_error_names_the_family() {
    let view = Arc::new(views::rich());
    let machinery = views::machinery();
    for format in [Format::OpenMetrics, Format::Text004] {
        let whole = {
            let mut text = String::new();
            encode(&view, &machinery, format, &mut text).unwrap();
            text
        };
        let at = whole.find("\nipvs_real_server_weight{").expect("weights") + 10;
        let error = encode(&view, &machinery, format, &mut Full(at)).unwrap_err();
        assert_eq!(error.family, "ipvs_real_server_weight");
        assert!(error.to_string().contains("`ipvs_real_server_weight`"), "{error}");
    }
}
