//! The keys of a check that speaks over plain TCP: what is sent, what is awaited.

use toml::de::DeValue;

use super::keys::CheckType;
use super::problem::quote;
use super::reader::{Bad, Placed, Reader};
use super::{http, values};
use crate::model::{BodyRegex, Dialogue, Expect, Speech};

const MAX_BYTES: usize = 4096;

/// `None`: the connection is all that is asked for.
pub(super) fn read(check_type: Option<CheckType>, reader: &mut Reader<'_, '_>) -> Option<Dialogue> {
    // An agent's is read with its own keys.
    let send = (check_type != Some(CheckType::Agent)).then(|| reader.placed("send", bytes)).flatten();
    let text = reader.placed("expect", bytes);
    let regex = reader.placed("expect-regex", |value| {
        BodyRegex::new(&http::body_pattern(value)?).map_err(|e| Bad::Message(http::regex_fault(&e)))
    });
    if let (Some(text), Some(regex)) = (&text, &regex) {
        let later = if text.place.at > regex.place.at { &text.place } else { &regex.place };
        reader.faults.fault(later, "of `expect` and `expect-regex` only one can be written");
    }
    if let Some(send) = &send
        && !reader.is_written("expect")
        && !reader.is_written("expect-regex")
    {
        let message = "proves nothing alone: write what must come back as `expect` or `expect-regex`";
        reader.faults.fault(&send.place, message);
    }
    let expect = match (text, regex) {
        (_, Some(regex)) => Expect::Regex(regex.value),
        (Some(text), None) => Expect::Text(text.value),
        (None, None) => return None,
    };
    let send = send.map(|send| send.value).unwrap_or_default();
    Some(Dialogue { speech: Speech::Own, send, expect, refusal: None, farewell: b"" })
}

/// What the check's type stands for, where that is a protocol's greeting.
pub(super) fn greeting(check_type: &Placed<CheckType>, reader: &mut Reader<'_, '_>) -> Option<Dialogue> {
    let speech = match check_type.value {
        CheckType::Smtp => Speech::Smtp,
        CheckType::Redis => Speech::Redis,
        CheckType::Mysql => Speech::Mysql,
        CheckType::Postgres => Speech::Postgres,
        CheckType::Tcp
        | CheckType::Tls
        | CheckType::Http
        | CheckType::Https
        | CheckType::Grpc
        | CheckType::Grpcs
        | CheckType::Dns
        | CheckType::Agent => Speech::Own,
    };
    match Dialogue::greeting(speech)? {
        Ok(dialogue) => Some(dialogue),
        Err(error) => {
            reader.faults.fault(&check_type.place, http::regex_fault(&error));
            None
        }
    }
}

/// A text whose backslashes are escapes once more, after TOML's own: `'\r\n'` in single quotes, where
/// TOML has none, is what `"\r\n"` is in double ones.
pub(super) fn bytes(value: &DeValue<'_>) -> Result<Vec<u8>, Bad> {
    let text = values::text(value)?;
    let bytes = unescape(text).map_err(Bad::Form)?;
    match bytes.len() {
        0 => Err(Bad::Form("is empty".to_owned())),
        1..=MAX_BYTES => Ok(bytes),
        _ => Err(Bad::Form("is too long".to_owned())),
    }
}

fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('\\');
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    while let Some(part) = parts.next() {
        let (byte, rest) = match part.as_bytes() {
            // Two backslashes: the part between them is empty, and what follows is plain text.
            [] => (b'\\', parts.next().ok_or("ends with a single backslash")?),
            [b'r', ..] => (b'\r', &part[1..]),
            [b'n', ..] => (b'\n', &part[1..]),
            [b't', ..] => (b'\t', &part[1..]),
            [b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let byte = u8::from_str_radix(&part[1..3], 16).map_err(|e| e.to_string())?;
                (byte, &part[3..])
            }
            _ => {
                let shown: String = part.chars().take(3).collect();
                let unknown = quote(&format!("\\{shown}"));
                return Err(format!("{unknown} is no escape (\\r, \\n, \\t, \\\\ and \\xNN are)"));
            }
        };
        bytes.push(byte);
        bytes.extend_from_slice(rest.as_bytes());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_become_bytes() {
        for (text, bytes) in [
            ("PING\r\n", &b"PING\r\n"[..]),
            (r"PING\r\n", b"PING\r\n"),
            (r"\x00\xFFa\tb", b"\x00\xffa\tb"),
            (r"\\x41", br"\x41"),
            (r"a\\", br"a\"),
            (r"\\\\n\n", b"\\\\n\n"),
            ("ü", "ü".as_bytes()),
        ] {
            assert_eq!(unescape(text).as_deref(), Ok(bytes), "{text}");
        }
        for text in [r"a\", r"\q", r"\x4", r"\xg0", r"\x+1", r"\xé", r"\\\"] {
            assert!(unescape(text).is_err(), "{text}");
        }
        assert!(unescape(r"a\qbc").is_err_and(|e| e.starts_with(r"`\qbc` is no escape")));
    }

    proptest! {
        #[test]
        fn every_byte_can_be_written(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let text: String = bytes.iter().map(|b| format!("\\x{b:02x}")).collect();
            prop_assert_eq!(unescape(&text), Ok(bytes));
        }

        #[test]
        fn no_text_panics(text in r"[\\xrnt0-9a-fé]{0,24}") {
            let _ = unescape(&text);
        }
    }
}
