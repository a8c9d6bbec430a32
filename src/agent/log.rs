//! Decisions as log lines: values are fields, not text.

use tracing::{debug, error, info, warn};

use crate::logic::{Note, Tally};
use crate::model::{DestKey, HeldReason, OnFailure, Target, ipvsadm_line};

pub fn note(note: &Note) {
    match note {
        Note::VerdictChanged { service, dest, verdict, cause } => {
            info!(virtual_server = %service, real_server = %dest, %verdict, cause, "the verdict changed");
        }
        Note::WeightChanged { change, direction } => {
            let (service, dest) = (change.service, change.dest);
            info!(virtual_server = %service, real_server = %dest, from = %change.from, to = %change.to, "weight set: {direction}");
        }
        Note::Tripped { target } => {
            debug!(probed = %probed(target), kind = target.spec.kind.as_str(), "the tripwire's connection ended: probing at once");
        }
        Note::TripwireDegraded { target, trouble } => {
            warn!(probed = %probed(target), kind = target.spec.kind.as_str(), reason = %trouble, "the tripwire cannot be held for long: a failure is found by probes at their interval, mostly");
        }
        Note::WriteFailed { change, cause } => {
            let (service, dest) = (change.service, change.dest);
            warn!(virtual_server = %service, real_server = %dest, from = %change.from, to = %change.to, cause, "setting a weight failed");
        }
        Note::Held { service, dest, reason: HeldReason::Observe, from, would } => {
            info!(virtual_server = %service, real_server = %dest, %from, %would, "would set the weight, but observes only");
        }
        Note::Held { service, dest, reason: HeldReason::HoldDown, from, would } => {
            info!(virtual_server = %service, real_server = %dest, %from, %would, "up again, its weight waits for its hold-down");
        }
        Note::Held { service, dest, reason, from, would } => {
            warn!(virtual_server = %service, real_server = %dest, %reason, %from, %would, "a weight change is held");
        }
        Note::RateLimited { waiting, per_cycle } => {
            warn!(
                waiting,
                per_cycle,
                "more weight changes are due than one cycle makes: the others follow in the next ones"
            );
        }
        Note::RateLimitOver { after } => {
            info!(?after, "no weight change waits for the next cycle any more");
        }
        Note::ChangedByOthers { service, dest, expected, found } => {
            warn!(virtual_server = %service, real_server = %dest, %expected, %found, "somebody else changed the weight");
        }
        Note::AddedAgain { service, dest, expected, found } => {
            info!(virtual_server = %service, real_server = %dest, %expected, %found, "the real server was taken out and added again: its weight is the owed one");
        }
        Note::Paused { gap } => {
            warn!(
                seconds = gap.as_secs_f64(),
                "the agent did not run for a while: the process was stopped, its machine paused, or the processors are overloaded; that time counts for nothing"
            );
        }
        Note::ClockStepped { seconds } => {
            warn!(
                seconds,
                "the wall clock was set, or this machine was suspended; no decision depends on the wall clock"
            );
        }
        Note::ShareChanged { service, dest, share } => {
            let share = share.map_or_else(|| "nothing said".to_owned(), |share| share.to_string());
            info!(virtual_server = %service, real_server = %dest, share, "the real server wants another share of its weight");
        }
        Note::Flapping { service, dest, flaps: true } => {
            warn!(virtual_server = %service, real_server = %dest, "the verdict flaps: more than 6 changes in 30 minutes; meanwhile each drain doubles its hold-down, if it has one");
        }
        Note::Flapping { service, dest, flaps: false } => {
            info!(virtual_server = %service, real_server = %dest, "the verdict no longer flaps");
        }
        Note::TableBack => info!("the IPVS table is read again"),
        Note::TableLost(failure) => error!(%failure, "no IPVS table"),
        Note::VipMoved { addr, present: true } => {
            info!(vip = %addr, "the virtual address is on this director now")
        }
        Note::VipMoved { addr, present: false } => {
            info!(vip = %addr, "the virtual address has left this director")
        }
        Note::AddressesLost(why) => {
            warn!(
                why,
                "the addresses of this machine cannot be followed: who holds a virtual address is not known, and this director counts as active"
            );
        }
        Note::AddressesBack => info!("the addresses of this machine are followed again"),
        Note::Drift { kind, service } => {
            warn!(virtual_server = %service, %kind, "the table is not as the configuration expects");
        }
        Note::NoPort { service, check } => {
            warn!(virtual_server = %service, check, "not probed: the virtual server has no port and the check names none");
        }
        Note::RefusesAtZero { service, scheduler, on_failure: OnFailure::WeightZero } => {
            warn!(virtual_server = %service, scheduler, "this scheduler refuses the clients of a real server at weight 0 instead of moving them (sh, mh: set the fallback flag)");
        }
        Note::RefusesAtZero { service, scheduler, on_failure: OnFailure::Observe } => {
            warn!(virtual_server = %service, scheduler, "failing real servers stay in rotation here: this scheduler would refuse their clients instead of moving them (on-failure = \"observe\")");
        }
        Note::FewSourcePorts(overuse) => {
            warn!(
                destination = %overuse.worst,
                connections_per_second = overuse.per_second.ceil() as u64,
                limit = overuse.at_most.floor() as u64,
                destinations = overuse.pools,
                "probes may use up the ports they leave from, and would then tell nothing (no_local_port): each connection to one destination that ends with FIN keeps its port for a minute; give its checks `close = \"rst\"`, `connection = \"reuse\"` or longer intervals, or the kernel more ports (sysctl -w net.ipv4.ip_local_port_range=\"16384 65535\")"
            );
        }
        Note::SuspectsItself(Tally { failing, judged }) => {
            warn!(
                failing,
                targets = judged,
                "so many targets fail at once that this director is the suspect: no weight is taken until more of them pass"
            );
        }
        Note::SuspicionOver(Tally { failing, judged }) => {
            info!(
                failing,
                targets = judged,
                "enough targets pass again: failing real servers are taken out again"
            );
        }
        Note::LedgerUnsaved { error } => error!(error, "the ledger cannot be used: no weight is taken"),
        Note::LedgerSavedAgain => info!("the ledger is saved again"),
        Note::Adopted { service, dest, entry } => {
            let by = entry.by.as_str();
            info!(virtual_server = %service, real_server = %dest, owed = %entry.owed, by, "an earlier run took this weight; it goes back when the checks pass, or by undrain if it was taken by hand");
        }
        Note::EntryDropped { service, dest, why } => {
            info!(virtual_server = %service, real_server = %dest, why, "the ledger's entry is dropped");
        }
        Note::EntryLapsed { service, dest, owed, reason } => {
            warn!(virtual_server = %service, real_server = %dest, %owed, reason = reason.as_str(), "a ledger entry lapsed: its weight is not given back by itself");
        }
        Note::ByHand { done, order, said } => {
            let (service, dest) = (done.service, done.dest);
            info!(virtual_server = %service, real_server = %dest, effect = %done.effect, reason = said.as_deref(), "{order} by hand");
        }
        Note::HandDrainEnded { service, dest, found } => {
            warn!(virtual_server = %service, real_server = %dest, %found, "somebody raised the weight over a drain by hand for the second time: the drain has ended");
        }
        Note::LeftAtStop { taken } => info!(taken, "the table is left as it is"),
        Note::GaveBackAtStop { given, missed: 0, kept } => {
            info!(given, kept, "what checks took is given back (restore-on-exit)");
        }
        Note::GaveBackAtStop { given, missed, kept } => {
            warn!(given, missed, kept, "not all that checks took could be given back (restore-on-exit)");
        }
        Note::NotGivenBack { service, dest, owed } => {
            let mend = ipvsadm_line(service, dest, *owed);
            warn!(virtual_server = %service, real_server = %dest, %owed, mend, "not given back in time; it stays in the ledger, and the next run gives it back when its checks pass");
        }
        Note::HeldButNotManaged { service, dest, owed } => {
            let mend = ipvsadm_line(service, dest, *owed);
            warn!(virtual_server = %service, real_server = %dest, %owed, mend, "an earlier run took this weight, and the configuration does not let the agent give it back");
        }
    }
}

fn probed(target: &Target) -> DestKey {
    DestKey { addr: target.addr.addr, port: target.port }
}
