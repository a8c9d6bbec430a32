//! One probe of one target: its phases, and the reason where it did not pass.
//!
//! A probe is a single future in the caller's task: nothing is spawned, every buffer has a limit,
//! and one deadline runs over connect, handshake, request and answer. What the agent could not try
//! is `Inconclusive`, never a failure of the server.

mod agent;
mod chunked;
mod dialogue;
mod dns;
mod engine;
#[cfg(test)]
pub mod fixtures;
mod grpc;
mod http;
mod http1;
mod http2;
mod kept;
mod meter;
mod proxy;
mod reason;
mod socket;
mod source;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;
mod tripwire;
mod trust;
mod verify;

pub use tripwire::Wire;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::model::{
    AgentOptions, ChainExpiry, CheckKind, Close, Dialogue, DnsOptions, DnsTransport, FailReason, HttpOptions,
    HttpVersion, LocalReason, Mono, Outcome, Phases, ProbeReport, ProxyProtocol, Share, Target,
};
use crate::os::Clock;
pub use engine::{Engine, Told};
pub use kept::Kept;
use kept::{Line, Places};
use reason::{Stop, printable};
use socket::Dial;
use source::Sources;
use trust::{Alpn, Session, Trust};

/// A probe that waits looks so often whether its time is kept.
const LOOKS: u32 = 10;

/// Carries out probes. Clones share the TLS configurations and the system's trust anchors, which
/// are read once: a new `Prober` reads them again.
#[derive(Clone)]
pub struct Prober {
    clock: Clock,
    trust: Arc<Trust>,
    sources: Arc<Sources>,
    places: Arc<Places>,
}

impl Prober {
    /// It keeps 1000 connections at most: [`Prober::keeping`].
    pub fn new(clock: Clock) -> Prober {
        let (trust, sources) = (Arc::new(Trust::new()), Arc::new(Sources::new(clock)));
        Prober { clock, trust, sources, places: Places::new(1000) }
    }

    /// With room for so many connections between probes, over all clones.
    pub fn keeping(self, connections: usize) -> Prober {
        Prober { places: Places::new(connections), ..self }
    }

    /// The table's virtual addresses, which no probe is to leave from; for all clones.
    pub fn set_virtual_addresses(&self, addresses: BTreeSet<IpAddr>) {
        self.sources.set_virtual_addresses(addresses);
    }

    /// One probe. Never panics; ends within the check's timeout, give or take the scheduling.
    pub async fn run(&self, target: &Target) -> ProbeReport {
        self.fresh(target, None, None).await.0
    }

    /// One probe over a connection of its own, and that connection if it can serve another one and there is a
    /// place for it. `begun`: when the probe began that this one goes on from.
    async fn fresh(
        &self,
        target: &Target,
        begun: Option<Mono>,
        places: Option<Arc<Places>>,
    ) -> (ProbeReport, Option<Line>) {
        let timeout = target.spec.pace.timeout;
        let until = begun.unwrap_or_else(|| self.clock.mono()) + timeout;
        let keep = places.is_some();
        let prepared = timeout_at(self.instant(until), self.prepare(target, keep)).await;
        let mut trace = Trace::begin(self.clock);
        trace.places = places;
        // Our own preparations are not the server's time, but an attempt before this one is.
        let deadline = match begun {
            Some(_) => until,
            None => trace.started + timeout,
        };
        let ended = match prepared {
            Ok(Ok(attempt)) => self.watched(pin!(attempt.run(&mut trace)), deadline, timeout).await,
            Ok(Err(stop)) => Ok(Err(stop)),
            Err(_) => Ok(Err(Stop::local("getting ready for TLS took longer than the whole probe may"))),
        };
        let ended = ended.unwrap_or_else(|lag| trace.timed_out(lag, timeout));
        let left = trace.left.take();
        (trace.report(ended, self.clock.mono()), left)
    }

    /// Waits until the deadline; where that passes, how late we were at most on the way there: a probe
    /// that was not looked after for half of its time has not waited for it (trap 50).
    async fn watched<F: Future>(
        &self,
        mut attempt: Pin<&mut F>,
        deadline: Mono,
        timeout: Duration,
    ) -> Result<F::Output, Duration> {
        let mut latest = Duration::ZERO;
        loop {
            let look = (self.clock.mono() + timeout / LOOKS).min(deadline);
            if let Ok(ended) = timeout_at(self.instant(look), attempt.as_mut()).await {
                return Ok(ended);
            }
            let now = self.clock.mono();
            latest = latest.max(now.since(look));
            if now >= deadline {
                return Err(latest);
            }
        }
    }

