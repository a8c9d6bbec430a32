//! The ledger on disk: `ledger.json` in the state directory.
//!
//! Written whole to a temporary file beside it, synced, renamed, and the directory synced: a crash
//! leaves the old file or the new one. A file that cannot be understood is never taken for none.

mod format;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::failpoint::{self, Point};
use crate::logic::Ledger;

pub const FILE_NAME: &str = "ledger.json";
const LOCK_NAME: &str = "lock";
/// Ledgers on their way to the disk; the one that a crash left is removed at the next start.
const UNFINISHED: &str = ".ledger.";
/// About 100,000 weights.
const MAX_BYTES: u64 = 32 << 20;

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("reading the ledger {} failed: {source}; its weights are kept, nothing is drained until it can be read and the agent is restarted", .path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error(
        "the ledger {} {cause}; it is left untouched and nothing is drained. It says which weights this agent took: \
         set them by hand (`ipvsadm -e … -w WEIGHT`), move the file away and restart the agent",
        .path.display()
    )]
    Unusable { path: PathBuf, cause: String },
}

#[derive(Debug, thiserror::Error)]
#[error("saving the ledger {} failed ({step}): {source}", .path.display())]
pub struct SaveError {
    path: PathBuf,
    step: &'static str,
    source: io::Error,
}

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("creating the directory {} failed: {source}", .path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("locking {} failed: {source}", .path.display())]
    Lock { path: PathBuf, source: io::Error },
    #[error("another lvs-agent{} holds {}: two agents would fight over the same weights", pid_text(.pid), .path.display())]
    Taken { path: PathBuf, pid: Option<u32> },
}

fn pid_text(pid: &Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (pid {pid})"))
}

/// An exclusive lock on a file that names its holder; given back when the process ends, however it ends.
#[derive(Debug)]
pub struct PidLock(#[expect(dead_code, reason = "held, not read")] Flock<File>);

impl PidLock {
    /// Creates the directory (`mode`) and the file where they are missing.
    pub fn take(path: &Path, mode: u32) -> Result<PidLock, LockError> {
        if let Some(parent) = path.parent() {
            let created = std::fs::DirBuilder::new().recursive(true).mode(mode).create(parent);
            created.map_err(|source| LockError::Directory { path: parent.to_owned(), source })?;
        }
        let failed = |source| LockError::Lock { path: path.to_owned(), source };
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let mut lock = match Flock::lock(file.map_err(failed)?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
                let pid = std::fs::read_to_string(path).ok().and_then(|pid| pid.trim().parse().ok());
                return Err(LockError::Taken { path: path.to_owned(), pid });
            }
            Err((_, errno)) => return Err(failed(errno.into())),
        };
        lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(failed)?;
        Ok(PidLock(lock))
    }
}

/// The state directory, for as long as this process runs the only one to use it.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    _lock: PidLock,
}

/// What a start has to go on.
#[derive(Debug)]
pub struct Opened {
    /// `None`: it cannot be used, and `ledger` says why.
    pub directory: Option<StateDirectory>,
    /// What an earlier run left; an error names the file and the way out.
    pub ledger: Result<Option<Ledger>, String>,
}

impl StateDirectory {
    /// Locks the directory and loads the ledger. One that cannot be used (no such right, read-only, full)
    /// stops the drains, not the agent; one that another agent uses is an error.
    pub fn open(path: &Path) -> Result<Opened, LockError> {
        match StateDirectory::lock(path) {
            Ok(directory) => {
                let ledger = directory.load().map_err(|e| e.to_string());
                Ok(Opened { directory: Some(directory), ledger })
            }
            Err(taken @ LockError::Taken { .. }) => Err(taken),
            Err(error @ (LockError::Directory { .. } | LockError::Lock { .. })) => {
                let ledger = Err(format!(
                    "{error}; nothing is drained until this agent may write there (tried again every 2 s)"
                ));
                Ok(Opened { directory: None, ledger })
            }
        }
    }

    /// Creates it if it is missing (0700), and takes its lock (trap 57).
    fn lock(path: &Path) -> Result<StateDirectory, LockError> {
        let lock = PidLock::take(&path.join(LOCK_NAME), 0o700)?;
        let directory = StateDirectory { path: path.to_owned(), _lock: lock };
        directory.remove_unfinished();
        Ok(directory)
    }

