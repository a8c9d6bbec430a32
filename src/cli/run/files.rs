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

    /// Probes under way come first: without a kept connection a probe only costs more.
    fn of(limit: u64) -> Files {
        let free = limit.saturating_sub(RESERVE);
        let in_flight = free.clamp(FEWEST_IN_FLIGHT, MOST_IN_FLIGHT);
        let reason = if free < MOST_IN_FLIGHT { SkipReason::FdReserve } else { SkipReason::InFlightLimit };
        let count = |files: u64| usize::try_from(files).unwrap_or(usize::MAX);
        Files {
            probes: ProbeLimit { in_flight: count(in_flight), reason },
            kept_connections: count(free.saturating_sub(in_flight)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_kept_and_probes_under_way_come_before_kept_connections() {
        let of = |limit| {
            let Files { probes, kept_connections } = Files::of(limit);
            (probes.in_flight, probes.reason, kept_connections)
        };
        assert_eq!(of(64), (16, SkipReason::FdReserve, 0));
        assert_eq!(of(1024), (324, SkipReason::FdReserve, 0));
        assert_eq!(of(4096), (3396, SkipReason::FdReserve, 0));
        assert_eq!(of(20_000), (4096, SkipReason::InFlightLimit, 15_204));
        assert_eq!(of(1 << 20), (4096, SkipReason::InFlightLimit, (1 << 20) - 4796));
    }
}
