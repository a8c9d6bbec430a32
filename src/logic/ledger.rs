//! The weights we took: what has to survive us.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{DestKey, FailReason, Mono, Now, ServiceKey, Wall, Weight};

/// Where a table lives: weights taken in one must not be given back in another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// The identity of the table within this boot: its network namespace.
    pub table: String,
}

/// Sorted by key; one entry for each weight that is taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Ledger {
    pub origin: Origin,
    /// When a running agent last vouched for it.
    pub confirmed: Wall,
    /// The same moment by the clock that nobody sets and that begins with the boot.
    pub uptime: Option<Mono>,
    pub entries: BTreeMap<(ServiceKey, DestKey), Entry>,
    /// Entries that are no longer applied by themselves, with the reason.
    pub lapsed: BTreeMap<(ServiceKey, DestKey), (Entry, LapseReason)>,
    /// What operators asked for by hand; it lasts until they say otherwise, over reboots too.
    pub wishes: BTreeMap<(ServiceKey, DestKey), Wish>,
    /// Weights that somebody else raised over a drain of ours, as long as that counts (trap 20).
    pub raises: BTreeMap<(ServiceKey, DestKey), Raise>,
}

/// Somebody else raised a weight over our drain.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Raise {
    /// The last time.
    pub at: Wall,
    /// It was the second time within the window: left alone until the verdict changes.
    pub yielded: bool,
}

/// What an operator wants of one real server, whatever its checks say.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    pub kind: WishKind,
    /// The last weight it had but for us; `None`: not known.
    pub owed: Option<Weight>,
    /// The operator's own words.
    pub said: Option<Arc<str>>,
    pub since: Wall,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WishKind {
    /// Out.
    Drain,
    /// In, although its checks fail.
    IgnoreChecks,
}

impl WishKind {
    pub const ALL: [WishKind; 2] = [WishKind::Drain, WishKind::IgnoreChecks];

    pub fn as_str(self) -> &'static str {
        match self {
            WishKind::Drain => "drain",
            WishKind::IgnoreChecks => "ignore_checks",
        }
    }
}

/// For whom a weight was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakenBy {
    Check,
    /// With a wish to drain beside it, for that; without one it is on its way back (an undrain),
    /// which only failing checks stop.
    Operator,
}

impl TakenBy {
    pub const ALL: [TakenBy; 2] = [TakenBy::Check, TakenBy::Operator];

    pub fn as_str(self) -> &'static str {
        match self {
            TakenBy::Check => "check",
            TakenBy::Operator => "operator",
        }
    }
}

/// One weight that we took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Entry {
    /// To be given back.
    pub owed: Weight,
    /// What the kernel had before the last write: the owed weight, or a step of a ramp.
    pub from: Weight,
    /// What we put there.
    pub written: Weight,
    pub by: TakenBy,
    /// What the check said.
    pub reason: Option<FailReason>,
    pub since: Wall,
    pub state: EntryState,
}

impl Entry {
    /// True if this weight is what we left there: as we wrote it, or as it was before a write that may
    /// not have happened.
    pub fn left(&self, weight: Weight) -> bool {
        weight == self.written || (self.state == EntryState::Pending && weight == self.from)
    }

