//! Who may read over TCP, and in what wrapping: `--web.config.file`, looked at for each connection and
//! each request, so that a renewed certificate or a new password counts at once.

mod file;
mod passwords;
#[cfg(test)]
mod tests;
mod tls;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use http::header::{AUTHORIZATION, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use hyper::Response;
use rustls::ServerConfig;

use super::routes::text;
use super::stream::Body;
use passwords::Passwords;

/// The configuration and each file that it names.
const MAX_FILE_BYTES: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error("reading {} failed: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}: {problem}", path.display())]
    Invalid { path: PathBuf, problem: String },
}

/// What the file asks for.
pub(super) struct Rules {
    /// `None`: plain HTTP.
    pub tls: Option<Arc<ServerConfig>>,
    /// User → bcrypt hash; empty: everybody.
    pub users: Vec<(String, String)>,
    /// Added to every answer.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// The file, as it was last read.
pub struct Access {
    path: PathBuf,
    passwords: Passwords,
    state: Mutex<State>,
}

struct State {
    /// The last good ones.
    rules: Arc<Rules>,
    /// Why the file as it is now gives none.
    broken: Option<String>,
    /// Of the files that were read: those that differ now are read anew.
    stamps: Vec<(PathBuf, Option<Stamp>)>,
}

/// What tells a changed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Stamp> {
        let found = fs::metadata(path).ok()?;
        let inode = std::os::unix::fs::MetadataExt::ino(&found);
        Some(Stamp { modified: found.modified().ok(), length: found.len(), inode })
    }
}

impl Access {
    /// Reads the file; at a start a fault in it is the end.
    pub fn load(path: &Path) -> Result<Access, AccessError> {
        let mut stamps = Vec::new();
        let rules = read(path, &mut stamps)?;
        let state = State { rules: Arc::new(rules), broken: None, stamps };
        Ok(Access { path: path.to_owned(), passwords: Passwords::default(), state: Mutex::new(state) })
    }

    /// The rules of this moment; while the file is broken the last good ones, with what is wrong.
    fn rules(&self) -> (Arc<Rules>, Option<String>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.stamps.iter().any(|(path, stamp)| Stamp::of(path) != *stamp) {
            let mut stamps = Vec::new();
            match read(&self.path, &mut stamps) {
                Ok(rules) => {
                    tracing::info!(file = %self.path.display(), "the web configuration is read again");
                    (state.rules, state.broken) = (Arc::new(rules), None);
                }
                Err(error) => {
                    tracing::error!(%error, "the web configuration cannot be used: every request is answered 500");
                    state.broken = Some(error.to_string());
                }
            }
            state.stamps = stamps;
        }
        (state.rules.clone(), state.broken.clone())
    }

    /// For a new connection: `None` is plain HTTP.
    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.rules().0.tls.clone()
    }

    /// `Err` is the answer to whoever may not read.
    pub(super) async fn admit(&self, headers: &HeaderMap) -> Result<Arc<Rules>, Response<Body>> {
        let (rules, broken) = self.rules();
        if broken.is_some() {
            // What is wrong is in the log; it is nobody's business out there.
            return Err(text(StatusCode::INTERNAL_SERVER_ERROR, "the web configuration is broken\n"));
        }
        if rules.users.is_empty() {
            return Ok(rules);
        }
        let credentials = headers.get(AUTHORIZATION).and_then(passwords::credentials);
        match credentials {
            Some((user, password)) => match self.passwords.check(&rules.users, user, password).await {
                Ok(true) => Ok(rules),
                Ok(false) => Err(unauthorized()),
                Err(passwords::Busy) => {
                    Err(text(StatusCode::TOO_MANY_REQUESTS, "too many passwords to check; try again\n"))
                }
            },
            None => Err(unauthorized()),
        }
    }
}

fn unauthorized() -> Response<Body> {
    let mut response = text(StatusCode::UNAUTHORIZED, "unauthorized\n");
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
    response
}

/// The file and all that it names; each path is stamped before it is read, so that a change in between is
/// seen at the next look.
fn read(path: &Path, stamps: &mut Vec<(PathBuf, Option<Stamp>)>) -> Result<Rules, AccessError> {
    let mut bytes = |path: &Path| {
        stamps.push((path.to_owned(), Stamp::of(path)));
        read_limited(path).map_err(|source| AccessError::Unreadable { path: path.to_owned(), source })
    };
    let invalid = |problem: String| AccessError::Invalid { path: path.to_owned(), problem };
    let text = String::from_utf8(bytes(path)?).map_err(|_| invalid("it is not UTF-8".to_owned()))?;
    let file = file::parse(&text).map_err(invalid)?;
    let directory = path.parent().unwrap_or(Path::new(""));
    let mut pem = |named: &str| bytes(&directory.join(named));
    let tls = match &file.tls_server_config {
        Some(wanted) if wanted.is_wanted() => {
            let material = tls::Material {
                certificates: wanted.cert_file.as_deref().map(&mut pem).transpose()?,
                key: wanted.key_file.as_deref().map(&mut pem).transpose()?,
                client_ca: wanted.client_ca_file.as_deref().map(&mut pem).transpose()?,
            };
            Some(tls::server_config(wanted, &material).map_err(invalid)?)
        }
        Some(_) | None => None,
    };
    let headers = file.headers().map_err(invalid)?;
    Ok(Rules { tls, users: file.users().map_err(invalid)?, headers })
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a FIFO would wait for its writer.
    let found = fs::metadata(path)?;
    if !found.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if found.len() > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("larger than {MAX_FILE_BYTES} bytes")));
    }
    fs::read(path)
}
