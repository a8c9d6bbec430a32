//! What chance decides: how long each command takes and which go wrong, and whole scripts from a seed.

use std::net::IpAddr;

use super::engine::MS;
use super::script::{Act, Fault, Kind, Moment, Row, Rules, Script, ServiceSetup, Step, What};
use crate::logic::probes::User;
use crate::logic::world::NEVER_SUSPECT;
use crate::model::{DestKey, FailReason, Floor, LocalReason, Mode, Mono, OnFailure, Outcome, ServiceKey};

const SERVERS: u8 = 4;

/// splitmix64.
fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What is drawn while a script runs: each has numbers of its own, so that an act more or less moves
/// only those of its kind.
#[derive(Debug, Clone, Copy)]
pub enum Draw {
    ProbeTakes,
    CommandTakes,
    HeardAfter,
    Missed,
    WriteResult,
    Wires,
    Fault(Fault),
}

const KINDS: usize = 6 + Fault::ALL.len();

#[derive(Debug)]
pub struct Draws {
    seed: u64,
    drawn: [u64; KINDS],
}

impl Draws {
    pub fn new(seed: u64) -> Draws {
        Draws { seed: mix(seed), drawn: [0; KINDS] }
    }

    pub fn below(&mut self, draw: Draw, n: u64) -> u64 {
        let kind = match draw {
            Draw::ProbeTakes => 0,
            Draw::CommandTakes => 1,
            Draw::HeardAfter => 2,
            Draw::Missed => 3,
            Draw::WriteResult => 4,
            Draw::Wires => 5,
            Draw::Fault(fault) => 6 + fault as usize,
        };
        self.drawn[kind] += 1;
        mix(self.seed ^ mix((kind as u64) << 48 | self.drawn[kind])) % n
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0) % n
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize].clone()
    }
}

/// Two services of the same real servers, and half a minute of trouble.
pub fn script(seed: u64) -> Script {
    let mut random = Random(mix(seed));
    let suspect_self_percent = random.pick(&[NEVER_SUSPECT, NEVER_SUSPECT, NEVER_SUSPECT, 100]);
    let services = [1, 2].map(|n| service(&mut random, n)).into();
    let mut steps = vec![];
    let mut at = Mono::ZERO;
    let push = |steps: &mut Vec<Step>, at, act| steps.push(Step { at, what: What::Act(act), line: 0 });
    push(&mut steps, at, Act::Faults(Fault::Slow, 5));
    push(&mut steps, at, Act::Faults(Fault::ProbesLate, 2));
    let restore_on_exit = random.percent(40);
    let changes_per_cycle = random.pick(&[None, None, Some(1), Some(2), Some(3)]);
    let end = Mono::ZERO + (8_000 + random.below(20_000)) as u32 * MS;
    let mut dead = false;
    while at < end {
        let act = if dead && random.percent(60) { Act::Restarts } else { act(&mut random) };
        let dies = matches!(act, Act::Dies | Act::Stops | Act::DiesAround { .. } | Act::Reboots);
        dead = dies || (dead && act != Act::Restarts);
        push(&mut steps, at, act);
        at += (20 + random.below(1500)) as u32 * MS;
    }
    Script {
        seed: Some(seed),
        suspect_self_percent,
        restore_on_exit,
        changes_per_cycle,
        services,
        steps,
        end: at,
    }
}

fn vip(n: u8) -> ServiceKey {
    ServiceKey::Address { addr: [10, 0, 0, n].into(), port: 80, protocol: crate::model::Protocol::Tcp }
}

fn server(n: u8) -> DestKey {
    DestKey { addr: [10, 0, 1, n].into(), port: 80 }
}

fn service(random: &mut Random, n: u8) -> ServiceSetup {
    let weights = [0, 1, 5, 5, 7, 65_535, 2_147_483_647];
    let row = |n| Row { key: server(n), weight: random.pick(&weights), masquerading: false };
    let rows = (1..=SERVERS).map(row).collect();
    let scheduler = random.pick(&["wrr", "wrr", "wlc", "rr", "lc", "sh", "mh", "dh"]).to_owned();
    let rules = if random.percent(50) { Rules::default() } else { rules(random) };
    ServiceSetup { key: vip(n), scheduler, rules: Some(rules), rows }
}

