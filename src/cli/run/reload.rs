//! The configuration read again, by SIGHUP or over the control socket: all of it is in force, or
//! nothing of it (trap 28).

use std::sync::Arc;

use sd_notify::NotifyState;

use super::{Failure, RunArgs, effective_config, lock_table};
use crate::agent::{Handle, Reloaded};
use crate::config::Config;
use crate::logic::Origin;
use crate::model::Mode;
use crate::os;
use crate::state_file::PidLock;
use crate::status::ReloadAnswer;
use crate::web::ReloadRefused;

const GONE: &str = "the configuration is gone: the old one stays";
const NONE_BEFORE: &str = "an agent started without a configuration takes none while it runs: restart it";
const RESTART: &str = "listeners, state directory and control socket change only with a restart";

/// What a reload goes by, and what it replaces.
pub(super) struct Reload<'a> {
    pub args: &'a RunArgs,
    pub origin: &'a Origin,
    /// Held until the end.
    pub table_lock: Option<PidLock>,
    pub current: Config,
    pub handle: &'a Handle,
}

impl Reload<'_> {
    /// Comes back when the new configuration is in force, or refused.
    pub async fn run(&mut self) -> Result<ReloadAnswer, ReloadRefused> {
        os::notify(NotifyState::Reloading);
        let answer = self.take_over().await;
        os::notify(NotifyState::Ready);
        answer
    }

    async fn take_over(&mut self) -> Result<ReloadAnswer, ReloadRefused> {
        let loaded = self.load();
        let policy = loaded.as_ref().ok().map(|new| Reloaded {
            policy: Arc::new(new.policy.clone()),
            hash: new.hash,
            // Perhaps it was just widened, as the log asked for.
            source_ports: os::source_ports(),
        });
        if let Err(gone) = self.handle.reloaded(policy).await {
            tracing::error!("{gone}");
            return Err(ReloadRefused::Ended(gone.to_string()));
        }
        loaded.map(|new| self.replace(new))
    }

    fn load(&mut self) -> Result<Config, ReloadRefused> {
        let new = effective_config(self.args).map_err(|failure| {
            tracing::error!(
                error = one_line(&failure.text),
                "the configuration cannot be loaded: the old one stays"
            );
            ReloadRefused::Faults(failure.text)
        })?;
        let refused = match (new.policy.mode, self.current.policy.mode) {
            (None, Some(_)) => GONE,
            (Some(_), None) => NONE_BEFORE,
            (Some(_), Some(_)) | (None, None) => return self.lock(new),
        };
        tracing::error!("{refused}");
        Err(ReloadRefused::NotNow(refused.to_owned()))
    }

    /// From observe to enforce: from now on it writes (trap 57).
    fn lock(&mut self, new: Config) -> Result<Config, ReloadRefused> {
        if self.table_lock.is_none() && self.current.policy.mode.is_some() {
            self.table_lock = lock_table(&new, self.origin).map_err(|Failure { text, .. }| {
                tracing::error!(error = text, "the configuration cannot be taken over: the old one stays");
                ReloadRefused::NotNow(text)
            })?;
        }
        Ok(new)
    }

    fn replace(&mut self, mut new: Config) -> ReloadAnswer {
        let mut warnings = Vec::new();
        if new.settings != self.current.settings {
            tracing::warn!("{RESTART}");
            warnings.push(RESTART.to_owned());
            new.settings = self.current.settings.clone();
        }
        for warning in &new.warnings {
            tracing::warn!(line = warning.line, key = warning.key, "{}", warning.message);
            warnings.push(format!("line {}: {}: {}", warning.line, warning.key, warning.message));
        }
        let services = new.policy.services.len();
        let changed = new.hash != self.current.hash;
        tracing::info!(services, changed, "the configuration is reloaded");
        self.current = new;
        ReloadAnswer {
            mode: self.current.policy.mode.map_or("exporter", Mode::as_str).into(),
            services,
            config_hash: self.current.hash,
            changed,
            warnings,
        }
    }
}

/// The faults without the lines that show where in the file they stand: a log line is read as one.
fn one_line(faults: &str) -> String {
    let said: Vec<&str> = faults.lines().filter(|line| !line.starts_with(' ')).collect();
    said.join("; ")
}
