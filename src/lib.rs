//! lvs-agent as a library: only so that tests, benches and fuzz targets reach its parts.
pub mod addresses;
pub mod agent;
pub mod cli;
pub mod config;
pub mod demo;
pub mod failpoint;
pub mod ipvs;
pub mod log_lines;
pub mod logging;
pub mod logic;
pub mod metrics;
pub mod model;
pub mod os;
pub mod probe;
pub mod state_file;
pub mod status;
mod tls;
pub mod web;
