//! The hash tells what a configuration means; written defaults change nothing.

use std::collections::BTreeSet;

use lvs_agent::config::{Config, Fallback, SECTIONS, Section};
use toml::{Table, Value};

use super::valid;

const BASE: &str = r#"
[check.web]
type = "https"
body-contains = "ok"

[[service]]
match = ["10.10.0.100:443/tcp"]
checks = ["web"]
"#;

/// For every key another value than the base's or the default.
const CHANGES: &[(&str, &[(&str, &str)])] = &[
    ("the top level", &[("mode", "'observe'")]),
    ("the top level", &[("suspect-self", "'99%'")]),
    ("the top level", &[("restore-on-exit", "true")]),
    ("[web]", &[("listen", "['[::]:9100']")]),
    ("[web]", &[("telemetry-path", "'/m'")]),
    ("[state]", &[("directory", "'/srv'")]),
    ("[state]", &[("max-age", "'1h'")]),
    ("[control]", &[("socket", "'/srv/c'")]),
    ("[web]", &[("config-file", "'web.yml'")]),
    ("[director]", &[("vips", "['10.10.0.100']")]),
    ("[director]", &[("vip-sharing", "'shared'")]),
    ("[ipvs]", &[("poll-interval", "'1s'")]),
    ("[defaults]", &[("interval", "'3s'")]),
    ("[defaults]", &[("timeout", "'1100ms'")]),
    ("[defaults]", &[("rise", "4")]),
    ("[defaults]", &[("fall", "4")]),
    ("[defaults]", &[("fast-interval", "'300ms'")]),
    ("[defaults]", &[("tripwire", "true")]),
    ("[check.NAME]", &[("tripwire", "true"), ("rise", "6")]),
    ("[check.NAME]", &[("type", "'http'")]),
    ("[check.NAME]", &[("type", "'grpc'"), ("body-contains", "")]),
    ("[check.NAME]", &[("type", "'grpcs'"), ("body-contains", "")]),
    ("[check.NAME]", &[("grpc-service", "'shop.Cart'"), ("type", "'grpc'"), ("body-contains", "")]),
    ("[check.NAME]", &[("http-version", "'2'")]),
    ("[check.NAME]", &[("type", "'smtp'"), ("body-contains", "")]),
    ("[check.NAME]", &[("type", "'redis'"), ("body-contains", "")]),
    ("[check.NAME]", &[("type", "'mysql'"), ("body-contains", "")]),
    ("[check.NAME]", &[("type", "'postgres'"), ("body-contains", "")]),
    ("[check.NAME]", &[("question", "'example.com AAAA'"), ("type", "'dns'"), ("body-contains", "")]),
    ("[check.NAME]", &[("question", "'example.com A'"), ("type", "'dns'"), ("body-contains", "")]),
    (
        "[check.NAME]",
        &[("transport", "'tcp'"), ("type", "'dns'"), ("question", "'example.com A'"), ("body-contains", "")],
    ),
    (
        "[check.NAME]",
        &[("rcode", "'NXDOMAIN'"), ("type", "'dns'"), ("question", "'example.com A'"), ("body-contains", "")],
    ),
    (
        "[check.NAME]",
        &[
            ("answers", "['192.0.2.1']"),
            ("type", "'dns'"),
            ("question", "'example.com A'"),
            ("body-contains", ""),
        ],
    ),
    ("[check.NAME]", &[("interval", "'4s'")]),
    ("[check.NAME]", &[("timeout", "'1200ms'")]),
    ("[check.NAME]", &[("rise", "5")]),
    ("[check.NAME]", &[("fall", "5")]),
    ("[check.NAME]", &[("fast-interval", "'400ms'")]),
    ("[check.NAME]", &[("port", "8443")]),
    ("[check.NAME]", &[("address", "'10.0.0.2'")]),
    ("[check.NAME]", &[("source", "'10.0.0.2'")]),
    ("[check.NAME]", &[("mark", "8443")]),
    ("[check.NAME]", &[("close", "'rst'")]),
    ("[check.NAME]", &[("send", "'PING'"), ("expect", "'PONG'"), ("type", "'tcp'"), ("body-contains", "")]),
    ("[check.NAME]", &[("expect", "'PONG'"), ("type", "'tcp'"), ("body-contains", "")]),
    ("[check.NAME]", &[("expect-regex", "'PONG'"), ("type", "'tcp'"), ("body-contains", "")]),
    ("[check.NAME]", &[("proxy-protocol", "'v1'")]),
    ("[check.NAME]", &[("proxy-protocol", "'v2'")]),
    ("[check.NAME]", &[("path", "'/x'")]),
    ("[check.NAME]", &[("host", "'shop.example.com'")]),
    ("[check.NAME]", &[("method", "'POST'")]),
    ("[check.NAME]", &[("headers", "{ X-A = 'b' }")]),
    ("[check.NAME]", &[("status", "[200]")]),
    ("[check.NAME]", &[("body-contains", "'fine'")]),
    ("[check.NAME]", &[("connection", "'reuse'")]),
    ("[check.NAME]", &[("weight-header", "'Server-Weight'")]),
    ("[check.NAME]", &[("type", "'agent'"), ("port", "9999"), ("body-contains", "")]),
    ("[check.NAME]", &[("send", "'PING'"), ("type", "'agent'"), ("port", "9999"), ("body-contains", "")]),
    ("[check.NAME]", &[("fresh-every", "9"), ("connection", "'reuse'")]),
    ("[check.NAME]", &[("body-regex", "'ok'"), ("body-contains", "")]),
    ("[check.NAME]", &[("server-name", "'shop.example.com'")]),
    ("[check.NAME]", &[("verify", "false")]),
    ("[check.NAME]", &[("ca-file", "'generated/ca.pem'")]),
    ("[check.NAME]", &[("client-cert", "'generated/client.pem'"), ("client-key", "'generated/client.key'")]),
    ("[check.NAME]", &[("client-key", "'generated/other.key'"), ("client-cert", "'generated/ca.pem'")]),
    ("[[service]]", &[("match", "['10.10.0.100:80/tcp']")]),
    ("[[service]]", &[("name", "'shop'")]),
    ("[[service]]", &[("checks", "[]")]),
    ("[[service]]", &[("floor", "2")]),
    ("[[service]]", &[("quorum", "2")]),
    ("[[service]]", &[("capacity-low", "'60%'")]),
    ("[[service]]", &[("on-failure", "'weight-0'")]),
    ("[[service]]", &[("slow-start", "'30s'")]),
    ("[[service]]", &[("hold-down", "'30s'")]),
    ("[[service]]", &[("mode", "'observe'")]),
];

