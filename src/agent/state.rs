//! The state directory as the loop has it: open, or not yet.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crate::logic::Ledger;
use crate::state_file::{Opened, StateDirectory};

/// Clones share the directory, and the lock that comes with it.
#[derive(Debug, Clone)]
pub struct State {
    path: PathBuf,
    directory: Arc<OnceLock<StateDirectory>>,
}

impl State {
    /// `None`: it could not be opened, or nothing is managed and there is nothing to remember.
    pub fn new(path: PathBuf, opened: Option<StateDirectory>) -> State {
        let directory = opened.map_or_else(OnceLock::new, OnceLock::from);
        State { path, directory: Arc::new(directory) }
    }

    /// On disk when this returns.
    pub(super) fn save(&self, ledger: &Ledger) -> Result<(), String> {
        match self.directory.get() {
            Some(directory) => directory.save(ledger).map_err(|e| e.to_string()),
            None => Err(format!("the state directory {} is not open", self.path.display())),
        }
    }

    /// Locks it and loads what an earlier run left; true: it may be worth another try. Whoever holds
    /// the lock meanwhile is left alone (trap 57).
    pub(super) fn open(&self) -> (Result<Option<Ledger>, String>, bool) {
        match StateDirectory::open(&self.path) {
            Ok(Opened { directory: Some(directory), ledger }) => {
                let first = self.directory.set(directory).is_ok();
                debug_assert!(first, "one attempt at a time, and none after the first that worked");
                (ledger, false)
            }
            Ok(Opened { directory: None, ledger }) => (ledger, true),
            Err(taken) => (Err(taken.to_string()), true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::Origin;

    #[test]
    fn a_directory_that_comes_later_is_used_and_one_that_somebody_else_holds_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("state");
        std::fs::write(&path, "in the way").unwrap();
        let state = State::new(path.clone(), None);
        let ledger = Ledger::new(Origin { boot_id: "b".into(), table: "t".into() });
        let (result, again) = state.open();
        assert!(again && result.unwrap_err().contains("tried again"));
        assert!(state.save(&ledger).unwrap_err().contains("is not open"));

        std::fs::remove_file(&path).unwrap();
        let other = StateDirectory::open(&path).unwrap().directory.unwrap();
        other.save(&ledger).unwrap();
        let (result, again) = state.open();
        assert!(again && result.unwrap_err().contains("another lvs-agent"));

        drop(other);
        assert_eq!(state.open(), (Ok(Some(ledger.clone())), false));
        assert_eq!(state.save(&ledger), Ok(()));
        assert!(StateDirectory::open(&path).is_err(), "it holds the lock");
    }
}
