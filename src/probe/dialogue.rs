//! Bytes sent and bytes awaited over plain TCP.
//!
//! The answer is searched each time more of it arrives; what does not hold the expected within
//! [`ANSWER_LIMIT_BYTES`] fails. A server that drips is cut off by the probe's one deadline.

use std::time::Duration;

use bytes::BufMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::reason::Stop;
use super::{Stage, Trace, tcp};
use crate::model::{Close, Dialogue, Expect, FailReason};

/// As much of an answer is read and searched.
pub(super) const ANSWER_LIMIT_BYTES: usize = 16 * 1024;
/// And in so many pieces at most, for each is a search.
pub(super) const PIECES_LIMIT: usize = 512;
/// Of an answer in a report.
const QUOTED_BYTES: usize = 80;

/// The whole of it on a fresh connection; a pass says what came back.
pub(super) async fn probe(
    mut stream: TcpStream,
    dialogue: &Dialogue,
    close: Close,
    trace: &mut Trace,
) -> Result<String, Stop> {
    let ended = exchange(&mut stream, dialogue, trace).await;
    if ended.is_ok() && !dialogue.farewell.is_empty() {
        // Nobody waits for what it comes to: a full socket or a gone server change no result.
        let _ = stream.try_write(dialogue.farewell);
    }
    tcp::close(stream, close);
    ended
}

async fn exchange(stream: &mut TcpStream, dialogue: &Dialogue, trace: &mut Trace) -> Result<String, Stop> {
    let broken = |error| Stop::of_connection(&error, Stage::Answer);
    stream.write_all(&dialogue.send).await.map_err(broken)?;
    let sent = trace.clock.mono();
    let mut first_byte = None;
    for _ in 0..PIECES_LIMIT {
        let room = ANSWER_LIMIT_BYTES - trace.heard.len();
        if room == 0 {
            let text = format!("not in the answer's first {ANSWER_LIMIT_BYTES} bytes: {}", wanted(dialogue));
            return Err(Stop::fail(FailReason::BadBody, text));
        }
        let read = stream.read_buf(&mut (&mut trace.heard).limit(room)).await.map_err(broken)?;
        if read == 0 {
            return Err(left(&trace.heard, dialogue));
        }
        let now = trace.clock.mono();
        let first = *first_byte.get_or_insert(now);
        trace.phases.processing = Some(first.since(sent));
        trace.phases.transfer = Some(now.since(first));
        if dialogue.expect.is_in(&trace.heard) {
            return Ok(format!("answered {}", quoted(&trace.heard)));
        }
        if dialogue.refusal.as_ref().is_some_and(|refusal| refusal.is_match(&trace.heard)) {
            let text = format!("refused with {}", quoted(&trace.heard));
            return Err(Stop::fail(FailReason::BadBody, text));
        }
    }
    let text = format!("not in the answer's first {PIECES_LIMIT} pieces: {}", wanted(dialogue));
    Err(Stop::fail(FailReason::BadBody, text))
}

/// The deadline passed over an answer that has begun. Whole lines were all that the server had to
/// say, and it was the wrong thing; anything else was still on its way.
pub(super) fn waited_in_vain(heard: &[u8], timeout: Duration) -> Stop {
    let quoted = quoted(heard);
    if heard.ends_with(b"\n") {
        return Stop::fail(FailReason::BadBody, format!("not what is expected within {timeout:?}: {quoted}"));
    }
    Stop::fail(FailReason::ResponseTimeout, format!("answer not complete within {timeout:?}: {quoted}"))
}

/// The server closed its side.
fn left(heard: &[u8], dialogue: &Dialogue) -> Stop {
    if heard.is_empty() {
        return Stop::fail(FailReason::BadResponse, "the server closed the connection without an answer");
    }
    Stop::fail(FailReason::BadBody, format!("answered {}, wanted {}", quoted(heard), wanted(dialogue)))
}

fn wanted(dialogue: &Dialogue) -> String {
    match &dialogue.expect {
        Expect::Text(text) => quoted(text),
        Expect::Regex(regex) => format!("`{}`", regex.as_str()),
    }
}

/// What is invisible in it is escaped where the report is made.
pub(super) fn quoted(bytes: &[u8]) -> String {
    let shown = bytes.get(..QUOTED_BYTES).unwrap_or(bytes);
    let more = if bytes.len() > QUOTED_BYTES { "…" } else { "" };
    format!("`{}{more}`", String::from_utf8_lossy(shown))
}
