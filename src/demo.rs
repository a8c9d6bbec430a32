//! `lvs-agent demo`: the same agent on an embedded table, with toy real servers on loopback.

mod server;

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::cli::exit;
use crate::cli::exporter::ExporterArgs;
use crate::cli::run::{Announce, Failure, GZIP_LEVEL, MAX_REQUESTS, RunArgs, serve};
use crate::config::{self, Config};
use crate::ipvs::Table;
use crate::logging::LogArgs;
use crate::model::SharedTelemetry;
use crate::os::Clock;
use server::ToyServer;

/// The director's page, unless the port is taken.
const PAGE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 10190);
/// The toy real servers: all of 127.0.0.0/8 is loopback on Linux.
const SERVERS: [Ipv4Addr; 3] =
    [Ipv4Addr::new(127, 0, 10, 21), Ipv4Addr::new(127, 0, 10, 22), Ipv4Addr::new(127, 0, 10, 23)];
const WEIGHTS: [u32; 3] = [5, 3, 1];
const VIRTUAL: Ipv4Addr = Ipv4Addr::new(127, 0, 10, 100);
/// The toy server that breaks by itself, when, and for how long.
const BREAKS: usize = 1;
const BREAKS_AFTER: Duration = Duration::from_secs(6);
const MENDED_AFTER: Duration = Duration::from_secs(8);

const CONFIG: &str = r#"
[defaults]
interval = "1s"
timeout = "500ms"
fast-interval = "200ms"
rise = 2
fall = 2

[check.web]
type = "http"
path = "/healthz"
host = "shop.example.com"

[check.port]
type = "tcp"

[[service]]
match = ["127.0.10.100:*/tcp"]
name = "shop"
checks = ["web", "port"]
"#;

#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    #[command(flatten)]
    pub log: LogArgs,
}

/// Runs until interrupted; the exit code.
pub async fn run(args: DemoArgs, out: &mut (dyn Write + Send)) -> Result<u8, Failure> {
    let broken =
        |what: &str, e: &dyn std::fmt::Display| Failure::new(exit::FAILURE, format!("{what} failed: {e}"));
    let servers = start_servers().await.map_err(|e| broken("starting the toy servers", &e))?;
    let port = servers[0].addr.port();
    let directory = tempfile::Builder::new().prefix("lvs-agent-demo.").tempdir();
    let directory = directory.map_err(|e| broken("making a temporary directory", &e))?;
    let config = configuration(directory.path()).await?;
    let clock = Clock::start();
    let table = Table::memory(&table_text(port), clock).map_err(|e| broken("building the table", &e))?;
    let socket = config.settings.control_socket.display().to_string();
    let addresses: Vec<SocketAddr> = servers.iter().map(|s| s.addr).collect();
    let (page, announced) = tokio::sync::oneshot::channel();
    let announce = Announce::Demo(Box::new(move |first| {
        // The receiver lives in the same function.
        let _ = page.send(first);
    }));
    let run_args = RunArgs::of_demo(args.log);
    let agent = serve(run_args, config, table, SharedTelemetry::default(), clock, announce);
    let story = async {
        let Ok(page) = announced.await else { return Ok(()) };
        out.write_all(introduction(page, &addresses, &socket).as_bytes())?;
        out.flush()?;
        tell(&servers[BREAKS], out).await
    };
    let story = async {
        match story.await {
            Ok(()) => std::future::pending::<Failure>().await,
            Err(error) => broken("writing to the terminal", &error),
        }
    };
    tokio::select! {
        ended = agent => ended,
        failure = story => Err(failure),
    }
}

async fn start_servers() -> io::Result<Vec<ToyServer>> {
    // The first takes a free port, the others the same one: direct routing delivers to the service's port.
    for _ in 0..20 {
        let first = TcpListener::bind((SERVERS[0], 0)).await?;
        let port = first.local_addr()?.port();
        let mut listeners = vec![first];
        for address in &SERVERS[1..] {
            match TcpListener::bind((*address, port)).await {
                Ok(listener) => listeners.push(listener),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => break,
                Err(error) => return Err(error),
            }
        }
        if listeners.len() == SERVERS.len() {
            return listeners.into_iter().map(ToyServer::start).collect();
        }
    }
    Err(io::Error::other("no port is free on all of them"))
}

