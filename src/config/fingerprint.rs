//! One number for what a configuration means: the same however the file is laid out, another for
//! any other behaviour.

use std::time::Duration;

use super::Settings;
use crate::model::{
    AgentOptions, BodyMatch, Check, CheckKind, ClientCertificate, Dialogue, DnsOptions, Expect, GrpcOptions,
    HttpOptions, HttpVersion, Pace, PemFile, Policy, ScopedAddr, ServicePolicy, TlsOptions,
};

/// 48 bits: exact in the double of a metric's value. It must be the same on every machine and in
/// every build, to compare directors: so neither the standard library's hasher nor derived hashes.
pub(super) fn of(policy: &Policy, settings: &Settings) -> u64 {
    let mut writer = Writer { state: FNV_OFFSET };
    // Destructured whole, here and below: a new field does not compile until it is written.
    let Policy {
        mode,
        poll_interval,
        ledger_max_age,
        suspect_self_percent,
        restore_on_exit,
        vips,
        vip_sharing,
        services,
    } = policy;
    writer.text(mode.map_or("", |mode| mode.as_str()));
    writer.duration(*poll_interval);
    writer.duration(*ledger_max_age);
    writer.number(u64::from(*suspect_self_percent));
    writer.number(u64::from(*restore_on_exit));
    writer.list(&vips.iter().collect::<Vec<_>>(), |w, vip| w.text(&vip.to_string()));
    writer.text(vip_sharing.as_str());
    writer.list(services, Writer::service);
    let Settings { listen, telemetry_path, web_config, state_directory, control_socket } = settings;
    writer.list(listen, |w, listen| w.text(&listen.to_string()));
    writer.text(telemetry_path);
    writer.option(web_config.as_ref(), |w, path| w.bytes(path.as_os_str().as_encoded_bytes()));
    writer.bytes(state_directory.as_os_str().as_encoded_bytes());
    writer.bytes(control_socket.as_os_str().as_encoded_bytes());
    (writer.state >> 48) ^ (writer.state & ((1 << 48) - 1))
}

// FNV-1a of 64 bits (draft-eastlake-fnv), folded to 48 as it says.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// Every item is preceded by its length or its presence, so that no two lists of items are one
/// string of bytes.
struct Writer {
    state: u64,
}

impl Writer {
    fn raw(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.state = (self.state ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
        }
    }

