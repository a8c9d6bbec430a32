//! Every decision, and nothing else: no clock, file, socket, environment or random source is read here.
//!
//! [`Controller::step`] takes what happened and the time, and returns what to do. The parts:
//! `health` turns probe results into verdicts, `schedule` says what is due, `plan` what to change
//! and what to hold, `guard` whether to trust what we see, `ledger` remembers the weights we took and
//! the wishes of operators (`hand`), `report` says what is known.

mod controller;
mod event;
mod guard;
mod hand;
mod health;
mod keeper;
mod ledger;
mod plan;
mod probes;
mod report;
mod schedule;
mod service;
#[cfg(test)]
mod sim;
mod table;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_cycle;
#[cfg(test)]
mod tests_first_pass;
#[cfg(test)]
mod tests_guard;
#[cfg(test)]
mod tests_hand;
mod vips;
#[cfg(test)]
mod world;
mod writes;

pub use controller::{Controller, Start};
pub use event::{Command, Event, Note, TargetId};
pub use guard::Tally;
pub use ledger::{Entry, EntryState, LapseReason, Ledger, Origin, Raise, TakenBy, Wish, WishKind};
