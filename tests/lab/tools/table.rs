//! The kernel's table as /proc/net/ip_vs shows it, read over and over: who has which weight since when.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Failure, epoch_us, now};

/// The lab's kernel rounds it up to its tick (10 ms).
const PAUSE: Duration = Duration::from_millis(1);

/// Weight by (virtual server, real server). A mark is `fwmark:7`: the file does not show its family.
pub type Table = BTreeMap<(String, String), u32>;

/// What the referee does before it looks.
pub enum Act<'a> {
    Nothing,
    /// As `kill -9`.
    Kill(i32),
    Run(&'a [&'a str]),
}

/// Prints the milliseconds from just before the kill (or the end of the command) until the server has the weight, and
/// the moment (microseconds since the epoch) at which that was seen.
pub fn referee(
    service: &str,
    server: &str,
    weight: u32,
    limit: Duration,
    act: Act<'_>,
) -> Result<ExitCode, Failure> {
    let key = (service.to_owned(), server.to_owned());
    if !read()?.contains_key(&key) {
        return Err(format!("the table has no {server} in {service}").into());
    }
    if let Act::Run(command) = act {
        let status = Command::new(command.first().ok_or("run what?")?).args(&command[1..]).status()?;
        if !status.success() {
            return Err(format!("{}: {status}", command.join(" ")).into());
        }
    }
    let start = now();
    if let Act::Kill(pid) = act {
        kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    }
    while start.elapsed() < limit {
        if read()?.get(&key) == Some(&weight) {
            writeln!(io::stdout(), "{} {}", start.elapsed().as_millis(), epoch_us())?;
            return Ok(ExitCode::SUCCESS);
        }
        thread::sleep(PAUSE);
    }
    Err(format!("not within {} s", limit.as_secs()).into())
}

/// `MICROSECONDS VIRTUAL_SERVER REAL_SERVER WEIGHT` for each change; weight `gone` for a removed one.
pub fn journal(file: &str) -> Result<ExitCode, Failure> {
    let mut out = File::create(file)?;
    let mut before = Table::new();
    loop {
        let table = read()?;
        for (key, weight) in table.iter().filter(|(key, weight)| before.get(*key) != Some(weight)) {
            writeln!(out, "{} {} {} {weight}", epoch_us(), key.0, key.1)?;
        }
        for key in before.keys().filter(|key| !table.contains_key(*key)) {
            writeln!(out, "{} {} {} gone", epoch_us(), key.0, key.1)?;
        }
        before = table;
        thread::sleep(PAUSE);
    }
}

pub fn read() -> Result<Table, Failure> {
    let text = fs::read_to_string("/proc/net/ip_vs").map_err(|e| format!("/proc/net/ip_vs: {e}"))?;
    let mut service = String::new();
    let mut table = Table::new();
    for line in text.lines().skip(3) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["->", server, _forwarding, weight, ..] => {
                table.insert((service.clone(), address(server)?.to_string()), weight.parse()?);
            }
            ["FWM", mark, ..] => service = format!("fwmark:{}", u32::from_str_radix(mark, 16)?),
            [protocol, addr, ..] => service = format!("{}/{}", address(addr)?, protocol.to_ascii_lowercase()),
            _ => return Err(format!("/proc/net/ip_vs: cannot read the line `{line}`").into()),
        }
    }
    Ok(table)
}

/// `0A0A0015:0050` or `[fd00:0010:…]:0050`.
fn address(text: &str) -> Result<SocketAddr, Failure> {
    let (addr, port) = text.rsplit_once(':').ok_or_else(|| format!("no port in `{text}`"))?;
    let addr = match addr.strip_prefix('[') {
        Some(v6) => IpAddr::V6(v6.trim_end_matches(']').parse::<Ipv6Addr>()?),
        None => IpAddr::V4(Ipv4Addr::from(u32::from_str_radix(addr, 16)?)),
    };
    Ok(SocketAddr::new(addr, u16::from_str_radix(port, 16)?))
}
