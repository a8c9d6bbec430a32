//! `lvs-agent run`: puts the parts together, serves until told to stop.

mod files;
mod reload;

use std::net::{SocketAddr, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sd_notify::NotifyState;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::exit;
use super::exporter::{Exporter, ExporterArgs};
use crate::addresses::Watcher;
use crate::agent::{self, Ended, Handle, Parts};
use crate::config::{self, Config, ListenAddr, LoadError, Settings};
use crate::ipvs::Table;
use crate::logging::LogArgs;
use crate::logic::{Origin, Start};
use crate::metrics::Machinery;
use crate::model::{Family, Mode, ReadFailure, SharedTelemetry};
use crate::os::{self, Clock, Signal, Signals};
use crate::probe::Prober;
use crate::state_file::{Opened, PidLock, StateDirectory};
use crate::web::{self, Access, Options, ReloadRefused, Reloads, Web};
use files::Files;
use reload::Reload;

pub const DEFAULT_CONFIG: &str = "/etc/lvs-agent/config.toml";
/// The default of `--web.max-requests`.
pub const MAX_REQUESTS: usize = 40;
/// The default of `--web.gzip-level`.
pub const GZIP_LEVEL: u32 = 1;

#[derive(Debug, Clone, clap::Args)]
pub struct RunArgs {
    /// The configuration; without one (and no /etc/lvs-agent/config.toml) the agent only exports
    #[arg(long, value_name = "FILE", env = "LVS_AGENT_CONFIG")]
    pub config: Option<PathBuf>,
    /// Instead of the file's `mode`; a service that asks for observe keeps it
    #[arg(long, value_name = "MODE", env = "LVS_AGENT_MODE", value_parser = mode)]
    pub mode: Option<Mode>,
    /// Where to serve HTTP; may be repeated
    #[arg(
        long = "web.listen-address",
        value_name = "ADDR:PORT",
        env = "LVS_AGENT_WEB_LISTEN_ADDRESS",
        value_delimiter = ','
    )]
    pub listen: Vec<ListenAddr>,
    /// Where the metrics are
    #[arg(long = "web.telemetry-path", value_name = "PATH", env = "LVS_AGENT_WEB_TELEMETRY_PATH", value_parser = telemetry_path)]
    pub telemetry_path: Option<String>,
    /// Requests answered at one time over TCP; 0 is no limit but that of connections
    #[arg(
        long = "web.max-requests",
        value_name = "N",
        env = "LVS_AGENT_WEB_MAX_REQUESTS",
        default_value_t = MAX_REQUESTS
    )]
    pub max_requests: usize,
    /// Compression of the metrics for those who accept it, 0 (none) to 9
    #[arg(long = "web.gzip-level", value_name = "LEVEL", env = "LVS_AGENT_WEB_GZIP_LEVEL", default_value_t = GZIP_LEVEL,
          value_parser = clap::value_parser!(u32).range(0..=9))]
    pub gzip_level: u32,
    /// Where the ledger of taken weights is kept
    #[arg(long, value_name = "DIR", env = "LVS_AGENT_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// The unix socket for `status` and `probe`
    #[arg(long, value_name = "PATH", env = "LVS_AGENT_CONTROL_SOCKET")]
    pub control_socket: Option<PathBuf>,
    /// An embedded table instead of the kernel's: read once from what `ipvsadm -Sn` prints, never written
    #[arg(long = "ipvs.table", value_name = "FILE", env = "LVS_AGENT_IPVS_TABLE")]
    pub table: Option<PathBuf>,
    #[command(flatten)]
    pub exporter: ExporterArgs,
    #[command(flatten)]
    pub log: LogArgs,
}

fn mode(text: &str) -> Result<Mode, String> {
    Mode::from_word(text).ok_or_else(|| "it is `enforce` or `observe`".to_owned())
}

fn telemetry_path(text: &str) -> Result<String, String> {
    web::check_telemetry_path(text).map(|()| text.to_owned())
}

/// Why there is nothing to run, and the exit code for it.
#[derive(Debug)]
pub struct Failure {
    pub code: u8,
    pub text: String,
}

