//! What a check is, and what a probe found.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{
    AgentOptions, BodyMatch, ChainExpiry, DestKey, Dialogue, DnsOptions, DnsTransport, GrpcOptions,
    HttpVersion, Mono, ServiceKey, Share,
};

/// A named check of the configuration, defaults resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub name: String,
    pub spec: Arc<CheckSpec>,
}

/// Everything that makes two probes of one address the same probe: the name is not part of it, so
/// that equal checks under two names share their probes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckSpec {
    pub kind: CheckKind,
    /// Probe this port instead of the real server's (DR and TUN: the service's).
    pub port: Option<u16>,
    /// Probe this address instead of the real server's.
    pub address: Option<ScopedAddr>,
    /// Bind this source address.
    pub source: Option<ScopedAddr>,
    /// SO_MARK; 0 is not a mark.
    pub mark: Option<u32>,
    pub close: Close,
    /// Sent before anything else.
    pub proxy_protocol: Option<ProxyProtocol>,
    pub pace: Pace,
}

/// An address with the zone (interface name) that a link-local one needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopedAddr {
    pub addr: IpAddr,
    pub zone: Option<String>,
}

/// When to probe, and how many results make a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pace {
    /// Start to start.
    pub interval: Duration,
    /// The whole probe.
    pub timeout: Duration,
    /// Start to start while a verdict is being settled.
    pub fast_interval: Duration,
    /// Passes in a row that bring a server up.
    pub rise: u32,
    /// Failures in a row that take it out.
    pub fall: u32,
    /// An idle connection is held, and its end calls for probes at once.
    pub tripwire: bool,
}

/// How a probe's connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Close {
    Rst,
    Fin,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckKind {
    /// The connection alone.
    Tcp,
    /// And then bytes, over plain TCP.
    Dialogue(Dialogue),
    /// A line that says how much of its weight the server wants.
    Agent(AgentOptions),
    Dns(DnsOptions),
    Tls(TlsOptions),
    Http(HttpOptions),
    Https(HttpOptions, TlsOptions),
    /// The health protocol of gRPC, over plain HTTP/2.
    Grpc(GrpcOptions),
    Grpcs(GrpcOptions, TlsOptions),
}

