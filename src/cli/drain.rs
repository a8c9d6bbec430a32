//! `lvs-agent drain` and `undrain`: a real server out, and back, by hand.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use super::client::{LocalError, local_drain, local_status, local_undrain};
use super::screen::{Paint, age, printable};
use super::{ControlSocket, Screen, exit};
use crate::config::parse_duration;
use crate::model::{DestKey, DestPattern, Mono, ServiceKey, check_said};
use crate::os::Clock;
use crate::status::{DrainRequest, HandAnswer, RealServerStatus, Status, UndrainRequest};

/// Between two looks at the connections; the agent itself reads the table this often or less.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, clap::Args)]
pub struct DrainArgs {
    /// The real server: `10.10.0.21:80`, `[2001:db8::21]:80`, or the address alone for all its ports
    #[arg(value_name = "RS")]
    pub real_server: DestPattern,
    /// Only of this virtual server, by its key or its configured name; without it of all that have it
    #[arg(long, value_name = "VS")]
    pub virtual_server: Option<String>,
    /// Wait until its active and persistent connections are gone, at most this long (10m); exits 1 at the
    /// deadline, and the drain stays
    #[arg(
        long,
        value_name = "DURATION",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "10m",
        value_parser = duration
    )]
    pub wait: Option<Duration>,
    /// Why, for whoever looks at the status next
    #[arg(long, value_name = "TEXT", value_parser = said)]
    pub reason: Option<String>,
    /// Even if a virtual server is left with no real server of weight above 0
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub control: ControlSocket,
}

#[derive(Debug, Clone, clap::Args)]
pub struct UndrainArgs {
    /// The real server: `10.10.0.21:80`, `[2001:db8::21]:80`, or the address alone for all its ports
    #[arg(value_name = "RS")]
    pub real_server: DestPattern,
    /// Only of this virtual server, by its key or its configured name; without it of all that have it
    #[arg(long, value_name = "VS")]
    pub virtual_server: Option<String>,
    /// Keep it in although its checks fail, until `drain` or a plain `undrain`
    #[arg(long)]
    pub ignore_checks: bool,
    #[command(flatten)]
    pub control: ControlSocket,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .filter(|d| !d.is_zero())
        .ok_or_else(|| format!("`{text}` is not a number with a unit above 0: 90s, 10m, 1h"))
}

fn said(text: &str) -> Result<String, String> {
    check_said(text).map(|()| text.to_owned())
}

/// 0 done (and, with `--wait`, empty), 1 refused or not empty by the deadline, 69 nobody answers by then.
pub async fn drain(args: &DrainArgs, screen: &mut Screen<'_>) -> u8 {
    let request = DrainRequest {
        real_server: args.real_server.to_string(),
        virtual_server: args.virtual_server.clone(),
        reason: args.reason.clone(),
        force: args.force,
    };
    let answer = match local_drain(&args.control.socket, &request).await {
        Ok(answer) => answer,
        Err(error) => return failed(&error, screen),
    };
    let written = show(&answer, screen);
    let code = screen.written(written, exit::OK);
    match args.wait {
        Some(limit) if code == exit::OK => {
            let wanted = answer.changes.iter().map(|c| (c.virtual_server, c.real_server)).collect();
            Wait { args, wanted, out: BTreeSet::new(), limit, shown: String::new() }.run(screen).await
        }
        Some(_) | None => code,
    }
}

pub async fn undrain(args: &UndrainArgs, screen: &mut Screen<'_>) -> u8 {
    let request = UndrainRequest {
        real_server: args.real_server.to_string(),
        virtual_server: args.virtual_server.clone(),
        ignore_checks: args.ignore_checks,
    };
    match local_undrain(&args.control.socket, &request).await {
        Ok(answer) => {
            let written = show(&answer, screen);
            screen.written(written, exit::OK)
        }
        Err(error) => failed(&error, screen),
    }
}

fn show(answer: &HandAnswer, screen: &mut Screen<'_>) -> io::Result<()> {
    for change in &answer.changes {
        let paint = match change.effect.as_ref() {
            "giving_back" | "lifted" => Paint::Good,
            "nothing" => Paint::Plain,
            _ => Paint::Warn,
        };
        let text = screen.paint(paint, &printable(&change.text));
        writeln!(screen.out, "{}  {}  {text}", change.virtual_server, change.real_server)?;
    }
    Ok(())
}