impl Failure {
    pub fn new(code: u8, text: impl ToString) -> Failure {
        Failure { code, text: text.to_string() }
    }
}

/// The configuration as the file and the flags say together.
fn effective_config(args: &RunArgs) -> Result<Config, Failure> {
    let mut config = load_config(args.config.as_deref()).map(|config| flags_over(config, args))?;
    let web_config = &mut config.settings.web_config;
    if let Some(path) = &args.exporter.web_config {
        *web_config = Some(path.clone());
    } else if let Some(named) = web_config.take() {
        let file = args.config.as_deref().unwrap_or(Path::new(DEFAULT_CONFIG));
        *web_config = Some(file.parent().unwrap_or(Path::new("")).join(named));
    }
    Ok(config)
}

/// The configuration of the named file, else of the usual one, else none: exporter only.
pub(super) fn load_config(path: Option<&Path>) -> Result<Config, Failure> {
    let usual = Path::new(DEFAULT_CONFIG);
    match path.or_else(|| usual.exists().then_some(usual)) {
        Some(path) => config::load(path).map_err(|error| Failure::new(exit::CONFIG, chain(&error))),
        None => Ok(Config::exporter_only()),
    }
}

fn flags_over(config: Config, args: &RunArgs) -> Config {
    let mut config = match args.mode {
        Some(mode) => config.with_mode(mode),
        None => config,
    };
    let settings = &mut config.settings;
    if !args.listen.is_empty() {
        settings.listen.clone_from(&args.listen);
    }
    if let Some(path) = &args.telemetry_path {
        settings.telemetry_path.clone_from(path);
    }
    if let Some(directory) = &args.state_dir {
        settings.state_directory.clone_from(directory);
    }
    if let Some(socket) = &args.control_socket {
        settings.control_socket.clone_from(socket);
    }
    config
}

