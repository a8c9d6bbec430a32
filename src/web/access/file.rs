//! The YAML of `--web.config.file`, in the format that Prometheus's exporters share: unknown keys are
//! errors, and so is a value that would not be kept.

use std::collections::BTreeMap;

use http::header::{HeaderName, HeaderValue};
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub tls_server_config: Option<Tls>,
    http_server_config: Option<Http>,
    basic_auth_users: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tls {
    pub cert_file: Option<String>,
    pub key_file: Option<String>,
    pub client_ca_file: Option<String>,
    pub client_auth_type: Option<String>,
    pub min_version: Option<String>,
    pub max_version: Option<String>,
    pub cipher_suites: Option<Vec<String>>,
    /// Of no effect anywhere: TLS libraries know better by now.
    #[serde(rename = "prefer_server_cipher_suites")]
    _prefer_server_cipher_suites: Option<bool>,
    pub curve_preferences: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Http {
    /// An offer that nobody has to take up: this server speaks HTTP/1.1.
    #[serde(rename = "http2")]
    _http2: Option<bool>,
    headers: Option<BTreeMap<String, String>>,
}

/// Header → the values that it may have; empty: any.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
];

/// bcrypt's own range: each step doubles the work.
const COSTS: std::ops::RangeInclusive<u32> = 4..=31;

pub(super) fn parse(text: &str) -> Result<File, String> {
    let nothing = text.lines().all(|line| matches!(line.trim().chars().next(), None | Some('#')));
    if nothing {
        return Ok(File::default());
    }
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}

impl Tls {
    /// A section without any of these leaves HTTP plain.
    pub(super) fn is_wanted(&self) -> bool {
        [&self.cert_file, &self.key_file, &self.client_ca_file, &self.client_auth_type]
            .iter()
            .any(|value| value.is_some())
    }
}

impl File {
    pub(super) fn users(&self) -> Result<Vec<(String, String)>, String> {
        let users = self.basic_auth_users.iter().flatten();
        users
            .map(|(user, hash)| match hash.parse::<bcrypt::HashParts>() {
                Ok(parts) if hash.len() == 60 && COSTS.contains(&parts.get_cost()) => Ok((user.clone(), hash.clone())),
                // The hash is not shown: it may be the password itself.
                _ => Err(format!(
                    "basic_auth_users: what stands for {user:?} is no bcrypt hash; `htpasswd -nBC 10 {user}` makes one"
                )),
            })
            .collect()
    }

    pub(super) fn headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
        let headers = self.http_server_config.iter().filter_map(|http| http.headers.as_ref()).flatten();
        // An empty value leaves the header out.
        headers.filter(|(_, value)| !value.is_empty()).map(|(name, value)| header(name, value)).collect()
    }
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let Some((_, values)) = HEADERS.iter().find(|(known, _)| *known == name) else {
        let known = HEADERS.map(|(name, _)| name).join(", ");
        return Err(format!("http_server_config.headers: {name:?} cannot be set; there are: {known}"));
    };
    if !values.is_empty() && !values.contains(&value) {
        let known = values.join(" or ");
        return Err(format!("http_server_config.headers.{name}: {value:?} is not {known}"));
    }
    let parsed = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
    parsed.ok_or_else(|| format!("http_server_config.headers.{name}: {value:?} cannot stand in a header"))
}
