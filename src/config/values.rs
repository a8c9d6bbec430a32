//! Values of one key each: kinds, ranges, forms.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeValue;

use super::problem::{is_printable, quote};
use super::reader::Bad;
use crate::model::{Floor, Mode, OnFailure};

/// The longest name of a check or a service, in bytes.
pub(super) const MAX_NAME_BYTES: usize = 64;

pub(super) fn text<'t>(value: &'t DeValue<'_>) -> Result<&'t str, Bad> {
    value.as_str().ok_or(Bad::Kind)
}

pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, Bad> {
    value.as_bool().ok_or(Bad::Kind)
}

/// A whole number within a range, which the key's form names.
pub(super) fn number(range: RangeInclusive<u32>) -> impl Fn(&DeValue<'_>) -> Result<u32, Bad> {
    move |value| {
        let integer = value.as_integer().ok_or(Bad::Kind)?;
        i64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .and_then(|n| u32::try_from(n).ok())
            .filter(|n| range.contains(n))
            .ok_or_else(|| Bad::Form(format!("{} is out of range", quote(&integer.to_string()))))
    }
}

pub(super) fn port(value: &DeValue<'_>) -> Result<u16, Bad> {
    number(1..=u32::from(u16::MAX))(value).map(|n| n as u16)
}

/// `"200ms"`, `"2s"`, `"5m"`, `"168h"`, within a range, which the key's form names.
pub(super) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&DeValue<'_>) -> Result<Duration, Bad> {
    move |value| {
        let text = text(value)?;
        let parsed = parse_duration(text)
            .ok_or_else(|| Bad::Form(format!("{} is not a number with a unit (ms, s, m, h)", quote(text))))?;
        if parsed < *range.start() {
            Err(Bad::Form(format!("{} is too short", quote(text))))
        } else if parsed > *range.end() {
            Err(Bad::Form(format!("{} is too long", quote(text))))
        } else {
            Ok(parsed)
        }
    }
}

/// Without a limit of its own; what a u64 of milliseconds cannot hold is too long for everything.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let scale: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        _ => return None,
    };
    if digits == 0 {
        return None;
    }
    let number: u64 = number.parse().unwrap_or(u64::MAX);
    Some(Duration::from_millis(number.saturating_mul(scale)))
}

pub(super) fn mode(value: &DeValue<'_>) -> Result<Mode, Bad> {
    word(value, Mode::from_word, Mode::ALL.map(Mode::as_str))
}

pub(super) fn on_failure(value: &DeValue<'_>) -> Result<OnFailure, Bad> {
    word(value, OnFailure::from_word, OnFailure::ALL.map(OnFailure::as_str))
}

/// One of a few words.
pub(super) fn word<T, const N: usize>(
    value: &DeValue<'_>,
    from_word: impl Fn(&str) -> Option<T>,
    known: [&'static str; N],
) -> Result<T, Bad> {
    let text = text(value)?;
    from_word(text).ok_or_else(|| {
        Bad::Form(match super::reader::nearest(text, known.into_iter()) {
            Some(meant) => format!("{} is unknown (do you mean \"{meant}\"?)", quote(text)),
            None => format!("{} is unknown", quote(text)),
        })
    })
}

/// `"0%"` to `"100%"`, whole.
pub(super) fn percent(value: &DeValue<'_>) -> Result<u8, Bad> {
    let text = text(value)?;
    text.strip_suffix('%')
        .filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .filter(|percent| *percent <= 100)
        .ok_or_else(|| Bad::Form(format!("{} is no whole percentage up to 100%", quote(text))))
}

/// `"1%"` to `"100%"`: a part that is there.
pub(super) fn share(value: &DeValue<'_>) -> Result<u8, Bad> {
    match percent(value)? {
        0 => Err(Bad::Form(format!("{} is too little", quote(text(value)?)))),
        share => Ok(share),
    }
}

pub(super) fn floor(value: &DeValue<'_>) -> Result<Floor, Bad> {
    if value.is_integer() {
        number(0..=u32::from(u16::MAX))(value).map(Floor::Count)
    } else {
        percent(value).map(Floor::Percent)
    }
}

/// The name of a check or a service: it stands in logs, labels and on pages.
pub(super) fn name(text: &str) -> Result<String, String> {
    let fault = if text.is_empty() {
        "an empty name".to_owned()
    } else if text.len() > MAX_NAME_BYTES {
        format!("{} is longer than {MAX_NAME_BYTES} bytes", quote(text))
    } else if !text.chars().all(is_printable) {
        format!("{} has characters that do not show", quote(text))
    } else if text.trim() != text {
        format!("{} begins or ends with a space", quote(text))
    } else {
        return Ok(text.to_owned());
    };
    Err(format!("{fault}: a name is 1 to {MAX_NAME_BYTES} bytes of printable text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(toml: &str) -> DeValue<'_> {
        DeValue::parse(toml).unwrap().into_inner()
    }

    #[test]
    fn durations_have_units_and_ranges() {
        let second = Duration::from_secs(1);
        let read = |toml| duration(Duration::from_millis(10)..=60 * second)(&value(toml));
        assert_eq!(read("\"10ms\""), Ok(Duration::from_millis(10)));
        assert_eq!(read("\"1m\""), Ok(60 * second));
        assert_eq!(parse_duration("168h"), Some(3600 * 168 * second));
        for toml in [
            "\"9ms\"",
            "\"0s\"",
            "\"61s\"",
            "\"99999999999999999999h\"",
            "\"1\"",
            "\"s\"",
            "\"-1s\"",
            "\"1.5s\"",
            "\"1 s\"",
            "\"1S\"",
            "\"\"",
            "\"1d\"",
        ] {
            assert!(matches!(read(toml), Err(Bad::Form(_))), "{toml}");
        }
        assert_eq!(read("2"), Err(Bad::Kind));
    }

    #[test]
    fn numbers_keep_to_their_range() {
        assert_eq!(port(&value("65535")), Ok(65535));
        assert_eq!(port(&value("0x50")), Ok(80));
        for toml in ["0", "65536", "-1", "99999999999999999999999"] {
            assert!(matches!(port(&value(toml)), Err(Bad::Form(_))), "{toml}");
        }
        assert_eq!(port(&value("\"80\"")), Err(Bad::Kind));
        assert_eq!(number(1..=u32::MAX)(&value("4294967295")), Ok(u32::MAX));
    }

    #[test]
    fn floors_are_counts_or_percentages() {
        assert_eq!(floor(&value("0")), Ok(Floor::Count(0)));
        assert_eq!(floor(&value("\"50%\"")), Ok(Floor::Percent(50)));
        for toml in ["\"101%\"", "\"%\"", "\"50\"", "\"+5%\"", "65536", "\"999%\""] {
            assert!(matches!(floor(&value(toml)), Err(Bad::Form(_))), "{toml}");
        }
    }

    #[test]
    fn a_share_is_a_percentage_above_zero() {
        assert_eq!(share(&value("\"1%\"")), Ok(1));
        assert_eq!(share(&value("\"100%\"")), Ok(100));
        for toml in ["\"0%\"", "\"101%\"", "\"off\"", "\"50\""] {
            assert!(matches!(share(&value(toml)), Err(Bad::Form(_))), "{toml}");
        }
        assert_eq!(share(&value("100")), Err(Bad::Kind));
    }

    #[test]
    fn names_show_as_they_are() {
        assert_eq!(name("Läden (shop)"), Ok("Läden (shop)".to_owned()));
        for bad in ["", " a", "a\n", "a\u{202e}b", &"x".repeat(65)] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }
}
