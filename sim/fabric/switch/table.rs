//! The forwarding table: MAC to port, with the time it was last heard there.

use std::time::Duration;

use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::{SwitchConfig, SwitchCounters};

/// How often a full table is swept for what has aged, at most: a flood of invented sources must not sweep at every frame.
const SWEEP: Duration = Duration::from_secs(1);

/// A forwarding table. Hashed with a fixed seed; nothing is put out in its order.
#[derive(Debug)]
pub(super) struct Table {
    /// Port and when it was last heard there.
    entries: HashMap<MacAddr, (u32, Instant), FixedState>,
    /// When it was last swept.
    swept: Option<Instant>,
    /// MACs heard elsewhere than before.
    moves: u64,
    /// MACs that found no room.
    not_learned: u64,
}

impl Default for Table {
    fn default() -> Self {
        Self { entries: HashMap::with_hasher(FixedState::with_seed(0)), swept: None, moves: 0, not_learned: 0 }
    }
}

impl Table {
    /// Remembers a source.
    pub(super) fn learn(&mut self, now: Instant, port: usize, source: MacAddr, config: &SwitchConfig) {
        let port = u32::try_from(port).unwrap_or(u32::MAX);
        if let Some(entry) = self.entries.get_mut(&source) {
            // One that had aged was gone already, whoever swept it out.
            self.moves += u64::from(entry.0 != port && now - entry.1 <= config.ageing);
            *entry = (port, now);
            return;
        }
        if !source.is_unicast() {
            return;
        }
        if self.entries.len() >= config.table_max && self.swept.is_none_or(|swept| now - swept >= SWEEP) {
            self.swept = Some(now);
            self.entries.retain(|_, (_, heard)| now - *heard <= config.ageing);
        }
        if self.entries.len() >= config.table_max {
            self.not_learned += 1;
        } else if let Entry::Vacant(entry) = self.entries.entry(source) {
            entry.insert((port, now));
        }
    }

    /// The port behind which a MAC was heard and has not aged.
    pub(super) fn port_of(&self, now: Instant, mac: MacAddr, ageing: Duration) -> Option<usize> {
        let (port, heard) = self.entries.get(&mac)?;
        (now - *heard <= ageing).then_some(*port as usize)
    }

    /// Forgets what is behind some ports.
    pub(super) fn forget(&mut self, mut port: impl FnMut(usize) -> bool) {
        self.entries.retain(|_, (known, _)| !port(*known as usize));
    }

    /// Its numbers.
    pub(super) fn counters(&self) -> SwitchCounters {
        SwitchCounters { known: self.entries.len(), moves: self.moves, not_learned: self.not_learned }
    }
}