fn rules(random: &mut Random) -> Rules {
    Rules {
        floor: random.pick(&[Floor::Count(0), Floor::Count(1), Floor::Count(2), Floor::Percent(50)]),
        mode: random.pick(&[Mode::Enforce, Mode::Enforce, Mode::Enforce, Mode::Observe]),
        checks: random.pick(&[vec![0], vec![80], vec![80, 81], vec![81], vec![]]),
        on_failure: random.pick(&[None, None, Some(OnFailure::WeightZero), Some(OnFailure::Observe)]),
        interval: random.pick(&[700, 1000]) * MS,
        slow_start: random.pick(&[0, 0, 1000, 3000, 6000]) * MS,
        hold_down: random.pick(&[0, 0, 2000, 120_000]) * MS,
        tripwire: random.percent(60),
    }
}

fn act(random: &mut Random) -> Act {
    let service = vip(random.pick(&[1, 2]));
    let key = server(random.below(u64::from(SERVERS)) as u8 + 1);
    let user = (service, key);
    match random.below(54) {
        0..=5 => fails(random, key.addr),
        6..=9 => Act::Passes(key.addr),
        10..=16 => by_others(random, user),
        17 => Act::BeforeWrite(Box::new(by_others(random, user))),
        18..=20 => Act::Configure(service, rules(random)),
        21 => Act::Unconfigure(service),
        22 => Act::SuspectSelf(random.pick(&[NEVER_SUSPECT, NEVER_SUSPECT, 100, 50])),
        23 => random.pick(&[Act::BrokenConfig, Act::Looks]),
        24 => random.pick(&[Act::Dies, Act::Dies, Act::Stops, Act::Reboots]),
        25..=26 => Act::DiesAround {
            moment: random.pick(&Moment::ALL),
            kind: random.pick(&[Kind::Read, Kind::Probe, Kind::Save, Kind::Save, Kind::Write, Kind::Write]),
            nth: 1 + random.below(3) as u32,
        },
        27 => Act::Restarts,
        28..=33 => faults(random),
        34 => Act::Pauses((200 + random.below(8000)) as u32 * MS),
        35 => Act::DumpLacks(user),
        36..=39 => Act::Drain { user, force: random.percent(30) },
        40 => {
            Act::ClockSteps { back: random.percent(50), by: random.pick(&[1, 5, 3600, 86_400]) * 1000 * MS }
        }
        41..=42 => Act::ReAdd(user, random.pick(&[0, 1, 2, 5, 9])),
        43..=46 => Act::Trips(key.addr),
        47..=51 => Act::Says(
            key.addr,
            random.pick(&[
                None,
                Some(0),
                Some(0),
                Some(1),
                Some(30),
                Some(50),
                Some(75),
                Some(99),
                Some(100),
            ]),
        ),
        _ => Act::Undrain { user, ignore_checks: random.percent(50) },
    }
}

fn fails(random: &mut Random, addr: IpAddr) -> Act {
    let refused = Outcome::Fail(FailReason::ConnectRefused);
    let timeout = Outcome::Fail(FailReason::ConnectTimeout);
    let down = Outcome::Inconclusive(LocalReason::NetworkDown);
    let outcome = random.pick(&[refused, refused, refused, timeout, down]);
    Act::Fails { addr, port: random.pick(&[None, Some(80), Some(80), Some(81)]), outcome }
}

fn by_others(random: &mut Random, user: User) -> Act {
    match random.below(16) {
        0..=3 => Act::Edit(user, 0),
        4..=9 => Act::Edit(user, random.pick(&[1, 2, 3, 5, 8, 65_535])),
        10..=11 => Act::Delete(user),
        12..=13 => Act::Add(user, random.pick(&[0, 1, 5, 9])),
        14 => random.pick(&[Act::Reload(user.0), Act::DeleteService(user.0), Act::Zeroes(user.0)]),
        _ => Act::Rebuild(user.0),
    }
}

fn faults(random: &mut Random) -> Act {
    match random.below(10) {
        0 => Act::NoFaults,
        7 => Act::Faults(Fault::Opens, random.pick(&[0, 50, 100])),
        1 => Act::Faults(Fault::Writes, random.pick(&[0, 30, 100])),
        2 => {
            let kind = random.pick(&[Fault::WritesRefused, Fault::WritesLanded, Fault::WritesLost]);
            Act::Faults(kind, random.pick(&[0, 50]))
        }
        3 => Act::Faults(Fault::Saves, random.pick(&[0, 50, 100])),
        4 => Act::Faults(Fault::Reads, random.pick(&[0, 50, 100])),
        5 => Act::Faults(Fault::Dumps, random.pick(&[0, 20])),
        8 => Act::Faults(Fault::Wires, random.pick(&[0, 30, 100])),
        6 => Act::Faults(Fault::ProbesSlow, random.pick(&[0, 30])),
        _ => Act::Faults(Fault::Slow, random.pick(&[0, 5, 30])),
    }
}
