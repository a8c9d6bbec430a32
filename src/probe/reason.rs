//! How a probe that did not pass ended, and which word the kernel's errors become.

use std::fmt::Write;
use std::io;

use nix::errno::Errno;

use super::Stage;
use crate::model::{DETAIL_LIMIT_BYTES, FailReason, LocalReason};

/// Why a probe did not pass, with a text for people.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The server's doing.
    Fail(FailReason, String),
    /// Ours.
    Local(LocalReason, String),
}

impl Stop {
    pub fn fail(reason: FailReason, detail: impl Into<String>) -> Stop {
        Stop::Fail(reason, detail.into())
    }

    pub fn local(detail: impl Into<String>) -> Stop {
        Stop::Local(LocalReason::LocalError, detail.into())
    }

    /// What socket(), setsockopt(), bind() or connect() returned: nothing was sent, so it is ours.
    /// `what` names the operation and the object.
    pub fn of_our_call(what: &str, error: &io::Error) -> Stop {
        let reason = match errno(error) {
            Some(Errno::EMFILE | Errno::ENFILE) => LocalReason::FdLimit,
            Some(Errno::ENETDOWN | Errno::ENETUNREACH | Errno::EHOSTUNREACH) => LocalReason::NetworkDown,
            _ => LocalReason::LocalError,
        };
        Stop::Local(reason, format!("{what}: {}", text(error)))
    }

    /// What connect() returned at once. A port to send from is chosen there, and a refusal by a
    /// server on this host is known there.
    pub fn of_connect_call(error: &io::Error) -> Stop {
        match errno(error) {
            Some(Errno::ECONNREFUSED) => Stop::of_connection(error, Stage::Connect),
            Some(Errno::EADDRNOTAVAIL | Errno::EADDRINUSE | Errno::EAGAIN) => Stop::Local(
                LocalReason::NoLocalPort,
                format!("connect: {}: no local address and port left to send from", text(error)),
            ),
            _ => Stop::of_our_call("connect", error),
        }
    }

    /// What the kernel reported of a connection that was under way: the network's or the server's
    /// word, but for a kernel out of memory.
    pub fn of_connection(error: &io::Error, stage: Stage) -> Stop {
        let what = match stage {
            Stage::Connect => "connect",
            Stage::Tls | Stage::Farewell => "TLS handshake",
            Stage::Answer => "connection",
        };
        let detail = format!("{what}: {}", text(error));
        let reason = match (errno(error), stage) {
            (Some(Errno::ENOMEM | Errno::ENOBUFS), _) => return Stop::local(detail),
            (Some(Errno::ECONNREFUSED), _) => FailReason::ConnectRefused,
            (Some(Errno::ECONNRESET | Errno::EPIPE | Errno::ECONNABORTED), _) => FailReason::Reset,
            (Some(Errno::ETIMEDOUT), Stage::Connect) => FailReason::ConnectTimeout,
            (Some(Errno::ETIMEDOUT), Stage::Tls | Stage::Farewell) => FailReason::TlsTimeout,
            (Some(Errno::ETIMEDOUT), Stage::Answer) => FailReason::ResponseTimeout,
            // ICMP: no route, no host, administratively prohibited (EACCES, ENONET, ENOPROTOOPT).
            (Some(_), _) => FailReason::ConnectUnreachable,
            (None, Stage::Connect) => FailReason::ConnectUnreachable,
            (None, Stage::Tls | Stage::Farewell) => FailReason::TlsHandshake,
            (None, Stage::Answer) => FailReason::BadResponse,
        };
        Stop::Fail(reason, detail)
    }
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw)
}

/// The error without the number that std adds.
fn text(error: &io::Error) -> String {
    match errno(error) {
        Some(errno) => errno.desc().to_owned(),
        None => error.to_string(),
    }
}

/// Text that may quote a hostile server: control and other invisible characters escaped, cut to
/// [`DETAIL_LIMIT_BYTES`].
pub(super) fn printable(text: &str) -> String {
    const CUT: &str = "…";
    // Only the beginning is looked at: the text may be long, and escaping only makes it longer.
    let mut out = String::with_capacity(text.len().min(DETAIL_LIMIT_BYTES));
    let mut fits = 0;
    for c in text.chars() {
        if is_visible(c) {
            out.push(c);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "{}", c.escape_default());
        }
        if out.len() > DETAIL_LIMIT_BYTES {
            out.truncate(fits);
            out.push_str(CUT);
            return out;
        }
        if out.len() <= DETAIL_LIMIT_BYTES - CUT.len() {
            fits = out.len();
        }
    }
    out
}

