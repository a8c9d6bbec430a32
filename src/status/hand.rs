//! The JSON of `POST /api/v1/drain` and `/api/v1/undrain`.

use serde::{Deserialize, Serialize};

use super::Word;
use crate::model::{DestKey, HandDone, HandOrder, HandRequest, ServiceKey, Weight, check_said};

/// A misspelt key is refused: without it, more than the wanted would be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainRequest {
    /// `10.10.0.21:80`, or the address alone for all its ports.
    pub real_server: String,
    /// Its key or its configured name; `None`: all that have the real server.
    #[serde(default)]
    pub virtual_server: Option<String>,
    #[serde(default)]
    pub reason: Option<String>,
    /// Even if a virtual server is left with nobody.
    #[serde(default)]
    pub force: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UndrainRequest {
    pub real_server: String,
    #[serde(default)]
    pub virtual_server: Option<String>,
    /// Keep it in although its checks fail.
    #[serde(default)]
    pub ignore_checks: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HandAnswer {
    pub changes: Vec<HandChange>,
}

/// One real server of one virtual server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HandChange {
    pub virtual_server: ServiceKey,
    pub real_server: DestKey,
    /// `draining`, `added_to_checks`, `giving_back`, `still_failing`, `ignoring_checks`, `lifted`,
    /// `not_written` or `nothing`.
    pub effect: Word,
    /// For people.
    pub text: String,
    /// In the kernel when it was decided; `None`: it is not in the table.
    pub weight: Option<Weight>,
    pub owed_weight: Option<Weight>,
}

impl TryFrom<DrainRequest> for HandRequest {
    type Error = String;
    fn try_from(request: DrainRequest) -> Result<HandRequest, String> {
        if let Some(reason) = &request.reason {
            check_said(reason)?;
        }
        let order = HandOrder::Drain { said: request.reason.map(Into::into), force: request.force };
        Ok(HandRequest { servers: request.real_server.parse()?, service: request.virtual_server, order })
    }
}

impl TryFrom<UndrainRequest> for HandRequest {
    type Error = String;
    fn try_from(request: UndrainRequest) -> Result<HandRequest, String> {
        let order = HandOrder::Undrain { ignore_checks: request.ignore_checks };
        Ok(HandRequest { servers: request.real_server.parse()?, service: request.virtual_server, order })
    }
}

impl From<&[HandDone]> for HandAnswer {
    fn from(done: &[HandDone]) -> HandAnswer {
        let change = |done: &HandDone| HandChange {
            virtual_server: done.service,
            real_server: done.dest,
            effect: done.effect.as_str().into(),
            text: done.text(),
            weight: done.weight,
            owed_weight: done.owed,
        };
        HandAnswer { changes: done.iter().map(change).collect() }
    }
}
