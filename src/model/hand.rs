//! Drains and undrains by hand: what an operator asks for, and what is answered.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use super::{DestKey, Family, Protocol, ServiceKey, Weight, words};

/// Longest reason that an operator may give, in bytes.
pub const MAX_SAID_BYTES: usize = 200;

/// The real servers of one address: of one port, or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DestPattern {
    pub addr: IpAddr,
    /// `None`: all ports.
    pub port: Option<u16>,
}

impl DestPattern {
    pub fn matches(&self, key: &DestKey) -> bool {
        self.addr == key.addr && self.port.is_none_or(|port| port == key.port)
    }
}

impl fmt::Display for DestPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => DestKey { addr: self.addr, port }.fmt(f),
            None => self.addr.fmt(f),
        }
    }
}

impl FromStr for DestPattern {
    type Err = String;
    fn from_str(text: &str) -> Result<DestPattern, String> {
        if let Ok(DestKey { addr, port }) = text.parse() {
            return Ok(DestPattern { addr, port: Some(port) });
        }
        let addr = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        match addr.parse() {
            Ok(addr) => Ok(DestPattern { addr, port: None }),
            Err(_) => Err(format!(
                "{} is no real server: write 10.10.0.21:80, [2001:db8::21]:80, or the address alone for all its ports",
                quoted(text)
            )),
        }
    }
}

/// What an operator wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandRequest {
    pub servers: DestPattern,
    /// Only of this virtual server: its key or its configured name.
    pub service: Option<String>,
    pub order: HandOrder,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandOrder {
    Drain {
        /// The operator's own words; see [`check_said`].
        said: Option<Arc<str>>,
        /// Even if a service is left with nobody.
        force: bool,
    },
    Undrain {
        /// Keep it in although its checks fail, until told otherwise.
        ignore_checks: bool,
    },
}

/// The operator's words end up in a file, in logs and on terminals.
pub fn check_said(text: &str) -> Result<(), String> {
    if text.is_empty() || text.len() > MAX_SAID_BYTES {
        return Err(format!("the reason has {} bytes; it may have 1 to {MAX_SAID_BYTES}", text.len()));
    }
    if text.chars().any(char::is_control) {
        return Err("the reason has a control character in it (a line break, a tab)".to_owned());
    }
    Ok(())
}

words! {
    /// What a request by hand comes to for one real server of one virtual server.
    HandEffect {
        /// Its weight goes to 0.
        Draining = "draining",
        /// Its checks have it out already: that stays, and passing checks alone no longer end it.
        AddedToChecks = "added_to_checks",
        /// It gets the owed weight back.
        GivingBack = "giving_back",
        /// The drain by hand is lifted, but its checks fail: they keep it out until they pass.
        StillFailing = "still_failing",
        /// It is in, and stays in whatever its checks say.
        IgnoringChecks = "ignoring_checks",
        /// What was asked for by hand is lifted; what comes of the weight is up to its checks.
        Lifted = "lifted",
        /// Lifted, and in observe mode the weight is not the agent's to write.
        NotWritten = "not_written",
        /// Nothing was asked for by hand there.
        Nothing = "nothing",
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandDone {
    pub service: ServiceKey,
    pub dest: DestKey,
    pub effect: HandEffect,
    /// In the kernel when it was decided; `None`: it is not in the table.
    pub weight: Option<Weight>,
    pub owed: Option<Weight>,
    /// At weight 0 the scheduler refuses its clients instead of moving them (trap 33).
    pub refuses_at_zero: bool,
}

impl HandDone {
    /// For people.
    pub fn text(&self) -> String {
        let owed = self.owed.map_or_else(|| "unknown".to_owned(), |w| w.to_string());
        match self.effect {
            HandEffect::Draining if self.refuses_at_zero => {
                format!("draining: weight {owed} -> 0; this scheduler refuses its clients until it is back")
            }
            HandEffect::Draining => format!("draining: weight {owed} -> 0"),
            HandEffect::AddedToChecks => {
                format!("out by its checks already; now only undrain brings it back (owed {owed})")
            }
            HandEffect::GivingBack => format!("giving back weight {owed}"),
            HandEffect::StillFailing => {
                format!(
                    "lifted, but its checks keep it out (they fail, or it wants no connections): weight {owed} comes back when they no longer do"
                )
            }
            HandEffect::IgnoringChecks => {
                "stays in whatever its checks say, until drain or undrain".to_owned()
            }
            HandEffect::Lifted => "lifted; its weight stays unless its checks say otherwise".to_owned(),
            HandEffect::NotWritten => match self.owed {
                Some(owed) => format!(
                    "lifted; nothing is written in observe mode, so: {}",
                    ipvsadm_line(&self.service, &self.dest, owed)
                ),
                None => "lifted; nothing is written in observe mode".to_owned(),
            },
            HandEffect::Nothing => "nothing was asked for by hand here".to_owned(),
        }
    }
}

/// Why a request by hand changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandRefused {
    #[error("no virtual server of the IPVS table has a real server {0}")]
    NoDest(DestPattern),
    #[error("{1} has no real server {0}")]
    NoDestThere(DestPattern, String),
    #[error(
        "there is no virtual server {}: write its key (10.10.0.100:80/tcp, fwmark:7/ipv4) or its configured name",
        quoted(.0)
    )]
    NoService(String),
    #[error(
        "no [[service]] of the configuration matches {0}, so its weights are not the agent's; --virtual-server names the one that is meant"
    )]
    Unmanaged(ServiceKey),
    #[error("{0} is only observed (mode = \"observe\"): nothing is written there")]
    Observe(ServiceKey),
    #[error(
        "{1} of {0} has weight 0 by somebody else's hand, so it is out already; `lvs-agent undrain` raises it if its weight is known"
    )]
    External(ServiceKey, DestKey),
    #[error("{1} of {0} is drained by hand already")]
    Twice(ServiceKey, DestKey),
    #[error("{0} would be left with no real server of weight above 0; --force does it all the same")]
    Nobody(ServiceKey),
    #[error("{1} of {0} is not drained by hand")]
    NotDrained(ServiceKey, DestKey),
    #[error("the checks of {1} of {0} are ignored already")]
    IgnoredAlready(ServiceKey, DestKey),
    #[error(
        "{1} of {0} is out by its checks, not by hand: it comes back when they pass; --ignore-checks puts it back although they fail"
    )]
    OutByChecks(ServiceKey, DestKey),
    #[error(
        "the weight that {1} of {0} should get is not known (never seen above 0): set it by hand, {line}",
        line = ipvsadm_line(.0, .1, Weight(1))
    )]
    OwedUnknown(ServiceKey, DestKey),
    #[error("it would not survive a restart, so it is not done: {0}")]
    LedgerUnsaved(String),
    #[error("the IPVS table cannot be read: {0}")]
    NoTable(String),
    #[error("{0} requests by hand wait for the disk already; try again")]
    Busy(usize),
}

