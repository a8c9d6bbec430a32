//! What is in the snapshot is in the exposition, once: keys, values and numbers, at every size.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use lvs_agent::metrics::{Format, encode};
use lvs_agent::model::{Counters, RealServer, View};

use crate::parsed::{Sample, by_name, parse};
use crate::{exposition, views};

/// Virtual server and real server, as labels have them.
type Key = (String, String);

/// Every real server of the kernel's table.
fn table(view: &View) -> BTreeMap<Key, RealServer> {
    let snapshot = view.snapshot.as_ref().expect("a snapshot");
    let rows = snapshot.services.iter().flat_map(|service| {
        let of = |dest: &RealServer| ((service.key.to_string(), dest.key.to_string()), dest.clone());
        service.destinations.iter().map(of).collect::<Vec<_>>()
    });
    let table: BTreeMap<Key, RealServer> = rows.collect();
    let rows: usize = snapshot.services.iter().map(|service| service.destinations.len()).sum();
    assert_eq!(table.len(), rows, "two rows of the table have one name");
    table
}

fn key(sample: &Sample) -> Key {
    let label = |name| sample.label(name).expect("a label").to_owned();
    (label("virtual_server"), label("real_server"))
}

/// Twins on one address and port differ in protocol, family or mark alone: a label that lost one of these
/// would mix up their values.
#[test]
fn each_real_server_has_its_own_value_under_its_own_name() {
    for view in [views::rich(), views::twins(3, 5)].map(views::numbered) {
        let table = table(&view);
        let families = by_name(parse(&exposition(view, Format::OpenMetrics)));
        let same = |name: &str, value: fn(&RealServer) -> u64| {
            let rows = families[name].samples.iter();
            let shown: BTreeMap<Key, u64> =
                rows.map(|row| (key(row), row.value.parse().expect("a number"))).collect();
            let expected: BTreeMap<Key, u64> =
                table.iter().map(|(key, dest)| (key.clone(), value(dest))).collect();
            assert_eq!(shown, expected, "{name}");
            assert_eq!(families[name].samples.len(), expected.len(), "{name}");
        };
        same("ipvs_real_server_weight", |dest| dest.weight.0.into());
        same("ipvs_real_server_active_connections", |dest| dest.active_connections.into());
        same("ipvs_real_server_inactive_connections", |dest| dest.inactive_connections.into());
        same("ipvs_real_server_persistent_connections", |dest| dest.persistent_connections.into());
        same("ipvs_real_server_connections_total", |dest| counted(dest).connections);
        same("ipvs_real_server_incoming_packets_total", |dest| counted(dest).incoming_packets);
        same("ipvs_real_server_outgoing_packets_total", |dest| counted(dest).outgoing_packets);
        same("ipvs_real_server_incoming_bytes_total", |dest| counted(dest).incoming_bytes);
        same("ipvs_real_server_outgoing_bytes_total", |dest| counted(dest).outgoing_bytes);
    }
}

fn counted(dest: &RealServer) -> &Counters {
    dest.counters.as_ref().expect("a table from netlink has counters")
}

#[test]
fn ten_thousand_real_servers_lose_and_repeat_nothing() {
    for format in [Format::OpenMetrics, Format::Text004] {
        conserved(125, 10, format);
    }
}

#[test]
fn forty_thousand_real_servers_lose_and_repeat_nothing() {
    conserved(500, 10, Format::OpenMetrics);
}

/// Eight virtual servers of each address, told apart by protocol, family and mark only.
fn conserved(addresses: u16, real_servers: u8, format: Format) {
    let view = Arc::new(views::twins(addresses, real_servers));
    let mut lines = Lines::default();
    encode(&view, &views::machinery(), format, &mut lines).expect("it takes everything");
    let virtual_servers = usize::from(addresses) * 8;
    let in_all = virtual_servers * usize::from(real_servers);
    // info, weight, three kinds of connections, five counters; and one check of each.
    let of_the_kernel = lines.rows.iter().filter(|(name, _)| name.starts_with("ipvs_real_server_"));
    let of_the_kernel: Vec<usize> = of_the_kernel.map(|(_, rows)| *rows).collect();
    assert_eq!(of_the_kernel, vec![in_all; 10], "{:?}", lines.rows);
    for name in ["lvs_real_server_desired_weight", "lvs_check_attempts_total"] {
        assert_eq!(lines.rows[name], in_all, "{name}");
    }
    for name in ["ipvs_virtual_server_info", "lvs_virtual_server_info", "lvs_virtual_server_up"] {
        assert_eq!(lines.rows[name], virtual_servers, "{name}");
    }
    assert_eq!(lines.rows["lvs_virtual_server_real_servers"], 4 * virtual_servers);
    let rows: usize = lines.rows.values().sum();
    assert_eq!(lines.series.len(), rows, "series that come twice");
    assert!(rows > 20 * in_all, "{rows} series");
}

/// Counts rows and remembers series while the exposition goes by: as a whole it would be 115 MB.
#[derive(Default)]
struct Lines {
    begun: String,
    /// By metric name.
    rows: BTreeMap<String, usize>,
    /// Hashes of name and labels: of a million, two are alike once in 30 million runs.
    series: HashSet<u64>,
}

impl fmt::Write for Lines {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((line, after)) = rest.split_once('\n') {
            self.begun.push_str(line);
            self.line();
            self.begun.clear();
            rest = after;
        }
        self.begun.push_str(rest);
        Ok(())
    }
}

impl Lines {
    fn line(&mut self) {
        if self.begun.starts_with('#') {
            return;
        }
        let (series, _) = self.begun.rsplit_once(' ').expect("a value");
        let name = series.split('{').next().unwrap_or(series);
        match self.rows.get_mut(name) {
            Some(rows) => *rows += 1,
            None => {
                self.rows.insert(name.to_owned(), 1);
            }
        }
        let mut hasher = DefaultHasher::new();
        series.hash(&mut hasher);
        self.series.insert(hasher.finish());
    }
}
