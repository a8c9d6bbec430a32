//! The keys of a check that asks a DNS server.

use std::net::IpAddr;

use toml::de::DeValue;

use super::keys::CheckType;
use super::problem::quote;
use super::reader::{Bad, Placed, Reader};
use super::values::{text, word};
use crate::model::{DnsName, DnsOptions, DnsTransport, Rcode, RecordType};

const MAX_ANSWERS: usize = 16;

/// `None`: of another type, or without a question that could be asked, which is reported.
pub(super) fn read(check_type: Option<CheckType>, reader: &mut Reader<'_, '_>) -> Option<DnsOptions> {
    if check_type == Some(CheckType::Dns) {
        reader.require("question");
    }
    let question = reader.optional("question", question);
    let transport = |value: &DeValue<'_>| {
        word(value, DnsTransport::from_word, DnsTransport::ALL.map(DnsTransport::as_str))
    };
    let transport = reader.optional("transport", transport).unwrap_or(DnsTransport::Udp);
    let rcode = |value: &DeValue<'_>| word(value, Rcode::from_word, Rcode::ALL.map(Rcode::as_str));
    let rcode = reader.optional("rcode", rcode).unwrap_or(Rcode::NoError);
    let answers = reader.list("answers", address);
    let (name, record) = question?;
    let answers = answers.map(|list| fitting(list, record, rcode, reader)).unwrap_or_default();
    Some(DnsOptions { transport, name, record, rcode, answers })
}

fn question(value: &DeValue<'_>) -> Result<(DnsName, RecordType), Bad> {
    let written = text(value)?;
    let Some((name, record)) = written.split_once(' ') else {
        return Err(Bad::Form(format!("{} is no question", quote(written))));
    };
    let Some(record) = RecordType::from_word(record) else {
        let types = RecordType::ALL.map(RecordType::as_str).join(", ");
        return Err(Bad::Form(format!("{} is none of the record types {types}", quote(record))));
    };
    match DnsName::parse(name) {
        Some(name) => Ok((name, record)),
        None => Err(Bad::Form(format!("{} is no name", quote(name)))),
    }
}

fn address(value: &DeValue<'_>) -> Result<IpAddr, Bad> {
    let written = text(value)?;
    written.parse().map_err(|_| Bad::Form(format!("{} is no IP address", quote(written))))
}

/// Only what an answer to the question can hold; in one order, for it has none.
fn fitting(
    list: Placed<Vec<Placed<IpAddr>>>,
    record: RecordType,
    rcode: Rcode,
    reader: &mut Reader<'_, '_>,
) -> Vec<IpAddr> {
    if list.value.len() > MAX_ANSWERS {
        reader
            .faults
            .fault(&list.place, format!("has {} addresses: at most {MAX_ANSWERS}", list.value.len()));
    }
    if rcode != Rcode::NoError {
        reader.faults.fault(&list.place, format!("never comes with the rcode {rcode}"));
    }
    for answer in &list.value {
        let fits = match answer.value {
            IpAddr::V4(_) => record == RecordType::A,
            IpAddr::V6(_) => record == RecordType::Aaaa,
        };
        if !fits {
            let message = format!("{} does not come in answer to a question for {record}", answer.value);
            reader.faults.fault(&answer.place, message);
        }
    }
    let mut answers: Vec<IpAddr> = list.value.into_iter().map(|answer| answer.value).collect();
    answers.sort_unstable();
    answers.dedup();
    answers
}
