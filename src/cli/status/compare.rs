//! Where directors differ over the same real server: after a failover the weights of the other one hold.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Director;
use crate::model::{DestKey, ServiceKey, Weight};
use crate::status::{RealServerStatus, Word};

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Disagreement {
    pub virtual_server: ServiceKey,
    /// As the first director that has it calls it.
    pub name: String,
    pub real_server: DestKey,
    /// One for each director that answered, in the order asked.
    pub directors: Vec<Seen>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Seen {
    pub agent: String,
    /// `None`: not in its table.
    pub real_server: Option<Opinion>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Opinion {
    pub verdict: Word,
    pub weight: Weight,
    pub owed_weight: Option<Weight>,
}

/// The service's name, and what each director says of one real server.
type Opinions<'a> = (&'a str, Vec<Option<Opinion>>);

/// The real servers that not all of the directors with a table see alike.
pub(super) fn disagreements(directors: &[Director]) -> Vec<Disagreement> {
    let answered: Vec<_> = directors
        .iter()
        .filter_map(|d| Some((&d.agent, d.status.as_ref()?)))
        .filter(|(_, status)| status.snapshot_age_seconds.is_some())
        .collect();
    let mut servers: BTreeMap<(ServiceKey, DestKey), Opinions<'_>> = BTreeMap::new();
    for (at, (_, status)) in answered.iter().enumerate() {
        for service in &status.virtual_servers {
            for server in &service.real_servers {
                let (_, seen) = servers
                    .entry((service.virtual_server, server.real_server))
                    .or_insert_with(|| (&service.name, vec![None; answered.len()]));
                if let Some(place) = seen.get_mut(at) {
                    *place = Some(opinion(server));
                }
            }
        }
    }
    let differ = servers.into_iter().filter(|(_, (_, seen))| seen.windows(2).any(|pair| pair[0] != pair[1]));
    differ
        .map(|((virtual_server, real_server), (name, seen))| Disagreement {
            virtual_server,
            name: name.to_owned(),
            real_server,
            directors: seen
                .into_iter()
                .zip(&answered)
                .map(|(real_server, (agent, _))| Seen { agent: (*agent).clone(), real_server })
                .collect(),
        })
        .collect()
}

fn opinion(server: &RealServerStatus) -> Opinion {
    Opinion { verdict: server.verdict.clone(), weight: server.weight, owed_weight: server.owed_weight }
}
