//! Which frames a neighbor table believes: the ends of arp_process (net/ipv4/arp.c) and of ndisc_recv_ns and ndisc_recv_na
//! (net/ipv6/ndisc.c), and what all three do with an entry (__neigh_update in net/core/neighbour.c), in their order.
//!
//! Whether a frame is for the host, and what is answered, is decided by the host.

use std::net::{IpAddr, Ipv6Addr};

use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;

use super::{Ageing, NeighborState, NeighborTable, Outcome, nanos, stamp};
use crate::frame::{Arp, Operation};

/// What a neighbor advertisement says (RFC 4861 §4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Advertisement {
    /// The address that it is about.
    pub(crate) target: Ipv6Addr,
    /// The target link-layer address option.
    pub(crate) mac: Option<MacAddr>,
    /// S: an answer to a solicitation.
    pub(crate) solicited: bool,
    /// O: what is cached may be overridden.
    pub(crate) overrides: bool,
}

/// How a frame may change an entry (NEIGH_UPDATE_F_*).
struct Claim {
    /// The MAC that it tells, if it tells one.
    mac: Option<MacAddr>,
    /// STALE or REACHABLE.
    state: NeighborState,
    /// NEIGH_UPDATE_F_OVERRIDE: another MAC is taken.
    overrides: bool,
    /// NEIGH_UPDATE_F_WEAK_OVERRIDE: another MAC that may not override makes a REACHABLE entry STALE.
    doubts: bool,
    /// Nobody here asked for it.
    unsolicited: bool,
}

impl NeighborTable {
    /// A request for one of the host's own addresses, or a solicitation, heard from `sender` (neigh_event_ns): it always overrides, and creates.
    /// `mac` is absent where a solicitation carried none: then it creates and tells nothing.
    pub(crate) fn handle_asked(&mut self, now: Instant, sender: IpAddr, mac: Option<MacAddr>, out: &mut Vec<Outcome>) {
        if self.entries.contains_key(&sender) || self.create(now, sender) {
            let doubts = sender.is_ipv6();
            self.update(now, sender, Claim { mac, state: NeighborState::Stale, overrides: true, doubts, unsolicited: true }, out);
        }
    }

    /// Any other ARP message (the end of arp_process). `to_us_alone`: its Ethernet destination was this NIC.
    pub(crate) fn handle_heard(&mut self, now: Instant, arp: &Arp, to_us_alone: bool, out: &mut Vec<Outcome>) {
        let sender = IpAddr::V4(arp.sender_ip);
        let gratuitous = arp.is_gratuitous();
        let known = self.entries.contains_key(&sender);
        // arp_accept creates from gratuitous frames and from replies.
        let creates = self.settings.accept_gratuitous && (gratuitous || arp.operation == Operation::Reply);
        let there = known || (creates && self.create(now, sender));
        if !there {
            return;
        }
        let locked = self.entries.get(&sender).is_some_and(|entry| stamp(now) <= entry.updated + nanos(self.settings.lock));
        // Broadcast replies and requests do not assert that the neighbor is reachable.
        let confirms = arp.operation == Operation::Reply && to_us_alone;
        let claim = Claim {
            mac: Some(arp.sender_mac),
            state: if confirms { NeighborState::Reachable } else { NeighborState::Stale },
            overrides: gratuitous || !locked,
            doubts: false,
            unsolicited: !confirms || gratuitous,
        };
        self.update(now, sender, claim, out);
    }

    /// A neighbor advertisement about somebody else's address (the end of ndisc_recv_na). It never creates, and it does not revive what
    /// FAILED.
    pub(crate) fn handle_advertised(&mut self, now: Instant, advertisement: &Advertisement, out: &mut Vec<Outcome>) {
        let target = IpAddr::V6(advertisement.target);
        if self.entries.get(&target).is_none_or(|entry| entry.state == NeighborState::Failed) {
            return;
        }
        let claim = Claim {
            mac: advertisement.mac,
            state: if advertisement.solicited { NeighborState::Reachable } else { NeighborState::Stale },
            overrides: advertisement.overrides,
            doubts: true,
            unsolicited: !advertisement.solicited,
        };
        self.update(now, target, claim, out);
    }

    /// Whether a message with the same sender and target address is thrown away unread.
    pub(crate) fn drops(&self, arp: &Arp) -> bool {
        self.settings.drop_gratuitous && arp.sender_ip == arp.target_ip
    }

    /// __neigh_update, for what a frame can say.
    fn update(&mut self, now: Instant, address: IpAddr, claim: Claim, out: &mut Vec<Outcome>) {
        let reachable = self.reachable(now);
        let (base, ageing) = (nanos(self.settings.base_reachable), self.settings.ageing);
        let refuses = claim.unsolicited && !self.settings.believe_unsolicited;
        let Some(entry) = self.entries.get_mut(&address) else { return };
        let old = entry.state;
        if old.is_valid() && refuses {
            return;
        }
        // Without a MAC it is about the one that is known; if none is, it says nothing.
        let Some(mut mac) = claim.mac.or_else(|| old.is_valid().then_some(entry.mac)) else { return };
        let mut new = if ageing == Ageing::Forgotten { NeighborState::Reachable } else { claim.state };
        if new == NeighborState::Reachable {
            entry.confirmed = stamp(now);
        }
        if old.is_valid() {
            if mac != entry.mac && !claim.overrides {
                if !(claim.doubts && old == NeighborState::Reachable) {
                    return;
                }
                mac = entry.mac;
                new = NeighborState::Stale;
            } else if mac == entry.mac && new == NeighborState::Stale {
                // An entry whose MAC did not change does not become worse.
                new = old;
            }
        }
        let same_mac = old.is_valid() && entry.mac == mac;
        if new == old && same_mac {
            return;
        }
        entry.updated = stamp(now);
        if new != old {
            entry.timer = None;
            entry.state = new;
            if new == NeighborState::Reachable {
                entry.arm(address, now + reachable, out);
            }
        }
        if !same_mac {
            entry.mac = mac;
            if new != NeighborState::Reachable {
                entry.confirmed = stamp(now) - 2 * base;
            }
        }
        entry.tell(address, out);
        let waiting = entry.take_queue();
        for packet in waiting {
            // Through the ordinary way out, so that a STALE entry turns to DELAY.
            if let Some((mac, packet)) = self.send(now, address, packet, false, out) {
                out.push(Outcome::Send { mac, packet });
            }
        }
    }
}