/// Somebody's own words in an answer to them: not more of it than tells them what is meant.
pub fn quoted(text: &str) -> String {
    const MOST: usize = 80;
    let more = if text.chars().nth(MOST).is_some() { "…" } else { "" };
    let shown: String = text.chars().take(MOST).map(|c| if c.is_control() { '?' } else { c }).collect();
    format!("`{shown}{more}`")
}

/// The command that gives a weight back by hand. The forwarding method has to be named too: without
/// it ipvsadm would set direct routing.
pub fn ipvsadm_line(service: &ServiceKey, dest: &DestKey, owed: Weight) -> String {
    let (option, address) = match service {
        ServiceKey::Address { protocol, .. } => {
            let option = match protocol {
                Protocol::Tcp => "-t",
                Protocol::Udp => "-u",
                Protocol::Sctp => "--sctp-service",
            };
            (option, service.to_string().trim_end_matches(&format!("/{protocol}")).to_owned())
        }
        ServiceKey::Fwmark { mark, family: Family::V4 } => ("-f", mark.to_string()),
        ServiceKey::Fwmark { mark, family: Family::V6 } => ("-f", format!("{mark} -6")),
    };
    format!("ipvsadm -e {option} {address} -r {dest} -w {owed} with its forwarding method (-g, -i or -m)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_server_is_named_with_its_port_or_with_all_of_them() {
        for (text, shown, port) in [
            ("10.10.0.21:80", "10.10.0.21:80", Some(80)),
            ("10.10.0.21", "10.10.0.21", None),
            ("[2001:DB8::21]:80", "[2001:db8::21]:80", Some(80)),
            ("2001:db8::21", "2001:db8::21", None),
            ("[2001:db8::21]", "2001:db8::21", None),
        ] {
            let pattern: DestPattern = text.parse().unwrap();
            assert_eq!((pattern.to_string().as_str(), pattern.port), (shown, port));
        }
        for text in ["", "web1", "10.10.0.21:", "10.10.0.0/24", "[10.10.0.21"] {
            let error = text.parse::<DestPattern>().unwrap_err();
            assert!(error.contains(&format!("`{text}` is no real server")), "{error}");
        }
        let long = format!("9\u{1b}{}", "9".repeat(10_000)).parse::<DestPattern>().unwrap_err();
        assert!(
            long.starts_with("`9?999") && long.contains("…` is no real server") && long.len() < 250,
            "{long}"
        );
        let all: DestPattern = "10.10.0.21".parse().unwrap();
        assert!(all.matches(&"10.10.0.21:81".parse().unwrap()));
        assert!(!all.matches(&"10.10.0.22:81".parse().unwrap()));
    }

    #[test]
    fn what_operators_say_is_bounded_and_plain() {
        assert_eq!(check_said("kernel upgrade, ticket 7 – ä"), Ok(()));
        assert_eq!(check_said(&"x".repeat(200)), Ok(()));
        for bad in ["", &"x".repeat(201), "two\nlines", "\u{1b}[2J", "a\u{85}b"] {
            assert!(check_said(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_mending_line_names_the_service_as_ipvsadm_does() {
        let line = |service: &str| {
            ipvsadm_line(&service.parse().unwrap(), &"10.0.1.1:80".parse().unwrap(), Weight(5))
        };
        assert!(line("10.0.0.1:80/tcp").starts_with("ipvsadm -e -t 10.0.0.1:80 -r 10.0.1.1:80 -w 5 "));
        assert!(line("[fd00::1]:53/udp").starts_with("ipvsadm -e -u [fd00::1]:53 -r "));
        assert!(line("fwmark:7/ipv6").starts_with("ipvsadm -e -f 7 -6 -r "));
    }
}