    /// Everything that can go wrong on our side before the first packet, so that `started` and the
    /// measured phases hold nothing of ours.
    async fn prepare<'a>(&self, target: &'a Target, keep: bool) -> Result<Attempt<'a>, Stop> {
        let (addr, port) = (target.addr.addr, target.port);
        let protocol = match &target.spec.kind {
            CheckKind::Tcp => Protocol::Tcp,
            CheckKind::Dialogue(dialogue) => Protocol::Dialogue(dialogue),
            CheckKind::Agent(options) => Protocol::Agent(options),
            CheckKind::Dns(options) => Protocol::Dns(options),
            CheckKind::Tls(tls) => Protocol::Tls(self.trust.session(tls, None, addr, None).await?),
            CheckKind::Http(options) if options.version == HttpVersion::V2 => {
                Protocol::Http2(None, Box::new(http2::Asked::page(options, addr, port, false)?))
            }
            CheckKind::Https(options, tls) if options.version == HttpVersion::V2 => {
                let session =
                    self.trust.session(tls, options.host.as_deref(), addr, Some(Alpn::Http2)).await?;
                Protocol::Http2(Some(session), Box::new(http2::Asked::page(options, addr, port, true)?))
            }
            CheckKind::Grpc(options) => {
                Protocol::Http2(None, Box::new(http2::Asked::health(options, target, false)?))
            }
            CheckKind::Grpcs(options, tls) => {
                let session =
                    self.trust.session(tls, options.host.as_deref(), addr, Some(Alpn::Http2)).await?;
                Protocol::Http2(Some(session), Box::new(http2::Asked::health(options, target, true)?))
            }
            CheckKind::Http(options) => {
                Protocol::Http(http::request(options, addr, port, false, keep)?, options)
            }
            CheckKind::Https(options, tls) => {
                let session =
                    self.trust.session(tls, options.host.as_deref(), addr, Some(Alpn::Http1)).await?;
                Protocol::Https(session, http::request(options, addr, port, true, keep)?, options)
            }
        };
        let (close, proxy) = (target.spec.close, target.spec.proxy_protocol);
        Ok(Attempt { dial: Dial::prepare(target, &self.sources)?, proxy, close, protocol })
    }

    fn instant(&self, moment: Mono) -> Instant {
        Instant::from_std(self.clock.instant(moment))
    }
}

