//! `[defaults]` and `[check.NAME]`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::keys::{self, CheckType};
use super::problem::{Faults, Place, quote};
use super::reader::{Bad, Placed, Reader, join};
use super::tls::Files;
use super::values::{boolean, duration, name, number, port, text, word};
use super::{address, agent, dialogue, dns, grpc, http, tls};
use crate::model::{
    Check, CheckKind, CheckSpec, Close, Family, GrpcOptions, HttpOptions, Pace, ProxyProtocol, ScopedAddr,
    TlsOptions,
};

pub(super) const MAX_CHECKS: usize = 1000;

const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(3600);
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(600);
const RUN: RangeInclusive<u32> = 1..=100;

const DEFAULT_INTERVAL: Duration = Duration::from_secs(2);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
const DEFAULT_FAST_INTERVAL: Duration = Duration::from_millis(200);
const DEFAULT_RISE: u32 = 2;
const DEFAULT_FALL: u32 = 3;

/// A `[check.NAME]`, whether or not it is right: services may name it.
pub(super) struct Named {
    pub place: Place,
    /// `None`: it has faults, which are reported.
    pub check: Option<Arc<Check>>,
    pub used: bool,
}

/// The keys that `[defaults]` and a check share, as far as they are written.
#[derive(Default)]
pub(super) struct PaceKeys {
    interval: Option<Placed<Duration>>,
    timeout: Option<Placed<Duration>>,
    fast_interval: Option<Placed<Duration>>,
    rise: Option<u32>,
    fall: Option<u32>,
    tripwire: Option<bool>,
}

pub(super) fn read_defaults(table: &Placed<&DeTable<'_>>, faults: &mut Faults) -> PaceKeys {
    let mut reader = Reader::new(&keys::DEFAULTS, table.place.clone(), table.value, faults);
    let defaults = PaceKeys::read(&mut reader);
    defaults.warn(&PaceKeys::default(), reader.faults);
    reader.finish();
    defaults
}

pub(super) fn read_checks(
    table: &Placed<&DeTable<'_>>,
    defaults: &PaceKeys,
    files: &mut Files<'_>,
    faults: &mut Faults,
) -> BTreeMap<String, Named> {
    let mut checks = BTreeMap::new();
    if table.value.len() > MAX_CHECKS {
        faults.fault(&table.place, format!("has {} checks: at most {MAX_CHECKS}", table.value.len()));
    }
    for (key, value) in table.value {
        let key_name: &str = key.get_ref();
        let place = Place { at: key.span().start, key: join(&table.place.key, key_name) };
        if let Err(message) = name(key_name) {
            faults.fault(&place, message);
        }
        let check = match value.get_ref().as_table() {
            Some(check) => {
                let reader = Reader::new(&keys::CHECK, place.clone(), check, faults);
                read_check(key_name, reader, defaults, files)
            }
            None => {
                faults.fault(&place, "is no table: write [check.NAME] and below it the check's keys");
                None
            }
        };
        checks.insert(key_name.to_owned(), Named { place, check, used: false });
    }
    checks
}

fn read_check(
    name: &str,
    mut reader: Reader<'_, '_>,
    defaults: &PaceKeys,
    files: &mut Files<'_>,
) -> Option<Arc<Check>> {
    let check_type = reader.required("type", check_type);
    if let Some(check_type) = &check_type {
        reader.set_check_type(check_type.value);
    }
    let pace_keys = PaceKeys::read(&mut reader);
    pace_keys.warn(defaults, reader.faults);
    let port = reader.optional("port", port);
    let (address, source) = addresses(&mut reader);
    let mark = reader.optional("mark", number(1..=u32::MAX));
    let close = reader.optional("close", close);
    let proxy_protocol = reader.optional("proxy-protocol", proxy_protocol);
    let dialogue = dialogue::read(check_type.as_ref().map(|placed| placed.value), &mut reader);
    let greeting = check_type.as_ref().and_then(|placed| dialogue::greeting(placed, &mut reader));
    let check_type = check_type.map(|placed| placed.value);
    let dns = dns::read(check_type, &mut reader);
    let agent = agent::read(check_type, &mut reader);
    let (http, host_place) = http::read(&mut reader);
    let grpc_service = grpc::service(&mut reader);
    let tls = tls::read(&mut reader, files);
    if matches!(check_type, Some(CheckType::Https | CheckType::Grpcs)) {
        require_certifiable_host(&http, &tls, host_place.as_ref(), reader.faults);
    }
    reader.finish();
    let kind = match check_type? {
        CheckType::Tcp => dialogue.map_or(CheckKind::Tcp, CheckKind::Dialogue),
        CheckType::Dns => CheckKind::Dns(dns?),
        CheckType::Agent => CheckKind::Agent(agent?),
        CheckType::Smtp | CheckType::Redis | CheckType::Mysql | CheckType::Postgres => {
            CheckKind::Dialogue(greeting?)
        }
        CheckType::Tls => CheckKind::Tls(tls),
        CheckType::Http => CheckKind::Http(http),
        CheckType::Https => CheckKind::Https(http, tls),
        CheckType::Grpc => CheckKind::Grpc(GrpcOptions { service: grpc_service, host: http.host }),
        CheckType::Grpcs => CheckKind::Grpcs(GrpcOptions { service: grpc_service, host: http.host }, tls),
    };
    let close = close.unwrap_or(match kind {
        CheckKind::Tcp if proxy_protocol.is_none() => Close::Rst,
        CheckKind::Tcp
        | CheckKind::Dialogue(_)
        | CheckKind::Agent(_)
        | CheckKind::Dns(_)
        | CheckKind::Tls(_)
        | CheckKind::Http(_)
        | CheckKind::Https(..)
        | CheckKind::Grpc(_)
        | CheckKind::Grpcs(..) => Close::Fin,
    });
    let pace = pace_keys.resolve(defaults);
    // Inherited, it is for those that can have it.
    let pace = Pace { tripwire: pace.tripwire && kind.may_have_tripwire(), ..pace };
    let spec = CheckSpec { kind, port, address, source, mark, close, proxy_protocol, pace };
    Some(Arc::new(Check { name: name.to_owned(), spec: Arc::new(spec) }))
}

