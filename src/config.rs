//! Text → `Policy` and `Settings`, or every problem at once with its line.
//!
//! The TOML is parsed to a tree with spans and walked here rather than by serde, which would stop
//! at the first fault. Nothing here touches the world but [`load`].

mod address;
mod agent;
mod check;
mod dialogue;
mod dns;
mod fingerprint;
mod grpc;
mod http;
mod keys;
mod pattern;
mod problem;
mod reader;
mod service;
mod settings;
mod source_ports;
mod tls;
mod values;

use std::io::Read;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub use address::{ListenAddr, ListenAddrError};
pub use keys::{CheckType, Fallback, Key, SECTIONS, Section};
pub use problem::Problem;
pub use settings::Settings;
pub use values::parse_duration;

use crate::model::{Mode, Policy};
use problem::{Faults, Place};
use reader::Reader;

/// The largest configuration file, in bytes.
pub const MAX_FILE_BYTES: u64 = 4 << 20;
/// The largest file that a configuration names (certificates, keys), in bytes.
pub const MAX_PEM_BYTES: u64 = 1 << 20;

/// In a larger text (some 3,000 services) only the first fault of syntax is reported.
const MAX_RECOVERED_BYTES: usize = 256 << 10;

/// A configuration without faults.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub policy: Policy,
    pub settings: Settings,
    /// 48 bits of what it means: the same for any layout, comments and order of keys.
    pub hash: u64,
    pub warnings: Vec<Problem>,
    /// How many `[check.NAME]` there are, unused ones too.
    pub checks: usize,
    /// What each service asks for itself, in the order of `policy.services`.
    own_modes: Vec<Mode>,
}

impl Config {
    /// As without a file: exporter only.
    pub fn exporter_only() -> Config {
        let (policy, settings) = (Policy::exporter_only(), Settings::default());
        let hash = fingerprint::of(&policy, &settings);
        Config { policy, settings, hash, warnings: Vec::new(), checks: 0, own_modes: Vec::new() }
    }

    /// With this global mode instead of the file's; a service that asks for observe keeps it.
    /// Exporter only stays so: there is nothing to enforce.
    pub fn with_mode(mut self, mode: Mode) -> Config {
        if self.policy.mode.is_some() {
            self.policy.mode = Some(mode);
            for (service, own) in self.policy.services.iter_mut().zip(&self.own_modes) {
                service.mode = mode.weaker(*own);
            }
            self.hash = fingerprint::of(&self.policy, &self.settings);
        }
        self
    }
}

/// Reads a configuration. `read_file` reads the files that it names, by the path as written.
pub fn parse(
    text: &str,
    read_file: &dyn Fn(&Path) -> std::io::Result<Vec<u8>>,
) -> Result<Config, Vec<Problem>> {
    let mut faults = Faults::default();
    let (document, errors) = parse_toml(text);
    for error in &errors {
        faults.syntax(error.span().map_or(text.len(), |span| span.start), syntax(error));
    }
    let document = document.get_ref();
    let top = Place { at: 0, key: String::new() };
    if document.is_empty() && errors.is_empty() {
        faults.fault(&top, "the file is empty: to run without a configuration, give none");
    }
    let read = walk(document, top, &mut tls::Files::new(read_file), &mut faults);
    let warnings = faults.into_result(text)?;
    let Walked { policy, settings, checks, own_modes } = read;
    let hash = fingerprint::of(&policy, &settings);
    Ok(Config { policy, settings, hash, warnings, checks, own_modes })
}

/// Reads a configuration file and the files that it names, relative to its own directory.
pub fn load(path: &Path) -> Result<Config, LoadError> {
    let unreadable = |source| LoadError::Unreadable { path: path.to_owned(), source };
    let bytes =
        std::fs::File::open(path).and_then(|file| read_limited(file, MAX_FILE_BYTES)).map_err(unreadable)?;
    let faults = |text: String, problems| LoadError::Faults { file: path.to_owned(), text, problems };
    let text = String::from_utf8(bytes).map_err(|e| {
        let good = String::from_utf8_lossy(&e.as_bytes()[..e.utf8_error().valid_up_to()]).into_owned();
        let mut found = Faults::default();
        found.syntax(good.len(), "is not UTF-8 from here on".to_owned());
        let problems = found.into_result(&good).err().unwrap_or_default();
        faults(good, problems)
    })?;
    let directory = path.parent().unwrap_or(Path::new(""));
    parse(&text, &|named| read_regular(&directory.join(named))).map_err(|problems| faults(text, problems))
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot read the configuration {}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{}", rendered(file, text, problems))]
    Faults { file: PathBuf, text: String, problems: Vec<Problem> },
}

