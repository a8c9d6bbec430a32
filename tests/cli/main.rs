//! Drives the built binary as a user would, on embedded tables: processes, flags, files, signals,
//! exit codes. What needs a kernel's table is in tests/lab.

mod agent;
mod bad_input;
mod by_hand;
mod commands;
mod demo;
mod drain;
mod exits;
mod flags;
mod golden;
mod help;
mod hostile_clients;
mod http;
mod ledger;
#[path = "../metrics/linter.rs"]
mod linter;
mod reload;
mod scrape;
mod signals;
mod site;
mod tls;
mod toys;
