//! `[web]`, `[state]`, `[control]`, `[ipvs]` and `[director]`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::address::ListenAddr;
use super::keys;
use super::problem::{Faults, quote};
use super::reader::{Bad, Placed, Reader};
use super::values::{duration, text};
use crate::model::{Policy, VipSharing};

const MAX_VIPS: usize = 10_000;
const MAX_LISTENERS: usize = 16;
/// `sun_path` of sockaddr_un is 108 bytes with its terminator (unix(7)).
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// What the process is given once, at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub listen: Vec<ListenAddr>,
    pub telemetry_path: String,
    /// As written; relative to the configuration's own directory.
    pub web_config: Option<PathBuf>,
    pub state_directory: PathBuf,
    pub control_socket: PathBuf,
}

impl Default for Settings {
    fn default() -> Settings {
        let any = std::net::Ipv6Addr::UNSPECIFIED.into();
        Settings {
            listen: vec![ListenAddr {
                addr: crate::model::ScopedAddr { addr: any, zone: None },
                port: 10190,
            }],
            telemetry_path: "/metrics".to_owned(),
            web_config: None,
            state_directory: PathBuf::from("/var/lib/lvs-agent"),
            control_socket: PathBuf::from("/run/lvs-agent/control.sock"),
        }
    }
}

type Table<'t> = Option<Placed<&'t DeTable<'t>>>;

impl Settings {
    pub(super) fn read_web(&mut self, table: Table<'_>, faults: &mut Faults) {
        let Some(Placed { value, place }) = table else { return };
        let mut reader = Reader::new(&keys::WEB, place, value, faults);
        if let Some(listen) = read_listen(&mut reader) {
            self.listen = listen;
        }
        if let Some(path) = reader.optional("telemetry-path", telemetry_path) {
            self.telemetry_path = path;
        }
        self.web_config = reader.optional("config-file", |value| match text(value)? {
            path if path.is_empty() || path.contains('\0') => {
                Err(Bad::Form(format!("{} is no path", quote(path))))
            }
            path => Ok(PathBuf::from(path)),
        });
        reader.finish();
    }

    /// Sets the directory; the maximum age of the ledger's entries is the policy's.
    pub(super) fn read_state(&mut self, table: Table<'_>, faults: &mut Faults) -> Duration {
        const AGE: std::ops::RangeInclusive<Duration> =
            Duration::from_secs(60)..=Duration::from_secs(8760 * 3600);
        let Some(Placed { value, place }) = table else { return Policy::DEFAULT_LEDGER_MAX_AGE };
        let mut reader = Reader::new(&keys::STATE, place, value, faults);
        if let Some(directory) = reader.optional("directory", absolute) {
            self.state_directory = directory;
        }
        let age = reader.optional("max-age", duration(AGE)).unwrap_or(Policy::DEFAULT_LEDGER_MAX_AGE);
        reader.finish();
        age
    }

    pub(super) fn read_control(&mut self, table: Table<'_>, faults: &mut Faults) {
        let Some(Placed { value, place }) = table else { return };
        let mut reader = Reader::new(&keys::CONTROL, place, value, faults);
        let socket = reader.optional("socket", |value| {
            let path = absolute(value)?;
            let length = path.as_os_str().len();
            if length > MAX_SOCKET_PATH_BYTES {
                return Err(Bad::Form(format!("is a path of {length} bytes")));
            }
            Ok(path)
        });
        if let Some(socket) = socket {
            self.control_socket = socket;
        }
        reader.finish();
    }
}

/// The poll interval.
pub(super) fn read_ipvs(table: Table<'_>, faults: &mut Faults) -> Duration {
    const POLL: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);
    let Some(Placed { value, place }) = table else { return Policy::DEFAULT_POLL_INTERVAL };
    let mut reader = Reader::new(&keys::IPVS, place, value, faults);
    let poll = reader.optional("poll-interval", duration(POLL)).unwrap_or(Policy::DEFAULT_POLL_INTERVAL);
    reader.finish();
    poll
}

/// The virtual addresses that the table does not show, and how many directors may hold one.
pub(super) fn read_director(table: Table<'_>, policy: &mut Policy, faults: &mut Faults) {
    let Some(Placed { value, place }) = table else { return };
    let mut reader = Reader::new(&keys::DIRECTOR, place, value, faults);
    let vips = reader.list("vips", |value| {
        let written = text(value)?;
        let addr = written.parse::<IpAddr>();
        let addr = addr.map_err(|_| Bad::Form(format!("{} is no IP address", quote(written))))?;
        if addr.is_unspecified() || addr.is_multicast() {
            return Err(Bad::Form(format!("{addr} is no address that a director can hold")));
        }
        Ok(addr)
    });
    if let Some(list) = vips {
        if list.value.len() > MAX_VIPS {
            let message = format!("has {} addresses: at most {MAX_VIPS}", list.value.len());
            reader.faults.fault(&list.place, message);
        }
        for Placed { value, place } in list.value {
            if !policy.vips.insert(value) {
                reader.faults.fault(&place, format!("{value} is there twice"));
            }
        }
    }
    let sharing = reader.optional("vip-sharing", |value| {
        let word = text(value)?;
        VipSharing::from_word(word).ok_or_else(|| Bad::Form(format!("{} is unknown", quote(word))))
    });
    policy.vip_sharing = sharing.unwrap_or(policy.vip_sharing);
    reader.finish();
}

fn read_listen(reader: &mut Reader<'_, '_>) -> Option<Vec<ListenAddr>> {
    let list = reader.list("listen", |value| {
        text(value)?.parse::<ListenAddr>().map_err(|e| Bad::Message(e.to_string()))
    })?;
    if list.value.is_empty() && reader.faults.none_below(&list.place) {
        reader.faults.fault(&list.place, "is empty: write [\"[::]:10190\"]");
    }
    if list.value.len() > MAX_LISTENERS {
        let message = format!("has {} addresses: at most {MAX_LISTENERS}", list.value.len());
        reader.faults.fault(&list.place, message);
        return None;
    }
    for (i, listen) in list.value.iter().enumerate() {
        if listen.value.port != 0 && list.value[..i].iter().any(|earlier| earlier.value == listen.value) {
            reader.faults.fault(&listen.place, format!("{} is there twice", listen.value));
        }
    }
    Some(list.value.into_iter().map(|listen| listen.value).collect())
}

fn telemetry_path(value: &DeValue<'_>) -> Result<String, Bad> {
    let path = text(value)?;
    let plain = |b: u8| b.is_ascii_graphic() && !b"?#%\"<>\\^`{|}".contains(&b);
    if !path.starts_with('/') || path.len() > 256 || !path.bytes().all(plain) {
        return Err(Bad::Form(format!("{} is no such path", quote(path))));
    }
    let taken = path == "/"
        || ["/-", "/api"]
            .iter()
            .any(|p| path.strip_prefix(p).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
    if taken {
        return Err(Bad::Form(format!("{} is used for something else", quote(path))));
    }
    Ok(path.to_owned())
}

fn absolute(value: &DeValue<'_>) -> Result<PathBuf, Bad> {
    let path = text(value)?;
    if Path::new(path).is_absolute() && !path.contains('\0') {
        Ok(PathBuf::from(path))
    } else {
        Err(Bad::Form(format!("{} is no absolute path", quote(path))))
    }
}