fn table_text(port: u16) -> String {
    let service = format!("{VIRTUAL}:{port}");
    let mut text = format!("-A -t {service} -s wrr\n");
    for (server, weight) in SERVERS.iter().zip(WEIGHTS) {
        text.push_str(&format!("-a -t {service} -r {server}:{port} -g -w {weight}\n"));
    }
    text
}

async fn configuration(directory: &Path) -> Result<Config, Failure> {
    let none = |path: &Path| Err(io::Error::new(io::ErrorKind::NotFound, path.display().to_string()));
    let parsed = config::parse(CONFIG, &none);
    let mut config = parsed.map_err(|problems| {
        let text: String = problems.iter().map(|p| p.render("the demo's configuration", CONFIG)).collect();
        Failure::new(exit::CONFIG, text)
    })?;
    let free = match TcpListener::bind(PAGE).await {
        Ok(_) => PAGE,
        Err(_) => SocketAddr::new(PAGE.ip(), 0),
    };
    let listen = free.to_string().parse();
    config.settings.listen = vec![listen.map_err(|e| Failure::new(exit::FAILURE, e))?];
    config.settings.state_directory = directory.join("state");
    config.settings.control_socket = directory.join("control.sock");
    Ok(config)
}

fn introduction(page: SocketAddr, servers: &[SocketAddr], socket: &str) -> String {
    let list: String =
        servers.iter().zip(WEIGHTS).map(|(s, w)| format!("    http://{s}   weight {w}\n")).collect();
    let program = std::env::args().next().unwrap_or_else(|| "lvs-agent".to_owned());
    let one = servers[0];
    format!(
        "\
lvs-agent demo: a director with an embedded IPVS table and three toy real servers on loopback.
Probes, verdicts, the ledger and the metrics are the real ones.

  virtual server {VIRTUAL}:{}/tcp (\"shop\"), its real servers:
{list}
  page      http://{page}/
  metrics   http://{page}/metrics
  status    {program} status --control-socket {socket}
  probe     {program} probe {VIRTUAL}:{}/tcp {one} --control-socket {socket}
  break one curl -X POST http://{one}/break
  mend it   curl -X POST http://{one}/mend

  In {} seconds {} breaks by itself. Ctrl-C ends the demo.

",
        one.port(),
        one.port(),
        BREAKS_AFTER.as_secs(),
        servers[BREAKS],
    )
}

/// Breaks one toy server and mends it; the log lines between are the agent's.
async fn tell(server: &ToyServer, out: &mut (dyn Write + Send)) -> io::Result<()> {
    tokio::time::sleep(BREAKS_AFTER).await;
    server.set_broken(true);
    writeln!(
        out,
        ">>> {} is broken now: /healthz answers 503. Two failures in a row take it out.",
        server.addr
    )?;
    out.flush()?;
    tokio::time::sleep(MENDED_AFTER).await;
    server.set_broken(false);
    writeln!(
        out,
        ">>> {} is mended: after two passes in a row it gets exactly its weight back.",
        server.addr
    )?;
    out.flush()?;
    tokio::time::sleep(Duration::from_secs(4)).await;
    writeln!(out, ">>> Now break and mend them yourself with the commands above.")?;
    out.flush()
}

impl RunArgs {
    /// Those of `run` that `serve` still looks at, at their defaults; what the environment says is for `run`.
    fn of_demo(log: LogArgs) -> RunArgs {
        RunArgs {
            config: None,
            mode: None,
            listen: Vec::new(),
            telemetry_path: None,
            max_requests: MAX_REQUESTS,
            gzip_level: GZIP_LEVEL,
            state_dir: None,
            control_socket: None,
            table: None,
            exporter: ExporterArgs::default(),
            log,
        }
    }
}
