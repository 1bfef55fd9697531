//! The neighbor table of one NIC and one family, as Linux 6.18 keeps it (net/core/neighbour.c): entries, their timers, packets that wait.
//!
//! It decides which MAC a packet goes to and when the wire is asked; `hear` decides which frames are believed, for ARP and for neighbor
//! discovery. It sends nothing: what is to be done comes out as [`Outcome`]s. It does not know the host's addresses (whether a frame asks for one of them is the host's question), nor routes.
//! As in the kernel, `used` moves only off the fast path: an entry that is REACHABLE is not marked by the packets that go to it.
//! Facts: the reference's layer2-peers-and-kernel.md §6.2.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;
use rand_chacha::ChaCha8Rng;

use crate::random::below;

mod collect;
mod hear;
mod profile;
mod render;
mod settings;
pub(crate) use hear::Advertisement;
pub use profile::{Profile, UnknownProfile};
pub use render::Neighbor;
pub use settings::{Ageing, NeighborSettings};
#[cfg(test)]
mod tests;

/// The state of an entry (NUD_*, include/uapi/linux/neighbour.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NeighborState {
    /// Asked for, not yet answered.
    Incomplete,
    /// Confirmed not long ago.
    Reachable,
    /// Known, and nobody has asked lately whether it is true.
    Stale,
    /// Stale and in use: a sign of life is awaited before it is probed.
    Delay,
    /// Being probed; packets go on to the known MAC.
    Probe,
    /// Given up.
    Failed,
}

impl NeighborState {
    /// NUD_VALID: there is a MAC that packets go to.
    pub const fn is_valid(self) -> bool {
        matches!(self, Self::Reachable | Self::Stale | Self::Delay | Self::Probe)
    }
}

/// What the table wants done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Ask who has `target`: everybody, or `to` alone. `asker` is the source address of a packet that waits for the answer.
    Solicit { target: IpAddr, to: Option<MacAddr>, asker: Option<IpAddr> },
    /// Send a packet that had waited.
    Send { mac: MacAddr, packet: Vec<u8> },
    /// Nobody has the address that this packet waited for.
    Unreachable { packet: Vec<u8> },
    /// Call [`NeighborTable::handle_timer`] then.
    Wake { address: IpAddr, at: Instant },
    /// An entry is not what it was.
    Changed { address: IpAddr, state: NeighborState, mac: Option<MacAddr> },
}

/// One address and what is known of it.
#[derive(Debug)]
struct Entry {
    /// NUD state.
    state: NeighborState,
    /// Its MAC; meaningless unless the state is valid.
    mac: MacAddr,
    /// When the state or the MAC last changed: the lock counts from here.
    updated: Stamp,
    /// When it last gave a sign of life.
    confirmed: Stamp,
    /// When a packet last took the slow path.
    used: Stamp,
    /// Solicitations sent in this state.
    probes: u32,
    /// When its timer fires; an earlier or later call is none of its own.
    timer: Option<Instant>,
    /// Packets waiting while INCOMPLETE.
    queue: VecDeque<Vec<u8>>,
    /// What they cost the kernel.
    queued: usize,
}

/// Nanoseconds that may lie before the clock's zero, as the kernel's jiffies may.
type Stamp = i64;

/// The table of one NIC. `handle_*` take in what happened and `send` a packet; outcomes are appended to the list given.
#[derive(Debug)]
pub(crate) struct NeighborTable {
    /// Settings of this NIC.
    settings: NeighborSettings,
    /// By address.
    entries: BTreeMap<IpAddr, Entry>,
    /// The reachable time of this moment.
    reachable: Duration,
    /// When it was drawn.
    drawn: Instant,
    /// When entries were last collected.
    collected: Instant,
    /// Where it is drawn from.
    rng: ChaCha8Rng,
}

/// How often the reachable time is drawn anew (neigh_periodic_work: 300 seconds).
const REDRAW: Duration = Duration::from_secs(300);

impl NeighborTable {
    /// An empty table that draws its reachable time from `rng`.
    pub(crate) fn new(now: Instant, settings: NeighborSettings, rng: ChaCha8Rng) -> Self {
        let mut table = Self { settings, entries: BTreeMap::new(), reachable: Duration::ZERO, drawn: now, collected: now, rng };
        table.draw_reachable(now);
        table
    }