fn chain(error: &LoadError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Runs the agent until it is told to stop; the exit code.
pub async fn run(args: RunArgs) -> Result<u8, Failure> {
    let config = effective_config(&args)?;
    let telemetry = SharedTelemetry::default();
    let clock = Clock::since_boot();
    let managing = config.policy.mode.is_some();
    let table = open_table(args.table.as_deref(), managing, clock, telemetry.clone())?;
    serve(args, config, table, telemetry, clock, Announce::Log).await
}

/// How the running agent makes itself known.
pub enum Announce {
    Log,
    /// Called with the address of the first listener, once all is bound.
    Demo(Box<dyn FnOnce(SocketAddr) + Send>),
}

/// Everything from the bound sockets to the clean stop.
pub async fn serve(
    args: RunArgs,
    config: Config,
    table: Table,
    telemetry: SharedTelemetry,
    clock: Clock,
    announce: Announce,
) -> Result<u8, Failure> {
    for warning in &config.warnings {
        tracing::warn!(line = warning.line, key = warning.key, "{}", warning.message);
    }
    let mut signals =
        Signals::new().map_err(|e| Failure::new(exit::FAILURE, format!("watching signals failed: {e}")))?;
    let origin = origin(&table)?;
    let table_lock = lock_table(&config, &origin)?;
    let Opened { directory: state, ledger } = open_state(&config)?;
    let access = config.settings.web_config.as_deref().map(Access::load).transpose();
    let access = access.map_err(|e| Failure::new(exit::CONFIG, e))?;
    let listeners = bind(&config.settings)?;
    let control = bind_control(&config)?;
    let files = Files::raised();
    let start = Start {
        policy: Arc::new(config.policy.clone()),
        config_hash: config.hash,
        ledger,
        ledger_opens_later: config.policy.mode.is_some() && state.is_none(),
        origin: origin.clone(),
        seed: os::director_seed(),
        probe_limit: files.probes,
        wires_limit: files.wires,
        source_ports: os::source_ports(),
    };
    let (handle, requests) = Handle::new();
    // The demo has no file to read again; a terminal that is closed ends it.
    let reloads = matches!(announce, Announce::Log);
    let (ask, mut reloads_asked) = Reloads::new();
    let options = Options {
        reloads: reloads.then_some(ask),
        telemetry_path: config.settings.telemetry_path.clone(),
        max_requests: args.max_requests,
        gzip_level: args.gzip_level,
        ..Options::default()
    };
    let exporter = Exporter::new(Machinery::new(telemetry), &args.exporter);
    let web = Web::guarded(options, handle.clone(), Arc::new(exporter), access);
    let listening: Vec<SocketAddr> = listeners.iter().filter_map(|l| l.local_addr().ok()).collect();
    let (shutdown, stopping) = watch::channel(false);
    let mut servers = JoinSet::new();
    for listener in listeners {
        servers.spawn(web::serve_tcp(listener, web.clone(), stopping.clone()));
    }
    if let Some(control) = control {
        servers.spawn(web::serve_unix(control, web, stopping));
    }
    let prober = Prober::new(clock).keeping(files.kept_connections);
    let state = agent::State::new(config.settings.state_directory.clone(), state);
    let addresses = table.is_of_this_machine().then(Watcher::machine);
    let parts = Parts { clock, start, table, prober, addresses, state, requests };
    let mut agent = agent::start(parts)
        .map_err(|e| Failure::new(exit::FAILURE, format!("starting the agent's thread failed: {e}")))?;
    say_started(&config, &listening, announce);
    os::notify(NotifyState::Ready);

    let mut reload = Reload { args: &args, origin: &origin, table_lock, current: config, handle: &handle };
    let mut stopped = false;
    let ended = loop {
        tokio::select! {
            ended = &mut agent => break ended,
            signal = signals.next() => match signal {
                Signal::Reload if reloads && stopped => {}
                // The log has what came of it.
                Signal::Reload if reloads => drop(reload.run().await),
                Signal::Stop | Signal::Reload => {
                    os::notify(NotifyState::Stopping);
                    // An agent that has ended needs no telling.
                    let _ = handle.stop().await;
                    stopped = true;
                }
            },
            Some(asked) = reloads_asked.recv() => {
                let answer = match stopped {
                    true => Err(ReloadRefused::Ended("the agent is about to end".to_owned())),
                    false => reload.run().await,
                };
                // Whoever asked may have gone; what is in force stays so.
                let _ = asked.send(answer);
            }
            Some(ended) = servers.join_next() => {
                let cause = match ended {
                    Ok(Err(error)) => error.to_string(),
                    Ok(Ok(())) => "it ended".to_owned(),
                    Err(error) => error.to_string(),
                };
                return Err(Failure::new(exit::FAILURE, format!("serving HTTP failed: {cause}")));
            }
        }
    };
    // Receivers that are gone have stopped already.
    let _ = shutdown.send(true);
    while servers.join_next().await.is_some() {}
    match ended {
        Ok(Ended::Stopped) => {
            tracing::info!("stopped");
            Ok(exit::OK)
        }
        Ok(Ended::NoPermission(failure)) => Err(Failure::new(exit::NO_PERMISSION, failure)),
        Ok(ended @ Ended::NoThreads(_)) => Err(Failure::new(exit::FAILURE, ended)),
        Err(error) => Err(Failure::new(exit::FAILURE, format!("the agent's loop failed: {error}"))),
    }
}

/// The kernel's table, or as much of it as may be read; or the embedded one.
pub(super) fn open_table(
    embedded: Option<&Path>,
    managing: bool,
    clock: Clock,
    telemetry: SharedTelemetry,
) -> Result<Table, Failure> {
    if let Some(path) = embedded {
        return memory_table(path, clock);
    }
    let allowed = os::has_net_admin();
    let allowed =
        allowed.map_err(|e| Failure::new(exit::FAILURE, format!("reading our capabilities failed: {e}")))?;
    if allowed {
        return Ok(Table::kernel(clock, telemetry));
    }
    if managing {
        let text = format!("{}; with systemd: AmbientCapabilities=CAP_NET_ADMIN", ReadFailure::NoPermission);
        return Err(Failure::new(exit::NO_PERMISSION, text));
    }
    tracing::warn!(
        "no CAP_NET_ADMIN: only weights and connections are exported, from /proc, and ipvs_up is 0"
    );
    Ok(Table::proc_only(clock))
}

/// `--ipvs.table`.
fn memory_table(path: &Path, clock: Clock) -> Result<Table, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        Failure::new(exit::CONFIG, format!("reading the table {} failed: {e}", path.display()))
    })?;
    Table::memory(&text, clock).map_err(|e| Failure::new(exit::CONFIG, format!("{}: {e}", path.display())))
}

