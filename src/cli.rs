//! The commands: one file a verb.

pub mod check_config;
pub mod client;
pub mod drain;
pub mod local;
pub mod probe;
pub mod run;
mod screen;
pub mod status;
#[cfg(test)]
mod tests;

pub use screen::{Screen, colour_wanted};

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
