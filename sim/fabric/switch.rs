//! A learning switch: which port a MAC was last heard on, and where a frame goes (IEEE 802.1D §7.7 to 7.9).
//!
//! It knows ports by number, no cables, and nothing above Ethernet.

use std::collections::BTreeMap;
use std::time::Duration;

use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;

/// How long a MAC is remembered (802.1D's recommended ageing time).
pub const AGEING: Duration = Duration::from_secs(300);

/// MACs that a switch remembers, as a small access switch does; a full table learns nothing new and floods.
const ADDRESSES_MAX: usize = 8192;

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Out of this port.
    Port(usize),
    /// Out of every port but the one it came in by.
    Flood,
    /// Nowhere: its destination is where it came from.
    Nowhere,
}

/// A switch.
#[derive(Debug, Default)]
pub(crate) struct Switch {
    /// The cable in each port and the side of it that is ours.
    pub(crate) ports: Vec<(usize, usize)>,
    /// The forwarding table: port and when it was last heard there.
    table: BTreeMap<MacAddr, (usize, Instant)>,
}

impl Switch {
    /// Learns where the source is and says where the frame goes.
    pub(crate) fn handle_frame(&mut self, now: Instant, port: usize, source: MacAddr, destination: MacAddr) -> Way {
        self.learn(now, port, source);
        if !destination.is_unicast() {
            return Way::Flood;
        }
        match self.table.get(&destination) {
            Some((_, heard)) if now - *heard > AGEING => Way::Flood,
            Some((known, _)) if *known == port => Way::Nowhere,
            Some((known, _)) => Way::Port(*known),
            None => Way::Flood,
        }
    }

    /// A port lost its cable: what was behind it is forgotten.
    pub(crate) fn forget_port(&mut self, port: usize) {
        self.table.retain(|_, (known, _)| *known != port);
    }

    /// Remembers a source.
    fn learn(&mut self, now: Instant, port: usize, source: MacAddr) {
        if let Some(entry) = self.table.get_mut(&source) {
            *entry = (port, now);
            return;
        }
        if !source.is_unicast() {
            return;
        }
        if self.table.len() >= ADDRESSES_MAX {
            self.table.retain(|_, (_, heard)| now - *heard <= AGEING);
        }
        if self.table.len() < ADDRESSES_MAX {
            self.table.insert(source, (port, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

    #[test]
    fn an_unknown_destination_is_flooded_and_a_learned_one_is_not() {
        let mut switch = Switch::default();
        assert_eq!(switch.handle_frame(Instant::ZERO, 1, A, B), Way::Flood);
        assert_eq!(switch.handle_frame(Instant::ZERO, 2, B, A), Way::Port(1));
        assert_eq!(switch.handle_frame(Instant::ZERO, 1, B, A), Way::Nowhere);
    }

    #[test]
    fn an_address_is_forgotten_after_its_age_and_with_its_port() {
        let mut switch = Switch::default();
        switch.handle_frame(Instant::ZERO, 1, A, B);
        assert_eq!(switch.handle_frame(Instant::ZERO + AGEING, 2, B, A), Way::Port(1));
        assert_eq!(switch.handle_frame(Instant::ZERO + AGEING + Duration::from_secs(1), 2, B, A), Way::Flood);
        switch.handle_frame(Instant::from_millis(400_000), 1, A, B);
        switch.forget_port(1);
        assert_eq!(switch.handle_frame(Instant::from_millis(400_000), 2, B, A), Way::Flood);
    }

    #[test]
    fn a_flood_of_invented_sources_does_not_grow_the_table_without_end() {
        let mut switch = Switch::default();
        for number in 0..20_000_u32 {
            let [a, b, c, d] = number.to_be_bytes();
            switch.handle_frame(Instant::ZERO, 1, MacAddr([2, 0, a, b, c, d]), B);
        }
        assert_eq!(switch.table.len(), ADDRESSES_MAX);
    }
}
