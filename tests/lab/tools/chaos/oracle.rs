//! What each real server is owed, known without asking the agent.
//!
//! There is no compare-and-set in IPVS (trap 2): an operator's edit may fall between the agent's read and its
//! write, and then nobody, the agent included, can tell whether it was seen. Within one life of the agent a server
//! may therefore be owed any of several weights: the one it was owed, and those that the operator set meanwhile;
//! 0 among them is an operator's 0. Its death ends every write under way, and what the kernel and the ledger on disk
//! then say together leaves one, which has to be one of those:
//!
//! | kernel | record | owed from then on |
//! |---|---|---|
//! | above 0 | whatever | the kernel's weight |
//! | 0 | with a weight | that weight: the 0 is the agent's own, and it will be given back |
//! | 0 | none | 0: an operator's, never to be raised |
//!
//! An edit while no agent runs leaves nothing open, and replaces what was owed. The contract itself leaves one case
//! open, which the operator therefore avoids: his 0 over the agent's 0, or over a record that a dead agent left of a
//! weight that it had not taken yet or had given back (the next one cannot tell whose 0 it finds).

use std::collections::{BTreeMap, BTreeSet};

/// By real server.
pub type Records = BTreeMap<String, Record>;

#[derive(Debug, Clone, Copy)]
pub struct Record {
    pub owed: u32,
    /// The agent has seen its 0 in the kernel.
    pub done: bool,
}

#[derive(Debug, Clone)]
pub struct Oracle {
    /// By real server; one weight each while no agent runs.
    owed: BTreeMap<String, BTreeSet<u32>>,
    /// Above 0, and on record, when the last agent died.
    doubtful: BTreeSet<String>,
}

impl Oracle {
    pub fn new(weights: &BTreeMap<String, u32>) -> Oracle {
        let owed = weights.iter().map(|(server, weight)| (server.clone(), BTreeSet::from([*weight])));
        Oracle { owed: owed.collect(), doubtful: BTreeSet::new() }
    }

    pub fn servers(&self) -> impl Iterator<Item = &String> {
        self.owed.keys()
    }

    /// Whether the operator may set this server, which he sees at this weight, to that one.
    pub fn may_edit(&self, server: &str, sees: u32, to: u32) -> bool {
        let his_own_zero = self.is_operators_zero(server);
        (sees > 0 || his_own_zero) && (to > 0 || !self.doubtful.contains(server)) && sees != to
    }

    pub fn is_operators_zero(&self, server: &str) -> bool {
        self.owed[server] == BTreeSet::from([0])
    }

    pub fn edited(&mut self, server: &str, to: u32, agent_runs: bool) {
        // Of a server at an operator's 0 the agent has nothing to read and to write back.
        let decided = !agent_runs || self.is_operators_zero(server);
        let owed = self.owed.entry(server.to_owned()).or_default();
        if decided {
            owed.clear();
        }
        owed.insert(to);
    }

    /// While an agent runs: a weight above 0 is one that was set.
    pub fn seen(&self, server: &str, weight: u32) -> Result<(), String> {
        let owed = &self.owed[server];
        if weight == 0 || owed.contains(&weight) {
            return Ok(());
        }
        Err(format!("{server} has weight {weight}, but is owed one of {owed:?}"))
    }

    /// No agent runs any more. True if more than one weight was possible.
    pub fn died(&mut self, server: &str, weight: u32, record: Option<Record>) -> Result<bool, String> {
        let owed = &self.owed[server];
        let now = match (weight, record) {
            (0, Some(record)) => record.owed,
            (weight, _) => weight,
        };
        if !owed.contains(&now) || (now == 0 && record.is_some()) {
            return Err(format!(
                "{server} is lost: its weight is {weight}, the record says {record:?}, and it is owed one of {owed:?}"
            ));
        }
        let open = owed.len() > 1;
        self.owed.insert(server.to_owned(), BTreeSet::from([now]));
        self.doubtful.remove(server);
        if weight > 0 && record.is_some() {
            self.doubtful.insert(server.to_owned());
        }
        Ok(open)
    }

    /// What each server is to have once all is well; only after a death.
    pub fn owed(&self) -> impl Iterator<Item = (&String, u32)> {
        self.owed.iter().filter_map(|(server, owed)| Some((server, *owed.first()?)))
    }
}
