use super::samples::{NOW, rich, snapshot, virtual_server};
use super::*;
use crate::model::{Held, HeldReason, LedgerView, Share, SlowStart, TableSource, TripwireView, WireTrouble};

/// The golden text is the contract: a change of it is a change of the public interface.
#[test]
fn a_view_becomes_exactly_this_json() {
    let mut json = serde_json::to_string_pretty(&Status::from(&rich())).unwrap();
    json = json.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    json.push('\n');
    let golden = include_str!("golden.json");
    assert_eq!(json, golden, "\n--- now ---\n{json}");
}

#[test]
fn streaming_writes_the_same() {
    let view = rich();
    let streamed = serde_json::to_string(&Status::streamed(&view)).unwrap();
    assert_eq!(streamed, serde_json::to_string(&Status::from(&view)).unwrap());
}

#[test]
fn what_is_written_can_be_read() {
    let status = Status::from(&rich());
    let text = serde_json::to_string(&status).unwrap();
    assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status);
}

#[test]
fn another_version_can_be_read() {
    let text = r#"{"version":"9.0.0","mode":"rehearse","director_active":true,"snapshot_age_seconds":0.4,
      "virtual_servers":[{"virtual_server":"10.10.0.100:80/tcp","name":"shop","scheduler":"wrr","forwarding":["route"],
        "managed":true,"up":true,"floor":1,"vip":"present","real_servers":[{"real_server":"10.10.0.21:80","verdict":"up",
        "weight":5,"owed_weight":5,"drained":{"by":"moon","reason":null,"since_seconds":3.1,"until":null},
        "held":{"reason":"rate_limit","would":0},"active_connections":0,"inactive_connections":0,
        "persistent_connections":0,"checks":[{"check":"web","verdict":"up","reason":"tripwire","duration_seconds":0.0012,
        "last_probe_age_seconds":0.3,"consecutive":12}]}]}]}"#;
    let status: Status = serde_json::from_str(text).unwrap();
    assert_eq!(status.mode, "rehearse");
    assert_eq!(status.ipvs, IpvsStatus { up: false, error: None });
    let server = &status.virtual_servers[0].real_servers[0];
    assert_eq!(server.drained.as_ref().unwrap().by, "moon");
    assert_eq!(
        server.held,
        Some(HeldStatus { reason: "rate_limit".into(), would: Weight(0), ends_in_seconds: None })
    );
    assert_eq!(server.checks[0].reason.as_deref(), Some("tripwire"));
    assert_eq!(server.checks[0].outcome, None);
}

#[test]
fn ramps_hold_downs_and_flapping_are_additions() {
    let mut view = rich();
    let servers = &mut view.services[0].managed.as_mut().unwrap().real_servers;
    servers[0].slow_start =
        Some(SlowStart { step: 3, of: 10, left: Some(std::time::Duration::from_millis(21_500)) });
    servers[1].held = Some(Held { reason: HeldReason::HoldDown, would: Weight(1) });
    servers[1].hold_left = Some(std::time::Duration::from_secs(12));
    servers[1].flapping = true;
    servers[1].ignores_checks = true;
    let json = serde_json::to_value(Status::from(&view)).unwrap();
    let server = |n: usize| &json["virtual_servers"][0]["real_servers"][n];
    let ramp = serde_json::json!({"step": 3, "of": 10, "ends_in_seconds": 21.5});
    assert_eq!((&server(0)["slow_start"], &server(0)["drained"]), (&ramp, &serde_json::Value::Null));
    let held = serde_json::json!({"reason": "hold_down", "would": 1, "ends_in_seconds": 12.0});
    assert_eq!((&server(1)["held"], &server(1)["flapping"]), (&held, &true.into()));
    assert_eq!((&server(0)["ignores_checks"], &server(1)["ignores_checks"]), (&false.into(), &true.into()));
}

