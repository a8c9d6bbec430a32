//! As much of DNS's messages as a check needs (RFC 1035, 4): one question, and the addresses of its
//! answer. No bytes panic, and no name is followed: compression (4.1.4) is stepped over.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::{DnsOptions, RecordType};

const HEADER_BYTES: usize = 12;
const CLASS_IN: u16 = 1;
/// Recursion desired.
const FLAG_RD: u16 = 0x0100;
const FLAG_QR: u16 = 0x8000;
const FLAG_TC: u16 = 0x0200;
const OPCODE: u16 = 0x7800;
const RCODE: u16 = 0x000f;

/// What an answer to our question says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub rcode: u8,
    /// There is more than fitted.
    pub truncated: bool,
    /// How many records the server says it gives.
    pub records: u16,
    pub addresses: Vec<IpAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    /// An answer, but to another question of somebody.
    OtherId,
    /// No answer at all, and why not.
    Malformed(&'static str),
}

pub(super) fn query(options: &DnsOptions, id: u16) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER_BYTES + options.name.as_str().len() + 6);
    for word in [id, FLAG_RD, 1, 0, 0, 0] {
        message.extend_from_slice(&word.to_be_bytes());
    }
    message.extend_from_slice(&question(options));
    message
}

fn question(options: &DnsOptions) -> Vec<u8> {
    let mut question = options.name.wire();
    question.extend_from_slice(&options.record.number().to_be_bytes());
    question.extend_from_slice(&CLASS_IN.to_be_bytes());
    question
}

pub(super) fn answer(message: &[u8], options: &DnsOptions, id: u16) -> Result<Answer, Unfit> {
    use Unfit::Malformed;
    let mut reader = Reader { rest: message };
    let cut = Malformed("shorter than its header");
    let [their_id, flags, questions, records, _, _] = reader.words().ok_or(cut)?;
    if flags & FLAG_QR == 0 {
        return Err(Malformed("a question instead of an answer"));
    }
    if their_id != id {
        return Err(Unfit::OtherId);
    }
    if flags & OPCODE != 0 {
        return Err(Malformed("an answer to another kind of request (opcode)"));
    }
    let (rcode, truncated) = ((flags & RCODE) as u8, flags & FLAG_TC != 0);
    match questions {
        // Servers that could not read the question, or would not, leave it out.
        0 if rcode != 0 => return Ok(Answer { rcode, truncated, records, addresses: Vec::new() }),
        1 => {}
        _ => return Err(Malformed("not one question in it")),
    }
    let asked = question(options);
    let echoed = reader.bytes(asked.len()).ok_or(Malformed("the question is cut off"))?;
    if !echoed.eq_ignore_ascii_case(&asked) {
        return Err(Malformed("an answer to another question"));
    }
    let mut addresses = Vec::new();
    for _ in 0..records {
        match reader.record(options.record) {
            Some(address) => addresses.extend(address),
            // Within a record is where some servers cut an answer off.
            None if truncated => break,
            None => return Err(Malformed("its records are cut off")),
        }
    }
    Ok(Answer { rcode, truncated, records, addresses })
}

struct Reader<'m> {
    rest: &'m [u8],
}

