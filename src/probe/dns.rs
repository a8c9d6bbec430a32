//! One question and its answer, over UDP or TCP (RFC 1035, 4.2). An answer is demanded: that no ICMP
//! error came says nothing of a UDP server (trap 43).

mod codec;

use std::hash::{BuildHasher, Hasher, RandomState};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::reason::Stop;
use super::socket::Dial;
use super::{Stage, Trace, tcp};
use crate::model::{Close, DnsOptions, FailReason, Rcode};
use codec::{Answer, Unfit};

/// We announce no larger ones (EDNS), so that 512 is right (RFC 1035, 4.2.1); some servers give more.
pub(super) const DATAGRAM_LIMIT_BYTES: usize = 4096;
/// Answers to others' questions are passed over, so many at most: late ones to a probe that had this
/// port before, or forged ones.
pub(super) const STRAYS_LIMIT: usize = 16;

pub(super) async fn over_udp(dial: Dial, options: &DnsOptions, trace: &mut Trace) -> Result<String, Stop> {
    let broken = |error| Stop::of_connection(&error, Stage::Answer);
    // Connected: the kernel passes on only what comes from the server's own address and port, and
    // ICMP's port unreachable as a refusal.
    let socket = dial.connect_udp()?;
    trace.enter(Stage::Answer);
    let id = random_id();
    let query = codec::query(options, id);
    // Nothing can have come back yet: what keeps the first datagram here (a firewall's EPERM) is ours.
    socket.send(&query).await.map_err(|error| Stop::of_our_call("sending the question", &error))?;
    let sent = trace.clock.mono();
    let mut datagram = vec![0; DATAGRAM_LIMIT_BYTES + 1];
    for _ in 0..=STRAYS_LIMIT {
        let length = socket.recv(&mut datagram).await.map_err(broken)?;
        if length > DATAGRAM_LIMIT_BYTES {
            let text = format!("an answer of more than {DATAGRAM_LIMIT_BYTES} bytes");
            return Err(Stop::fail(FailReason::BadResponse, text));
        }
        match codec::answer(&datagram[..length], options, id) {
            Ok(answer) => {
                trace.phases.processing = Some(trace.clock.mono().since(sent));
                return judge(&answer, options);
            }
            Err(Unfit::OtherId) => {}
            Err(Unfit::Malformed(what)) => return Err(malformed(what)),
        }
    }
    let text = format!("more than {STRAYS_LIMIT} answers with other ids than the question's");
    Err(Stop::fail(FailReason::BadResponse, text))
}

pub(super) async fn over_tcp(
    mut stream: TcpStream,
    options: &DnsOptions,
    close: Close,
    trace: &mut Trace,
) -> Result<String, Stop> {
    let ended = exchange(&mut stream, options, trace).await;
    tcp::close(stream, close);
    ended
}

async fn exchange(stream: &mut TcpStream, options: &DnsOptions, trace: &mut Trace) -> Result<String, Stop> {
    let broken = |error: std::io::Error| {
        if error.kind() == std::io::ErrorKind::UnexpectedEof {
            let text = "the server closed the connection before its answer was whole";
            return Stop::fail(FailReason::BadResponse, text);
        }
        Stop::of_connection(&error, Stage::Answer)
    };
    let id = random_id();
    let query = codec::query(options, id);
    // A question is 271 bytes at most. In one write: some servers read once.
    let framed = [&(query.len() as u16).to_be_bytes()[..], &query].concat();
    stream.write_all(&framed).await.map_err(broken)?;
    let sent = trace.clock.mono();
    let mut length = [0; 2];
    stream.read_exact(&mut length).await.map_err(broken)?;
    trace.phases.processing = Some(trace.clock.mono().since(sent));
    // Its length is the limit: 65,535 bytes.
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).await.map_err(broken)?;
    match codec::answer(&message, options, id) {
        Ok(answer) => judge(&answer, options),
        Err(Unfit::OtherId) => Err(malformed("an answer with another id than the question's")),
        Err(Unfit::Malformed(what)) => Err(malformed(what)),
    }
}

fn malformed(what: &str) -> Stop {
    Stop::fail(FailReason::BadResponse, format!("not an answer to the question: {what}"))
}

fn judge(answer: &Answer, options: &DnsOptions) -> Result<String, Stop> {
    let rcode = Rcode::from_number(answer.rcode);
    let word = rcode.map_or_else(|| format!("rcode {}", answer.rcode), |rcode| rcode.to_string());
    if rcode != Some(options.rcode) {
        return Err(Stop::fail(FailReason::BadStatus, format!("{word}, wanted {}", options.rcode)));
    }
    let missing = options.answers.iter().find(|address| !answer.addresses.contains(address));
    let cut = if answer.truncated { " (truncated)" } else { "" };
    if let Some(missing) = missing {
        let came: Vec<String> = answer.addresses.iter().take(4).map(ToString::to_string).collect();
        let text =
            format!("no {missing} among {} addresses{cut}: {}", answer.addresses.len(), came.join(", "));
        return Err(Stop::fail(FailReason::BadBody, text));
    }
    Ok(format!("{word}, {} records{cut}", answer.records))
}

/// The standard library's seeds are the kernel's.
fn random_id() -> u16 {
    RandomState::new().build_hasher().finish() as u16
}
