//! The commands: one file a verb.

pub mod check_config;
pub mod client;
pub mod drain;
pub mod exporter;
pub mod local;
pub mod probe;
pub mod run;
mod screen;
pub mod status;
#[cfg(test)]
mod tests;
pub mod trust;

use std::path::PathBuf;

pub use screen::{Screen, colour_wanted};

/// How a command finds the running agent.
#[derive(Debug, Clone, clap::Args)]
pub struct ControlSocket {
    /// The running agent's control socket
    #[arg(
        id = "control_socket",
        long = "control-socket",
        value_name = "PATH",
        env = "LVS_AGENT_CONTROL_SOCKET",
        default_value = "/run/lvs-agent/control.sock"
    )]
    pub socket: PathBuf,
}

/// Exit codes (the numbers above 2 are those of sysexits.h).
pub mod exit {
    pub const OK: u8 = 0;
    pub const FAILURE: u8 = 1;
    /// EX_UNAVAILABLE: something needed is not there.
    pub const UNAVAILABLE: u8 = 69;
    /// EX_NOPERM.
    pub const NO_PERMISSION: u8 = 77;
    /// EX_CONFIG.
    pub const CONFIG: u8 = 78;
}
