//! Address conflict detection of a machine that defends (RFC 5227): it probes before it uses an IPv4 address of its own, announces it, and
//! defends it once in ten seconds. Linux itself does none of this; programs on it do.
//!
//! An address that was lost is not used again until its NIC has been down: what else to do is for a person or a DHCP client to decide.
//! Addresses that the machine takes while it runs are not detected for.

use std::net::Ipv4Addr;
use std::time::Duration;

use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;
use rand_chacha::ChaCha8Rng;

use super::{Effects, Host, Timer};
use crate::frame::{Arp, Operation};
use crate::random::{below, stream};

/// PROBE_WAIT: before the first probe, at most (RFC 5227 §1.1, as all that follow).
const PROBE_WAIT: Duration = Duration::from_secs(1);
/// PROBE_NUM.
const PROBES: u32 = 3;
/// PROBE_MIN, and PROBE_MAX is twice that.
const PROBE_MIN: Duration = Duration::from_secs(1);
/// ANNOUNCE_WAIT: after the last probe.
const ANNOUNCE_WAIT: Duration = Duration::from_secs(2);
/// ANNOUNCE_NUM.
const ANNOUNCEMENTS: u32 = 2;
/// ANNOUNCE_INTERVAL.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);
/// DEFEND_INTERVAL.
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

/// One address on its way to being used.
#[derive(Debug)]
pub(crate) struct Claim {
    /// The address and the length of its prefix.
    subnet: (Ipv4Addr, u8),
    /// How far it has come.
    phase: Phase,
    /// When it probes or announces next.
    due: Option<Instant>,
    /// How long it waits between probes.
    rng: ChaCha8Rng,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Its NIC is down.
    Idle,
    /// So many probes are out.
    Probing(u32),
    /// In use, after so many announcements; when it was last defended.
    Held { announced: u32, defended: Option<Instant> },
    /// Somebody else has it.
    Lost,
}

impl Claim {
    /// One of a machine's, whose NIC is down.
    pub(super) fn new(subnet: (Ipv4Addr, u8), machine: &str, seed: u64) -> Self {
        Self { subnet, phase: Phase::Idle, due: None, rng: stream(seed, &format!("detection {machine} {}", subnet.0)) }
    }

    /// A length of time below `max`.
    fn draw(&mut self, max: Duration) -> Duration {
        Duration::from_nanos(below(&mut self.rng, u64::try_from(max.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Host {
    /// NICs may have come up or gone down: where one came up its addresses are probed for, where one went down they are forgotten.
    pub(crate) fn detect_conflicts(&mut self, now: Instant, effects: &mut Effects) {
        for nic in 0..self.nics.len() {
            let up = self.is_nic_up(nic);
            for index in 0..self.nics[nic].claims.len() {
                let claim = &mut self.nics[nic].claims[index];
                match (up, claim.phase) {
                    (true, Phase::Idle) => {
                        claim.phase = Phase::Probing(0);
                        let wait = claim.draw(PROBE_WAIT);
                        self.schedule(nic, index, now + wait, effects);
                    }
                    (false, _) => {
                        self.stop_using(nic, index);
                        self.nics[nic].claims[index].phase = Phase::Idle;
                    }
                    (true, _) => {}
                }
            }
        }
    }

    /// The next probe or announcement of an address is due.
    pub(super) fn handle_detection_timer(&mut self, now: Instant, nic: usize, index: usize, effects: &mut Effects) {
        let Some(claim) = self.nics.get_mut(nic).and_then(|nic| nic.claims.get_mut(index)) else { return };
        if claim.due.is_none_or(|due| now < due) {
            return;
        }
        claim.due = None;
        let (address, _) = claim.subnet;
        match claim.phase {
            Phase::Probing(sent) if sent < PROBES => {
                claim.phase = Phase::Probing(sent + 1);
                let wait = if sent + 1 == PROBES { ANNOUNCE_WAIT } else { PROBE_MIN + claim.draw(PROBE_MIN) };
                self.say(nic, Ipv4Addr::UNSPECIFIED, address, effects);
                self.schedule(nic, index, now + wait, effects);
            }
            Phase::Probing(_) => {
                claim.phase = Phase::Held { announced: 1, defended: None };
                let subnet = claim.subnet;
                self.nics[nic].subnets.push(subnet);
                self.say(nic, address, address, effects);
                self.schedule(nic, index, now + ANNOUNCE_INTERVAL, effects);
            }
            Phase::Held { announced, defended } if announced < ANNOUNCEMENTS => {
                claim.phase = Phase::Held { announced: announced + 1, defended };
                self.say(nic, address, address, effects);
                if announced + 1 < ANNOUNCEMENTS {
                    self.schedule(nic, index, now + ANNOUNCE_INTERVAL, effects);
                }
            }
            Phase::Held { .. } | Phase::Idle | Phase::Lost => {}
        }
    }

    /// An ARP message on a NIC: does it speak for an address that is claimed here, or ask for it as we do?
    pub(super) fn watch_for_conflict(&mut self, now: Instant, nic: usize, arp: &Arp, effects: &mut Effects) {
        if arp.sender_mac == self.nics[nic].config.mac {
            return;
        }
        for index in 0..self.nics[nic].claims.len() {
            let claim = &mut self.nics[nic].claims[index];
            let (address, _) = claim.subnet;
            let spoken_for = arp.sender_ip == address;
            let also_probed = arp.operation == Operation::Request && arp.sender_ip.is_unspecified() && arp.target_ip == address;
            match claim.phase {
                Phase::Probing(_) if spoken_for || also_probed => self.lose(nic, index),
                Phase::Held { announced, defended } if spoken_for => {
                    // RFC 5227 §2.4 (b): once, and not again within the interval.
                    if defended.is_some_and(|at| now - at < DEFEND_INTERVAL) {
                        self.lose(nic, index);
                    } else {
                        claim.phase = Phase::Held { announced, defended: Some(now) };
                        self.say(nic, address, address, effects);
                    }
                }
                _ => {}
            }
        }
    }

    /// Gives an address up.
    fn lose(&mut self, nic: usize, index: usize) {
        self.stop_using(nic, index);
        self.nics[nic].claims[index].phase = Phase::Lost;
    }

    /// It is no longer an address of the NIC's.
    fn stop_using(&mut self, nic: usize, index: usize) {
        let card = &mut self.nics[nic];
        let subnet = card.claims[index].subnet;
        card.claims[index].due = None;
        card.subnets.retain(|own| *own != subnet);
    }

    /// Asks for `target` as `sender`: a probe if that is nobody, an announcement if it is the same.
    fn say(&self, nic: usize, sender: Ipv4Addr, target: Ipv4Addr, effects: &mut Effects) {
        let mac = self.nics[nic].config.mac;
        let request =
            Arp { operation: Operation::Request, sender_mac: mac, sender_ip: sender, target_mac: MacAddr::ZERO, target_ip: target };
        effects.transmit.push((nic, request.frame(mac, MacAddr::BROADCAST)));
    }

    fn schedule(&mut self, nic: usize, index: usize, at: Instant, effects: &mut Effects) {
        self.nics[nic].claims[index].due = Some(at);
        effects.timers.push((at, Timer::Detection { nic, index }));
    }
}