impl<'m> Reader<'m> {
    fn bytes(&mut self, length: usize) -> Option<&'m [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(bytes)
    }

    fn words<const N: usize>(&mut self) -> Option<[u16; N]> {
        let bytes = self.bytes(2 * N)?;
        Some(std::array::from_fn(|i| u16::from_be_bytes([bytes[2 * i], bytes[2 * i + 1]])))
    }

    /// A name, not followed: its labels up to the root or to a pointer (RFC 1035, 4.1.4).
    fn name(&mut self) -> Option<()> {
        loop {
            match self.bytes(1)?[0] {
                0 => return Some(()),
                length @ 1..=63 => self.bytes(usize::from(length))?,
                192.. => return self.bytes(1).map(|_| ()),
                64..192 => return None,
            };
        }
    }

    /// One record; its address if it is one of the type asked for.
    fn record(&mut self, wanted: RecordType) -> Option<Option<IpAddr>> {
        self.name()?;
        let [record, class, _, _, length] = self.words()?;
        let data = self.bytes(usize::from(length))?;
        if record != wanted.number() || class != CLASS_IN {
            return Some(None);
        }
        let v4 = || <[u8; 4]>::try_from(data).ok().map(|octets| Ipv4Addr::from(octets).into());
        let v6 = || <[u8; 16]>::try_from(data).ok().map(|octets| Ipv6Addr::from(octets).into());
        match wanted {
            RecordType::A => v4().map(Some),
            RecordType::Aaaa => v6().map(Some),
            RecordType::Ns
            | RecordType::Cname
            | RecordType::Soa
            | RecordType::Ptr
            | RecordType::Mx
            | RecordType::Txt
            | RecordType::Srv => Some(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{DnsName, DnsTransport, Rcode};

    const ID: u16 = 0xbeef;
    /// RFC 1035, 4.1: header, question, and two records whose names point to the question's.
    const ANSWER: &[u8] = b"\xbe\xef\x81\x80\0\x01\0\x02\0\0\0\0\x07example\x03com\0\0\x01\0\x01\
        \xc0\x0c\0\x01\0\x01\0\0\x0e\x10\0\x04\x0a\0\0\x01\xc0\x0c\0\x01\0\x01\0\0\x0e\x10\0\x04\x0a\0\0\x02";

    fn options(record: RecordType) -> DnsOptions {
        DnsOptions {
            transport: DnsTransport::Udp,
            name: DnsName::parse("example.com").unwrap(),
            record,
            rcode: Rcode::NoError,
            answers: Vec::new(),
        }
    }

    fn read(message: &[u8]) -> Result<Answer, Unfit> {
        answer(message, &options(RecordType::A), ID)
    }

    fn changed(at: usize, byte: u8) -> Vec<u8> {
        let mut message = ANSWER.to_vec();
        message[at] = byte;
        message
    }

    #[test]
    fn a_question_on_the_wire() {
        assert_eq!(
            query(&options(RecordType::A), ID),
            b"\xbe\xef\x01\0\0\x01\0\0\0\0\0\0\x07example\x03com\0\0\x01\0\x01"
        );
    }

    #[test]
    fn an_answer_and_its_addresses() {
        let addresses = vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()];
        let whole = Answer { rcode: 0, truncated: false, records: 2, addresses };
        assert_eq!(read(ANSWER), Ok(whole.clone()));
        // Case is free (RFC 1035, 2.3.3), and what follows is none of ours.
        assert_eq!(read(&changed(13, b'E')), Ok(whole.clone()));
        assert_eq!(read(&[ANSWER, b"more"].concat()), Ok(whole));
    }

    #[test]
    fn what_is_no_answer() {
        assert_eq!(read(&changed(0, 0)), Err(Unfit::OtherId));
        for (message, what) in [
            (ANSWER[..11].to_vec(), "shorter than its header"),
            (Vec::new(), "shorter than its header"),
            (changed(2, 0x01), "a question instead of an answer"),
            (changed(2, 0xa1), "an answer to another kind of request (opcode)"),
            (changed(5, 0), "not one question in it"),
            (changed(5, 2), "not one question in it"),
            (changed(13, b'x'), "an answer to another question"),
            (changed(26, 28), "an answer to another question"),
            (ANSWER[..20].to_vec(), "the question is cut off"),
            (ANSWER[..ANSWER.len() - 1].to_vec(), "its records are cut off"),
            (changed(7, 3), "its records are cut off"),
            (changed(29, 0x40), "its records are cut off"),
        ] {
            assert_eq!(read(&message), Err(Unfit::Malformed(what)), "{message:?}");
        }
    }

    #[test]
    fn truncated_and_refused_answers() {
        let mut cut = changed(2, 0x83);
        cut.truncate(cut.len() - 3);
        let answer = read(&cut).unwrap();
        assert_eq!((answer.truncated, answer.records, answer.addresses.len()), (true, 2, 1));
        // Without the question, as FORMERR may come.
        let bare = read(b"\xbe\xef\x81\x81\0\0\0\0\0\0\0\0").unwrap();
        assert_eq!((bare.rcode, bare.records), (1, 0));
    }

    #[test]
    fn names_before_records_are_stepped_over() {
        let mut message = ANSWER[..29].to_vec();
        message[7] = 3;
        // A CNAME whose owner is written out, then its target's address, and an AAAA.
        message.extend_from_slice(b"\x03www\xc0\x0c\0\x05\0\x01\0\0\0\0\0\x02\xc0\x0c");
        message.extend_from_slice(b"\0\0\x1c\0\x01\0\0\0\0\0\x10\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01");
        message.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04\x0a\0\0\x09");
        let four = read(&message).unwrap();
        assert_eq!(four.addresses, ["10.0.0.9".parse::<IpAddr>().unwrap()]);
        message[26] = 28;
        let six = answer(&message, &options(RecordType::Aaaa), ID).unwrap();
        assert_eq!(six.addresses, ["2001:db8::1".parse::<IpAddr>().unwrap()]);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
            let _ = read(&bytes);
            let _ = read(&[&ANSWER[..29], &bytes].concat());
        }

        #[test]
        fn every_beginning_of_an_answer_is_cut_off(length in 0..ANSWER.len()) {
            prop_assert!(matches!(read(&ANSWER[..length]), Err(Unfit::Malformed(_))));
        }

        #[test]
        fn addresses_come_back(octets in prop::collection::vec(any::<[u8; 4]>(), 0..20)) {
            let mut message = ANSWER[..29].to_vec();
            message[7] = octets.len() as u8;
            for four in &octets {
                message.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04");
                message.extend_from_slice(four);
            }
            let expected: Vec<IpAddr> = octets.iter().map(|four| Ipv4Addr::from(*four).into()).collect();
            prop_assert_eq!(read(&message).unwrap().addresses, expected);
        }
    }
}
