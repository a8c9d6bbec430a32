//! The commands: one file a verb.

pub mod check_config;
