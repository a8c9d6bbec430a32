//! The small programs that the lab needs inside its kernel, in one binary, so that nothing but cargo builds them.
//! `lab-tools` alone lists them.

mod agent;
mod bulk;
mod chaos;
mod dashboards;
mod http2;
mod load;
mod oncall;
mod query;
mod serve;
mod table;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serve::{Behaviour, Director};

const USAGE: &str = "\
lab-tools serve ADDR:PORT NAME [BEHAVIOUR|@FILE] an HTTP server that answers its name, or misbehaves; the file has a
                                                 word that holds from the next request on
lab-tools agent ADDR:PORT FILE                   an agent that says the line in FILE to each connection
lab-tools load ADDR:PORT PAUSE_MS FILE           new connections without end until SIGTERM; one line a request in FILE
lab-tools referee SERVICE SERVER WEIGHT LIMIT_S [kill PID | run COMMAND...]
                                                 times the kernel's table from then on until the server has WEIGHT
lab-tools journal FILE                           one line in FILE for each change of the kernel's table
lab-tools chaos SERVICE KILLS SEED DIR AGENT [ARG]...
                                                 starts the agent and kills it at random moments, over and over, while
                                                 servers flap (their words are DIR/as/IP) and an operator edits weights;
                                                 checks table and DIR/state/ledger.json at each death; prints what each
                                                 server is owed
lab-tools set-weights PREFIX FROM TO COUNT       a bare loop: all real servers whose name begins so, with weight FROM
lab-tools drained LOG PREFIX COUNT LIMIT_S       milliseconds from the decision to the first and the last of so many
                                                 drains, by the agent's log (--log.level trace); checks the kernel
lab-tools get URL [ACCEPT]                       the body of an answer; exit 1 unless 200
lab-tools time URL ENCODING                      wall time and bytes of an answer (identity, gzip)
lab-tools metric URL NAME [LABEL=VALUE]...       the value of the one sample that has these labels, or `absent`
lab-tools json URL|FILE [SEGMENT]...             one value of a JSON document, or `absent`
lab-tools dashboards PROMETHEUS_URL DIR VS RS    puts every query of the dashboards to it, where they are about one about
                                                 these; prints MILLISECONDS ROWS WHICH for each
lab-tools oncall ADDR:PORT DIR                   whoever Alertmanager tells: a file in DIR for each notification, and in
                                                 DIR/list a line for each, FILE EPOCH_MS PATH TITLE;
                                                 DIR/late: milliseconds for which the machine has stood still
lab-tools told FILE                              one of them as it is read
";

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(code) => code,
        Err(error) => {
            // Nothing is left to do where even standard error is gone.
            let _ = writeln!(io::stderr(), "lab-tools {}: {error}", words.join(" "));
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<ExitCode, Failure> {
    match words {
        ["serve", addr, name] => serve::run(addr, name, Director::Fixed(Behaviour::Good)),
        ["serve", addr, name, how] => {
            let director = match how.strip_prefix('@') {
                Some(file) => Director::File(file.into()),
                None => Director::Fixed(how.parse()?),
            };
            serve::run(addr, name, director)
        }
        ["agent", addr, file] => agent::run(addr, file.into()),
        ["load", target, pause_ms, file] => load::run(target, Duration::from_millis(pause_ms.parse()?), file),
        ["referee", service, server, weight, limit_s, act @ ..] => {
            let act = match act {
                [] => table::Act::Nothing,
                ["kill", pid] => table::Act::Kill(pid.parse()?),
                ["run", command @ ..] => table::Act::Run(command),
                _ => return Err("after the limit stands `kill PID` or `run COMMAND`".into()),
            };
            table::referee(service, server, weight.parse()?, Duration::from_secs(limit_s.parse()?), act)
        }
        ["journal", file] => table::journal(file),
        ["chaos", service, kills, seed, dir, agent @ ..] => {
            chaos::run(service, kills.parse()?, seed.parse()?, Path::new(dir), agent)
        }
        ["set-weights", prefix, from, to, count] => {
            bulk::set_weights(prefix, from.parse()?, to.parse()?, count.parse()?)
        }
        ["drained", log, prefix, count, limit_s] => {
            bulk::drained(log, prefix, count.parse()?, Duration::from_secs(limit_s.parse()?))
        }
        ["get", url] => query::get(url, "*/*"),
        ["get", url, accept] => query::get(url, accept),
        ["time", url, encoding] => query::time(url, encoding),
        ["metric", url, name, labels @ ..] => query::metric(url, name, labels),
        ["json", source, segments @ ..] => query::json(source, segments),
        ["dashboards", url, directory, virtual_server, real_server] => {
            dashboards::ask(url, directory, virtual_server, real_server)
        }
        ["oncall", addr, directory] => oncall::listen(addr, directory),
        ["told", file] => oncall::read(file),
        _ => {
            write!(io::stderr(), "{USAGE}")?;
            Ok(ExitCode::from(2))
        }
    }
}

/// Microseconds since the epoch: comparable between the processes of one kernel.
fn epoch_us() -> u128 {
    #[expect(clippy::disallowed_methods, reason = "a tool of its own, apart from the agent's clock")]
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_micros()
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a tool of its own, apart from the agent's clock")]
    Instant::now()
}
