//! Where no agent runs, `status` and `probe` read the kernel by themselves.

use std::sync::Arc;

use super::client::NoAgent;
use super::run::{Failure, load_config, open_table};
use super::{Screen, exit, probe, status};
use crate::agent::probe_by_hand;
use crate::logic::{Controller, Event, Origin, Start};
use crate::model::{ProbeLimit, SharedTelemetry, SourcePorts};
use crate::os::Clock;
use crate::probe::Prober;
use crate::status::{ProbeAnswer, Status};

/// `status`: the table alone; nothing is known of verdicts.
pub async fn show_table(
    args: &status::StatusArgs,
    none: &NoAgent,
    screen: &mut Screen<'_>,
) -> Result<u8, Failure> {
    let clock = Clock::start();
    let mut table = open_table(None, false, clock, SharedTelemetry::default())?;
    let snapshot = table.snapshot().await;
    let snapshot = snapshot.map_err(|e| Failure::new(exit::UNAVAILABLE, format!("{none}; and {e}")))?;
    let note = format!("{none}; this is the kernel's table alone");
    Ok(status::show(Status::from_snapshot(&snapshot, clock.now()), args, Some(&note), screen))
}

/// `probe`: by the configuration file, from this process.
pub async fn probe(args: &probe::ProbeArgs, none: &NoAgent, screen: &mut Screen<'_>) -> Result<u8, Failure> {
    let config = load_config(args.config.as_deref())?;
    if config.policy.mode.is_none() {
        let text =
            format!("{none}, and there is no configuration that would say what to probe (--config FILE)");
        return Err(Failure::new(exit::UNAVAILABLE, text));
    }
    let clock = Clock::start();
    let mut table = open_table(args.table.as_deref(), false, clock, SharedTelemetry::default())?;
    let start = Start {
        policy: Arc::new(config.policy),
        config_hash: config.hash,
        ledger: Ok(None),
        ledger_opens_later: false,
        origin: Origin { boot_id: String::new(), table: String::new() },
        seed: 0,
        probe_limit: ProbeLimit::at(1),
        wires_limit: 0,
        source_ports: SourcePorts::USUAL,
    };
    // The controller knows what a check means for a real server; its commands are not carried out.
    let mut controller = Controller::new(start, clock.now());
    let prober = Prober::new(clock);
    let snapshot = table.snapshot().await;
    if let Ok(snapshot) = &snapshot {
        prober.set_virtual_addresses(snapshot.virtual_addresses());
    }
    controller.step(Event::TableRead(snapshot), clock.now());
    let targets = controller.hand_targets(args.virtual_server, args.real_server, args.check.as_deref());
    let targets = targets.map_err(|e| Failure::new(exit::UNAVAILABLE, e))?;
    let probes = probe_by_hand(&prober, targets).await;
    screen.complain(&format!("{none}; probed from here by the configuration file"));
    Ok(probe::show(&ProbeAnswer::from(probes.as_slice()), screen))
}