fn check_type(value: &DeValue<'_>) -> Result<CheckType, Bad> {
    let written = text(value)?;
    if keys::LATER_TYPES.contains(&written) {
        return Err(Bad::Form(format!("{} is not in this version", quote(written))));
    }
    word(value, CheckType::from_word, CheckType::ALL.map(CheckType::as_str))
}

fn close(value: &DeValue<'_>) -> Result<Close, Bad> {
    let from_word = |word: &str| match word {
        "rst" => Some(Close::Rst),
        "fin" => Some(Close::Fin),
        _ => None,
    };
    word(value, from_word, ["rst", "fin"])
}

fn proxy_protocol(value: &DeValue<'_>) -> Result<ProxyProtocol, Bad> {
    word(value, ProxyProtocol::from_word, ProxyProtocol::ALL.map(ProxyProtocol::as_str))
}

fn addresses(reader: &mut Reader<'_, '_>) -> (Option<ScopedAddr>, Option<ScopedAddr>) {
    let host = |value: &DeValue<'_>| address::host(text(value)?).map_err(Bad::Form);
    let address = reader.placed("address", host);
    let source = reader.placed("source", host);
    if let (Some(address), Some(source)) = (&address, &source) {
        let family = |addr: &Placed<ScopedAddr>| Family::of(addr.value.addr);
        if family(address) != family(source) {
            let message = format!(
                "is {}, but `address` is {}: no connection can have both",
                family(source),
                family(address)
            );
            reader.faults.fault(&source.place, message);
        }
    }
    if let Some(address) = &address
        && address::is_link_local(address.value.addr)
        && address.value.zone.is_none()
    {
        let message = format!(
            "is link-local and has no zone, so no probe can reach it: write \"{}%eth0\" or the like",
            address.value.addr
        );
        reader.faults.warn(&address.place, message);
    }
    (address.map(|a| a.value), source.map(|s| s.value))
}

/// Without `server-name` the certificate must be for `host`, which then has to be such a name.
fn require_certifiable_host(http: &HttpOptions, tls: &TlsOptions, host: Option<&Place>, faults: &mut Faults) {
    if let (None, Some(host), Some(place)) = (&tls.server_name, &http.host, host)
        && !tls::is_server_name(http::host_name(host))
    {
        let message = format!(
            "{} is no name that a certificate can be for: write that name as `server-name`",
            quote(http::host_name(host))
        );
        faults.fault(place, message);
    }
}

impl PaceKeys {
    fn read(reader: &mut Reader<'_, '_>) -> PaceKeys {
        PaceKeys {
            interval: reader.placed("interval", duration(INTERVAL)),
            timeout: reader.placed("timeout", duration(TIMEOUT)),
            rise: reader.optional("rise", number(RUN)),
            fall: reader.optional("fall", number(RUN)),
            fast_interval: reader.placed("fast-interval", duration(INTERVAL)),
            tripwire: reader.optional("tripwire", boolean),
        }
    }

    fn resolve(&self, defaults: &PaceKeys) -> Pace {
        let own_or = |own: &Option<Placed<Duration>>, inherited: &Option<Placed<Duration>>| {
            own.as_ref().or(inherited.as_ref()).map(|placed| placed.value)
        };
        let interval = own_or(&self.interval, &defaults.interval).unwrap_or(DEFAULT_INTERVAL);
        Pace {
            interval,
            timeout: own_or(&self.timeout, &defaults.timeout).unwrap_or(DEFAULT_TIMEOUT),
            fast_interval: own_or(&self.fast_interval, &defaults.fast_interval)
                .unwrap_or(DEFAULT_FAST_INTERVAL.min(interval)),
            rise: self.rise.or(defaults.rise).unwrap_or(DEFAULT_RISE),
            fall: self.fall.or(defaults.fall).unwrap_or(DEFAULT_FALL),
            tripwire: self.tripwire.or(defaults.tripwire).unwrap_or(false),
        }
    }

    /// Warns of a pace that contradicts itself, where this table writes a part of it.
    fn warn(&self, defaults: &PaceKeys, faults: &mut Faults) {
        let pace = self.resolve(defaults);
        let at = |own: &Option<Placed<Duration>>| {
            own.as_ref().or(self.interval.as_ref()).map(|placed| placed.place.clone())
        };
        if pace.timeout > pace.interval
            && let Some(place) = at(&self.timeout)
        {
            let message = format!(
                "the timeout ({:?}) is longer than the interval ({:?}): a silent server is probed less often",
                pace.timeout, pace.interval
            );
            faults.warn(&place, message);
        }
        if pace.fast_interval > pace.interval
            && let Some(place) = at(&self.fast_interval)
        {
            let message = format!(
                "the fast-interval ({:?}) is longer than the interval ({:?}): verdicts come later, not sooner",
                pace.fast_interval, pace.interval
            );
            faults.warn(&place, message);
        }
    }
}
