//! A line in which the server says of itself how much of its weight it wants: HAProxy's agent-check.
//!
//! A line says all there is: what an earlier one said is over. So no `ready` is needed after a `maint`, and
//! nothing has to be remembered over a restart.

use bytes::BufMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::dialogue::quoted;
use super::reason::Stop;
use super::{Stage, Trace, tcp};
use crate::model::{AgentOptions, Close, FailReason, Share};

/// The longest line, its end not counted.
pub(super) const LINE_LIMIT_BYTES: usize = 256;

/// The whole of it on a fresh connection; a pass says what came back.
pub(super) async fn probe(
    mut stream: TcpStream,
    options: &AgentOptions,
    close: Close,
    trace: &mut Trace,
) -> Result<String, Stop> {
    let ended = exchange(&mut stream, options, trace).await;
    tcp::close(stream, close);
    ended
}

async fn exchange(stream: &mut TcpStream, options: &AgentOptions, trace: &mut Trace) -> Result<String, Stop> {
    let broken = |error| Stop::of_connection(&error, Stage::Answer);
    stream.write_all(&options.send).await.map_err(broken)?;
    let sent = trace.clock.mono();
    let mut first_byte = None;
    loop {
        // One more than a line may have: its end.
        let room = (LINE_LIMIT_BYTES + 1).saturating_sub(trace.heard.len());
        if room == 0 {
            let text =
                format!("no end of a line in the first {LINE_LIMIT_BYTES} bytes: {}", quoted(&trace.heard));
            return Err(Stop::fail(FailReason::BadBody, text));
        }
        let read = stream.read_buf(&mut (&mut trace.heard).limit(room)).await.map_err(broken)?;
        if read == 0 {
            return Err(left(&trace.heard));
        }
        let now = trace.clock.mono();
        let first = *first_byte.get_or_insert(now);
        trace.phases.processing = Some(first.since(sent));
        trace.phases.transfer = Some(now.since(first));
        if let Some(end) = trace.heard.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
            let line = trace.heard.get(..end).unwrap_or_default();
            trace.share = Some(judge(line)?);
            return Ok(format!("says {}", quoted(line)));
        }
    }
}

/// The server closed its side. A line without its end may lack its last words, or the last digit of a number.
fn left(heard: &[u8]) -> Stop {
    if heard.is_empty() {
        return Stop::fail(FailReason::BadResponse, "the server closed the connection without a line");
    }
    let text = format!("the server closed the connection before the end of its line: {}", quoted(heard));
    Stop::fail(FailReason::BadBody, text)
}

/// What a line says: the share that is wanted, or why the server is down.
///
/// Words stand between spaces, tabs and commas, in any case; of two that contradict each other the last
/// one holds. What is not known is passed over, as HAProxy does, if anything else is.
pub(super) fn judge(line: &[u8]) -> Result<Share, Stop> {
    if line.len() > LINE_LIMIT_BYTES {
        let text = format!("a line of {} bytes: at most {LINE_LIMIT_BYTES}", line.len());
        return Err(Stop::fail(FailReason::BadBody, text));
    }
    let said = Said::read(line);
    if said.down {
        return Err(Stop::fail(FailReason::NotServing, format!("says {}", quoted(line))));
    }
    if !said.anything {
        let text =
            format!("{} has none of an agent's words (up, ready, drain, maint, down, 75%, …)", quoted(line));
        return Err(Stop::fail(FailReason::BadBody, text));
    }
    Ok(if said.out { Share::NONE } else { said.share.unwrap_or(Share::FULL) })
}

#[derive(Default)]
struct Said {
    /// There was a word that is known.
    anything: bool,
    down: bool,
    out: bool,
    share: Option<Share>,
}

impl Said {
    fn read(line: &[u8]) -> Said {
        let mut said = Said::default();
        for word in line.split(|byte| matches!(byte, b' ' | b'\t' | b',')) {
            // From here on it is text for people.
            if word.starts_with(b"#") {
                break;
            }
            said.hear(&word.to_ascii_lowercase());
        }
        said
    }

    fn hear(&mut self, word: &[u8]) {
        match word {
            b"up" => self.down = false,
            b"down" | b"fail" | b"failed" | b"stopped" => self.down = true,
            b"ready" => self.out = false,
            b"drain" | b"maint" => self.out = true,
            // How many connections it takes is no matter of weights.
            _ if word.starts_with(b"maxconn:") => {}
            _ => match share(word) {
                Some(share) => self.share = Some(share),
                None => return,
            },
        }
        self.anything = true;
    }
}

/// `75%`: digits and nothing else before the sign.
fn share(word: &[u8]) -> Option<Share> {
    let digits = word.strip_suffix(b"%").filter(|digits| !digits.is_empty())?;
    digits.iter().all(u8::is_ascii_digit).then(|| {
        // More digits than a number has are far more than all of it.
        let percent = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
        Share::percent(percent.unwrap_or(u64::MAX))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn says(line: &str, percent: u64) {
        assert_eq!(judge(line.as_bytes()), Ok(Share::percent(percent)), "{line:?}");
    }

    #[test]
    fn every_word_means_what_it_means_to_haproxy() {
        says("up", 100);
        says("ready", 100);
        says("75%", 75);
        says("up 75%", 75);
        says("75%,ready", 75);
        says("UP\tReady , 3%", 3);
        says("0%", 0);
        says("drain", 0);
        says("maint", 0);
        says("up 50% drain", 0);
        says("maxconn:30", 100);
        says("40% maxconn:30", 40);
        says("00020%", 20);
        says("250%", 100);
        says("99999999999999999999999%", 100);
        // The last word of those that contradict each other.
        says("down up", 100);
        says("drain ready 20%", 20);
        says("20% 30%", 30);
        // What is not known is passed over; behind the sharp stands text.
        says("up gracefully 75", 100);
        says("up # down for maintenance, 10%", 100);
        says(" ,\t up", 100);
    }

    #[test]
    fn a_server_that_says_it_is_down_fails_in_its_own_words() {
        for word in
            ["down", "fail", "failed", "stopped", "DOWN", "up down", "ready 100% stopped", "drain,down"]
        {
            let line = format!("{word} # disk full");
            let stop = judge(line.as_bytes()).unwrap_err();
            assert_eq!(stop, Stop::fail(FailReason::NotServing, format!("says `{line}`")));
        }
    }

    #[test]
    fn a_line_without_a_known_word_is_none() {
        for line in [
            "",
            " ",
            "75",
            "%",
            "7 5 %",
            "-5%",
            "+5%",
            "7.5%",
            "5%%",
            "HTTP/1.1 400 Bad Request",
            "#up",
            "upp",
        ] {
            let stop = judge(line.as_bytes()).unwrap_err();
            assert!(matches!(stop, Stop::Fail(FailReason::BadBody, _)), "{line:?}: {stop:?}");
        }
        let long = "up ".repeat(100);
        assert!(matches!(judge(long.as_bytes()), Err(Stop::Fail(FailReason::BadBody, _))));
        assert!(judge(&long.as_bytes()[..LINE_LIMIT_BYTES]).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_have_an_outcome(line in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
            if let Ok(share) = judge(&line) {
                proptest::prop_assert!(share <= Share::FULL && line.len() <= LINE_LIMIT_BYTES);
            }
        }
    }
}
