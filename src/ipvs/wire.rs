//! Netlink framing, pure: messages and attributes out of bytes and into bytes. Everything is read by
//! type and bounds-checked; no input panics.

use super::abi::{self, Command};

/// Bytes that are no netlink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed answer: {0}")]
pub struct Malformed(pub &'static str);

const NLMSG_HEADER: usize = 16;
const GENL_HEADER: usize = 4;
const NLA_HEADER: usize = 4;

/// One netlink message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    pub kind: u16,
    pub flags: u16,
    pub seq: u32,
    pub port_id: u32,
    pub payload: &'a [u8],
}

/// The messages of one datagram. After a fault it ends.
pub fn messages(datagram: &[u8]) -> Messages<'_> {
    Messages { rest: datagram }
}

pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let (message, rest) = match split_message(self.rest) {
            Some(parts) => parts,
            None => {
                self.rest = &[];
                return Some(Err(Malformed("a message longer than its datagram")));
            }
        };
        self.rest = rest;
        Some(Ok(message))
    }
}

fn split_message(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let length = read_u32(bytes, 0)? as usize;
    let message = Message {
        kind: read_u16(bytes, 4)?,
        flags: read_u16(bytes, 6)?,
        seq: read_u32(bytes, 8)?,
        port_id: read_u32(bytes, 12)?,
        payload: bytes.get(NLMSG_HEADER..length)?,
    };
    Some((message, bytes.get(padded(length)..).unwrap_or_default()))
}

impl<'a> Message<'a> {
    /// The command and the attributes of a generic netlink message.
    pub fn generic(&self) -> Result<(u8, &'a [u8]), Malformed> {
        let header = "a message without a generic netlink header";
        let command = *self.payload.first().ok_or(Malformed(header))?;
        Ok((command, self.payload.get(GENL_HEADER..).ok_or(Malformed(header))?))
    }

    /// The errno (positive; 0 = acknowledged) of NLMSG_ERROR, or with which NLMSG_DONE ended a dump.
    pub fn errno(&self) -> Result<i32, Malformed> {
        let code = read_u32(self.payload, 0).ok_or(Malformed("an error message without a code"))? as i32;
        code.checked_neg().filter(|errno| *errno >= 0).ok_or(Malformed("an error code above 0"))
    }
}

/// One attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr<'a> {
    /// Without the flags NLA_F_NESTED and NLA_F_NET_BYTEORDER.
    pub kind: u16,
    pub value: &'a [u8],
    /// Header and value as they were, without padding.
    pub raw: &'a [u8],
}

/// The attributes of a message or a nest. After a fault it ends.
pub fn attrs(bytes: &[u8]) -> Attrs<'_> {
    Attrs { rest: bytes }
}

pub struct Attrs<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Attrs<'a> {
    type Item = Result<Attr<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some((attr, rest)) = split_attr(self.rest) else {
            self.rest = &[];
            return Some(Err(Malformed("an attribute longer than what holds it")));
        };
        self.rest = rest;
        Some(Ok(attr))
    }
}

fn split_attr(bytes: &[u8]) -> Option<(Attr<'_>, &[u8])> {
    let length = usize::from(read_u16(bytes, 0)?);
    let raw = bytes.get(..length)?;
    let attr = Attr { kind: read_u16(bytes, 2)? & abi::NLA_TYPE_MASK, value: raw.get(NLA_HEADER..)?, raw };
    Some((attr, bytes.get(padded(length)..).unwrap_or_default()))
}

impl Attr<'_> {
    pub fn u8(&self) -> Result<u8, Malformed> {
        self.value.first().copied().ok_or(Malformed("an empty u8 attribute"))
    }

    pub fn u16(&self) -> Result<u16, Malformed> {
        read_u16(self.value, 0).ok_or(Malformed("a u16 attribute too short"))
    }

    pub fn be16(&self) -> Result<u16, Malformed> {
        self.u16().map(u16::from_be)
    }

    pub fn u32(&self) -> Result<u32, Malformed> {
        read_u32(self.value, 0).ok_or(Malformed("a u32 attribute too short"))
    }

    pub fn u64(&self) -> Result<u64, Malformed> {
        let bytes = self.value.first_chunk().ok_or(Malformed("a u64 attribute too short"))?;
        Ok(u64::from_ne_bytes(*bytes))
    }

    /// A string up to its NUL. What is no UTF-8 (no such name exists in the kernel) is shown as �.
    pub fn string(&self) -> String {
        let end = self.value.iter().position(|byte| *byte == 0).unwrap_or(self.value.len());
        String::from_utf8_lossy(&self.value[..end]).into_owned()
    }
}

/// Appends one generic netlink message to `out`; its attributes are what `body` writes.
pub fn message(
    out: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    seq: u32,
    command: Command,
    body: impl FnOnce(&mut Writer<'_>),
) -> Result<(), Malformed> {
    let start = out.len();
    out.extend_from_slice(&0_u32.to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&(flags | abi::NLM_F_REQUEST).to_ne_bytes());
    out.extend_from_slice(&seq.to_ne_bytes());
    // The kernel fills in the sender's port id.
    out.extend_from_slice(&0_u32.to_ne_bytes());
    out.extend_from_slice(&[command.number, abi::FAMILY_VERSION, 0, 0]);
    let mut writer = Writer { out, fault: None };
    body(&mut writer);
    let fault = writer.fault;
    match (u32::try_from(out.len() - start), fault) {
        (Ok(length), None) => {
            out[start..start + 4].copy_from_slice(&length.to_ne_bytes());
            Ok(())
        }
        (_, fault) => {
            out.truncate(start);
            Err(fault.unwrap_or(TOO_LONG))
        }
    }
}

const TOO_LONG: Malformed = Malformed("what is longer than its length field can say cannot be written");

/// Writes attributes, padded to 4 bytes.
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    fault: Option<Malformed>,
}