    /// True if it says that this weight, above 0 and not all of it, is a part that we left: of a ramp, or as
    /// the server wanted it; perhaps before a drain that may not have happened.
    pub fn left_in_part(&self, weight: Weight) -> bool {
        !weight.is_zero() && weight != self.owed && self.left(weight)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryState {
    /// On disk, but whether the kernel has it is not known.
    Pending,
    /// The kernel showed it.
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LapseReason {
    /// Taken in an earlier boot.
    Reboot,
    /// No running agent has confirmed it for the ledger's maximum age.
    Age,
    /// The real server was taken out and added again, with the weight that we had written (trap 6).
    AddedAgain,
}

impl LapseReason {
    pub const ALL: [LapseReason; 3] = [LapseReason::Reboot, LapseReason::Age, LapseReason::AddedAgain];

    pub fn as_str(self) -> &'static str {
        match self {
            LapseReason::Reboot => "reboot",
            LapseReason::Age => "age",
            LapseReason::AddedAgain => "added_again",
        }
    }
}

impl Ledger {
    pub fn new(origin: Origin) -> Ledger {
        Ledger {
            origin,
            confirmed: Wall(0.0),
            uptime: None,
            entries: BTreeMap::new(),
            lapsed: BTreeMap::new(),
            wishes: BTreeMap::new(),
            raises: BTreeMap::new(),
        }
    }

    /// Nothing is taken and nothing wished: it is the same for every table.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.wishes.is_empty()
    }

    /// Takes over the ledger of an earlier run. Entries of another boot, or too old, lapse; the
    /// same boot but another table is an error: they are somebody else's. Wishes by hand last.
    /// The second value is how long nobody vouched for it.
    pub fn adopt(
        mut earlier: Ledger,
        origin: Origin,
        now: Now,
        max_age: Duration,
    ) -> Result<(Ledger, Duration), String> {
        let age = earlier.age(&origin, now);
        if earlier.origin != origin {
            earlier.raises.clear();
        }
        earlier.uptime = earlier.confirmed_at(&origin, now);
        let lapse = if earlier.origin.boot_id != origin.boot_id {
            Some(LapseReason::Reboot)
        } else if earlier.origin.table != origin.table && !earlier.is_empty() {
            return Err(format!(
                "ledger.json in the state directory holds {} weights taken and {} wishes by hand for another table of this \
                 boot ({}; this one is {}); it is left untouched and nothing is drained: run the agent where they were \
                 taken, or in this network namespace with a state directory of its own",
                earlier.entries.len(),
                earlier.wishes.len(),
                earlier.origin.table,
                origin.table
            ));
        } else if age > max_age {
            Some(LapseReason::Age)
        } else {
            None
        };
        if let Some(reason) = lapse {
            for (key, entry) in std::mem::take(&mut earlier.entries) {
                // What is drained by hand is not given back by itself anyway, and its wish knows the weight.
                match earlier.wishes.get_mut(&key) {
                    Some(wish) if wish.kind == WishKind::Drain => wish.owed = Some(entry.owed),
                    Some(_) | None => drop(earlier.lapsed.insert(key, (entry, reason))),
                }
            }
        }
        earlier.origin = origin;
        Ok((earlier, age))
    }

    /// By the clock that nobody sets, within one boot; else by the wall clock, which may have been
    /// set back: then it is no age at all, and whoever adopts it writes down the new time (trap 49).
    fn age(&self, origin: &Origin, now: Now) -> Duration {
        match self.confirmed_at(origin, now) {
            Some(at) => now.mono.since(at),
            None => Duration::try_from_secs_f64(now.wall.0 - self.confirmed.0).unwrap_or(Duration::ZERO),
        }
    }

    /// `None`: it was in another boot (or by the clock of another time namespace), or is not written down.
    fn confirmed_at(&self, origin: &Origin, now: Now) -> Option<Mono> {
        self.uptime.filter(|at| self.origin.boot_id == origin.boot_id && *at <= now.mono)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_AGE: Duration = Duration::from_secs(3600);

    fn origin(boot: &str, table: &str) -> Origin {
        Origin { boot_id: boot.into(), table: table.into() }
    }

    fn at(wall: f64) -> Now {
        Now { mono: Mono::from_start(Duration::from_secs(50_000)), wall: Wall(wall) }
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::new(origin("b1", "t1"));
        ledger.confirmed = Wall(1000.0);
        let entry = Entry {
            owed: Weight(5),
            from: Weight(5),
            written: Weight::ZERO,
            by: TakenBy::Check,
            reason: None,
            since: Wall(900.0),
            state: EntryState::Done,
        };
        ledger.entries.insert(("10.0.0.1:80/tcp".parse().unwrap(), "10.0.0.2:80".parse().unwrap()), entry);
        ledger
    }

    #[test]
    fn the_same_boot_and_table_keep_their_entries() {
        let kept = Ledger::adopt(ledger(), origin("b1", "t1"), at(4600.0), MAX_AGE).unwrap().0;
        assert_eq!((kept.entries.len(), kept.lapsed.len()), (1, 0));
    }

    #[test]
    fn another_boot_and_old_age_lapse_but_keep_the_weight_on_record() {
        let rebooted = Ledger::adopt(ledger(), origin("b2", "t9"), at(1001.0), MAX_AGE).unwrap().0;
        assert_eq!(rebooted.entries.len(), 0);
        let (entry, why) = rebooted.lapsed.values().next().unwrap();
        assert_eq!((entry.owed, *why), (Weight(5), LapseReason::Reboot));
        assert_eq!(rebooted.origin, origin("b2", "t9"));
        let old = Ledger::adopt(ledger(), origin("b1", "t1"), at(4601.0), MAX_AGE).unwrap().0;
        assert_eq!(old.lapsed.values().next().unwrap().1, LapseReason::Age);
    }

    /// Trap 49: what the wall clock was set to while no agent ran is no age.
    #[test]
    fn within_one_boot_no_step_of_the_wall_clock_makes_it_older_or_younger() {
        let confirmed = |ago| Some(Mono::from_start(Duration::from_secs(50_000 - ago)));
        const YEAR: f64 = 366.0 * 86_400.0;
        for (step, ago, kept) in [(YEAR, 3600, 1), (-YEAR, 3600, 1), (YEAR, 3601, 0), (-YEAR, 3601, 0)] {
            let earlier = Ledger { uptime: confirmed(ago), ..ledger() };
            let now = at(1000.0 + ago as f64 + step);
            let (adopted, age) = Ledger::adopt(earlier, origin("b1", "t1"), now, MAX_AGE).unwrap();
            assert_eq!((adopted.entries.len(), age), (kept, Duration::from_secs(ago)), "{step} {ago}");
        }
        // Of another boot it says nothing, nor from a clock that is ahead of ours.
        let later = Ledger { uptime: Some(Mono::from_start(Duration::from_secs(50_001))), ..ledger() };
        let (adopted, age) = Ledger::adopt(later, origin("b1", "t1"), at(1007.0), MAX_AGE).unwrap();
        assert_eq!((adopted.uptime, age), (None, Duration::from_secs(7)));
    }

    #[test]
    fn what_others_raised_is_of_one_table_in_one_boot() {
        let mut earlier = ledger();
        let key = *earlier.entries.keys().next().unwrap();
        earlier.raises.insert(key, Raise { at: Wall(990.0), yielded: true });
        let of = |boot: &str, table: &str| {
            let mut earlier = earlier.clone();
            earlier.entries.clear();
            Ledger::adopt(earlier, origin(boot, table), at(1001.0), MAX_AGE).unwrap().0.raises.len()
        };
        assert_eq!([of("b1", "t1"), of("b1", "t2"), of("b2", "t1")], [1, 0, 0]);
    }

    #[test]
    fn a_drain_by_hand_outlasts_a_reboot_and_keeps_its_weight() {
        let mut earlier = ledger();
        let key = *earlier.entries.keys().next().unwrap();
        let wish = Wish { kind: WishKind::Drain, owed: None, said: Some("disk".into()), since: Wall(9.0) };
        earlier.wishes.insert(key, wish.clone());
        let rebooted = Ledger::adopt(earlier, origin("b2", "t9"), at(1001.0), MAX_AGE).unwrap().0;
        assert_eq!((rebooted.entries.len(), rebooted.lapsed.len()), (0, 0));
        assert_eq!(rebooted.wishes[&key], Wish { owed: Some(Weight(5)), ..wish });
    }

    #[test]
    fn another_table_of_the_same_boot_is_an_error() {
        let error = Ledger::adopt(ledger(), origin("b1", "t2"), at(1001.0), MAX_AGE).unwrap_err();
        assert!(error.contains("t1") && error.contains("t2"), "{error}");
    }
}
