//! What is said over plain TCP, and what must come back.

use super::{BodyRegex, words};

/// What is sent, and what the answer must hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dialogue {
    pub speech: Speech,
    /// Empty: the server speaks first.
    pub send: Vec<u8>,
    pub expect: Expect,
    /// An answer that need not be read on: it can only fail.
    pub refusal: Option<BodyRegex>,
    /// Said after an answer that fits, for the server's log.
    pub farewell: &'static [u8],
}

/// Looked for in the bytes that have arrived, at each arrival.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expect {
    /// Never empty.
    Text(Vec<u8>),
    Regex(BodyRegex),
}

impl Expect {
    pub fn is_in(&self, answer: &[u8]) -> bool {
        match self {
            Expect::Text(text) => answer.windows(text.len()).any(|window| window == text.as_slice()),
            Expect::Regex(regex) => regex.is_match(answer),
        }
    }
}

words! {
    /// Whose words a dialogue consists of.
    Speech {
        /// The configuration's own.
        Own = "tcp",
    }
}
