//! The codec: rtnetlink's address messages (rtnetlink(7)), read by type and bounds-checked; no input panics.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Groups of address changes, as bits of the bind address (RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR).
pub(super) const GROUPS: u32 = 0x10 | 0x100;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_OVERRUN: u16 = 4;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
const NLA_TYPE_MASK: u16 = 0x3fff;

const IFA_F_OPTIMISTIC: u32 = 0x04;
const IFA_F_DADFAILED: u32 = 0x08;
const IFA_F_TENTATIVE: u32 = 0x40;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

const HEADER: usize = 16;
const IFADDRMSG: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a malformed address message: {0}")]
pub(super) struct Malformed(&'static str);

/// One message that concerns addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message {
    /// `usable` is false while duplicate address detection runs or after it failed: the address is on
    /// the interface, and nobody is reached by it.
    Set {
        addr: IpAddr,
        interface: u32,
        usable: bool,
        of: Origin,
    },
    Removed {
        addr: IpAddr,
        interface: u32,
    },
    /// The dump with this sequence number is at its end; not whole if something changed meanwhile.
    Done {
        seq: u32,
        whole: bool,
    },
    /// The kernel refuses the request with this sequence number (errno).
    Refused {
        seq: u32,
        errno: i32,
    },
    /// Messages were lost.
    Overrun,
    /// Something else, or an address of another family.
    Other,
}

/// Whether a message answers our request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Dump { seq: u32, whole: bool },
    Change,
}

/// Asks for the addresses of both families.
pub(super) fn dump_request(seq: u32) -> [u8; HEADER + IFADDRMSG] {
    let mut request = [0; HEADER + IFADDRMSG];
    request[..4].copy_from_slice(&((HEADER + IFADDRMSG) as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&RTM_GETADDR.to_ne_bytes());
    request[6..8].copy_from_slice(&(NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    request[8..12].copy_from_slice(&seq.to_ne_bytes());
    request
}

/// The messages of one datagram to the socket with this id. After a fault it ends.
pub(super) fn messages(datagram: &[u8], id: u32) -> impl Iterator<Item = Result<Message, Malformed>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let length = u32_at(rest, 0).map_or(0, |length| length as usize);
        let Some(message) = rest.get(..length).filter(|_| length >= HEADER) else {
            rest = &[];
            return Some(Err(Malformed("longer than its datagram")));
        };
        rest = rest.get(padded(length)..).unwrap_or_default();
        Some(read(message, id))
    })
}

fn read(message: &[u8], id: u32) -> Result<Message, Malformed> {
    let short = Malformed("without a header");
    let kind = u16_at(message, 4).ok_or(short)?;
    let flags = u16_at(message, 6).ok_or(short)?;
    let seq = u32_at(message, 8).ok_or(short)?;
    let to = u32_at(message, 12).ok_or(short)?;
    let payload = message.get(HEADER..).unwrap_or_default();
    let whole = flags & NLM_F_DUMP_INTR == 0;
    // Changes go to a group and carry the sequence number of whoever asked for them: ours are the
    // answers that are addressed to us.
    let ours = to == id && seq != 0;
    match kind {
        RTM_NEWADDR => {
            let of = if ours { Origin::Dump { seq, whole } } else { Origin::Change };
            Ok(match address(payload)? {
                Some(Address { addr, interface, usable }) => Message::Set { addr, interface, usable, of },
                None => Message::Other,
            })
        }
        RTM_DELADDR => Ok(match address(payload)? {
            Some(Address { addr, interface, .. }) => Message::Removed { addr, interface },
            None => Message::Other,
        }),
        NLMSG_DONE if ours => Ok(Message::Done { seq, whole }),
        NLMSG_ERROR if ours => {
            let code = u32_at(payload, 0).ok_or(Malformed("an error without a code"))? as i32;
            Ok(Message::Refused { seq, errno: code.checked_neg().unwrap_or(i32::MAX) })
        }
        NLMSG_OVERRUN => Ok(Message::Overrun),
        _ => Ok(Message::Other),
    }
}

struct Address {
    addr: IpAddr,
    interface: u32,
    usable: bool,
}

/// `None`: of a family that is not IP.
fn address(payload: &[u8]) -> Result<Option<Address>, Malformed> {
    let short = Malformed("an address without its header");
    let family = *payload.first().ok_or(short)?;
    let mut flags = u32::from(*payload.get(2).ok_or(short)?);
    let interface = u32_at(payload, 4).ok_or(short)?;
    let mut rest = payload.get(IFADDRMSG..).ok_or(short)?;
    let (mut own, mut named) = (None, None);
    while !rest.is_empty() {
        let outside = Malformed("an attribute longer than its message");
        let length = usize::from(u16_at(rest, 0).ok_or(outside)?);
        let kind = u16_at(rest, 2).ok_or(outside)? & NLA_TYPE_MASK;
        let value = rest.get(4..length).ok_or(outside)?;
        match kind {
            IFA_ADDRESS => named = Some(value),
            IFA_LOCAL => own = Some(value),
            // All 32 bits; the header has room for 8.
            IFA_FLAGS => flags = u32_at(value, 0).ok_or(Malformed("flags too short"))?,
            _ => {}
        }
        rest = rest.get(padded(length)..).unwrap_or_default();
    }
    // On a point-to-point interface IFA_ADDRESS is the peer's and IFA_LOCAL ours.
    let Some(value) = own.or(named) else { return Ok(None) };
    let addr = match family {
        AF_INET => IpAddr::from(Ipv4Addr::from(*value.first_chunk::<4>().ok_or(WIDTH)?)),
        AF_INET6 => IpAddr::from(Ipv6Addr::from(*value.first_chunk::<16>().ok_or(WIDTH)?)),
        _ => return Ok(None),
    };
    let tentative = flags & IFA_F_TENTATIVE != 0 && flags & IFA_F_OPTIMISTIC == 0;
    Ok(Some(Address { addr, interface, usable: !tentative && flags & IFA_F_DADFAILED == 0 }))
}

const WIDTH: Malformed = Malformed("an address of the wrong width");

/// NLMSG_ALIGN and RTA_ALIGN are both 4.
fn padded(length: usize) -> usize {
    length.saturating_add(3) & !3
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
pub(super) mod tests;