    /// The entry's state and, where that is valid, its MAC.
    pub(crate) fn entry(&self, address: IpAddr) -> Option<(NeighborState, Option<MacAddr>)> {
        self.entries.get(&address).map(|entry| (entry.state, entry.state.is_valid().then_some(entry.mac)))
    }

    /// A packet for `address` (neigh_output). It comes back with the MAC if it may go at once; else it waits, or is unreachable by an outcome.
    /// `confirm`: its sender has seen progress (MSG_CONFIRM, sk_dst_confirm).
    pub(crate) fn send(
        &mut self,
        now: Instant,
        address: IpAddr,
        packet: Vec<u8>,
        confirm: bool,
        out: &mut Vec<Outcome>,
    ) -> Option<(MacAddr, Vec<u8>)> {
        if !self.entries.contains_key(&address) && !self.create(now, address) {
            out.push(Outcome::Unreachable { packet });
            return None;
        }
        let entry = self.entries.get_mut(&address)?;
        if confirm {
            entry.confirmed = stamp(now);
        }
        if entry.state == NeighborState::Reachable {
            return Some((entry.mac, packet));
        }
        entry.used = stamp(now);
        match entry.state {
            NeighborState::Reachable | NeighborState::Delay | NeighborState::Probe => Some((entry.mac, packet)),
            NeighborState::Stale => {
                entry.state = NeighborState::Delay;
                entry.updated = stamp(now);
                entry.arm(address, now + self.settings.delay_first_probe, out);
                entry.tell(address, out);
                Some((entry.mac, packet))
            }
            NeighborState::Incomplete => {
                entry.enqueue(packet, self.settings.queue_bytes);
                None
            }
            NeighborState::Failed => {
                entry.state = NeighborState::Incomplete;
                entry.updated = stamp(now);
                // __neigh_event_send: resolution starts where the unicast probes would have ended.
                entry.probes = self.settings.unicast_probes;
                entry.arm(address, now + self.settings.retransmit, out);
                entry.tell(address, out);
                entry.enqueue(packet, self.settings.queue_bytes);
                entry.solicit(now, address, &self.settings, out);
                None
            }
        }
    }

    /// The timer of an entry (neigh_timer_handler).
    pub(crate) fn handle_timer(&mut self, now: Instant, address: IpAddr, out: &mut Vec<Outcome>) {
        let reachable = nanos(self.reachable(now));
        let settings = &self.settings;
        let Some(entry) = self.entries.get_mut(&address).filter(|entry| entry.timer.is_some_and(|due| due <= now)) else { return };
        entry.timer = None;
        let before = entry.state;
        let next = match entry.state {
            NeighborState::Stale | NeighborState::Failed => return,
            NeighborState::Reachable if stamp(now) <= entry.confirmed + reachable => instant(entry.confirmed + reachable),
            NeighborState::Reachable if settings.ageing == Ageing::Forgotten => {
                entry.state = NeighborState::Failed;
                now
            }
            NeighborState::Reachable if stamp(now) <= entry.used + nanos(settings.delay_first_probe) => {
                entry.state = NeighborState::Delay;
                now + settings.delay_first_probe
            }
            NeighborState::Reachable => {
                entry.state = NeighborState::Stale;
                now
            }
            NeighborState::Delay if stamp(now) <= entry.confirmed + nanos(settings.delay_first_probe) => {
                entry.state = NeighborState::Reachable;
                instant(entry.confirmed + reachable)
            }
            NeighborState::Delay => {
                entry.state = NeighborState::Probe;
                entry.probes = 0;
                now + settings.retransmit
            }
            NeighborState::Probe | NeighborState::Incomplete => now + settings.retransmit,
        };
        if entry.asks() && entry.probes >= entry.probes_max(settings) {
            entry.state = NeighborState::Failed;
        }
        if entry.state != before {
            entry.updated = stamp(now);
            entry.tell(address, out);
        }
        match entry.state {
            NeighborState::Failed => out.extend(entry.take_queue().into_iter().map(|packet| Outcome::Unreachable { packet })),
            NeighborState::Stale => {}
            // A reachable time that was redrawn shorter has passed already: the kernel looks again after 10 ms.
            _ => entry.arm(address, next.max(now + TIMER_MIN), out),
        }
        if entry.asks() {
            entry.solicit(now, address, settings, out);
        }
    }

