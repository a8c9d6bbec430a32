//! The key of a check that asks for a gRPC server's health.

use toml::de::DeValue;

use super::problem::{is_printable, quote};
use super::reader::{Bad, Reader};
use super::values::text;

const MAX_SERVICE_BYTES: usize = 256;

/// Empty: not written, the server as a whole.
pub(super) fn service(reader: &mut Reader<'_, '_>) -> String {
    reader.optional("grpc-service", name).unwrap_or_default()
}

fn name(value: &DeValue<'_>) -> Result<String, Bad> {
    let name = text(value)?;
    if name.is_empty() {
        return Err(Bad::Message("is empty: leave it out to ask for the server as a whole".to_owned()));
    }
    if name.len() > MAX_SERVICE_BYTES {
        return Err(Bad::Form("is too long".to_owned()));
    }
    if !name.chars().all(is_printable) {
        return Err(Bad::Form(format!("{} has characters that do not show", quote(name))));
    }
    Ok(name.to_owned())
}
