//! `lvs-agent status`: what the directors do with their virtual servers, for people.

mod compare;
mod render;

use std::io;

use serde::Serialize;
use tokio::task::JoinSet;

use super::client::{AgentUrl, LocalError, NoAgent, chain, local_status, remote_status};
use super::trust::{TlsFiles, Trust};
use super::{ControlSocket, Screen, exit};
use crate::model::ServiceKey;
use crate::status::{Status, VirtualServerStatus};
use compare::Disagreement;

#[derive(Debug, Clone, clap::Args)]
pub struct StatusArgs {
    /// Only this virtual server: `10.10.0.100:80/tcp`, or its configured name
    #[arg(value_name = "VS")]
    pub virtual_server: Option<String>,
    /// The API's JSON instead of a table
    #[arg(long)]
    pub json: bool,
    /// Another director's agent, https://user:password@d2:10190; may be repeated, and shows where they disagree
    #[arg(long = "agent", value_name = "URL")]
    pub agents: Vec<AgentUrl>,
    #[command(flatten)]
    pub tls: TlsFiles,
    #[command(flatten)]
    pub control: ControlSocket,
}

/// Asks the agents named by `--agent`, else the one on the control socket; the exit code. Where none
/// answers there, the caller may read the kernel itself and [`show`] that.
pub async fn run(args: &StatusArgs, screen: &mut Screen<'_>) -> Result<u8, NoAgent> {
    if !args.agents.is_empty() {
        return Ok(directors(args, screen).await);
    }
    let fetched = match local_status(&args.control.socket).await {
        Ok(fetched) => fetched,
        Err(LocalError::NoAgent(none)) => return Err(none),
        Err(error) => {
            screen.complain(&error.to_string());
            return Ok(match error {
                LocalError::NoPermission(_) => exit::NO_PERMISSION,
                LocalError::NoAgent(_)
                | LocalError::Slow(..)
                | LocalError::Broken(..)
                | LocalError::Refused { .. } => exit::UNAVAILABLE,
            });
        }
    };
    if args.json && args.virtual_server.is_none() {
        let written = screen.out.write_all(&fetched.json).and_then(|()| screen.out.write_all(b"\n"));
        return Ok(screen.written(written, code(&fetched.status)));
    }
    Ok(show(fetched.status, args, None, screen))
}

/// Shows one status, with a note above it; the exit code.
pub fn show(mut status: Status, args: &StatusArgs, note: Option<&str>, screen: &mut Screen<'_>) -> u8 {
    if let Some(wanted) = &args.virtual_server {
        let known: Vec<String> = status.virtual_servers.iter().map(label).collect();
        status.virtual_servers.retain(|service| is(service, wanted));
        if status.virtual_servers.is_empty() {
            screen.complain(&no_such(wanted, &known));
            return exit::UNAVAILABLE;
        }
    }
    let code = code(&status);
    let written = if args.json {
        if let Some(note) = note {
            screen.complain(note);
        }
        write_json(screen, &status)
    } else {
        render::status(&status, note, screen)
    };
    screen.written(written, code)
}

/// What one director answered.
#[derive(Debug, Serialize)]
struct Director {
    agent: String,
    status: Option<Status>,
    error: Option<String>,
}

async fn directors(args: &StatusArgs, screen: &mut Screen<'_>) -> u8 {
    let trust = match args.tls.load() {
        Ok(trust) => trust,
        Err(error) => {
            screen.complain(&chain(&error));
            return exit::UNAVAILABLE;
        }
    };
    let mut directors = ask_all(&args.agents, &trust).await;
    if let Some(wanted) = &args.virtual_server {
        let mut known: Vec<String> = Vec::new();
        let mut found = false;
        for status in directors.iter_mut().filter_map(|d| d.status.as_mut()) {
            known.extend(status.virtual_servers.iter().map(label));
            status.virtual_servers.retain(|service| is(service, wanted));
            found |= !status.virtual_servers.is_empty();
        }
        if !found && directors.iter().any(|d| d.status.is_some()) {
            known.sort();
            known.dedup();
            screen.complain(&no_such(wanted, &known));
            return exit::UNAVAILABLE;
        }
    }
    let disagreements = compare::disagreements(&directors);
    let code = code_of_all(&directors);
    let written = if args.json {
        write_json(screen, &Report { agents: &directors, disagreements: &disagreements })
    } else {
        render::directors(&directors, &disagreements, screen)
    };
    screen.written(written, code)
}

/// What `--json` prints with `--agent`.
#[derive(Serialize)]
struct Report<'a> {
    agents: &'a [Director],
    disagreements: &'a [Disagreement],
}

/// All at once, answers in the order asked.
async fn ask_all(agents: &[AgentUrl], trust: &Trust) -> Vec<Director> {
    let mut asked = JoinSet::new();
    for (at, agent) in agents.iter().cloned().enumerate() {
        let trust = trust.clone();
        asked.spawn(async move { (at, remote_status(&agent, &trust).await) });
    }
    let mut directors: Vec<Director> = agents
        .iter()
        .map(|agent| Director {
            agent: agent.to_string(),
            status: None,
            error: Some("it was not asked".to_owned()),
        })
        .collect();
    while let Some(done) = asked.join_next().await {
        let Ok((at, answer)) = done else { continue };
        if let Some(director) = directors.get_mut(at) {
            (director.status, director.error) = match answer {
                Ok(status) => (Some(status), None),
                Err(error) => (None, Some(error)),
            };
        }
    }
    directors
}

/// 0 all managed services are up, 1 not, 69 there is no table.
fn code(status: &Status) -> u8 {
    if status.snapshot_age_seconds.is_none() {
        exit::UNAVAILABLE
    } else if status.virtual_servers.iter().any(|s| s.managed && s.up != Some(true)) {
        exit::FAILURE
    } else {
        exit::OK
    }
}

fn code_of_all(directors: &[Director]) -> u8 {
    let codes: Vec<u8> =
        directors.iter().map(|d| d.status.as_ref().map_or(exit::UNAVAILABLE, code)).collect();
    if codes.iter().all(|code| *code == exit::OK) {
        exit::OK
    } else if codes.iter().all(|code| *code == exit::UNAVAILABLE) {
        exit::UNAVAILABLE
    } else {
        exit::FAILURE
    }
}

fn is(service: &VirtualServerStatus, wanted: &str) -> bool {
    service.name == wanted || wanted.parse() == Ok(service.virtual_server)
}

fn label(service: &VirtualServerStatus) -> String {
    named(&service.name, service.virtual_server)
}

/// The name and the key, once if they are the same.
fn named(name: &str, key: ServiceKey) -> String {
    let key = key.to_string();
    if name == key { key } else { format!("{name} {key}") }
}

fn no_such(wanted: &str, known: &[String]) -> String {
    const SHOWN: usize = 20;
    if known.is_empty() {
        return format!("there is no virtual server `{wanted}`: the IPVS table is empty");
    }
    let mut list = known.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if known.len() > SHOWN {
        list = format!("{list} and {} more", known.len() - SHOWN);
    }
    format!("there is no virtual server `{wanted}`; there are: {list}")
}

fn write_json(screen: &mut Screen<'_>, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *screen.out, value).map_err(io::Error::from)?;
    screen.out.write_all(b"\n")
}