    /// A crash in the middle of a save leaves its file behind, and many would fill the disk.
    fn remove_unfinished(&self) {
        let files = std::fs::read_dir(&self.path).into_iter().flatten().flatten();
        for file in
            files.filter(|file| file.file_name().as_encoded_bytes().starts_with(UNFINISHED.as_bytes()))
        {
            if let Err(error) = std::fs::remove_file(file.path()) {
                tracing::warn!(%error, file = %file.path().display(), "an unfinished ledger of an earlier run stays");
            }
        }
    }

    /// What an earlier run left; `None` only if there is no file.
    pub fn load(&self) -> Result<Option<Ledger>, LoadError> {
        let path = self.path.join(FILE_NAME);
        let unreadable = |source| LoadError::Unreadable { path: path.clone(), source };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        let unusable = |cause| LoadError::Unusable { path: path.clone(), cause };
        if bytes.len() as u64 > MAX_BYTES {
            return Err(unusable(format!("is larger than {} MiB", MAX_BYTES >> 20)));
        }
        format::parse(&bytes).map(Some).map_err(unusable)
    }

    /// On disk when this returns.
    pub fn save(&self, ledger: &Ledger) -> Result<(), SaveError> {
        let path = self.path.join(FILE_NAME);
        let step = |step| {
            let path = path.clone();
            move |source| SaveError { path, step, source }
        };
        let bytes = format::render(ledger).map_err(step("rendering"))?;
        let mut file = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempfile_in(&self.path)
            .map_err(step("creating a file beside it"))?;
        file.write_all(&bytes).map_err(step("writing"))?;
        file.as_file().sync_all().map_err(step("syncing"))?;
        failpoint::reach(Point::MidSave);
        file.persist(&path).map_err(|e| step("renaming")(e.error))?;
        File::open(&self.path)
            .and_then(|directory| directory.sync_all())
            .map_err(step("syncing the directory"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::{Entry, EntryState, LapseReason, Origin, Raise, TakenBy, Wish, WishKind};
    use crate::model::{FailReason, Mono, Wall, Weight};
    use std::time::Duration;

    fn ledger() -> Ledger {
        let mut ledger = Ledger::new(Origin { boot_id: "b".into(), table: "netns:1".into() });
        ledger.confirmed = Wall(1_700_000_000.25);
        ledger.uptime = Some(Mono::from_start(Duration::from_millis(86_400_250)));
        let entry = Entry {
            owed: Weight(5),
            from: Weight(3),
            written: Weight::ZERO,
            by: TakenBy::Check,
            reason: Some(FailReason::BadStatus),
            since: Wall(1_699_999_999.5),
            state: EntryState::Pending,
        };
        let key = |text: &str, dest: &str| (text.parse().unwrap(), dest.parse().unwrap());
        ledger.entries.insert(key("10.0.0.1:80/tcp", "10.0.1.1:80"), entry);
        let done = Entry {
            state: EntryState::Done,
            by: TakenBy::Operator,
            reason: None,
            owed: Weight::MAX,
            from: Weight::MAX,
            ..entry
        };
        ledger.entries.insert(key("fwmark:7/ipv6", "[fd00::1]:0"), done);
        ledger.lapsed.insert(key("[fd00::2]:53/udp", "10.0.1.1:53"), (entry, LapseReason::Age));
        let wish = Wish {
            kind: WishKind::Drain,
            owed: Some(Weight::MAX),
            said: Some("a new disk".into()),
            since: entry.since,
        };
        ledger.wishes.insert(key("fwmark:7/ipv6", "[fd00::1]:0"), wish.clone());
        let ignoring = Wish { kind: WishKind::IgnoreChecks, owed: None, said: None, ..wish };
        ledger.wishes.insert(key("10.0.0.1:80/tcp", "10.0.1.2:80"), ignoring);
        let raise = Raise { at: Wall(1_699_999_000.5), yielded: true };
        ledger.raises.insert(key("10.0.0.1:80/tcp", "10.0.1.3:80"), raise);
        ledger
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::lock(directory.path()).unwrap();
        assert_eq!(state.load().unwrap(), None);
        state.save(&ledger()).unwrap();
        assert_eq!(state.load().unwrap(), Some(ledger()));
        let empty = Ledger::new(ledger().origin);
        state.save(&empty).unwrap();
        assert_eq!(state.load().unwrap(), Some(empty));
        let files: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
        assert_eq!(files.len(), 2, "no temporary file stays: {files:?}");
    }

    #[test]
    fn no_cut_of_the_file_is_taken_for_a_ledger() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::lock(directory.path()).unwrap();
        state.save(&ledger()).unwrap();
        let path = directory.path().join(FILE_NAME);
        let whole = std::fs::read(&path).unwrap();
        let text_end = whole.iter().rposition(|b| *b == b'}').unwrap();
        for length in 0..=text_end {
            std::fs::write(&path, &whole[..length]).unwrap();
            let error = state.load().unwrap_err().to_string();
            assert!(error.contains("ledger.json") && error.contains("move the file away"), "{error}");
        }
    }

    #[test]
    fn what_is_not_ours_is_refused_and_named() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::lock(directory.path()).unwrap();
        let path = directory.path().join(FILE_NAME);
        for (text, why) in [
            ("garbage", "line 1"),
            ("{}", "format"),
            ("[]", "cannot be understood"),
            (r#"{"format":99,"boot_id":"b","surprise":1}"#, "format 99"),
            (
                r#"{"format":1,"boot_id":"b","table":"t","confirmed":1.0,"entries":[{"virtual_server":"x"}]}"#,
                "`x`",
            ),
            (
                r#"{"format":1,"boot_id":"b","table":"t","confirmed":1.0,"entries":[],"wishes":[{"virtual_server":"10.0.0.1:80/tcp","real_server":"10.0.1.2:80","kind":"hope","owed":null,"reason":null,"since":1.0}]}"#,
                "unknown kind `hope`",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = state.load().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(state.load(), Err(LoadError::Unreadable { .. })));
        assert!(state.save(&ledger()).unwrap_err().to_string().contains("renaming"));
    }

    #[test]
    fn what_a_crash_left_unfinished_goes_and_counts_for_nothing() {
        let directory = tempfile::tempdir().unwrap();
        StateDirectory::lock(directory.path()).unwrap().save(&ledger()).unwrap();
        std::fs::write(directory.path().join(".ledger.a1b2c3"), "half a led").unwrap();
        std::fs::write(directory.path().join("ledger.json.mine"), "an operator's copy").unwrap();
        let opened = StateDirectory::open(directory.path()).unwrap();
        assert_eq!(opened.ledger, Ok(Some(ledger())));
        let mut files: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
        files.sort();
        assert_eq!(files, ["ledger.json", "ledger.json.mine", "lock"]);
    }

    #[test]
    fn a_directory_that_cannot_be_used_is_said_and_one_in_use_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let in_the_way = directory.path().join("file");
        std::fs::write(&in_the_way, "").unwrap();
        for path in [in_the_way.clone(), in_the_way.join("below")] {
            let opened = StateDirectory::open(&path).unwrap();
            let error = opened.ledger.unwrap_err();
            assert!(opened.directory.is_none());
            assert!(error.contains(&path.display().to_string()) && error.contains("tried again"), "{error}");
        }
        let _first = StateDirectory::lock(directory.path()).unwrap();
        assert!(matches!(StateDirectory::open(directory.path()), Err(LockError::Taken { .. })));
    }

    #[test]
    fn a_ledger_that_needs_nothing_new_is_written_as_earlier_versions_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::lock(directory.path()).unwrap();
        let written = |ledger: &Ledger| {
            state.save(ledger).unwrap();
            let text = std::fs::read_to_string(directory.path().join(FILE_NAME)).unwrap();
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            (value["format"].as_u64(), text.contains("from"), text.contains("raises"))
        };
        assert_eq!(written(&ledger()), (Some(2), true, true));
        let mut plain = ledger();
        plain.raises.clear();
        plain.uptime = None;
        for entry in plain.entries.values_mut().chain(plain.lapsed.values_mut().map(|(entry, _)| entry)) {
            entry.from = entry.owed;
        }
        assert_eq!(written(&plain), (Some(1), false, false));
        assert_eq!(state.load().unwrap(), Some(plain));
    }

    #[test]
    fn a_file_of_before_there_were_wishes_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::lock(directory.path()).unwrap();
        let text = r#"{"format":1,"boot_id":"b","table":"t","confirmed":1.0,"entries":[{"virtual_server":"10.0.0.1:80/tcp",
            "real_server":"10.0.1.2:80","owed":5,"written":0,"by":"check","reason":null,"since":1.0,"state":"done"}]}"#;
        std::fs::write(directory.path().join(FILE_NAME), text).unwrap();
        let ledger = state.load().unwrap().unwrap();
        assert_eq!((ledger.entries.len(), ledger.wishes.len()), (1, 0));
    }

    #[test]
    fn the_second_to_come_is_told_who_was_first() {
        let directory = tempfile::tempdir().unwrap();
        let _first = StateDirectory::lock(directory.path()).unwrap();
        let error = StateDirectory::lock(directory.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("(pid {})", std::process::id())), "{error}");
    }
}
