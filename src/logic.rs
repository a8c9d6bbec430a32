//! Every decision, and nothing else: no clock, file, socket, environment or random source is read here.
//!
//! [`Controller::step`] takes what happened and the time, and returns what to do. The parts:
//! `health` turns probe results into verdicts, `schedule` says what is due, `plan` what to change
//! and what to hold, `batch` how much of that one cycle makes, `writes` brings it to the kernel,
//! `guard` says whether to trust what we see, `steady` how fast what we took comes back (`ramp`, `flap`),
//! `share` how much of it a real server itself wants.
//! `tripwire` has the probes come at once where a connection says that something happened.
//! `table` takes in what was read, `seen` and `signs` what a weight meant, `contest` who else writes it.
//! `ledger` remembers the weights we took (`keeper`: what of that is on disk, `reopen`: when there was
//! none) and the wishes of operators (`hand`); `pause` notices time that passed without us, `stop`
//! ends it all, `report` says what is known.

mod alarms;
mod batch;
mod contest;
mod controller;
mod event;
mod flap;
mod guard;
mod hand;
mod health;
mod keeper;
mod ledger;
mod pause;
mod plan;
mod probes;
mod ramp;
mod reopen;
mod report;
mod schedule;
mod seen;
mod service;
mod share;
mod signs;
#[cfg(test)]
mod sim;
mod source_ports;
mod steady;
mod stop;
mod table;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_batch;
#[cfg(test)]
mod tests_contest;
#[cfg(test)]
mod tests_cycle;
#[cfg(test)]
mod tests_first_pass;
#[cfg(test)]
mod tests_guard;
#[cfg(test)]
mod tests_hand;
#[cfg(test)]
mod tests_hold;
#[cfg(test)]
mod tests_interplay;
#[cfg(test)]
mod tests_pause;
#[cfg(test)]
mod tests_ramp;
#[cfg(test)]
mod tests_reload;
#[cfg(test)]
mod tests_share;
#[cfg(test)]
mod tests_signs;
#[cfg(test)]
mod tests_stop;
#[cfg(test)]
mod tests_time;
#[cfg(test)]
mod tests_tripwire;
mod tripwire;
mod vips;
#[cfg(test)]
mod world;
mod writes;

pub use controller::{Controller, Start};
pub use event::{Command, Event, Note, TargetId, WireId};
pub use guard::Tally;
pub use ledger::{Entry, EntryState, LapseReason, Ledger, Origin, Raise, TakenBy, Wish, WishKind};
