//! What a DNS check asks, and what must come back.

use std::net::IpAddr;

use super::words;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsOptions {
    pub transport: DnsTransport,
    pub name: DnsName,
    pub record: RecordType,
    pub rcode: Rcode,
    /// Each must be among the answer's addresses. Only for A and AAAA; sorted.
    pub answers: Vec<IpAddr>,
}

words! {
    DnsTransport {
        Udp = "udp",
        Tcp = "tcp",
    }
}

words! {
    /// Types that can be asked for (RFC 1035, 3.2.2; RFC 3596; RFC 2782).
    RecordType {
        A = "A",
        Ns = "NS",
        Cname = "CNAME",
        Soa = "SOA",
        Ptr = "PTR",
        Mx = "MX",
        Txt = "TXT",
        Aaaa = "AAAA",
        Srv = "SRV",
    }
}

impl RecordType {
    pub fn number(self) -> u16 {
        match self {
            RecordType::A => 1,
            RecordType::Ns => 2,
            RecordType::Cname => 5,
            RecordType::Soa => 6,
            RecordType::Ptr => 12,
            RecordType::Mx => 15,
            RecordType::Txt => 16,
            RecordType::Aaaa => 28,
            RecordType::Srv => 33,
        }
    }
}

words! {
    /// RFC 1035, 4.1.1.
    Rcode {
        NoError = "NOERROR",
        FormErr = "FORMERR",
        ServFail = "SERVFAIL",
        NxDomain = "NXDOMAIN",
        NotImp = "NOTIMP",
        Refused = "REFUSED",
    }
}

impl Rcode {
    /// The words stand in the order of their numbers, from 0 on.
    pub fn from_number(number: u8) -> Option<Rcode> {
        Rcode::ALL.get(usize::from(number)).copied()
    }
}

/// A name in lower case without its last dot; empty: the root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsName(String);

impl DnsName {
    /// Without the root's dot (RFC 1035, 2.3.4, counts length bytes).
    const MAX_BYTES: usize = 253;
    const MAX_LABEL_BYTES: usize = 63;

    /// `None`: not a name. Letters, digits, hyphens and underscores.
    pub fn parse(text: &str) -> Option<DnsName> {
        if text == "." {
            return Some(DnsName(String::new()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let is_label = |label: &str| {
            (1..=Self::MAX_LABEL_BYTES).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        let is_name = name.len() <= Self::MAX_BYTES && name.split('.').all(is_label);
        is_name.then(|| DnsName(name.to_ascii_lowercase()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// RFC 1035, 3.1: each label behind its length, the root's of none at the end.
    pub fn wire(&self) -> Vec<u8> {
        let mut wire = Vec::with_capacity(self.0.len() + 2);
        for label in self.0.split('.').filter(|label| !label.is_empty()) {
            // At most 63.
            wire.push(label.len() as u8);
            wire.extend_from_slice(label.as_bytes());
        }
        wire.push(0);
        wire
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let wire = |text: &str| DnsName::parse(text).map(|name| name.wire());
        assert_eq!(wire("Example.com").as_deref(), Some(&b"\x07example\x03com\0"[..]));
        assert_eq!(wire("_dns.example.com."), wire("_DNS.example.COM"));
        assert_eq!(wire("."), Some(vec![0]));
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert_eq!(wire(&longest).map(|w| w.len()), Some(255), "RFC 1035, 2.3.4");
        for text in ["", "..", "a..b", ".a", "a b", "ü", &format!("{label}a"), &format!("{longest}a")] {
            assert_eq!(wire(text), None, "{text}");
        }
    }

    #[test]
    fn rcodes_are_numbered_in_order() {
        assert_eq!(Rcode::from_number(0), Some(Rcode::NoError));
        assert_eq!(Rcode::from_number(3), Some(Rcode::NxDomain));
        assert_eq!(Rcode::from_number(5), Some(Rcode::Refused));
        assert_eq!(Rcode::from_number(6), None);
    }
}