/// The base's check as one of another type, which has keys of its own.
const DNS: &[(&str, &str)] = &[("type", "'dns'"), ("question", "'example.com A'"), ("body-contains", "")];

/// The base with these keys of a section set, or taken out where the value is empty.
fn changed(section: &str, sets: &[(&str, &str)]) -> Config {
    let mut document: Table = BASE.parse().expect("the base");
    let table = match section {
        "the top level" => &mut document,
        "[check.NAME]" => document["check"]["web"].as_table_mut().expect("a check"),
        "[[service]]" => document["service"][0].as_table_mut().expect("a service"),
        other => document
            .entry(other.trim_matches(['[', ']']))
            .or_insert_with(|| Value::Table(Table::new()))
            .as_table_mut()
            .expect(other),
    };
    for (key, value) in sets {
        match *value {
            "" => table.remove(*key),
            toml => {
                let holder: Table = format!("v = {toml}").parse().expect(toml);
                table.insert((*key).to_owned(), holder["v"].clone())
            }
        };
    }
    valid(&document.to_string())
}

fn is_table(section: &Section, key: &str) -> bool {
    section.title == "the top level" && !["mode", "suspect-self", "restore-on-exit"].contains(&key)
}

#[test]
fn every_key_changes_the_hash() {
    let mut seen = BTreeSet::from([valid(BASE).hash]);
    for (section, sets) in CHANGES {
        let hash = changed(section, sets).hash;
        assert!(hash < 1 << 48);
        assert!(seen.insert(hash), "{section} {sets:?} changes nothing, or what another changes");
    }
    for section in SECTIONS {
        for key in section.keys.iter().filter(|key| !is_table(section, key.name)) {
            let has = |(s, sets): &(&str, &[(&str, &str)])| *s == section.title && sets[0].0 == key.name;
            assert!(CHANGES.iter().any(has), "no change of {} {}", section.title, key.name);
        }
    }
}

#[test]
fn a_written_default_changes_nothing() {
    let (base, dns) = (valid(BASE), changed("[check.NAME]", DNS));
    let mut compared = 0;
    for section in SECTIONS {
        for key in section.keys {
            if let Fallback::Value(toml) = key.default {
                let (base, mut sets) = if ["transport", "rcode"].contains(&key.name) {
                    (&dns, DNS.to_vec())
                } else {
                    (&base, Vec::new())
                };
                sets.push((key.name, toml));
                assert_eq!(changed(section.title, &sets), *base, "{} {}", section.title, key.name);
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 26, "keys with a written default");
}

#[test]
fn layout_comments_and_order_do_not_change_the_hash() {
    let one = valid(
        "mode = 'observe'\n[defaults]\nrise = 1\ninterval = '60s'\n[check.a]\ntype = 'http'\n\
         headers = { A = '1', B = '2' }\nport = 80\n[check.b]\ntype = 'tcp'\n\
         [[service]]\nmatch = ['[2001:DB8:0::1]:80/tcp']\nchecks = ['a', 'b']\n",
    );
    let two = valid(
        "# a comment\nservice = [ { checks = [\"a\", \"b\"], # another\n match = [\"[2001:db8::1]:80/tcp\", ] } ]\n\
         \n[check]\n  [check.b]\n  type = \"tcp\"\n  [check.a]\n  port = 0x50\n  type = \"http\"\n\
         [check.a.headers]\n  B = \"2\"\n  A = \"1\"\n[defaults]\ninterval = \"1m\"\nrise = 1\n",
    );
    assert_ne!(one.hash, two.hash, "the mode is another");
    assert_eq!(one.hash, two.with_mode(lvs_agent::model::Mode::Observe).hash);
}

#[test]
fn the_hash_is_the_same_in_every_build() {
    // A change of this number makes directors of two versions look configured differently.
    assert_eq!(valid(include_str!("good/minimal.toml")).hash, 55_214_809_951_395);
}

#[test]
fn the_content_of_a_file_is_part_of_the_hash() {
    let text = "[check.a]\ntype = 'tls'\nca-file = 'ca.pem'\n\
                [[service]]\nmatch = ['*:443/tcp']\nchecks = ['a']\n";
    let with = |file: &str| {
        let pem = super::GENERATED[file].clone();
        lvs_agent::config::parse(text, &move |_| Ok(pem.clone())).expect(file).hash
    };
    assert_ne!(with("generated/ca.pem"), with("generated/client.pem"));
    assert_eq!(with("generated/ca.pem"), with("generated/ca.pem"));
}
