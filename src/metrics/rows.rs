//! The rows of one table: its keys' texts, formatted once for all families.

use super::exposition::Labels;
use crate::model::{DestKey, ServiceKey};

/// `S` is what is known of a virtual server, `R` of a real server.
pub(super) struct Rows<'a, S, R> {
    services: Vec<ServiceRow<'a, S, R>>,
}

struct ServiceRow<'a, S, R> {
    text: String,
    service: &'a S,
    real_servers: Vec<(String, &'a R)>,
}

impl<'a, S, R> Rows<'a, S, R> {
    /// The keys of the services, and of the real servers of each, must be unique.
    pub(super) fn new(
        services: impl Iterator<Item = (ServiceKey, &'a S)>,
        real_servers: impl Fn(&'a S) -> &'a [R],
        key: impl Fn(&R) -> DestKey,
    ) -> Rows<'a, S, R> {
        let services = services
            .map(|(service_key, service)| ServiceRow {
                text: service_key.to_string(),
                service,
                real_servers: real_servers(service).iter().map(|rs| (key(rs).to_string(), rs)).collect(),
            })
            .collect();
        Rows { services }
    }

    pub(super) fn virtual_servers(&self) -> impl Iterator<Item = (Labels<'_, 1>, &'a S)> {
        self.services.iter().map(|row| ([("virtual_server", row.text.as_str())], row.service))
    }

    pub(super) fn real_servers(&self) -> impl Iterator<Item = (Labels<'_, 2>, &'a R)> {
        self.services.iter().flat_map(|row| {
            row.real_servers.iter().map(|(text, real_server)| {
                ([("virtual_server", row.text.as_str()), ("real_server", text.as_str())], *real_server)
            })
        })
    }
}
