//! Machines that do harm: that take an address as their own, speak for one that is not theirs, or storm. The last two speak ARP only.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;

use super::{Fabric, MachineId, NicId, Pending};
use crate::frame::{Arp, Operation};
use crate::trace::Event;

/// A spoofer that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpoofId(u32);

/// A storm that was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StormId(u32);

/// What runs.
#[derive(Debug, Default)]
pub(super) struct Hostile {
    spoofs: BTreeMap<SpoofId, Spoof>,
    storms: BTreeMap<StormId, Storm>,
    /// The next id.
    next: u32,
}

/// A spoofer.
#[derive(Debug)]
struct Spoof {
    machine: MachineId,
    address: Ipv4Addr,
    every: Duration,
}

/// A storm.
#[derive(Debug)]
struct Storm {
    machine: MachineId,
    /// When it began: the n-th frame is due n intervals later, so that rounding does not add up.
    began: Instant,
    rate: u32,
    /// Frames so far.
    sent: u64,
}

/// Whom a storm asks for: addresses of the range for benchmarks (RFC 2544, 198.18.0.0/15), which nobody has.
const NOBODY: u32 = 0xc612_0000;

impl Hostile {
    /// Ends all that runs on a machine.
    pub(super) fn stop_all_of(&mut self, machine: MachineId) {
        self.spoofs.retain(|_, spoof| spoof.machine != machine);
        self.storms.retain(|_, storm| storm.machine != machine);
    }

    /// An id.
    fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }
}

impl Fabric {
    /// Lets a machine take an address onto the NIC on whose subnet it is, and answer for it from now on as its kernel does: one of IPv4 without asking or
    /// telling anybody, one of IPv6 once a second has passed in which nobody else had it. `false` if it has no such NIC or no power, or the address is
    /// its own already.
    pub fn claim_address(&mut self, machine: MachineId, address: impl Into<IpAddr>) -> bool {
        match address.into() {
            IpAddr::V4(address) => {
                let host = &mut self.machines[machine.0];
                let taken = if host.powered { host.claim(address) } else { None };
                self.claimed(machine, address.into(), taken, true)
            }
            IpAddr::V6(address) => self.with_machine(machine, |now, host, effects| host.claim6(now, address, effects)),
        }
    }

    /// Lets it give up an address that it took. `false` if it took none such.
    pub fn release_address(&mut self, machine: MachineId, address: impl Into<IpAddr>) -> bool {
        let address = address.into();
        let host = &mut self.machines[machine.0];
        let released = match address {
            IpAddr::V4(address) => host.release(address),
            IpAddr::V6(address) => host.release6(address),
        };
        self.claimed(machine, address, released, false)
    }

    /// Starts an ARP spoofer: at once and then every so often, a gratuitous request and a gratuitous reply to all that name the machine's own MAC for the
    /// address. A program of the machine's: it stands still with it and dies with its power.
    pub fn spoof(&mut self, machine: MachineId, address: Ipv4Addr, every: Duration) -> SpoofId {
        let id = SpoofId(self.hostile.number());
        // Not less than a microsecond: time would stand still otherwise.
        let every = every.max(Duration::from_micros(1));
        self.hostile.spoofs.insert(id, Spoof { machine, address, every });
        self.queue.push(self.now, Pending::Spoof(id));
        id
    }

    /// Ends it.
    pub fn stop_spoof(&mut self, spoof: SpoofId) {
        self.hostile.spoofs.remove(&spoof);
    }

    /// Starts a storm: ARP requests to all for addresses that nobody has, so many a second, from the machine's first NIC. It stands still with the
    /// machine and dies with its power. A rate of zero sends nothing.
    pub fn storm(&mut self, machine: MachineId, rate: u32) -> StormId {
        let id = StormId(self.hostile.number());
        if rate > 0 {
            self.hostile.storms.insert(id, Storm { machine, began: self.now, rate, sent: 0 });
            self.queue.push(self.now, Pending::Storm(id));
        }
        id
    }

    /// Ends it.
    pub fn stop_storm(&mut self, storm: StormId) {
        self.hostile.storms.remove(&storm);
    }

    /// A spoofer's next frames.
    pub(super) fn spoof_again(&mut self, id: SpoofId) {
        let Some(spoof) = self.hostile.spoofs.get(&id) else { return };
        let (machine, address) = (spoof.machine, spoof.address);
        self.queue.push(self.now + spoof.every, Pending::Spoof(id));
        if let Some((nic, mac, _)) = self.mouth(machine, Some(address)) {
            let says = |operation, target_mac| Arp { operation, sender_mac: mac, sender_ip: address, target_mac, target_ip: address };
            self.send_from(nic, says(Operation::Request, MacAddr::ZERO).frame(mac, MacAddr::BROADCAST));
            // The form that Linux takes for gratuitous: target and sender MAC are the same (arp_is_garp).
            self.send_from(nic, says(Operation::Reply, mac).frame(mac, MacAddr::BROADCAST));
        }
    }

    /// A storm's next frame.
    pub(super) fn storm_on(&mut self, id: StormId) {
        let Some(storm) = self.hostile.storms.get_mut(&id) else { return };
        storm.sent += 1;
        let (machine, sent) = (storm.machine, storm.sent);
        let after = u128::from(sent) * 1_000_000_000 / u128::from(storm.rate);
        let next = storm.began + Duration::from_nanos(u64::try_from(after).unwrap_or(u64::MAX));
        self.queue.push(next, Pending::Storm(id));
        if let Some((nic, mac, own)) = self.mouth(machine, None) {
            let [.., a, b] = sent.to_be_bytes();
            let target_ip = Ipv4Addr::from_bits(NOBODY | u32::from(u16::from_be_bytes([a, b])));
            let asks = Arp { operation: Operation::Request, sender_mac: mac, sender_ip: own, target_mac: MacAddr::ZERO, target_ip };
            self.send_from(nic, asks.frame(mac, MacAddr::BROADCAST));
        }
    }

    /// The NIC that a harmful program speaks through: the one on whose subnet the address is, or the first; with its MAC and its first address. Nothing
    /// speaks on a machine that stands still.
    fn mouth(&self, machine: MachineId, towards: Option<Ipv4Addr>) -> Option<(NicId, MacAddr, Ipv4Addr)> {
        let host = &self.machines[machine.0];
        if self.is_frozen(machine) {
            return None;
        }
        let index = towards.and_then(|address| host.nic_towards(address)).unwrap_or(0);
        let nic = self.nic_id(machine.0, index)?;
        let own = host.address_of(index).unwrap_or(Ipv4Addr::UNSPECIFIED);
        Some((nic, host.nics[index].config.mac, own))
    }

    /// Tells what became of a claim.
    fn claimed(&mut self, machine: MachineId, address: IpAddr, index: Option<usize>, held: bool) -> bool {
        let nic = index.and_then(|index| self.nic_id(machine.0, index));
        if let Some(nic) = nic {
            self.machine_changed(machine, Event::Claim { nic, address, held });
        }
        nic.is_some()
    }
}