impl CheckKind {
    /// The word of the configuration's `type`.
    pub fn as_str(&self) -> &'static str {
        match self {
            CheckKind::Tcp => "tcp",
            CheckKind::Dialogue(dialogue) => dialogue.speech.as_str(),
            CheckKind::Agent(_) => "agent",
            CheckKind::Dns(_) => "dns",
            CheckKind::Tls(_) => "tls",
            CheckKind::Http(_) => "http",
            CheckKind::Https(..) => "https",
            CheckKind::Grpc(_) => "grpc",
            CheckKind::Grpcs(..) => "grpcs",
        }
    }

    /// One that a server of this kind would keep open.
    pub fn may_have_tripwire(&self) -> bool {
        match self {
            // An agent says its line and ends the connection.
            CheckKind::Agent(_) | CheckKind::Dns(_) => false,
            CheckKind::Tcp
            | CheckKind::Dialogue(_)
            | CheckKind::Tls(_)
            | CheckKind::Http(_)
            | CheckKind::Https(..)
            | CheckKind::Grpc(_)
            | CheckKind::Grpcs(..) => true,
        }
    }

    /// See [`HttpOptions::fresh_every`].
    pub fn fresh_every(&self) -> Option<u32> {
        match self {
            CheckKind::Http(http) | CheckKind::Https(http, _) => http.fresh_every,
            CheckKind::Tcp
            | CheckKind::Dialogue(_)
            | CheckKind::Agent(_)
            | CheckKind::Dns(_)
            | CheckKind::Tls(_)
            | CheckKind::Grpc(_)
            | CheckKind::Grpcs(..) => None,
        }
    }

    pub fn by_tls(&self) -> bool {
        match self {
            CheckKind::Tls(_) | CheckKind::Https(..) | CheckKind::Grpcs(..) => true,
            CheckKind::Tcp
            | CheckKind::Dialogue(_)
            | CheckKind::Agent(_)
            | CheckKind::Dns(_)
            | CheckKind::Http(_)
            | CheckKind::Grpc(_) => false,
        }
    }

    pub fn phases(&self) -> &'static [Phase] {
        match self {
            CheckKind::Tcp => &[Phase::Connect, Phase::Total],
            CheckKind::Dns(options) => match options.transport {
                DnsTransport::Udp => &[Phase::Processing, Phase::Total],
                DnsTransport::Tcp => &[Phase::Connect, Phase::Processing, Phase::Total],
            },
            CheckKind::Tls(_) => &[Phase::Connect, Phase::Tls, Phase::Total],
            CheckKind::Dialogue(_) | CheckKind::Agent(_) | CheckKind::Http(_) | CheckKind::Grpc(_) => {
                &[Phase::Connect, Phase::Processing, Phase::Transfer, Phase::Total]
            }
            CheckKind::Https(..) | CheckKind::Grpcs(..) => &Phase::ALL,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TlsOptions {
    /// SNI, and the name the certificate must bear. `None`: the check's `host` without its port,
    /// or, where there is none, the probed address, against which it is then verified.
    pub server_name: Option<String>,
    /// false: any certificate will do.
    pub verify: bool,
    /// Trust these instead of the system's roots.
    pub ca: Option<Arc<PemFile>>,
    pub client_certificate: Option<ClientCertificate>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientCertificate {
    pub certificate: Arc<PemFile>,
    pub key: Arc<PemFile>,
}

/// A PEM file as read when the configuration was loaded. Debug shows no bytes: it may be a key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PemFile {
    pub path: PathBuf,
    pub pem: Vec<u8>,
}

impl std::fmt::Debug for PemFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PemFile").field(&self.path).finish()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpOptions {
    pub version: HttpVersion,
    /// A valid HTTP method token, `GET` by default.
    pub method: String,
    /// Path and query, begins with `/`.
    pub path: String,
    /// The Host header; `None`: the probed address and port.
    pub host: Option<String>,
    /// Further headers, valid names and values, in file order.
    pub headers: Vec<(String, String)>,
    /// Accepted status codes, inclusive, never empty.
    pub status: Vec<(u16, u16)>,
    pub body: BodyMatch,
    /// `connection = "reuse"`: of so many probes one makes a connection of its own, the others go over
    /// the one it leaves. `None`: all of them do.
    pub fresh_every: Option<u32>,
    /// The header of an answer that says how much of its weight the server wants.
    pub weight_header: Option<String>,
}

/// What a probe came to. `Inconclusive` is "I could not test", never "it is down".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    Pass,
    Fail(FailReason),
    Inconclusive(LocalReason),
}

