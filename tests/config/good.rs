//! What good configurations come to.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use lvs_agent::config::{Config, ListenAddr, Settings};
use lvs_agent::model::{
    AgentOptions, BodyMatch, CheckKind, CheckSpec, Close, Dialogue, DnsTransport, Expect, Floor, HttpOptions,
    HttpVersion, Mode, OnFailure, Pace, Policy, ProxyProtocol, Rcode, RecordType, ScopedAddr, TlsOptions,
    VipSharing,
};

use super::{GENERATED, directory, rendered, valid};

fn good(name: &str) -> (Config, String) {
    let text = std::fs::read_to_string(directory().join("good").join(name)).expect(name);
    (valid(&text), text)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn scoped(addr: &str, zone: &str) -> Option<ScopedAddr> {
    let addr: IpAddr = addr.parse().expect(addr);
    Some(ScopedAddr { addr, zone: Some(zone.to_owned()) })
}

#[test]
fn all_defaults() {
    let (config, _) = good("minimal.toml");
    assert_eq!(config.settings, Settings::default());
    assert_eq!(config.warnings, []);
    assert_eq!(config.checks, 1);
    let policy = &config.policy;
    assert_eq!(policy.mode, Some(Mode::Enforce));
    assert_eq!(policy.poll_interval, seconds(2));
    assert_eq!(policy.ledger_max_age, seconds(168 * 3600));
    assert_eq!(policy.suspect_self_percent, 100);
    let [service] = policy.services.as_slice() else { panic!("{policy:?}") };
    assert_eq!(service.matches[0].to_string(), "10.10.0.100:80/tcp");
    assert_eq!((service.name.as_deref(), service.floor, service.quorum), (None, Floor::Count(1), 1));
    assert_eq!((service.capacity_low, service.mode), (0.5, Mode::Enforce));
    assert_eq!(service.on_failure, None);
    assert_eq!((service.slow_start, service.hold_down), (Duration::ZERO, Duration::ZERO));
    let [check] = service.checks.as_slice() else { panic!("{service:?}") };
    assert_eq!(check.name, "tcp");
    let pace = Pace {
        interval: seconds(2),
        timeout: seconds(1),
        fast_interval: Duration::from_millis(200),
        rise: 2,
        fall: 3,
        tripwire: false,
    };
    let spec = CheckSpec {
        kind: CheckKind::Tcp,
        port: None,
        address: None,
        source: None,
        mark: None,
        proxy_protocol: None,
        close: Close::Rst,
        pace,
    };
    assert_eq!(*check.spec, spec);
}

#[test]
fn the_default_settings_are_the_documented_ones() {
    let Settings { listen, telemetry_path, web_config, state_directory, control_socket } =
        Settings::default();
    assert_eq!(web_config, None);
    assert_eq!(listen.iter().map(ListenAddr::to_string).collect::<Vec<_>>(), ["[::]:10190"]);
    assert_eq!(telemetry_path, "/metrics");
    assert_eq!(state_directory, Path::new("/var/lib/lvs-agent"));
    assert_eq!(control_socket, Path::new("/run/lvs-agent/control.sock"));
}

#[test]
fn every_key_is_taken() {
    let (config, _) = good("full.toml");
    assert_eq!(config.warnings, []);
    let Settings { listen, telemetry_path, web_config, state_directory, control_socket } = &config.settings;
    let listen: Vec<String> = listen.iter().map(ListenAddr::to_string).collect();
    assert_eq!(listen, ["127.0.0.1:9100", "[fe80::1%eth0]:9100"]);
    assert_eq!(telemetry_path, "/lvs/metrics");
    assert_eq!(web_config.as_deref(), Some(Path::new("tls/web.yml")), "as written");
    assert_eq!(state_directory, Path::new("/srv/lvs"));
    assert_eq!(control_socket, Path::new("/srv/lvs/control.sock"));
    let Policy {
        mode,
        poll_interval,
        ledger_max_age,
        suspect_self_percent,
        restore_on_exit,
        vips,
        vip_sharing,
        services,
    } = &config.policy;
    let vips: Vec<String> = vips.iter().map(ToString::to_string).collect();
    assert_eq!((vips.join(" ").as_str(), *vip_sharing), ("10.10.0.100 2001:db8::1", VipSharing::Shared));
    assert_eq!((*suspect_self_percent, *restore_on_exit), (80, true));
    assert_eq!((*mode, *poll_interval), (Some(Mode::Observe), Duration::from_millis(500)));
    assert_eq!(*ledger_max_age, seconds(24 * 3600));
    let [shop, rest] = services.as_slice() else { panic!("{services:?}") };
    assert_eq!(shop.matches[1].to_string(), "[2001:db8::/64]:*/tcp");
    assert_eq!((shop.name.as_deref(), shop.floor, shop.quorum), (Some("shop"), Floor::Percent(50), 2));
    assert_eq!((shop.capacity_low, shop.on_failure), (0.75, Some(OnFailure::Observe)));
    assert_eq!((shop.slow_start, shop.hold_down), (seconds(30), seconds(60)));
    assert_eq!(shop.mode, Mode::Observe, "the weaker of the global one and its own");
    assert_eq!((rest.floor, rest.on_failure), (Floor::Count(0), Some(OnFailure::WeightZero)));
    assert_eq!(rest.matches[0].to_string(), "fwmark:7/*");
    let names: Vec<&str> = shop.checks.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(names, ["web", "inherits"]);
}

#[test]
fn a_check_with_every_key() {
    let (config, _) = good("full.toml");
    let spec = &config.policy.services[0].checks[0].spec;
    assert_eq!(
        spec.pace,
        Pace {
            interval: seconds(10),
            timeout: seconds(3),
            fast_interval: seconds(1),
            rise: 4,
            fall: 2,
            tripwire: true
        }
    );
    assert_eq!((spec.port, spec.mark, spec.close), (Some(8443), Some(7), Close::Rst));
    assert_eq!(spec.address, scoped("fe80::21", "eth1"));
    assert_eq!(spec.source, scoped("fe80::2", "eth1"));
    let CheckKind::Https(http, tls) = &spec.kind else { panic!("{spec:?}") };
    let HttpOptions { version, method, path, host, headers, status, body, fresh_every, weight_header } = http;
    assert_eq!((*version, *fresh_every), (HttpVersion::V1, Some(20)));
    assert_eq!(weight_header.as_deref(), Some("server-weight"), "case makes no difference");
    assert_eq!((method.as_str(), path.as_str()), ("POST", "/healthz?deep=1"));
    assert_eq!(host.as_deref(), Some("shop.example.com:8443"));
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(*headers, [header("X-Zebra", "1"), header("Authorization", "Basic bHZzOmx2cw==")]);
    assert_eq!(*status, [(200, 204), (301, 301), (401, 401)]);
    let BodyMatch::Regex(regex) = body else { panic!("{body:?}") };
    assert!(regex.is_match(b"fine, thanks") && !regex.is_match(b"not ok"));
    let TlsOptions { server_name, verify, ca, client_certificate } = tls;
    assert_eq!((server_name.as_deref(), *verify, ca), (Some("internal.example.com"), false, &None));
    let client = client_certificate.as_ref().expect("a client certificate");
    assert_eq!(client.certificate.path, Path::new("generated/client.pem"));
    assert_eq!(client.certificate.pem, GENERATED["generated/client.pem"]);
    assert_eq!(client.key.pem, GENERATED["generated/client.key"]);
}

#[test]
fn a_check_inherits_the_defaults() {
    let (config, _) = good("full.toml");
    let spec = &config.policy.services[0].checks[1].spec;
    let fast_interval = Duration::from_millis(500);
    assert_eq!(
        spec.pace,
        Pace { interval: seconds(5), timeout: seconds(2), fast_interval, rise: 1, fall: 5, tripwire: false }
    );
    let CheckKind::Http(http) = &spec.kind else { panic!("{spec:?}") };
    assert_eq!((http.method.as_str(), http.path.as_str(), &http.host), ("GET", "/", &None));
    assert_eq!((http.status.as_slice(), spec.close), ([(200, 299)].as_slice(), Close::Fin));
    assert_eq!(http.body, BodyMatch::Contains("ok".to_owned()));
    let CheckKind::Tls(tls) = &config.policy.services[1].checks[0].spec.kind else { panic!() };
    assert_eq!((&tls.server_name, tls.verify, &tls.client_certificate), (&None, true, &None));
    assert_eq!(tls.ca.as_ref().expect("a ca-file").pem, GENERATED["generated/ca.pem"]);
}

#[test]
fn a_dialogue_is_bytes() {
    let (config, _) = good("full.toml");
    let checks = &config.policy.services[1].checks;
    let CheckKind::Dialogue(Dialogue { send, expect, .. }) = &checks[1].spec.kind else { panic!() };
    assert_eq!((send.as_slice(), expect), (&b"PING\r\n\0"[..], &Expect::Text(b"+PONG\r\n".to_vec())));
    assert_eq!((checks[1].spec.close, checks[1].spec.kind.as_str()), (Close::Fin, "tcp"));
    let CheckKind::Dialogue(Dialogue { send, expect, .. }) = &checks[2].spec.kind else { panic!() };
    assert_eq!(
        (send.as_slice(), expect.is_in(b"SSH-2.0-x"), expect.is_in(b" SSH-2")),
        (&b""[..], true, false)
    );
}

#[test]
fn a_header_ends_the_half_open_close() {
    let (config, _) = good("full.toml");
    let edge = &config.policy.services[1].checks[3].spec;
    assert_eq!((edge.proxy_protocol, edge.close), (Some(ProxyProtocol::V2), Close::Fin));
}

#[test]
fn a_grpc_check_has_a_service_and_a_host() {
    let (config, _) = good("full.toml");
    let checks = &config.policy.services[1].checks;
    let CheckKind::Grpcs(grpc, tls) = &checks[5].spec.kind else { panic!() };
    assert_eq!((grpc.service.as_str(), grpc.host.as_deref()), ("shop.Cart", Some("cart.example.com:50051")));
    assert!(tls.verify && tls.server_name.is_none());
    assert_eq!((checks[5].spec.close, checks[5].spec.kind.as_str()), (Close::Fin, "grpcs"));
    let CheckKind::Http(http) = &checks[6].spec.kind else { panic!() };
    assert_eq!(http.version, HttpVersion::V2);
}

#[test]
fn an_agent_may_be_asked_and_speaks_on_a_port_of_its_own() {
    let (config, _) = good("full.toml");
    let load = &config.policy.services[1].checks[7].spec;
    assert_eq!(load.kind, CheckKind::Agent(AgentOptions { send: b"web\n".to_vec() }));
    assert_eq!((load.port, load.close, load.kind.as_str()), (Some(9999), Close::Fin, "agent"));
    assert_eq!(load.proxy_protocol, Some(ProxyProtocol::V1));
    let quiet = valid(
        "[defaults]\ntripwire = true\n[check.a]\ntype = 'agent'\nport = 1\n\
         [[service]]\nmatch = ['*:*/tcp']\nchecks = ['a']\n",
    );
    let quiet = &quiet.policy.services[0].checks[0].spec;
    assert_eq!(quiet.kind, CheckKind::Agent(AgentOptions { send: Vec::new() }));
    assert!(!quiet.pace.tripwire, "an agent ends its connections");
}

#[test]
fn a_dns_question_is_a_name_and_a_type() {
    let (config, _) = good("full.toml");
    let CheckKind::Dns(dns) = &config.policy.services[1].checks[4].spec.kind else { panic!() };
    assert_eq!(
        (dns.name.as_str(), dns.record, dns.rcode),
        ("www.example.com", RecordType::Aaaa, Rcode::NoError)
    );
    assert_eq!(dns.transport, DnsTransport::Tcp);
    assert_eq!(dns.answers, ["2001:db8::1", "2001:db8::2"].map(|a| a.parse::<std::net::IpAddr>().unwrap()));
}

#[test]
fn a_short_interval_shortens_the_default_fast_interval_without_a_warning() {
    let config = valid(
        "[check.a]\ntype = \"tcp\"\ninterval = \"50ms\"\ntimeout = \"50ms\"\n\
         [[service]]\nmatch = [\"*:*/tcp\"]\nchecks = [\"a\"]\n",
    );
    assert_eq!(config.policy.services[0].checks[0].spec.pace.fast_interval, Duration::from_millis(50));
    assert_eq!(config.warnings, []);
}

#[test]
fn a_configuration_without_services_manages_nothing() {
    let (config, _) = good("exporter.toml");
    assert_eq!(config.policy.services, []);
    assert_eq!(config.policy.mode, Some(Mode::Enforce));
    assert_eq!(config.settings.listen[0].to_string(), "[::]:9999");
}

#[test]
fn warnings_are_exactly_these() {
    let (config, text) = good("warnings.toml");
    let report = rendered(&config.warnings, "good/warnings.toml", &text);
    let path = directory().join("good/warnings.expected");
    if std::env::var_os("LVS_AGENT_BLESS").is_some() {
        std::fs::write(&path, &report).expect("warnings.expected");
    }
    assert_eq!(report, std::fs::read_to_string(&path).expect("warnings.expected"));
}

#[test]
fn the_flag_replaces_the_global_mode_but_not_a_services_own() {
    let text = "mode = \"observe\"\n\
        [[service]]\nmatch = [\"*:1/tcp\"]\nchecks = []\n\
        [[service]]\nmatch = [\"*:2/tcp\"]\nchecks = []\nmode = \"observe\"\n\
        [[service]]\nmatch = [\"*:3/tcp\"]\nchecks = []\nmode = \"enforce\"\n";
    let modes = |config: &Config| -> Vec<Mode> { config.policy.services.iter().map(|s| s.mode).collect() };
    let file = valid(text);
    assert_eq!(modes(&file), [Mode::Observe; 3]);
    let enforced = file.clone().with_mode(Mode::Enforce);
    assert_eq!(enforced.policy.mode, Some(Mode::Enforce));
    assert_eq!(modes(&enforced), [Mode::Enforce, Mode::Observe, Mode::Enforce]);
    assert_ne!(enforced.hash, file.hash, "the hash is of what is in effect");
    assert_eq!(enforced.with_mode(Mode::Observe), file);
    let exporter = Config::exporter_only();
    assert_eq!(exporter.clone().with_mode(Mode::Enforce), exporter);
}
