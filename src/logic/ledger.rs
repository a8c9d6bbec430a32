//! The weights we took: what has to survive us.

use std::collections::BTreeMap;

use crate::model::{DestKey, FailReason, ServiceKey, Wall, Weight};

/// Where a table lives: weights taken in one must not be given back in another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// The identity of the table within this boot: its network namespace.
    pub table: String,
}

/// Sorted by key; one entry for each weight that is taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Ledger {
    pub origin: Origin,
    /// When a running agent last vouched for it.
    pub confirmed: Wall,
    pub entries: BTreeMap<(ServiceKey, DestKey), Entry>,
    /// Entries that are no longer applied by themselves, with the reason.
    pub lapsed: BTreeMap<(ServiceKey, DestKey), (Entry, LapseReason)>,
}

/// One weight that we took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Entry {
    /// To be given back.
    pub owed: Weight,
    /// What we put there.
    pub written: Weight,
    /// What the check said.
    pub reason: Option<FailReason>,
    pub since: Wall,
    pub state: EntryState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryState {
    /// On disk, but whether the kernel has it is not known.
    Pending,
    /// The kernel showed it.
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LapseReason {
    /// Taken in an earlier boot.
    Reboot,
    /// No running agent has confirmed it for the ledger's maximum age.
    Age,
}

impl LapseReason {
    pub const ALL: [LapseReason; 2] = [LapseReason::Reboot, LapseReason::Age];

    pub fn as_str(self) -> &'static str {
        match self {
            LapseReason::Reboot => "reboot",
            LapseReason::Age => "age",
        }
    }
}

impl Ledger {
    pub fn new(origin: Origin) -> Ledger {
        Ledger { origin, confirmed: Wall(0.0), entries: BTreeMap::new(), lapsed: BTreeMap::new() }
    }

    /// Takes over the ledger of an earlier run. Entries of another boot, or too old, lapse; the
    /// same boot but another table is an error: they are somebody else's.
    pub fn adopt(
        mut earlier: Ledger,
        origin: Origin,
        now: Wall,
        max_age: std::time::Duration,
    ) -> Result<Ledger, String> {
        let lapse = if earlier.origin.boot_id != origin.boot_id {
            Some(LapseReason::Reboot)
        } else if earlier.origin.table != origin.table && !earlier.entries.is_empty() {
            return Err(format!(
                "ledger.json in the state directory holds {} weights taken in another table of this boot ({}; this one is {}); \
                 it is left untouched and nothing is drained: run the agent where they were taken, or in this network \
                 namespace with a state directory of its own",
                earlier.entries.len(),
                earlier.origin.table,
                origin.table
            ));
        } else if now.0 - earlier.confirmed.0 > max_age.as_secs_f64() {
            Some(LapseReason::Age)
        } else {
            None
        };
        if let Some(reason) = lapse {
            for (key, entry) in std::mem::take(&mut earlier.entries) {
                earlier.lapsed.insert(key, (entry, reason));
            }
        }
        earlier.origin = origin;
        Ok(earlier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const MAX_AGE: Duration = Duration::from_secs(3600);

    fn origin(boot: &str, table: &str) -> Origin {
        Origin { boot_id: boot.into(), table: table.into() }
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::new(origin("b1", "t1"));
        ledger.confirmed = Wall(1000.0);
        let entry = Entry {
            owed: Weight(5),
            written: Weight::ZERO,
            reason: None,
            since: Wall(900.0),
            state: EntryState::Done,
        };
        ledger.entries.insert(("10.0.0.1:80/tcp".parse().unwrap(), "10.0.0.2:80".parse().unwrap()), entry);
        ledger
    }

    #[test]
    fn the_same_boot_and_table_keep_their_entries() {
        let kept = Ledger::adopt(ledger(), origin("b1", "t1"), Wall(4600.0), MAX_AGE).unwrap();
        assert_eq!((kept.entries.len(), kept.lapsed.len()), (1, 0));
    }

    #[test]
    fn another_boot_and_old_age_lapse_but_keep_the_weight_on_record() {
        let rebooted = Ledger::adopt(ledger(), origin("b2", "t9"), Wall(1001.0), MAX_AGE).unwrap();
        assert_eq!(rebooted.entries.len(), 0);
        let (entry, why) = rebooted.lapsed.values().next().unwrap();
        assert_eq!((entry.owed, *why), (Weight(5), LapseReason::Reboot));
        assert_eq!(rebooted.origin, origin("b2", "t9"));
        let old = Ledger::adopt(ledger(), origin("b1", "t1"), Wall(4601.0), MAX_AGE).unwrap();
        assert_eq!(old.lapsed.values().next().unwrap().1, LapseReason::Age);
    }

    #[test]
    fn another_table_of_the_same_boot_is_an_error() {
        let error = Ledger::adopt(ledger(), origin("b1", "t2"), Wall(1001.0), MAX_AGE).unwrap_err();
        assert!(error.contains("t1") && error.contains("t2"), "{error}");
    }
}
