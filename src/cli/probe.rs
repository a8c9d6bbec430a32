//! `lvs-agent probe`: one probe now.

use std::io;
use std::path::PathBuf;

use super::client::{LocalError, NoAgent, local_probe};
use super::screen::{Paint, printable, took};
use super::{ControlSocket, Screen, exit};
use crate::model::{DestKey, ServiceKey};
use crate::status::{ProbeAnswer, ProbeRequest, ProbeStatus};

#[derive(Debug, Clone, clap::Args)]
pub struct ProbeArgs {
    /// The virtual server: `10.10.0.100:80/tcp`, `[2001:db8::1]:443/udp`, `fwmark:7/ipv4`
    #[arg(value_name = "VS")]
    pub virtual_server: ServiceKey,
    /// The real server: `10.10.0.21:80`, `[2001:db8::21]:80`
    #[arg(value_name = "RS")]
    pub real_server: DestKey,
    /// Only this check of the virtual server's
    #[arg(long, value_name = "NAME")]
    pub check: Option<String>,
    /// The configuration, where no agent runs
    #[arg(long, value_name = "FILE", env = "LVS_AGENT_CONFIG")]
    pub config: Option<PathBuf>,
    /// An embedded table instead of the kernel's, where no agent runs
    #[arg(long = "ipvs.table", value_name = "FILE", env = "LVS_AGENT_IPVS_TABLE")]
    pub table: Option<PathBuf>,
    #[command(flatten)]
    pub control: ControlSocket,
}

/// Has the running agent probe; the exit code. Where none answers, the caller may probe by itself
/// and [`show`] that.
pub async fn run(args: &ProbeArgs, screen: &mut Screen<'_>) -> Result<u8, NoAgent> {
    let request = ProbeRequest {
        virtual_server: args.virtual_server,
        real_server: args.real_server,
        check: args.check.clone(),
    };
    match local_probe(&args.control.socket, &request).await {
        Ok(answer) => Ok(show(&answer, screen)),
        Err(LocalError::NoAgent(none)) => Err(none),
        Err(error) => {
            screen.complain(&error.to_string());
            // 1 is a failed probe, and none was made.
            Ok(match error {
                LocalError::NoPermission(_) => exit::NO_PERMISSION,
                LocalError::NoAgent(_)
                | LocalError::Slow(..)
                | LocalError::Broken(..)
                | LocalError::Refused { .. } => exit::UNAVAILABLE,
            })
        }
    }
}

/// Shows what the probes found; 0 all passed, 1 one failed, 69 none failed but not all were conclusive.
pub fn show(answer: &ProbeAnswer, screen: &mut Screen<'_>) -> u8 {
    let any = |outcome: &str| answer.probes.iter().any(|p| p.outcome == outcome);
    let code = if any("fail") {
        exit::FAILURE
    } else if !answer.probes.is_empty() && answer.probes.iter().all(|p| p.outcome == "pass") {
        exit::OK
    } else {
        exit::UNAVAILABLE
    };
    let written = answer.probes.iter().try_for_each(|probe| write_probe(probe, screen));
    screen.written(written, code)
}

fn write_probe(probe: &ProbeStatus, screen: &mut Screen<'_>) -> io::Result<()> {
    let (word, paint) = match probe.outcome.as_ref() {
        "pass" => ("pass".to_owned(), Paint::Good),
        "fail" => ("FAIL".to_owned(), Paint::Bad),
        other => (printable(other).into_owned(), Paint::Warn),
    };
    let word = screen.paint(paint, &word);
    write!(screen.out, "{}  {}  {word}", printable(&probe.check), probe.target)?;
    if let Some(reason) = &probe.reason {
        write!(screen.out, "  {}", printable(reason))?;
    }
    if !probe.detail.is_empty() {
        write!(screen.out, "  ({})", printable(&probe.detail))?;
    }
    writeln!(screen.out)?;
    let phases = &probe.phases;
    let reached = [
        ("connect", phases.connect_seconds),
        ("tls", phases.tls_seconds),
        ("processing", phases.processing_seconds),
        ("transfer", phases.transfer_seconds),
    ];
    let mut times: Vec<String> =
        reached.iter().filter_map(|(name, time)| Some(format!("{name} {}", took((*time)?)))).collect();
    times.push(format!("total {}", took(probe.duration_seconds)));
    if let Some(status) = probe.http_status {
        times.push(format!("HTTP status {status}"));
    }
    writeln!(screen.out, "  {}", times.join(", "))
}