/// Not a control character, nor one that reorders or hides its neighbours (bidirectional controls,
/// zero width, line separators, byte order mark, tags).
fn is_visible(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn os(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno as i32)
    }

    #[test]
    fn what_our_calls_return_is_ours() {
        for (errno, reason) in [
            (Errno::EMFILE, LocalReason::FdLimit),
            (Errno::ENFILE, LocalReason::FdLimit),
            (Errno::EADDRNOTAVAIL, LocalReason::NoLocalPort),
            (Errno::EAGAIN, LocalReason::NoLocalPort),
            (Errno::ENETDOWN, LocalReason::NetworkDown),
            (Errno::ENETUNREACH, LocalReason::NetworkDown),
            (Errno::EHOSTUNREACH, LocalReason::NetworkDown),
            (Errno::EPERM, LocalReason::LocalError),
            (Errno::EACCES, LocalReason::LocalError),
            (Errno::ENOBUFS, LocalReason::LocalError),
            (Errno::ECONNABORTED, LocalReason::LocalError),
            (Errno::ETIMEDOUT, LocalReason::LocalError),
        ] {
            match Stop::of_connect_call(&os(errno)) {
                Stop::Local(word, detail) => {
                    assert_eq!(word, reason, "{errno}");
                    assert!(detail.starts_with("connect: "), "{detail}");
                }
                Stop::Fail(word, _) => panic!("{errno} became the server's {word}"),
            }
        }
        assert_eq!(
            Stop::of_connect_call(&os(Errno::ECONNREFUSED)),
            Stop::fail(FailReason::ConnectRefused, "connect: Connection refused")
        );
    }

    #[test]
    fn what_arrives_later_is_the_servers() {
        use Stage::{Answer, Connect, Farewell, Tls};
        for (errno, stage, reason) in [
            (Errno::ECONNREFUSED, Connect, FailReason::ConnectRefused),
            (Errno::EHOSTUNREACH, Connect, FailReason::ConnectUnreachable),
            (Errno::ENETUNREACH, Connect, FailReason::ConnectUnreachable),
            (Errno::EACCES, Connect, FailReason::ConnectUnreachable),
            (Errno::ETIMEDOUT, Connect, FailReason::ConnectTimeout),
            (Errno::ETIMEDOUT, Tls, FailReason::TlsTimeout),
            (Errno::ETIMEDOUT, Answer, FailReason::ResponseTimeout),
            (Errno::ECONNRESET, Connect, FailReason::Reset),
            (Errno::ECONNRESET, Farewell, FailReason::Reset),
            (Errno::EPIPE, Answer, FailReason::Reset),
        ] {
            match Stop::of_connection(&os(errno), stage) {
                Stop::Fail(word, _) => assert_eq!(word, reason, "{errno} at {stage:?}"),
                Stop::Local(word, _) => panic!("{errno} at {stage:?} became our {word}"),
            }
        }
        assert!(matches!(
            Stop::of_connection(&os(Errno::ENOMEM), Answer),
            Stop::Local(LocalReason::LocalError, _)
        ));
    }

    #[test]
    fn printable_text_is_bounded_and_harmless() {
        assert_eq!(printable("status 200 OK"), "status 200 OK");
        assert_eq!(printable("a\r\nb\u{1b}[2J\0"), r"a\r\nb\u{1b}[2J\u{0}");
        assert_eq!(printable("abc\u{202e}def\u{2028}"), r"abc\u{202e}def\u{2028}");
        assert_eq!(printable("schön"), "schön");
        let exact = "x".repeat(DETAIL_LIMIT_BYTES);
        assert_eq!(printable(&exact), exact);
        for long in
            ["x".repeat(10_000), "é".repeat(1000), "\n".repeat(1000), "a".to_owned() + &"😀".repeat(99)]
        {
            let cut = printable(&long);
            assert!(cut.len() <= DETAIL_LIMIT_BYTES && cut.len() > DETAIL_LIMIT_BYTES - 12, "{}", cut.len());
            assert!(cut.ends_with('…'), "{cut}");
        }
    }
}
