//! Bytes and texts that came from a kernel; the commands that made them are in the files.

const CAPTURE: &str = include_str!("fixtures/capture.hex");
const DAEMONS: &str = include_str!("fixtures/daemons.hex");
pub const RICH_SAVE: &str = include_str!("fixtures/rich.save");
pub const PROC_NET_IP_VS: &str = include_str!("fixtures/proc_net_ip_vs.txt");

/// The family id of the capturing kernel.
pub const FAMILY: u16 = 0x1c;

/// A request and the datagrams that answered it.
pub struct Exchange {
    pub sent: Vec<u8>,
    pub received: Vec<Vec<u8>>,
}

/// The exchange under the heading `== name`.
pub fn exchange(name: &str) -> Exchange {
    section(CAPTURE, name)
}

pub fn daemons() -> Exchange {
    section(DAEMONS, "get_daemon")
}

fn section(file: &str, name: &str) -> Exchange {
    let mut lines = file.lines().skip_while(|line| *line != format!("== {name}")).skip(1);
    let sent = lines.next().and_then(|line| line.strip_prefix("> ")).expect("a section of the capture");
    let received = lines.map_while(|line| line.strip_prefix("< ")).map(bytes).collect();
    Exchange { sent: bytes(sent), received }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
