//! lvs-agent as a library: only so that tests, benches and fuzz targets reach its parts.
pub mod agent;
pub mod cli;
pub mod model;
pub mod os;
pub mod status;
pub mod web;
