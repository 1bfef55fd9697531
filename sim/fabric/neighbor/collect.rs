//! How entries come and go: creation under the three thresholds, and collection (neigh_alloc, neigh_forced_gc, neigh_periodic_work).
//!
//! The kernel collects every 15 s by a work item; we look when an entry is created, which is when more of them could hurt.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;

use super::{Entry, NeighborState, NeighborTable, nanos, stamp};

/// A forced collection spares what changed within five seconds (neigh_forced_gc).
const SPARED: Duration = Duration::from_secs(5);

impl NeighborTable {
    /// Makes an entry that looks as if it had failed: the first packet or frame gives it its state. `false` if the table is full.
    pub(super) fn create(&mut self, now: Instant, address: IpAddr) -> bool {
        if self.entries.len() > self.settings.collect_from && now - self.collected >= self.settings.base_reachable / 2 {
            self.collect_unused(now);
        }
        if self.entries.len() >= self.settings.entries_max {
            self.collect_oldest(now);
        }
        if self.entries.len() >= self.settings.entries_max {
            return false;
        }
        let entry = Entry {
            state: NeighborState::Failed,
            mac: MacAddr::ZERO,
            updated: stamp(now),
            confirmed: stamp(now) - 2 * nanos(self.settings.base_reachable),
            used: stamp(now),
            probes: 0,
            timer: None,
            queue: VecDeque::new(),
            queued: 0,
        };
        self.entries.insert(address, entry);
        true
    }

    /// Takes out what failed and what nobody used for gc_stale_time.
    fn collect_unused(&mut self, now: Instant) {
        let unused_since = stamp(now) - nanos(self.settings.stale_collected);
        self.collected = now;
        self.entries.retain(|_, entry| match entry.state {
            NeighborState::Failed => false,
            NeighborState::Stale => entry.used.max(entry.confirmed) > unused_since,
            _ => true,
        });
    }

    /// Takes out the least recently changed, down to gc_thresh2.
    fn collect_oldest(&mut self, now: Instant) {
        let mut ages: Vec<_> = self.entries.iter().map(|(address, entry)| (entry.updated, *address)).collect();
        ages.sort_unstable();
        let surplus = ages.len().saturating_sub(self.settings.collect_to);
        for (updated, address) in ages.into_iter().take(surplus) {
            let failed = self.entry(address).is_some_and(|(state, _)| state == NeighborState::Failed);
            if failed || updated < stamp(now) - nanos(SPARED) {
                self.entries.remove(&address);
            }
        }
    }
}