    fn number(&mut self, number: u64) {
        self.raw(&number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.raw(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn duration(&mut self, duration: Duration) {
        self.number(duration.as_secs());
        self.number(u64::from(duration.subsec_nanos()));
    }

    fn list<T>(&mut self, list: &[T], mut write: impl FnMut(&mut Writer, &T)) {
        self.number(list.len() as u64);
        for item in list {
            write(self, item);
        }
    }

    fn option<T>(&mut self, option: Option<&T>, write: impl FnOnce(&mut Writer, &T)) {
        self.number(u64::from(option.is_some()));
        if let Some(value) = option {
            write(self, value);
        }
    }

    fn service(&mut self, service: &ServicePolicy) {
        let ServicePolicy {
            matches,
            name,
            checks,
            floor,
            quorum,
            capacity_low,
            mode,
            on_failure,
            slow_start,
            hold_down,
        } = service;
        self.list(matches, |w, pattern| w.text(&pattern.to_string()));
        self.option(name.as_ref(), |w, name| w.text(name));
        self.list(checks, |w, check| w.check(check));
        self.text(&floor.to_string());
        self.number(u64::from(*quorum));
        self.number(capacity_low.to_bits());
        self.text(mode.as_str());
        self.option(on_failure.as_ref(), |w, on_failure| w.text(on_failure.as_str()));
        self.duration(*slow_start);
        self.duration(*hold_down);
    }

    fn check(&mut self, check: &Check) {
        let Check { name, spec } = check;
        self.text(name);
        let crate::model::CheckSpec { kind, port, address, source, mark, close, proxy_protocol, pace } =
            &**spec;
        self.text(kind.as_str());
        match kind {
            CheckKind::Tcp => {}
            CheckKind::Dialogue(dialogue) => self.dialogue(dialogue),
            CheckKind::Agent(AgentOptions { send }) => self.bytes(send),
            CheckKind::Dns(dns) => self.dns(dns),
            CheckKind::Tls(tls) => self.tls(tls),
            CheckKind::Http(http) => self.http(http),
            CheckKind::Https(http, tls) => {
                self.http(http);
                self.tls(tls);
            }
            CheckKind::Grpc(grpc) => self.grpc(grpc),
            CheckKind::Grpcs(grpc, tls) => {
                self.grpc(grpc);
                self.tls(tls);
            }
        }
        self.option(port.as_ref(), |w, port| w.number(u64::from(*port)));
        self.option(address.as_ref(), Writer::address);
        self.option(source.as_ref(), Writer::address);
        self.option(mark.as_ref(), |w, mark| w.number(u64::from(*mark)));
        self.text(match close {
            crate::model::Close::Rst => "rst",
            crate::model::Close::Fin => "fin",
        });
        // As if it were not there: what a configuration without it meant before, it still means.
        if let Some(version) = proxy_protocol {
            self.text("proxy-protocol");
            self.text(version.as_str());
        }
        let Pace { interval, timeout, fast_interval, rise, fall, tripwire } = pace;
        self.duration(*interval);
        self.duration(*timeout);
        self.duration(*fast_interval);
        self.number(u64::from(*rise));
        self.number(u64::from(*fall));
        if *tripwire {
            self.text("tripwire");
        }
    }

    fn address(&mut self, address: &ScopedAddr) {
        let ScopedAddr { addr, zone } = address;
        self.text(&addr.to_string());
        self.option(zone.as_ref(), |w, zone| w.text(zone));
    }

    fn dialogue(&mut self, dialogue: &Dialogue) {
        let Dialogue { speech, send, expect, refusal, farewell } = dialogue;
        self.text(speech.as_str());
        self.bytes(send);
        match expect {
            Expect::Text(text) => {
                self.text("text");
                self.bytes(text);
            }
            Expect::Regex(regex) => {
                self.text("regex");
                self.text(regex.as_str());
            }
        }
        self.option(refusal.as_ref(), |w, regex| w.text(regex.as_str()));
        self.bytes(farewell);
    }

    fn dns(&mut self, dns: &DnsOptions) {
        let DnsOptions { transport, name, record, rcode, answers } = dns;
        self.text(transport.as_str());
        self.text(name.as_str());
        self.text(record.as_str());
        self.text(rcode.as_str());
        self.list(answers, |w, address| w.text(&address.to_string()));
    }

    fn http(&mut self, http: &HttpOptions) {
        let HttpOptions { version, method, path, host, headers, status, body, fresh_every, weight_header } =
            http;
        self.text(method);
        self.text(path);
        self.option(host.as_ref(), |w, host| w.text(host));
        // Their order means nothing to a server (RFC 9110, section 5.3: names differ here).
        let mut headers: Vec<_> = headers.iter().map(|(n, v)| (n.to_ascii_lowercase(), v)).collect();
        headers.sort();
        self.list(&headers, |w, (name, value)| {
            w.text(name);
            w.text(value);
        });
        self.list(status, |w, (first, last)| {
            w.number(u64::from(*first));
            w.number(u64::from(*last));
        });
        match body {
            BodyMatch::Any => self.text("any"),
            BodyMatch::Contains(text) => {
                self.text("contains");
                self.text(text);
            }
            BodyMatch::Regex(regex) => {
                self.text("regex");
                self.text(regex.as_str());
            }
        }
        // As if the keys were not there: what a configuration without them meant before, it still means.
        if let Some(every) = fresh_every {
            self.text("fresh-every");
            self.number(u64::from(*every));
        }
        if let Some(header) = weight_header {
            self.text("weight-header");
            self.text(header);
        }
        match version {
            HttpVersion::V1 => {}
            HttpVersion::V2 => self.text("http-version 2"),
        }
    }

    fn grpc(&mut self, grpc: &GrpcOptions) {
        let GrpcOptions { service, host } = grpc;
        self.text(service);
        self.option(host.as_ref(), |w, host| w.text(host));
    }

    fn tls(&mut self, tls: &TlsOptions) {
        let TlsOptions { server_name, verify, ca, client_certificate } = tls;
        self.option(server_name.as_ref(), |w, name| w.text(name));
        self.number(u64::from(*verify));
        self.option(ca.as_ref(), |w, file| w.file(file));
        self.option(client_certificate.as_ref(), |w, ClientCertificate { certificate, key }| {
            w.file(certificate);
            w.file(key);
        });
    }

    fn file(&mut self, file: &PemFile) {
        let PemFile { path, pem } = file;
        self.bytes(path.as_os_str().as_encoded_bytes());
        self.bytes(pem);
    }
}