/// One closed enum of words: `ALL`, `as_str` and the API's text from a single list.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl $name {
            pub const ALL: [$name; [$($name::$variant),+].len()] = [$($name::$variant),+];

            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }

            pub fn from_word(word: &str) -> Option<$name> {
                match word { $($word => Some($name::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use words;

words! {
    /// The version of the header that servers behind a proxy want first.
    ProxyProtocol {
        V1 = "v1",
        V2 = "v2",
    }
}

words! {
    /// Why a real server failed a probe.
    FailReason {
        ConnectTimeout = "connect_timeout",
        ConnectRefused = "connect_refused",
        ConnectUnreachable = "connect_unreachable",
        TlsTimeout = "tls_timeout",
        TlsHandshake = "tls_handshake",
        TlsName = "tls_name",
        TlsExpired = "tls_expired",
        TlsUntrusted = "tls_untrusted",
        ResponseTimeout = "response_timeout",
        Reset = "reset",
        BadStatus = "bad_status",
        BadBody = "bad_body",
        BadResponse = "bad_response",
        /// It says so itself: in gRPC, or as an agent (`down`, `failed`, `stopped`).
        NotServing = "not_serving",
        /// gRPC: it does not know the service that was asked for.
        ServiceUnknown = "service_unknown",
        /// gRPC: it has no health service.
        Unimplemented = "unimplemented",
        /// gRPC: any other status of the call.
        GrpcStatus = "grpc_status",
    }
}

words! {
    /// Why the agent could not carry out a probe.
    LocalReason {
        LocalError = "local_error",
        FdLimit = "fd_limit",
        NoLocalPort = "no_local_port",
        NetworkDown = "network_down",
        /// The time-out was handled much later than it was due: our lag, not the server's.
        Late = "late",
    }
}

words! {
    /// Why a probe was not started.
    SkipReason {
        /// A fwmark service or port 0, and the check has no `port`.
        NoPort = "no_port",
        InFlightLimit = "in_flight_limit",
        FdReserve = "fd_reserve",
        Overdue = "overdue",
    }
}

words! {
    /// What a probe of a check with `connection = "reuse"` went over.
    Connected {
        /// A new connection: the first, or one whose turn it was.
        Fresh = "fresh",
        /// The one that an earlier probe left.
        Reused = "reused",
        /// A new one, for the server had closed the one that was left.
        Replaced = "replaced",
    }
}

words! {
    Phase {
        Connect = "connect",
        Tls = "tls",
        Processing = "processing",
        Transfer = "transfer",
        Total = "total",
    }
}

/// What one probe found.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeReport {
    pub outcome: Outcome,
    pub phases: Phases,
    /// Only of checks that keep connections, and once there was one.
    pub connected: Option<Connected>,
    /// The status code, if an HTTP answer had one.
    pub http_status: Option<u16>,
    /// Only of a pass, and of a server that says so.
    pub share: Option<Share>,
    /// Of the certificates that the server presented, whether they were accepted or not.
    pub chain: Option<Arc<ChainExpiry>>,
    /// For people: what exactly went wrong or came back. At most [`DETAIL_LIMIT_BYTES`], free of
    /// control characters; may quote the server, so it is text, never a label.
    pub detail: String,
    /// When the probe was really started and ended.
    pub started: Mono,
    pub ended: Mono,
}

/// The bound of [`ProbeReport::detail`].
pub const DETAIL_LIMIT_BYTES: usize = 200;

/// How long each phase took; `None` = not reached or not part of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Phases {
    pub connect: Option<Duration>,
    pub tls: Option<Duration>,
    /// From the request's last byte to the answer's first.
    pub processing: Option<Duration>,
    pub transfer: Option<Duration>,
    pub total: Duration,
}

impl Phases {
    pub fn get(&self, phase: Phase) -> Option<Duration> {
        match phase {
            Phase::Connect => self.connect,
            Phase::Tls => self.tls,
            Phase::Processing => self.processing,
            Phase::Transfer => self.transfer,
            Phase::Total => Some(self.total),
        }
    }
}

/// The identity of a probed thing: one probe, shared by every service that asks for the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    pub spec: Arc<CheckSpec>,
    pub addr: ScopedAddr,
    pub port: u16,
}

/// Why a probe by hand cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeRefused {
    #[error("there is no virtual server {0} in the IPVS table")]
    NoService(ServiceKey),
    #[error("{0} has no real server {1}")]
    NoDest(ServiceKey, DestKey),
    #[error("no [[service]] of the configuration matches {0}, so it has no checks")]
    Unmanaged(ServiceKey),
    #[error("{0} has no check `{1}`; it has: {2}")]
    NoCheck(ServiceKey, String, String),
    #[error("{0} is configured with `checks = []`")]
    NoChecks(ServiceKey),
    #[error("{0} has no port to probe: give the check `{1}` a `port`")]
    NoPort(ServiceKey, String),
    #[error("the IPVS table cannot be read: {0}")]
    NoTable(String),
}