    /// The NIC went down: nothing is known any more (neigh_ifdown).
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    /// The reachable time, redrawn where five minutes have passed.
    fn reachable(&mut self, now: Instant) -> Duration {
        if now - self.drawn > REDRAW {
            self.draw_reachable(now);
        }
        self.reachable
    }

    /// neigh_rand_reach_time: half to one and a half of the base. What is forgotten by age is forgotten on time.
    fn draw_reachable(&mut self, now: Instant) {
        let base = u64::try_from(self.settings.base_reachable.as_nanos()).unwrap_or(u64::MAX);
        self.reachable = match self.settings.ageing {
            Ageing::Probed => Duration::from_nanos((base / 2).saturating_add(below(&mut self.rng, base))),
            Ageing::Forgotten => self.settings.base_reachable,
        };
        self.drawn = now;
    }
}

/// The kernel never sets a timer nearer than HZ/100.
const TIMER_MIN: Duration = Duration::from_millis(10);

impl Entry {
    /// Whether it is in a state that sends solicitations.
    fn asks(&self) -> bool {
        matches!(self.state, NeighborState::Incomplete | NeighborState::Probe)
    }

    /// neigh_max_probes.
    fn probes_max(&self, settings: &NeighborSettings) -> u32 {
        let broadcasts = if self.state == NeighborState::Probe { settings.broadcast_reprobes } else { settings.broadcast_probes };
        settings.unicast_probes + broadcasts
    }

    /// neigh_probe, arp_solicit and ndisc_solicit: the first ones to the known MAC alone, then to everybody.
    fn solicit(&mut self, now: Instant, address: IpAddr, settings: &NeighborSettings, out: &mut Vec<Outcome>) {
        let to = (self.probes < settings.unicast_probes && self.state.is_valid()).then_some(self.mac);
        let asker = self.queue.back().and_then(|packet| crate::packet::source(packet));
        if to.is_some() && address.is_ipv6() {
            // A unicast solicitation is a packet to the neighbor like any other (ndisc_send_ns), and takes the slow path.
            self.used = stamp(now);
        }
        out.push(Outcome::Solicit { target: address, to, asker });
        self.probes += 1;
    }

    /// Lets a packet wait; where the queue is full the oldest go (__neigh_event_send).
    fn enqueue(&mut self, packet: Vec<u8>, queue_bytes: usize) {
        let cost = truesize(packet.len());
        while self.queued + cost > queue_bytes {
            let Some(oldest) = self.queue.pop_front() else { break };
            self.queued -= truesize(oldest.len());
        }
        self.queued += cost;
        self.queue.push_back(packet);
    }

    /// Takes everything that waits.
    fn take_queue(&mut self) -> VecDeque<Vec<u8>> {
        self.queued = 0;
        std::mem::take(&mut self.queue)
    }

    /// Sets the one timer.
    fn arm(&mut self, address: IpAddr, at: Instant, out: &mut Vec<Outcome>) {
        self.timer = Some(at);
        out.push(Outcome::Wake { address, at });
    }

    /// Says what it is now.
    fn tell(&self, address: IpAddr, out: &mut Vec<Outcome>) {
        out.push(Outcome::Changed { address, state: self.state, mac: self.state.is_valid().then_some(self.mac) });
    }
}

/// What a packet costs the kernel (skb->truesize), headroom counted: 832 bytes for a small one, measured on Linux 6.18 (256 of them wait); from
/// there by the sizes that kmalloc has, with 256 bytes of sk_buff and 320 of skb_shared_info, from memory.
fn truesize(length: usize) -> usize {
    const SMALL_HEAD: usize = 576;
    const SK_BUFF: usize = 256;
    const SHARED_INFO: usize = 320;
    let head = length + SHARED_INFO;
    SK_BUFF + if head <= SMALL_HEAD { SMALL_HEAD } else { head.next_power_of_two() }
}

/// A moment as the kernel's arithmetic needs it. 2⁶³ ns are 292 years.
fn stamp(at: Instant) -> Stamp {
    Stamp::try_from(at.as_nanos()).unwrap_or(Stamp::MAX)
}

/// Back again; before zero is zero.
fn instant(at: Stamp) -> Instant {
    Instant::from_nanos(u64::try_from(at).unwrap_or(0))
}

/// A length of time on the same scale.
fn nanos(duration: Duration) -> Stamp {
    Stamp::try_from(duration.as_nanos()).unwrap_or(Stamp::MAX / 4)
}