fn rendered(file: &Path, text: &str, problems: &[Problem]) -> String {
    let file = file.display().to_string();
    let mut all: String = problems.iter().map(|problem| problem.render(&file, text)).collect();
    let plural = if problems.len() == 1 { "" } else { "s" };
    all.push_str(&format!("{file}: {} problem{plural}", problems.len()));
    all
}

struct Walked {
    policy: Policy,
    settings: Settings,
    checks: usize,
    own_modes: Vec<Mode>,
}

fn walk(document: &DeTable<'_>, top: Place, files: &mut tls::Files<'_>, faults: &mut Faults) -> Walked {
    let mut reader = Reader::new(&keys::TOP, top, document, faults);
    let mode = reader.optional("mode", values::mode).unwrap_or(Mode::Enforce);
    let suspect_self = reader.optional("suspect-self", values::share);
    let restore_on_exit = reader.optional("restore-on-exit", values::boolean);
    let web = reader.table("web");
    let state = reader.table("state");
    let control = reader.table("control");
    let ipvs = reader.table("ipvs");
    let director = reader.table("director");
    let defaults = reader.table("defaults");
    let checks = reader.table("check");
    let services = reader.placed("service", |value: &DeValue<'_>| Ok(value));
    reader.finish();

    let mut settings = Settings::default();
    let mut policy = Policy { mode: Some(mode), ..Policy::exporter_only() };
    policy.restore_on_exit = restore_on_exit.unwrap_or(false);
    policy.suspect_self_percent = suspect_self.unwrap_or(Policy::DEFAULT_SUSPECT_SELF_PERCENT);
    settings.read_web(web, faults);
    settings.read_control(control, faults);
    policy.ledger_max_age = settings.read_state(state, faults);
    policy.poll_interval = settings::read_ipvs(ipvs, faults);
    settings::read_director(director, &mut policy, faults);

    let defaults = defaults.map(|table| check::read_defaults(&table, faults)).unwrap_or_default();
    let mut checks =
        checks.map(|table| check::read_checks(&table, &defaults, files, faults)).unwrap_or_default();
    let services =
        services.map(|value| service::read_services(&value, mode, &mut checks, faults)).unwrap_or_default();
    for named in checks.values().filter(|named| !named.used) {
        faults.warn(&named.place, "no service uses this check");
    }
    let (services, own_modes): (Vec<_>, _) = services.into_iter().unzip();
    source_ports::warn(&services, &checks, faults);
    policy.services = services;
    Walked { policy, settings, checks: checks.len(), own_modes }
}

/// The document as far as it is one, and what is not TOML in it. The parser remembers an error for
/// every byte if need be, 300 bytes each: in a large text only the first is looked for.
fn parse_toml(text: &str) -> (Spanned<DeTable<'_>>, Vec<toml::de::Error>) {
    if text.len() <= MAX_RECOVERED_BYTES {
        return DeTable::parse_recoverable(text);
    }
    match DeTable::parse(text) {
        Ok(document) => (document, Vec::new()),
        Err(first) => (Spanned::new(0..0, DeTable::new()), vec![first]),
    }
}

/// The parser's words, where they are clear.
fn syntax(error: &toml::de::Error) -> String {
    let message = error.message();
    let is_empty = error.span().is_none_or(|span| span.is_empty());
    match message.strip_suffix(", expected literal string") {
        Some("string values must be quoted") if is_empty => "a value is missing".to_owned(),
        Some(known) => known.to_owned(),
        None => message.to_owned(),
    }
}

fn read_regular(path: &Path) -> std::io::Result<Vec<u8>> {
    // Opening a FIFO would wait for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    read_limited(std::fs::File::open(path)?, MAX_PEM_BYTES)
}

fn read_limited(file: std::fs::File, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(std::io::Error::other(format!("larger than {limit} bytes")));
    }
    Ok(bytes)
}