/// What is spoken once connected.
enum Protocol<'a> {
    Tcp,
    Dialogue(&'a Dialogue),
    Agent(&'a AgentOptions),
    Dns(&'a DnsOptions),
    Tls(Session),
    Http(http1::Request, &'a HttpOptions),
    Https(Session, http1::Request, &'a HttpOptions),
    Http2(Option<Session>, Box<http2::Asked<'a>>),
}

/// A probe ready to start.
struct Attempt<'a> {
    dial: Dial,
    proxy: Option<ProxyProtocol>,
    close: Close,
    protocol: Protocol<'a>,
}

impl Attempt<'_> {
    /// The probe itself; a pass says what came back.
    async fn run(self, trace: &mut Trace) -> Result<String, Stop> {
        if let Protocol::Dns(options) = self.protocol
            && options.transport == DnsTransport::Udp
        {
            return Box::pin(dns::over_udp(self.dial, options, trace)).await;
        }
        let mut stream = self.dial.connect().await?;
        trace.connected();
        if let Some(version) = self.proxy {
            proxy::announce(version, &mut stream).await?;
        }
        match self.protocol {
            Protocol::Tcp => {
                tcp::close(stream, self.close);
                Ok("connected".to_owned())
            }
            // The larger futures live on the heap: thousands of bare TCP probes stay small.
            Protocol::Dialogue(dialogue) => {
                Box::pin(dialogue::probe(stream, dialogue, self.close, trace)).await
            }
            Protocol::Agent(options) => Box::pin(agent::probe(stream, options, self.close, trace)).await,
            Protocol::Dns(options) => Box::pin(dns::over_tcp(stream, options, self.close, trace)).await,
            Protocol::Tls(session) => Box::pin(tls::probe(session, stream, self.close, trace)).await,
            Protocol::Http(request, options) => {
                Box::pin(probe_http(stream, request, options, self.close, trace)).await
            }
            Protocol::Https(session, request, options) => {
                Box::pin(probe_https(stream, session, request, options, self.close, trace)).await
            }
            Protocol::Http2(session, asked) => {
                Box::pin(http2::probe(stream, session, *asked, self.close, trace)).await
            }
        }
    }
}

async fn probe_http(
    mut stream: TcpStream,
    request: http1::Request,
    options: &HttpOptions,
    close: Close,
    trace: &mut Trace,
) -> Result<String, Stop> {
    let answer = http1::exchange(&mut stream, &request, options, trace).await;
    kept::leave(stream, close, trace).await;
    answer
}

async fn probe_https(
    stream: TcpStream,
    session: Session,
    request: http1::Request,
    options: &HttpOptions,
    close: Close,
    trace: &mut Trace,
) -> Result<String, Stop> {
    let mut stream = tls::handshake(session, stream, close, trace).await?;
    let answer = http1::exchange(&mut stream, &request, options, trace).await;
    kept::leave(stream, close, trace).await;
    answer
}

/// Where a probe stands: decides what a time-out means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connect,
    Tls,
    /// The handshake is done; waiting whether the server takes it back.
    Farewell,
    Answer,
}

/// What has been measured so far; outlives the attempt when the deadline cuts it off.
struct Trace {
    clock: Clock,
    started: Mono,
    stage: Stage,
    /// When `stage` began.
    since: Mono,
    phases: Phases,
    http_status: Option<u16>,
    share: Option<Share>,
    chain: Option<Arc<ChainExpiry>>,
    /// What has been received in a dialogue, within its limit.
    heard: Vec<u8>,
    /// Of an HTTP answer.
    received_bytes: u64,
    /// The answer is complete, and the server would take another request.
    reusable: bool,
    /// Where the connection may stay; `None`: it ends with the probe.
    places: Option<Arc<Places>>,
    left: Option<Line>,
}

impl Trace {
    /// A timer that fires this late is still on time: the runtime's timers tick in milliseconds.
    const TIMER_SLACK: Duration = Duration::from_millis(5);

    fn begin(clock: Clock) -> Trace {
        let started = clock.mono();
        let phases = Phases::default();
        Trace {
            clock,
            started,
            stage: Stage::Connect,
            since: started,
            phases,
            http_status: None,
            share: None,
            chain: None,
            heard: Vec::new(),
            received_bytes: 0,
            reusable: false,
            places: None,
            left: None,
        }
    }

    /// There is a connection already.
    fn over_kept(clock: Clock) -> Trace {
        Trace { stage: Stage::Answer, ..Trace::begin(clock) }
    }

    /// Enters the next stage; returns how long the last one took.
    fn enter(&mut self, stage: Stage) -> Duration {
        let now = self.clock.mono();
        let took = now.since(self.since);
        (self.stage, self.since) = (stage, now);
        took
    }

    fn connected(&mut self) {
        self.phases.connect = Some(self.enter(Stage::Answer));
    }

    /// The deadline has passed, and we were late by `lag` at some time: beyond a tenth of the timeout
    /// the silence may be our own.
    fn timed_out(&self, lag: Duration, timeout: Duration) -> Result<String, Stop> {
        if lag > (timeout / 10).max(Self::TIMER_SLACK) {
            let text = format!(
                "this agent was {lag:.1?} late meanwhile: it was paused, or this director is overloaded"
            );
            return Err(Stop::Local(LocalReason::Late, text));
        }
        let (reason, what) = match self.stage {
            Stage::Connect => (FailReason::ConnectTimeout, "no connection"),
            Stage::Tls => (FailReason::TlsTimeout, "TLS handshake not done"),
            Stage::Farewell => return Ok("TLS handshake done".to_owned()),
            Stage::Answer if !self.heard.is_empty() => {
                return Err(dialogue::waited_in_vain(&self.heard, timeout));
            }
            Stage::Answer if self.http_status.is_some() => {
                (FailReason::ResponseTimeout, "answer not complete")
            }
            Stage::Answer => (FailReason::ResponseTimeout, "no answer"),
        };
        Err(Stop::fail(reason, format!("{what} within {timeout:?}")))
    }

    fn report(mut self, ended: Result<String, Stop>, now: Mono) -> ProbeReport {
        self.phases.total = now.since(self.started);
        let (outcome, detail) = match ended {
            Ok(detail) => (Outcome::Pass, detail),
            Err(Stop::Fail(reason, detail)) => (Outcome::Fail(reason), detail),
            Err(Stop::Local(reason, detail)) => (Outcome::Inconclusive(reason), detail),
        };
        ProbeReport {
            outcome,
            phases: self.phases,
            connected: None,
            http_status: self.http_status,
            share: self.share.filter(|_| outcome == Outcome::Pass),
            chain: self.chain,
            detail: printable(&detail),
            started: self.started,
            ended: now,
        }
    }
}
