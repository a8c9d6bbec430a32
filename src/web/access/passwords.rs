//! Basic authentication (RFC 7617) against bcrypt hashes.
//!
//! A hash takes tens of milliseconds by design: one is computed at a time, off the threads that answer,
//! and what has passed is remembered. Wrong passwords are not, so that nobody pushes the right ones out
//! and guessing stays slow; a name that does not exist costs as much as one that does.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use tokio::sync::Semaphore;

/// Credentials that have passed.
const REMEMBERED: usize = 64;
/// Requests that wait for a hash; more are turned away, so that a flood of guesses holds no connections.
const WAITING: usize = 16;
const MAX_CREDENTIALS_BYTES: usize = 1024;

/// Too many passwords are waiting to be checked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Busy;

pub(super) struct Passwords {
    /// User, hash, password: a changed hash forgets.
    passed: Mutex<VecDeque<(String, String, String)>>,
    waiting: Semaphore,
    computing: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Passwords {
        Passwords {
            passed: Mutex::default(),
            waiting: Semaphore::new(WAITING),
            computing: Arc::new(Semaphore::new(1)),
        }
    }
}

/// User and password of an `Authorization: Basic …` header.
pub(super) fn credentials(header: &HeaderValue) -> Option<(String, String)> {
    let (scheme, encoded) = header.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") || encoded.len() > MAX_CREDENTIALS_BYTES {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

impl Passwords {
    pub(super) async fn check(
        &self,
        users: &[(String, String)],
        user: String,
        password: String,
    ) -> Result<bool, Busy> {
        let known = users.iter().find(|(name, _)| *name == user);
        let exists = known.is_some();
        // For a name that does not exist somebody else's hash is computed, for nothing but the time.
        let Some((_, hash)) = known.or(users.first()) else { return Ok(false) };
        let credentials = (user, hash.clone(), password);
        if self.has_passed(&credentials) {
            return Ok(true);
        }
        let _place = self.waiting.try_acquire().map_err(|_| Busy)?;
        let Ok(turn) = self.computing.clone().acquire_owned().await else { return Err(Busy) };
        // Somebody with the same credentials may have been first.
        if self.has_passed(&credentials) {
            return Ok(true);
        }
        let (hash, password) = (credentials.1.clone(), credentials.2.clone());
        let verified = tokio::task::spawn_blocking(move || {
            // Kept to the end, even if whoever asked goes away meanwhile.
            let _turn = turn;
            bcrypt::verify(password, &hash)
        });
        let right = matches!(verified.await, Ok(Ok(true))) && exists;
        if right {
            let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
            passed.push_back(credentials);
            while passed.len() > REMEMBERED {
                passed.pop_front();
            }
        }
        Ok(right)
    }

    fn has_passed(&self, credentials: &(String, String, String)) -> bool {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).contains(credentials)
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.passed.lock().unwrap().len()
    }
}
