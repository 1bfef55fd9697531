//! The experimenter: speaks for others on the wire, notes what the host does, and says what was seen in few words.
//!
//! Times are rounded to half a second, which is what a busy machine and the kernel's own timers (HZ 250, coarser the farther away) leave of
//! them; experiments are laid out so that what is right stands on a half second and what is wrong does not.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bellhop_core::mac::MacAddr;
use smoltcp::wire::ArpOperation;

use crate::arm::{Arm, ArmError, HOST, HOST_IP, HOST_IP6};
use crate::wire::{Advertisement, Arp, Heard, group_mac, hear, solicited_node};

/// Node X: who carries the address at first.
pub(crate) const X: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x0a]);
/// Node Y: another.
pub(crate) const Y: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x0b]);
/// The leader, who answers for others and carries nothing.
pub(crate) const LEADER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x0c]);

/// From a frame to a look at what it did: it has to pass a queue or two.
const SETTLE: Duration = Duration::from_millis(20);
/// How long the host may take to ask. It asks at once.
const PATIENCE: Duration = Duration::from_millis(900);

/// Of which family an experiment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// ARP.
    V4,
    /// Neighbor discovery.
    V6,
}

/// Who answers the host's questions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answers {
    /// A question to everybody is answered, by the leader, with this MAC.
    pub(crate) everybody: Option<MacAddr>,
    /// A question to this MAC alone is answered by it.
    pub(crate) alone: Option<MacAddr>,
}

/// What the host did, in its order.
pub(crate) type Notes = Vec<(Duration, Heard)>;

/// The experimenter at work.
pub(crate) struct Lab<'a> {
    arm: &'a mut dyn Arm,
    family: Family,
    said: Vec<String>,
    /// Addresses that the host has an entry for, or had.
    used: BTreeSet<IpAddr>,
}

impl<'a> Lab<'a> {
    pub(crate) fn new(arm: &'a mut dyn Arm, family: Family) -> Self {
        Self { arm, family, said: Vec::new(), used: BTreeSet::new() }
    }

    /// Notes a part of what was seen.
    pub(crate) fn say(&mut self, what: impl Into<String>) {
        self.said.push(what.into());
    }

    /// All that was seen.
    pub(crate) fn said(self) -> String {
        self.said.join("; ")
    }

    pub(crate) fn now(&mut self) -> Duration {
        self.arm.now()
    }

