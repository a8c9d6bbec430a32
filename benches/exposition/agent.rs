//! What the agent's loop does for a scrape that finds a fresh table: it makes the view.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use lvs_agent::config;
use lvs_agent::logic::{Command, Controller, Event, Origin, Start};
use lvs_agent::model::{Mono, Now, SourcePorts, View, Wall};

use crate::{cpu_seconds, memory_kib};

const CONFIG: &str = r#"
[check.web]
type = "tcp"
port = 80
[[service]]
match = ["*:*/tcp", "*:*/udp", "*:*/sctp", "fwmark:*/*"]
checks = ["web"]
"#;
const NOW: Now = Now { mono: Mono::from_start(Duration::from_secs(3600)), wall: Wall(1_764_000_000.5) };
/// Held at one time to see what one takes.
const VIEWS: usize = 4;

pub struct Loop(Controller);

impl Loop {
    /// With the table of this view, all of it managed.
    pub fn holding(view: &View) -> io::Result<Loop> {
        let no_file = |_: &std::path::Path| Err(io::Error::from(io::ErrorKind::NotFound));
        let config =
            config::parse(CONFIG, &no_file).map_err(|faults| io::Error::other(format!("{faults:?}")))?;
        let mut controller = Controller::new(
            Start {
                policy: Arc::new(config.policy),
                config_hash: config.hash,
                ledger: Ok(None),
                ledger_opens_later: false,
                origin: Origin { boot_id: "bench".to_owned(), table: "embedded".to_owned() },
                seed: 1,
                probe_limit: lvs_agent::model::ProbeLimit::at(1000),
                wires_limit: 0,
                source_ports: SourcePorts::USUAL,
            },
            NOW,
        );
        let snapshot = view.snapshot.as_deref().cloned().ok_or_else(|| io::Error::other("no snapshot"))?;
        drop(controller.step(Event::TableRead(Ok(snapshot)), NOW));
        Ok(Loop(controller))
    }

    /// The least CPU of so many rounds in milliseconds, and megabytes.
    pub fn cost_of_a_view(&mut self, rounds: usize) -> io::Result<(f64, f64)> {
        let before = memory_kib("VmRSS:")?;
        let held: Vec<Arc<View>> = (0..VIEWS).map(|_| self.view()).collect::<io::Result<_>>()?;
        let mb = memory_kib("VmRSS:")?.saturating_sub(before) as f64 / 1024.0 / VIEWS as f64;
        drop(held);
        let mut least = f64::MAX;
        for _ in 0..rounds {
            let before = cpu_seconds()?;
            let view = self.view()?;
            least = least.min((cpu_seconds()? - before) * 1e3);
            drop(view);
        }
        Ok((least, mb))
    }

    fn view(&mut self) -> io::Result<Arc<View>> {
        let wanted = Event::ViewWanted { max_age: Duration::from_secs(3600) };
        let commands = self.0.step(wanted, NOW);
        let published = commands.into_iter().find_map(|command| match command {
            Command::Publish(view) => Some(view),
            Command::ReadTable
            | Command::SetWeights(_)
            | Command::Probe { .. }
            | Command::ArmWire { .. }
            | Command::DropWire(_)
            | Command::SaveLedger { .. }
            | Command::OpenLedger
            | Command::AnswerHand { .. }
            | Command::Log(_) => None,
        });
        published.ok_or_else(|| io::Error::other("the controller publishes no view"))
    }
}
