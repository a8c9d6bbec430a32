//! The whole agent against a table, servers, operators, keepalived, a disk and deaths of the process.
//!
//! A schedule is a [`script`]: drawn from a seed, or written by hand in tests/scenarios/ (the language
//! is described in docs/scenarios.md). The invariants of ARCHITECTURE.md are checked after each step of
//! both. One that fails is shrunk and written as a scenario.
//!
//! `LVS_AGENT_SIM_SCHEDULES=N` sets how many are drawn, `LVS_AGENT_SIM_SEED=S` runs one alone and
//! tells all that happened; `LVS_AGENT_SCENARIO=part-of-a-name` does so with a file.

mod acts;
mod carry;
mod checks;
mod draw;
mod engine;
mod expect;
mod happened;
mod heard;
mod print;
mod script;
mod setup;
mod shares;
mod shrink;
mod steadiness;
mod tests;
mod text;
mod wires;
mod words;