    /// The address that is at stake, or another like it.
    pub(crate) fn vip(&self, number: u8) -> IpAddr {
        match self.family {
            Family::V4 => Ipv4Addr::new(192, 0, 2, 91 + number).into(),
            Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x91 + u16::from(number)).into(),
        }
    }

    /// A program on the host sends a packet.
    pub(crate) fn packet(&mut self, to: IpAddr) -> Result<(), ArmError> {
        self.packet_with(None, to, false)
    }

    /// A program on the host sends a packet from this address of its own, or says that the last one arrived.
    pub(crate) fn packet_with(&mut self, source: Option<IpAddr>, to: IpAddr, confirm: bool) -> Result<(), ArmError> {
        self.used.insert(to);
        self.arm.send_packet(source, to, confirm)
    }

    /// Lets time pass; nobody answers.
    pub(crate) fn until(&mut self, until: Duration) -> Result<Notes, ArmError> {
        self.attend(until, Answers::default())
    }

    /// Lets time pass, answering.
    pub(crate) fn attend(&mut self, until: Duration, answers: Answers) -> Result<Notes, ArmError> {
        let mut notes = Notes::new();
        while let Some(captured) = self.arm.next_frame(until)? {
            let Some(heard) = hear(&captured.frame) else { continue };
            self.respond(&heard, answers)?;
            notes.push((captured.at, heard));
        }
        Ok(notes)
    }

    /// Lets time pass while a program on the host sends a packet every `interval`.
    pub(crate) fn flow(
        &mut self,
        to: IpAddr,
        interval: Duration,
        confirm: bool,
        until: Duration,
        answers: Answers,
    ) -> Result<Notes, ArmError> {
        let mut notes = Notes::new();
        let mut next = self.now();
        while next < until {
            self.packet_with(None, to, confirm)?;
            next += interval;
            notes.extend(self.attend(next.min(until), answers)?);
        }
        Ok(notes)
    }

    /// Sends a frame and lets the host take it in.
    pub(crate) fn tell(&mut self, frame: &[u8]) -> Result<Notes, ArmError> {
        let until = self.now() + SETTLE;
        self.arm.put(frame)?;
        self.until(until)
    }

    /// Lets the host ask for an address and be answered with this MAC. When that was.
    pub(crate) fn resolve(&mut self, address: IpAddr, mac: MacAddr) -> Result<Duration, ArmError> {
        self.packet(address)?;
        self.await_question(address)?;
        let at = self.now();
        let answer = self.answer(address, mac, mac, true);
        self.tell(&answer)?;
        Ok(at)
    }

    /// Waits until the host asks for an address.
    pub(crate) fn await_question(&mut self, address: IpAddr) -> Result<(), ArmError> {
        let until = self.now() + PATIENCE;
        while let Some(captured) = self.arm.next_frame(until)? {
            if matches!(hear(&captured.frame), Some(Heard::Ask { target, .. }) if target == address) {
                return Ok(());
            }
        }
        Err(ArmError(format!("the host does not ask for {address}")))
    }

    /// Makes the host know an address as X's, STALE: it was Y's, and an announcement said otherwise.
    pub(crate) fn stale(&mut self, address: IpAddr) -> Result<(), ArmError> {
        self.resolve(address, Y)?;
        let announcement = self.announcement(address, X);
        self.tell(&announcement)?;
        Ok(())
    }

    /// The host's entry, in words: `REACHABLE x`. One that is no longer there was FAILED where the host collects such ones ([`Arm::collects_failed`]), and no
    /// other is collected within the minute of an experiment. A host that does not has to show it FAILED.
    pub(crate) fn entry(&mut self, address: IpAddr) -> Result<String, ArmError> {
        let Some(entry) = self.arm.entry(address)? else {
            let collected = self.arm.collects_failed() && self.used.contains(&address);
            return Ok(if collected { "FAILED" } else { "none" }.to_owned());
        };
        Ok(entry.mac.map_or_else(|| entry.state.clone(), |mac| format!("{} {}", entry.state, name(mac))))
    }

    /// An answer to the host alone, from the Ethernet address `source`. `overrides` means something to IPv6 only.
    pub(crate) fn answer(&self, address: IpAddr, source: MacAddr, mac: MacAddr, overrides: bool) -> Vec<u8> {
        match address {
            IpAddr::V4(ip) => Arp { operation: ArpOperation::Reply, sender: (mac, ip), target: (HOST, HOST_IP) }.frame(source, HOST),
            IpAddr::V6(target) => {
                Advertisement { target, mac: Some(mac), of_target: true, solicited: true, overrides }.frame(source, HOST, HOST_IP6)
            }
        }
    }

    /// An announcement to everybody that this host takes over from another: a gratuitous request, or an unsolicited advertisement with O.
    pub(crate) fn announcement(&self, address: IpAddr, mac: MacAddr) -> Vec<u8> {
        match address {
            IpAddr::V4(ip) => gratuitous_request(ip, mac).frame(mac, MacAddr::BROADCAST),
            IpAddr::V6(target) => {
                let says = Advertisement { target, mac: Some(mac), of_target: true, solicited: false, overrides: true };
                says.frame(mac, group_mac(crate::wire::ALL_NODES), crate::wire::ALL_NODES)
            }
        }
    }

    /// A question of `address`, which is `mac`'s, for the host's own address.
    pub(crate) fn question(&self, address: IpAddr, mac: MacAddr) -> Vec<u8> {
        match address {
            IpAddr::V4(ip) => {
                let target = (MacAddr::ZERO, HOST_IP);
                Arp { operation: ArpOperation::Request, sender: (mac, ip), target }.frame(mac, MacAddr::BROADCAST)
            }
            IpAddr::V6(ip) => crate::wire::solicitation((mac, ip), solicited_node(HOST_IP6), HOST_IP6, Some(mac)),
        }
    }

    fn respond(&mut self, heard: &Heard, answers: Answers) -> Result<(), ArmError> {
        let Heard::Ask { alone, target, .. } = *heard else { return Ok(()) };
        let (source, mac) = match alone {
            None => (LEADER, answers.everybody),
            Some(asked) => (asked, answers.alone.filter(|mac| *mac == asked)),
        };
        match mac {
            Some(mac) => self.arm.put(&self.answer(target, source, mac, true)),
            None => Ok(()),
        }
    }
}

/// A gratuitous ARP request.
pub(crate) fn gratuitous_request(ip: Ipv4Addr, mac: MacAddr) -> Arp {
    Arp { operation: ArpOperation::Request, sender: (mac, ip), target: (MacAddr::ZERO, ip) }
}

/// Who was asked for an address, and when, in half seconds from `start`: `x@0.0 x@1.0 all@2.0`.
pub(crate) fn asked(notes: &Notes, address: IpAddr, start: Duration) -> String {
    let ask = |(at, heard): &(Duration, Heard)| match heard {
        Heard::Ask { alone, target, .. } if *target == address => {
            Some(format!("{}@{}", alone.map_or("all", name), half_seconds(at.saturating_sub(start))))
        }
        _ => None,
    };
    let asked: Vec<_> = notes.iter().filter_map(ask).collect();
    if asked.is_empty() { "nobody".to_owned() } else { asked.join(" ") }
}

/// How many packets went to a MAC.
pub(crate) fn packets_to(notes: &Notes, mac: MacAddr) -> usize {
    notes.iter().filter(|(_, heard)| matches!(heard, Heard::Packet { mac: to, .. } if *to == mac)).count()
}

/// What the host answered, in words: `the asker S=1 O=1 with its MAC`.
pub(crate) fn answered(notes: &Notes) -> String {
    let answer = |(_, heard): &(Duration, Heard)| match heard {
        Heard::Answer { alone, mac, solicited, overrides, .. } => {
            let to = alone.map_or("all", name);
            let mac = mac.map_or("no MAC", name);
            Some(format!("{to} S={} O={} {mac}", u8::from(*solicited), u8::from(*overrides)))
        }
        _ => None,
    };
    let answers: Vec<_> = notes.iter().filter_map(answer).collect();
    if answers.is_empty() { "silence".to_owned() } else { answers.join(", ") }
}

/// Seconds, rounded to halves.
pub(crate) fn half_seconds(time: Duration) -> String {
    let halves = (time.as_millis() + 250) / 500;
    format!("{}.{}", halves / 2, if halves.is_multiple_of(2) { 0 } else { 5 })
}

/// Short names of the MACs here.
fn name(mac: MacAddr) -> &'static str {
    match mac {
        X => "x",
        Y => "y",
        LEADER => "leader",
        HOST => "host",
        _ => "somebody",
    }
}
