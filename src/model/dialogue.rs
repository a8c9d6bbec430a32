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

impl Dialogue {
    /// A protocol's own greeting. `None` for the configuration's own words.
    pub fn greeting(speech: Speech) -> Option<Result<Dialogue, regex::Error>> {
        let (send, expect, refusal, farewell): (&[u8], _, _, &[u8]) = match speech {
            Speech::Own => return None,
            // RFC 5321, 4.2 and 4.3.1: 220, in several lines perhaps; Postfix's postscreen sends the
            // first of them long before the last. QUIT, so that its log has no lost connection.
            Speech::Smtp => {
                (b"", r"(?-u)^(?:220-[^\n]*\n)*220[ \r]", r"(?s-u)^(?:[^2]|2[^2]|22[^0])", b"QUIT\r\n")
            }
            Speech::Redis => (b"PING\r\n", r"(?-u)^\+PONG\r\n", r"(?s-u)^(?:[^+]|\+[^P])", b""),
            // The initial handshake packet: length, sequence number 0, protocol version 10, and the
            // server's version. In its place comes an error packet (0xff) where the server is full.
            Speech::Mysql => {
                (b"", r"(?s-u)^...\x00\x0a[^\x00]+\x00", r"(?s-u)^...(?:[^\x00]|\x00[^\x0a])", b"")
            }
            // SSLRequest: one byte answers it before any authentication.
            Speech::Postgres => (b"\0\0\0\x08\x04\xd2\x16\x2f", r"(?-u)^[SN]", r"(?s-u)^[^SN]", b""),
        };
        Some(BodyRegex::new(expect).and_then(|expect| {
            let (expect, refusal) = (Expect::Regex(expect), Some(BodyRegex::new(refusal)?));
            Ok(Dialogue { speech, send: send.to_vec(), expect, refusal, farewell })
        }))
    }
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
        Smtp = "smtp",
        Redis = "redis",
        Mysql = "mysql",
        Postgres = "postgres",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings_are_told_from_refusals_and_from_beginnings() {
        let mysql_error = b"\x17\x00\x00\x00\xff\x10\x04Too many connections";
        let mysql = b"\x4a\x00\x00\x00\x0a8.0.36\x00rest";
        for (speech, fits, refused, unfinished) in [
            (Speech::Smtp, &b"220 mx ESMTP\r\n"[..], &b"554 no\r\n"[..], &b"22"[..]),
            (Speech::Smtp, b"220-mx\r\n220 mx\r\n", b"SSH-2.0", b"220-mx\r\n"),
            (Speech::Smtp, b"220\r\n", b"250 ok", b"220-mx\r\n22"),
            (Speech::Smtp, b"220-\xff\r\n220 \xff", b"\xff", b""),
            (Speech::Redis, b"+PONG\r\n", b"-NOAUTH Authentication required.\r\n", b"+PO"),
            (Speech::Redis, b"+PONG\r\n", b"-LOADING", b"+"),
            (Speech::Redis, b"+PONG\r\n", b"+OK", b"+PONG"),
            (Speech::Mysql, mysql, mysql_error, b"\x4a\x00\x00\x00\x0a8.0.36"),
            (Speech::Mysql, b"\x0a\x0a\x0a\x00\x0aM\x00", b"HTTP/1.1 400", b"\x4a\x00"),
            (Speech::Postgres, b"S", b"E\0\0\0", b""),
            (Speech::Postgres, b"N", b"HTTP", b""),
        ] {
            let Dialogue { expect, refusal, .. } = Dialogue::greeting(speech).unwrap().unwrap();
            let refuses = |answer: &[u8]| refusal.as_ref().unwrap().is_match(answer);
            assert!(expect.is_in(fits) && !refuses(fits), "{speech}: {fits:?}");
            assert!(!expect.is_in(refused) && refuses(refused), "{speech}: {refused:?}");
            assert!(!expect.is_in(unfinished) && !refuses(unfinished), "{speech}: {unfinished:?}");
        }
        assert!(Dialogue::greeting(Speech::Own).is_none());
    }
}
