//! The JSON of `POST /api/v1/probe`.

use serde::{Deserialize, Serialize};

use super::Word;
use super::convert::{outcome_word, reason_word, seconds};
use crate::agent::HandProbe;
use crate::model::{DestKey, ServiceKey};

/// A misspelt key is refused: without it, another probe than the wanted one would be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeRequest {
    pub virtual_server: ServiceKey,
    pub real_server: DestKey,
    /// `None`: every check of the service.
    #[serde(default)]
    pub check: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeAnswer {
    pub probes: Vec<ProbeStatus>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeStatus {
    pub check: String,
    /// What was probed: address and port.
    pub target: DestKey,
    /// `pass`, `fail` or `inconclusive`.
    pub outcome: Word,
    pub reason: Option<Word>,
    pub detail: String,
    pub http_status: Option<u16>,
    pub phases: ProbePhases,
    pub duration_seconds: f64,
}

/// Only the phases that were reached.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct ProbePhases {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_seconds: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_seconds: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processing_seconds: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer_seconds: Option<f64>,
}

/// Every refusal of the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    pub error: String,
}

impl From<&[HandProbe]> for ProbeAnswer {
    fn from(probes: &[HandProbe]) -> ProbeAnswer {
        ProbeAnswer { probes: probes.iter().map(ProbeStatus::from).collect() }
    }
}

impl From<&HandProbe> for ProbeStatus {
    fn from(probe: &HandProbe) -> ProbeStatus {
        let report = &probe.report;
        ProbeStatus {
            check: probe.check.name.clone(),
            target: probe.target,
            outcome: outcome_word(report.outcome),
            reason: reason_word(report.outcome),
            detail: report.detail.clone(),
            http_status: report.http_status,
            phases: ProbePhases {
                connect_seconds: report.phases.connect.map(seconds),
                tls_seconds: report.phases.tls.map(seconds),
                processing_seconds: report.phases.processing.map(seconds),
                transfer_seconds: report.phases.transfer.map(seconds),
            },
            duration_seconds: seconds(report.phases.total),
        }
    }
}