fn origin(table: &Table) -> Result<Origin, Failure> {
    let boot_id =
        os::boot_id().map_err(|e| Failure::new(exit::FAILURE, format!("reading the boot id failed: {e}")))?;
    let table = table.identity();
    let table =
        table.map_err(|e| Failure::new(exit::FAILURE, format!("identifying the table failed: {e}")))?;
    Ok(Origin { boot_id, table })
}

/// One agent that writes to one kernel table (trap 57).
fn lock_table(config: &Config, origin: &Origin) -> Result<Option<PidLock>, Failure> {
    let Some(inode) = origin.table.strip_prefix("netns:") else { return Ok(None) };
    if config.policy.mode != Some(Mode::Enforce) {
        return Ok(None);
    }
    let path = PathBuf::from(format!("/run/lvs-agent/table-{inode}.lock"));
    let lock = PidLock::take(&path, 0o755).map_err(|e| Failure::new(exit::UNAVAILABLE, e))?;
    Ok(Some(lock))
}

fn open_state(config: &Config) -> Result<Opened, Failure> {
    if config.policy.mode.is_none() {
        return Ok(Opened { directory: None, ledger: Ok(None) });
    }
    let opened = StateDirectory::open(&config.settings.state_directory);
    opened.map_err(|e| Failure::new(exit::UNAVAILABLE, e))
}

fn bind(settings: &Settings) -> Result<Vec<TcpListener>, Failure> {
    let bind = |listen: &ListenAddr| {
        let addr = listen.to_socket_addr().map_err(|e| format!("listening on {listen}: {e}"));
        // Its error names the address.
        let bound = addr.and_then(|addr| web::bind_tcp(addr).map_err(|e| e.to_string()));
        bound.map_err(|e| {
            Failure::new(exit::UNAVAILABLE, format!("{e} (`--web.listen-address` names another)"))
        })
    };
    settings.listen.iter().map(bind).collect()
}

/// Without a configuration the agent is often an ordinary user's, who may have no /run of his own.
fn bind_control(config: &Config) -> Result<Option<UnixListener>, Failure> {
    let path = &config.settings.control_socket;
    match web::bind_unix(path) {
        Ok(listener) => Ok(Some(listener)),
        Err(error)
            if config.policy.mode.is_none() && error.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            tracing::warn!(%error, socket = %path.display(), "no control socket: `status` and `probe` will not find this agent");
            Ok(None)
        }
        Err(error) => {
            // Its error names the path and the way out.
            let text = format!("the control socket (`--control-socket`): {error}");
            Err(Failure::new(exit::UNAVAILABLE, text))
        }
    }
}

fn say_started(config: &Config, listening: &[SocketAddr], announce: Announce) {
    let mode = config.policy.mode.map_or("exporter", Mode::as_str);
    match announce {
        Announce::Log => {
            for listen in listening {
                tracing::info!(%listen, mode, services = config.policy.services.len(), version = env!("CARGO_PKG_VERSION"), "lvs-agent runs");
            }
        }
        Announce::Demo(show) => {
            if let Some(first) = listening.first() {
                show(*first);
            }
        }
    }
}

impl ListenAddr {
    /// With the scope id of its zone, if it has one.
    fn to_socket_addr(&self) -> std::io::Result<SocketAddr> {
        let scope = match &self.addr.zone {
            Some(zone) => nix::net::if_::if_nametoindex(zone.as_str())?,
            None => 0,
        };
        Ok(match (Family::of(self.addr.addr), self.addr.addr) {
            (Family::V6, std::net::IpAddr::V6(addr)) => SocketAddrV6::new(addr, self.port, 0, scope).into(),
            (_, addr) => SocketAddr::new(addr, self.port),
        })
    }
}
