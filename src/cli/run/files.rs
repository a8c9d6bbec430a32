//! What the limit of open files is spent on.

use crate::model::{ProbeLimit, SkipReason};
use crate::os;

/// Open files that are not probes: netlink, listeners, scrapes, the ledger.
const RESERVE: u64 = 700;
/// More probes at one time would only queue in the kernel.
const MOST_IN_FLIGHT: u64 = 4096;
/// Fewer would not be an agent, whatever the reserve says.
const FEWEST_IN_FLIGHT: u64 = 16;
/// Where the limit is unknown.
const USUAL_LIMIT: u64 = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Files {
    pub probes: ProbeLimit,
    /// Connections of tripwires.
    pub wires: usize,
    pub kept_connections: usize,
}

impl Files {
    /// Raises the soft limit to the hard one (trap 53) and divides it.
    pub fn raised() -> Files {
        let limit = os::raise_open_files().unwrap_or_else(|error| {
            tracing::warn!(%error, "raising the limit of open files failed");
            USUAL_LIMIT
        });
        Files::of(limit)
    }

    /// Probes under way come first, with half of what there is at most: they can do without a wire or a kept
    /// connection, and are only later or cost more. Wires and kept connections share what is left.
    fn of(limit: u64) -> Files {
        let free = limit.saturating_sub(RESERVE);
        let in_flight = (free / 2).clamp(FEWEST_IN_FLIGHT, MOST_IN_FLIGHT);
        let reason =
            if in_flight < MOST_IN_FLIGHT { SkipReason::FdReserve } else { SkipReason::InFlightLimit };
        let idle = free.saturating_sub(in_flight);
        let count = |files: u64| usize::try_from(files).unwrap_or(usize::MAX);
        Files {
            probes: ProbeLimit { in_flight: count(in_flight), reason },
            wires: count(idle / 2),
            kept_connections: count(idle - idle / 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_kept_and_probes_under_way_come_before_idle_connections() {
        let of = |limit| {
            let Files { probes, wires, kept_connections } = Files::of(limit);
            (probes.in_flight, probes.reason, wires, kept_connections)
        };
        assert_eq!(of(64), (16, SkipReason::FdReserve, 0, 0));
        assert_eq!(of(1024), (162, SkipReason::FdReserve, 81, 81));
        assert_eq!(of(4096), (1698, SkipReason::FdReserve, 849, 849));
        assert_eq!(of(20_000), (4096, SkipReason::InFlightLimit, 7602, 7602));
        assert_eq!(of(1 << 20), (4096, SkipReason::InFlightLimit, 521_890, 521_890));
        for limit in [700, 1023, 1024, 4095, 9000, 1 << 20] {
            let (in_flight, _, wires, kept) = of(limit);
            assert!((in_flight + wires + kept) as u64 <= limit.max(716) - 700, "{limit}");
        }
    }
}
