//! The keys of a check that asks a server how much of its weight it wants.

use toml::de::DeValue;

use super::dialogue::bytes;
use super::keys::CheckType;
use super::problem::quote;
use super::reader::{Bad, Reader};
use super::values::text;
use crate::model::AgentOptions;

const MAX_HEADER_NAME_BYTES: usize = 128;

/// `None`: of another type. An agent has a port of its own: what listens on the service's speaks the service's
/// protocol, and to wait there for a line would take every server out.
pub(super) fn read(check_type: Option<CheckType>, reader: &mut Reader<'_, '_>) -> Option<AgentOptions> {
    if check_type != Some(CheckType::Agent) {
        return None;
    }
    reader.require("port");
    Some(AgentOptions { send: reader.optional("send", bytes).unwrap_or_default() })
}

/// The same in a header of an HTTP answer.
pub(super) fn weight_header(reader: &mut Reader<'_, '_>) -> Option<String> {
    reader.optional("weight-header", header_name)
}

/// In lower case, for case makes no difference.
fn header_name(value: &DeValue<'_>) -> Result<String, Bad> {
    let name = text(value)?;
    if name.len() > MAX_HEADER_NAME_BYTES {
        return Err(Bad::Form(format!("is longer than {MAX_HEADER_NAME_BYTES} bytes")));
    }
    match http::HeaderName::from_bytes(name.as_bytes()) {
        Ok(name) => Ok(name.as_str().to_owned()),
        Err(_) => Err(Bad::Form(format!("{} is no name of a header", quote(name)))),
    }
}
