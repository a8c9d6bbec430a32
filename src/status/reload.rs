//! The JSON of `POST /-/reload`.

use serde::{Deserialize, Serialize};

use super::Word;

/// The configuration that is in force now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadAnswer {
    /// `enforce`, `observe` or `exporter`.
    pub mode: Word,
    /// How many `[[service]]` there are.
    pub services: usize,
    /// As the metric has it.
    pub config_hash: u64,
    /// False: it means what the one before meant.
    pub changed: bool,
    pub warnings: Vec<String>,
}
