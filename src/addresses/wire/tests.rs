use proptest::prelude::*;

use super::*;

fn message(kind: u16, flags: u16, seq: u32, port: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = ((HEADER + payload.len()) as u32).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(seq.to_ne_bytes());
    bytes.extend(port.to_ne_bytes());
    bytes.extend(payload);
    bytes.resize(padded(bytes.len()), 0);
    bytes
}

fn row(addr: &str, index: u32, flags: u32) -> Vec<u8> {
    let addr: IpAddr = addr.parse().unwrap();
    let (family, octets) = match addr {
        IpAddr::V4(addr) => (AF_INET, addr.octets().to_vec()),
        IpAddr::V6(addr) => (AF_INET6, addr.octets().to_vec()),
    };
    let mut payload = vec![family, 32, flags as u8, 0];
    payload.extend(index.to_ne_bytes());
    for (kind, value) in [(IFA_ADDRESS, octets), (IFA_FLAGS, flags.to_ne_bytes().to_vec())] {
        payload.extend(((4 + value.len()) as u16).to_ne_bytes());
        payload.extend(kind.to_ne_bytes());
        payload.extend(value);
    }
    payload
}

/// A change, as the group hears it.
pub(crate) fn added(addr: &str, index: u32, flags: u32) -> Vec<u8> {
    message(RTM_NEWADDR, 0, 0, 0, &row(addr, index, flags))
}

pub(crate) fn removed(addr: &str, index: u32) -> Vec<u8> {
    message(RTM_DELADDR, 0, 0, 0, &row(addr, index, 0))
}

/// A row of a dump.
pub(crate) fn dumped(addr: &str, index: u32, seq: u32, id: u32) -> Vec<u8> {
    message(RTM_NEWADDR, 0x2, seq, id, &row(addr, index, 0x80))
}

pub(crate) fn ended(seq: u32, id: u32) -> Vec<u8> {
    message(NLMSG_DONE, 0x2, seq, id, &[0; 4])
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn read_all(bytes: &[u8], id: u32) -> Vec<Result<Message, Malformed>> {
    messages(bytes, id).collect()
}

/// From Linux 6.1 on x86-64, read off a socket of these groups: `ip addr add 10.10.0.101/32 dev lo`,
/// `ip addr del 10.10.0.101/32 dev lo`, `ip addr add fd00:10::101/128 dev lo nodad`.
#[test]
fn what_a_kernel_says_is_read() {
    let vip: IpAddr = "10.10.0.101".parse().unwrap();
    let add = hex(include_str!("add_v4.hex"));
    let asked = [Ok(Message::Set { addr: vip, interface: 1, usable: true, of: Origin::Change })];
    assert_eq!(read_all(&add, 4242), asked);
    let del = hex(include_str!("del_v4.hex"));
    assert_eq!(read_all(&del, 4242), [Ok(Message::Removed { addr: vip, interface: 1 })]);
    let six = hex(include_str!("add_v6.hex"));
    let addr: IpAddr = "fd00:10::101".parse().unwrap();
    let set = Message::Set { addr, interface: 1, usable: true, of: Origin::Change };
    assert_eq!(read_all(&six, 4242), [Ok(set)]);
}

#[test]
fn answers_are_told_from_changes_by_whom_they_are_for() {
    let bytes = dumped("10.0.0.1", 2, 9, 77);
    let of = |id| match read_all(&bytes, id)[0] {
        Ok(Message::Set { of, .. }) => of,
        ref other => panic!("{other:?}"),
    };
    assert_eq!(of(77), Origin::Dump { seq: 9, whole: true });
    // What another program's request changed carries that request's number and id.
    assert_eq!(of(78), Origin::Change);
    assert_eq!(read_all(&ended(9, 77), 77), [Ok(Message::Done { seq: 9, whole: true })]);
    assert_eq!(read_all(&ended(9, 77), 78), [Ok(Message::Other)]);
    let interrupted = message(NLMSG_DONE, 0x2 | NLM_F_DUMP_INTR, 9, 77, &[0; 4]);
    assert_eq!(read_all(&interrupted, 77), [Ok(Message::Done { seq: 9, whole: false })]);
    let refused = message(NLMSG_ERROR, 0, 9, 77, &(-1_i32).to_ne_bytes());
    assert_eq!(read_all(&refused, 77), [Ok(Message::Refused { seq: 9, errno: 1 })]);
}

#[test]
fn on_a_point_to_point_interface_the_local_end_is_ours() {
    let mut payload = row("10.0.0.2", 5, 0);
    payload.extend(8_u16.to_ne_bytes());
    payload.extend(IFA_LOCAL.to_ne_bytes());
    payload.extend([10, 0, 0, 1]);
    let bytes = message(RTM_NEWADDR, 0, 0, 0, &payload);
    let addr: IpAddr = "10.0.0.1".parse().unwrap();
    let set = Message::Set { addr, interface: 5, usable: true, of: Origin::Change };
    assert_eq!(read_all(&bytes, 1), [Ok(set)]);
}

#[test]
fn lengths_that_lie_are_faults() {
    let good = added("10.0.0.1", 2, 0);
    for cut in 1..good.len() {
        let all = read_all(&good[..cut], 1);
        assert!(all.iter().any(Result::is_err), "{cut}: {all:?}");
    }
    let mut long = good.clone();
    let at = HEADER + IFADDRMSG;
    long[at..at + 2].copy_from_slice(&200_u16.to_ne_bytes());
    assert!(read_all(&long, 1)[0].is_err());
    assert!(read_all(&message(RTM_NEWADDR, 0, 0, 0, &[AF_INET]), 1)[0].is_err());
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0_u16..32) {
        let _ = read_all(&bytes, 1);
        let _ = read_all(&message(kind, 0, 1, 1, &bytes), 1);
    }
}
