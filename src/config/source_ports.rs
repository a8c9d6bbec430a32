//! Checks that may be too many for one destination, as far as the file alone tells (trap 41).
//!
//! It tells that the checks of one service go to the same real servers, and which address and port a check names.
//! What else shares a real server is known once the table is read: `logic` looks again.

use std::collections::BTreeMap;

use super::check::Named;
use super::problem::Faults;
use crate::model::{CheckSpec, Overuse, ScopedAddr, ServicePolicy, SourcePorts};

/// What is known of where a check connects to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Pool<'a> {
    /// Which service's real servers; `None`: an address and a port of the check's own.
    service: Option<usize>,
    source: Option<&'a ScopedAddr>,
    address: Option<&'a ScopedAddr>,
    port: Option<u16>,
}

impl Pool<'_> {
    fn of(service: usize, spec: &CheckSpec) -> Pool<'_> {
        let known = spec.address.is_some() && spec.port.is_some();
        Pool {
            service: (!known).then_some(service),
            source: spec.source.as_ref(),
            address: spec.address.as_ref(),
            port: spec.port,
        }
    }
}

/// One warning, at the check that asks for most.
pub(super) fn warn(services: &[ServicePolicy], checks: &BTreeMap<String, Named>, faults: &mut Faults) {
    let mut asked: Vec<(Pool<'_>, &CheckSpec, &str)> = Vec::new();
    for (at, service) in services.iter().enumerate() {
        asked.extend(service.checks.iter().map(|c| (Pool::of(at, &c.spec), &*c.spec, c.name.as_str())));
    }
    asked.sort_unstable();
    // Equal checks under two names share their probes.
    asked.dedup_by(|a, b| (a.0, a.1) == (b.0, b.1));
    let uses = asked.iter().map(|(pool, spec, _)| (*pool, spec.fins_per_second()));
    let Some(overuse) = Overuse::find(uses, SourcePorts::USUAL) else { return };
    asked.retain(|(pool, ..)| *pool == overuse.worst);
    let most = asked.iter().max_by(|a, b| a.1.fins_per_second().total_cmp(&b.1.fins_per_second()));
    if let Some(named) = most.and_then(|(_, _, name)| checks.get(*name)) {
        let message = format!(
            "it and {} other checks may make {:.0} connections a second to one address and port, each of which keeps its source port for a minute; the kernel's usual range is used up by {:.0}: write `close = \"rst\"`, `connection = \"reuse\"` or longer intervals, or widen net.ipv4.ip_local_port_range",
            asked.len() - 1,
            overuse.per_second,
            overuse.at_most.ceil()
        );
        faults.warn(&named.place, message);
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Problem, parse};

    fn config(text: &str) -> Config {
        parse(text, &|_| Err(std::io::Error::other("no file"))).expect("a valid configuration")
    }

    /// Checks `a`, `b` … with these keys, and services that use them.
    fn warnings(checks: &[&str], services: &[&str]) -> Vec<Problem> {
        let mut text = "[defaults]\ninterval = \"10ms\"\ntimeout = \"10ms\"\n".to_owned();
        for (keys, name) in checks.iter().zip('a'..) {
            text.push_str(&format!("[check.{name}]\n{keys}\n"));
        }
        for (names, at) in services.iter().zip(1..) {
            let names: Vec<String> = names.chars().map(|name| format!("\"{name}\"")).collect();
            let names = names.join(", ");
            text.push_str(&format!("[[service]]\nmatch = [\"10.0.0.{at}:80/tcp\"]\nchecks = [{names}]\n"));
        }
        config(&text).warnings
    }

    #[test]
    fn only_connections_that_we_close_by_fin_keep_their_port() {
        let cases = [
            ("type = \"tcp\"", 0.0),
            ("type = \"tcp\"\nclose = \"fin\"", 5.0),
            ("type = \"http\"", 5.0),
            ("type = \"http\"\nclose = \"rst\"", 0.0),
            ("type = \"http\"\ninterval = \"100ms\"", 10.0),
            ("type = \"http\"\nfast-interval = \"1h\"", 0.5),
            ("type = \"https\"\nconnection = \"reuse\"", 0.5),
            ("type = \"https\"\nconnection = \"reuse\"\nfresh-every = 2", 2.5),
            ("type = \"dns\"\nquestion = \". NS\"", 0.0),
            ("type = \"dns\"\nquestion = \". NS\"\ntransport = \"tcp\"", 5.0),
        ];
        for (keys, per_second) in cases {
            let service = "[[service]]\nmatch = [\"*:*/tcp\"]\nchecks = [\"c\"]\n";
            let policy = config(&format!("[check.c]\n{keys}\n{service}")).policy;
            assert_eq!(policy.services[0].checks[0].spec.fins_per_second(), per_second, "{keys}");
        }
    }

    #[test]
    fn checks_of_one_service_that_may_use_up_the_ports_are_a_warning() {
        let paths: Vec<String> = (0..5).map(|n| format!("type = \"http\"\npath = \"/{n}\"")).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let [warning] = &warnings(&paths, &["abcde"])[..] else { panic!("one warning") };
        assert_eq!(warning.key, "check.e");
        let begin = "it and 4 other checks may make 500 connections a second to one address and port";
        assert!(warning.message.starts_with(begin), "{}", warning.message);
        assert!(warning.message.contains("is used up by 471:"), "{}", warning.message);
        // Whether these share a real server is not in the file; four of them are not too many.
        assert_eq!(warnings(&paths, &["abcd", "e"]), []);
        // Another port, another source: other ports to leave from.
        for own in ["port = 81", "source = \"10.0.0.9\"", "close = \"rst\"", "connection = \"reuse\""] {
            let own = format!("{}\n{own}", paths[4]);
            let mut checks = paths.clone();
            checks[4] = &own;
            assert_eq!(warnings(&checks, &["abcde"]), [], "{own}");
        }
        // The same probe under five names.
        assert_eq!(warnings(&[paths[0]; 5], &["abcde"]), []);
    }

    #[test]
    fn checks_of_one_address_and_port_are_summed_over_all_services() {
        let fixed = |n| format!("type = \"http\"\npath = \"/{n}\"\naddress = \"10.0.0.9\"\nport = 80");
        let fixed: Vec<String> = (0..5).map(fixed).collect();
        let fixed: Vec<&str> = fixed.iter().map(String::as_str).collect();
        assert_eq!(warnings(&fixed, &["abc", "de"]).len(), 1);
        assert_eq!(warnings(&fixed[..4], &["abc", "abd"]), [], "one target, whoever uses it");
    }
}