#[test]
fn a_share_is_an_addition() {
    let mut view = rich();
    let server = &mut view.services[0].managed.as_mut().unwrap().real_servers[0];
    (server.share, server.checks[0].share) = (Some(Share::percent(40)), Some(Share::percent(40)));
    let json = serde_json::to_value(Status::from(&view)).unwrap();
    let servers = &json["virtual_servers"][0]["real_servers"];
    assert_eq!(
        (&servers[0]["share_percent"], &servers[0]["checks"][0]["share_percent"]),
        (&40.into(), &40.into())
    );
    assert_eq!((servers[1].get("share_percent"), servers[0]["checks"][1].get("share_percent")), (None, None));
}

#[test]
fn a_tripwire_is_an_addition() {
    let mut view = rich();
    let checks = &mut view.services[0].managed.as_mut().unwrap().real_servers[0].checks;
    let degraded = Some(WireTrouble::Closed);
    checks[0].tripwire = Some(TripwireView { armed: true, trips: 3, degraded });
    let json = serde_json::to_value(Status::from(&view)).unwrap();
    let checks = &json["virtual_servers"][0]["real_servers"][0]["checks"];
    let wire = serde_json::json!({"armed": true, "trips": 3, "degraded": "closed"});
    assert_eq!((&checks[0]["tripwire"], checks[1].get("tripwire")), (&wire, None));
}

#[test]
fn without_a_table_there_are_no_rows() {
    let mut view = rich();
    view.snapshot = None;
    view.ledger = LedgerView { entries: 2, write_failures: 1, error: Some("ledger.json: broken".to_owned()) };
    let status = Status::from(&view);
    assert_eq!(status.snapshot_age_seconds, None);
    assert!(!status.ipvs.up);
    assert_eq!(status.virtual_servers, []);
    assert_eq!(status.ledger, LedgerStatus { entries: 2, error: Some("ledger.json: broken".to_owned()) });
}

#[test]
fn ages_and_ratios_are_finite_and_not_negative() {
    let mut view = rich();
    let managed = view.services[0].managed.as_mut().unwrap();
    managed.capacity = Some(f64::NAN);
    managed.real_servers[1].drained.as_mut().unwrap().since.0 = f64::INFINITY;
    managed.real_servers[0].checks[0].last.as_mut().unwrap().at.0 = NOW.wall.0 + 60.0;
    let status = Status::from(&view);
    let shop = &status.virtual_servers[0];
    assert_eq!(shop.capacity, Some(0.0));
    assert_eq!(shop.real_servers[1].drained.as_ref().unwrap().since_seconds, 0.0);
    assert_eq!(shop.real_servers[0].checks[0].last_probe_age_seconds, Some(0.0));
}

#[test]
fn the_kernel_alone_is_all_unmanaged() {
    let rows = vec![virtual_server(
        "10.10.0.100:80/tcp",
        "wrr",
        vec![samples::destination("10.10.0.21:80", 5, 1, 2)],
    )];
    let mut table = snapshot(rows);
    table.source = TableSource::Proc;
    let status = Status::from_snapshot(&table, NOW);
    assert!((status.snapshot_age_seconds.unwrap() - 0.4).abs() < 1e-9);
    assert!(!status.ipvs.up);
    let service = &status.virtual_servers[0];
    assert_eq!((service.managed, service.up, service.floor), (false, None, None));
    assert_eq!(service.name, "10.10.0.100:80/tcp");
    let server = &service.real_servers[0];
    assert_eq!((server.verdict.as_ref(), server.weight, server.owed_weight), ("unknown", Weight(5), None));
    assert_eq!((server.active_connections, server.inactive_connections), (1, 2));
}

#[test]
fn a_probe_request_is_strict() {
    let good = r#"{"virtual_server":"10.10.0.100:80/tcp","real_server":"10.10.0.21:80"}"#;
    assert_eq!(serde_json::from_str::<ProbeRequest>(good).unwrap().check, None);
    let misspelt = r#"{"virtual_server":"10.10.0.100:80/tcp","real_server":"10.10.0.21:80","chekc":"web"}"#;
    assert!(serde_json::from_str::<ProbeRequest>(misspelt).unwrap_err().to_string().contains("chekc"));
}