impl Writer<'_> {
    pub fn put(&mut self, kind: u16, value: &[u8]) {
        self.nest(kind, |nest| nest.out.extend_from_slice(value));
    }

    /// An attribute exactly as it was read.
    pub fn raw(&mut self, attr: &Attr<'_>) {
        self.out.extend_from_slice(attr.raw);
        self.pad();
    }

    pub fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Writer<'_>)) {
        let start = self.out.len();
        self.out.extend_from_slice(&0_u16.to_ne_bytes());
        self.out.extend_from_slice(&kind.to_ne_bytes());
        body(self);
        match u16::try_from(self.out.len() - start) {
            Ok(length) => self.out[start..start + 2].copy_from_slice(&length.to_ne_bytes()),
            Err(_) => self.fail(TOO_LONG),
        }
        self.pad();
    }

    /// The message is not to be sent: [`message`] takes it back and returns this.
    pub fn fail(&mut self, fault: Malformed) {
        self.fault.get_or_insert(fault);
    }

    fn pad(&mut self) {
        // Messages and attributes begin at multiples of 4 of `out`, as every length here is padded.
        self.out.resize(padded(self.out.len()), 0);
    }
}

/// NLMSG_ALIGN and NLA_ALIGN are both 4.
fn padded(length: usize) -> usize {
    length.saturating_add(3) & !3
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut out = Vec::new();
        message(&mut out, 28, abi::NLM_F_DUMP, 7, abi::GET_DEST, |w| {
            w.nest(1, |w| {
                w.put(4, &80_u16.to_be_bytes());
                w.put(6, b"wrr\0");
            });
            w.put(9, &[]);
        })
        .unwrap();
        message(&mut out, 28, 0, 8, abi::GET_INFO, |_| {}).unwrap();

        let all: Vec<_> = messages(&out).map(Result::unwrap).collect();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].kind, all[0].flags, all[0].seq, all[0].port_id), (28, 0x301, 7, 0));
        let (command, body) = all[0].generic().unwrap();
        assert_eq!(command, 8);
        let top: Vec<_> = attrs(body).map(Result::unwrap).collect();
        assert_eq!(top.iter().map(|a| a.kind).collect::<Vec<_>>(), [1, 9]);
        let nested: Vec<_> = attrs(top[0].value).map(Result::unwrap).collect();
        assert_eq!(nested[0].be16(), Ok(80));
        assert_eq!(nested[1].string(), "wrr");
        assert_eq!(all[1].generic(), Ok((15, &[][..])));
    }

    #[test]
    fn types_lose_their_flags_and_values_their_padding() {
        // NLA_F_NESTED | 2, length 5, one byte, three of padding.
        let bytes = [5, 0, 2, 0x80, 0xaa, 0, 0, 0];
        let all: Vec<_> = attrs(&bytes).collect();
        assert_eq!(all, [Ok(Attr { kind: 2, value: &[0xaa], raw: &bytes[..5] })]);
    }

    #[test]
    fn lengths_that_lie_are_faults_and_end_the_reading() {
        for bytes in [&[3, 0, 1, 0][..], &[8, 0, 1, 0, 1, 2], &[4, 0, 1], &[0, 0, 0, 0]] {
            let all: Vec<_> = attrs(bytes).collect();
            assert_eq!(all.len(), 1, "{bytes:?}");
            assert!(all[0].is_err(), "{bytes:?}");
        }
        let mut header = [0_u8; 16];
        for length in [0_u32, 15, 17, u32::MAX] {
            header[..4].copy_from_slice(&length.to_ne_bytes());
            let all: Vec<_> = messages(&header).collect();
            assert_eq!(all.len(), 1, "{length}");
            assert!(all[0].is_err(), "{length}");
        }
    }

    #[test]
    fn an_attribute_that_does_not_fit_is_an_error_and_leaves_nothing() {
        let mut out = vec![1, 2, 3, 4];
        let result = message(&mut out, 28, 0, 1, abi::SET_DEST, |w| w.put(1, &[0; 65_536]));
        assert!(result.is_err());
        assert_eq!(out, [1, 2, 3, 4]);
    }

    #[test]
    fn errors_carry_a_positive_errno() {
        let errno = |payload: &[u8]| Message { kind: 2, flags: 0, seq: 0, port_id: 0, payload }.errno();
        assert_eq!(errno(&(-3_i32).to_ne_bytes()), Ok(3));
        assert_eq!(errno(&[0; 20]), Ok(0));
        assert!(errno(&3_i32.to_ne_bytes()).is_err());
        assert!(errno(&i32::MIN.to_ne_bytes()).is_err());
        assert!(errno(&[0; 3]).is_err());
    }
}
