//! What a check says and awaits in HTTP.

use super::words;

words! {
    /// The version that a request is made in.
    HttpVersion {
        V1 = "1.1",
        V2 = "2",
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrpcOptions {
    /// Whose health is asked for; empty: the server's as a whole.
    pub service: String,
    /// The `:authority`; `None`: the probed address and port.
    pub host: Option<String>,
}

/// What the (bounded) body must hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BodyMatch {
    Any,
    Contains(String),
    Regex(BodyRegex),
}

/// A regular expression over bytes, known to compile; equal by its text.
#[derive(Debug, Clone)]
pub struct BodyRegex(regex::bytes::Regex);

impl BodyRegex {
    /// At most this much memory for a compiled expression.
    const SIZE_LIMIT_BYTES: usize = 1 << 20;

    pub fn new(text: &str) -> Result<BodyRegex, regex::Error> {
        let regex = regex::bytes::RegexBuilder::new(text)
            .size_limit(Self::SIZE_LIMIT_BYTES)
            .dfa_size_limit(Self::SIZE_LIMIT_BYTES)
            .build()?;
        Ok(BodyRegex(regex))
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub fn is_match(&self, body: &[u8]) -> bool {
        self.0.is_match(body)
    }
}

impl PartialEq for BodyRegex {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}
impl Eq for BodyRegex {}
impl PartialOrd for BodyRegex {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for BodyRegex {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}
impl std::hash::Hash for BodyRegex {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}
