//! lvs-agent as a library: only so that tests, benches and fuzz targets reach its parts.
pub mod agent;
pub mod cli;
pub mod config;
pub mod ipvs;
pub mod logic;
pub mod metrics;
pub mod model;
pub mod os;
pub mod probe;
pub mod status;
pub mod web;
