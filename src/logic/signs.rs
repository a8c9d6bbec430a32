//! Whether a real server is still the one whose weight we know, or was taken out and added again
//! meanwhile (trap 6): its key is the same, and so are its counters.
//!
//! What one read can show, beside an absence that two reads confirm:
//! - It stands ahead of one that it stood behind. The kernel adds at the front and moves nothing
//!   else (`__ip_vs_update_dest`, list_add_rcu): no edit, no addition of another, no row that a dump
//!   missed makes it look so.
//! - The counters of its virtual server went backwards: that was built anew, or somebody zeroed them
//!   (`ipvsadm -Z`), which changes no destination. So it counts only together with a weight that is
//!   not what we left: the 0 that we put there is most likely still ours, and taking it for
//!   somebody's own would lose the weight for ever.
//! - The read before missed it: the same holds.

use std::collections::BTreeSet;

use super::ledger::Entry;
use super::service::{DestState, ServiceState};
use crate::model::{Counters, DestKey, RealServer, VirtualServer, Weight};

/// The sign that a real server shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sign {
    /// The read before missed it, which may have been the dump's fault (trap 3).
    Missed,
    /// The virtual server's counters went backwards.
    CountersFell,
    /// It moved to the front of its virtual server.
    Moved,
}

impl Sign {
    /// Whether it tells that a real server with this weight was added anew, where this is our record.
    pub fn tells(self, weight: Weight, ours: Option<&Entry>) -> bool {
        match self {
            Sign::Moved => true,
            Sign::Missed | Sign::CountersFell => ours.is_some_and(|entry| !entry.left(weight)),
        }
    }
}

impl ServiceState {
    /// Compares a newer reading with the one before.
    pub fn look_for_signs(&mut self, service: &VirtualServer) {
        let fell = fell(self.counters, service.counters).then_some(Sign::CountersFell);
        let moved = moved(&service.destinations, |key| self.dests.get(key)?.place);
        self.counters = service.counters;
        for row in &service.destinations {
            let Some(dest) = self.dests.get_mut(&row.key) else { continue };
            let sign = moved.contains(&row.key).then_some(Sign::Moved).or(fell);
            dest.sign = dest.sign.max(sign);
            dest.place = row.place;
        }
    }
}

impl DestState {
    /// We wrote to it, perhaps after it was added again: what it shows now is ours either way, and
    /// where it stood before says nothing any more.
    pub fn written(&mut self) {
        (self.sign, self.place) = (None, None);
    }
}

/// Those that moved ahead of one that was ahead of them; `place_before` is of the read before.
fn moved(rows: &[RealServer], place_before: impl Fn(&DestKey) -> Option<u32>) -> BTreeSet<DestKey> {
    let place = |row: &RealServer| Some((row.place?, place_before(&row.key)?, row.key));
    let mut places: Vec<(u32, u32, DestKey)> = rows.iter().filter_map(place).collect();
    places.sort_unstable();
    let mut moved = BTreeSet::new();
    let mut foremost_behind = u32::MAX;
    for (_, before, key) in places.into_iter().rev() {
        if before > foremost_behind {
            moved.insert(key);
        }
        foremost_behind = foremost_behind.min(before);
    }
    moved
}

/// All of them at once: the 32-bit ones of old kernels begin again one by one, when they are full.
fn fell(before: Option<Counters>, now: Option<Counters>) -> bool {
    let (Some(before), Some(now)) = (before, now) else { return false };
    let pairs = [
        (before.connections, now.connections),
        (before.incoming_packets, now.incoming_packets),
        (before.outgoing_packets, now.outgoing_packets),
        (before.incoming_bytes, now.incoming_bytes),
        (before.outgoing_bytes, now.outgoing_bytes),
    ];
    pairs.iter().all(|(before, now)| now <= before) && pairs.iter().any(|(before, now)| now < before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logic::service::tests::dest;
    use crate::logic::world::key;
    use crate::model::Forwarding;

    /// The real servers that stand in this order now, and in that order before, by number.
    fn moved_from(before: &[u8], now: &[u8]) -> Vec<u8> {
        let row = |(place, n): (usize, &u8)| RealServer {
            place: Some(place as u32),
            ..dest(&key(*n).to_string(), 5, Forwarding::Route)
        };
        let rows: Vec<RealServer> = now.iter().enumerate().map(row).collect();
        let moved =
            moved(&rows, |dest| before.iter().position(|n| key(*n) == *dest).map(|place| place as u32));
        now.iter().copied().filter(|n| moved.contains(&key(*n))).collect()
    }

    #[test]
    fn what_overtook_another_was_added_again_and_nothing_else() {
        let cases: [(&[u8], &[u8], &[u8]); 8] = [
            (&[3, 2, 1], &[1, 3, 2], &[1]),
            (&[4, 3, 2, 1], &[1, 3, 4, 2], &[1, 3]),
            (&[3, 2, 1], &[5, 1, 3, 2], &[1]),
            // Others come and go, a dump misses a row.
            (&[3, 2, 1], &[5, 4, 3, 2, 1], &[]),
            (&[3, 2, 1], &[3, 1], &[]),
            (&[3, 1], &[3, 2, 1], &[]),
            // The foremost one, or all of them in their old order: nothing to see.
            (&[3, 2, 1], &[3, 2, 1], &[]),
            (&[1], &[1], &[]),
        ];
        for (before, now, moved) in cases {
            assert_eq!(moved_from(before, now), moved, "{before:?} -> {now:?}");
        }
    }

    #[test]
    fn a_row_whose_place_is_not_known_says_nothing() {
        let mut rows = [1, 2].map(|n| dest(&key(n).to_string(), 5, Forwarding::Route));
        rows[0].place = Some(0);
        assert_eq!(moved(&rows, |_| Some(0)), BTreeSet::new());
        assert_eq!(moved(&rows, |_| None), BTreeSet::new());
    }

    #[test]
    fn counters_that_fell_together_were_begun_anew() {
        let counters = |connections, incoming_packets| {
            Some(Counters { connections, incoming_packets, ..Counters::default() })
        };
        assert!(fell(counters(9, 90), counters(0, 0)));
        assert!(fell(counters(9, 90), counters(9, 80)));
        assert!(!fell(counters(9, 90), counters(9, 90)));
        assert!(!fell(counters(9, 90), counters(10, 91)));
        assert!(!fell(counters(9, u64::from(u32::MAX)), counters(10, 3)), "one is full");
        assert!(!fell(None, counters(0, 0)) && !fell(counters(9, 90), None));
    }
}