fn failed(error: &LocalError, screen: &mut Screen<'_>) -> u8 {
    match error {
        LocalError::NoAgent(_) => {
            screen.complain(&format!(
                "{error}: drains by hand are the running agent's to make and to remember; without one, \
                 `ipvsadm -e … -w 0` sets a weight"
            ));
            exit::UNAVAILABLE
        }
        LocalError::NoPermission(_) => {
            screen.complain(&error.to_string());
            exit::NO_PERMISSION
        }
        LocalError::Slow(..) | LocalError::Broken(..) => {
            screen.complain(&error.to_string());
            exit::UNAVAILABLE
        }
        LocalError::Refused { .. } => {
            screen.complain(&error.to_string());
            exit::FAILURE
        }
    }
}

/// Connections leave a drained server on their own time: established ones go on, and persistence
/// brings its clients' new ones too (trap 30).
struct Wait<'a> {
    args: &'a DrainArgs,
    wanted: Vec<Wanted>,
    out: BTreeSet<Wanted>,
    limit: Duration,
    shown: String,
}

type Wanted = (ServiceKey, DestKey);

/// What one look at the status found.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Empty,
    /// In words.
    Waiting(String),
    /// Nobody answers, and why.
    Away(String),
    /// Somebody ended the drain.
    Ended(ServiceKey, DestKey),
}

impl Wait<'_> {
    async fn run(mut self, screen: &mut Screen<'_>) -> u8 {
        let clock = Clock::start();
        loop {
            // The drain outlasts a restart of the agent, so the wait does too.
            let seen = match local_status(&self.args.control.socket).await {
                Ok(fetched) => look(&fetched.status, &self.wanted, &mut self.out),
                Err(error) => Seen::Away(error.to_string()),
            };
            let away = matches!(seen, Seen::Away(_));
            match seen {
                Seen::Empty => {
                    let text = screen.paint(Paint::Good, "no active and no persistent connections are left");
                    let written = writeln!(screen.out, "{}  {text}", passed(&clock));
                    return screen.written(written, exit::OK);
                }
                Seen::Ended(service, dest) => {
                    screen.complain(&format!("{dest} of {service} is no longer drained: somebody ended it"));
                    return exit::FAILURE;
                }
                Seen::Waiting(text) | Seen::Away(text) => {
                    if clock.mono() > Mono::from_start(self.limit) {
                        let limit = age(self.limit.as_secs_f64());
                        screen.complain(&format!("not empty within {limit}: {text}; the drain stays"));
                        return if away { exit::UNAVAILABLE } else { exit::FAILURE };
                    }
                    if let Err(code) = self.progress(&clock, text, screen) {
                        return code;
                    }
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// A line where something changed; the exit code where nobody reads any more.
    fn progress(&mut self, clock: &Clock, text: String, screen: &mut Screen<'_>) -> Result<(), u8> {
        if text == self.shown {
            return Ok(());
        }
        let written = writeln!(screen.out, "{}  {text}", passed(clock)).and_then(|()| screen.out.flush());
        self.shown = text;
        match written {
            Ok(()) => Ok(()),
            Err(error) => Err(screen.written(Err(error), exit::FAILURE)),
        }
    }
}

fn passed(clock: &Clock) -> String {
    format!("{:>6}", age(clock.mono().since_start().as_secs_f64()))
}

/// `out`: those that were seen at weight 0; before that its 0 may still be on its way.
fn look(status: &Status, wanted: &[Wanted], out: &mut BTreeSet<Wanted>) -> Seen {
    if status.snapshot_age_seconds.is_none() {
        return Seen::Waiting("the agent cannot read the table".to_owned());
    }
    let mut all: Vec<&RealServerStatus> = Vec::new();
    for (service, dest) in wanted {
        let rows = status.virtual_servers.iter().filter(|s| s.virtual_server == *service);
        // One that is gone from the table has no connections any more.
        let Some(row) = rows.flat_map(|s| &s.real_servers).find(|r| r.real_server == *dest) else { continue };
        let by_us = row.drained.as_ref().is_some_and(|d| d.by == "operator");
        if by_us {
            out.insert((*service, *dest));
        } else if out.contains(&(*service, *dest)) {
            return Seen::Ended(*service, *dest);
        }
        all.push(row);
    }
    let sum = |of: fn(&RealServerStatus) -> u32| all.iter().map(|r| u64::from(of(r))).sum::<u64>();
    let (active, persistent) = (sum(|r| r.active_connections), sum(|r| r.persistent_connections));
    if active + persistent == 0 && all.iter().all(|r| r.weight.is_zero()) {
        return Seen::Empty;
    }
    let inactive = sum(|r| r.inactive_connections);
    let weights: Vec<String> = all.iter().map(|r| r.weight.to_string()).collect();
    Seen::Waiting(format!(
        "weight {}, {active} active, {persistent} persistent, {inactive} inactive connections",
        weights.join(" ")
    ))
}
