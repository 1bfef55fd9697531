//! Answers who-has and neighbor solicitations for the addresses of one NIC, and says unasked when one moves.
//!
//! It holds a table of *(address → MAC that carries it)* and does not know why that MAC was chosen, nor whether it is its own machine's: a leader that
//! answers for others and an owner that answers for itself are the same announcer. Ethernet source is always the NIC's own MAC; the ARP sender, or the
//! advertisement's target link-layer address, is the carrying MAC (design, "Who answers"). The question is [`Announcer::answer`]: what does *this asker*
//! hear for *this address*.
//!
//! An advertisement's IPv6 source is the NIC's own address, since a source must be one of the sending interface (RFC 4861 §4.4): receivers look at the target,
//! and a switch that watches sources (SAVI) sees nothing but the machine it knows. Its O flag is always set: the address is ours to speak for, and with O clear a client
//! that holds the MAC of a dead node would keep it (layer2-peers-and-kernel §6.4; RFC 4861 §7.2.8 clears it for proxies that stand back behind an owner).

use std::net::{IpAddr, Ipv6Addr};

use crate::announcements::Announcements;
use crate::arp::{ArpMessage, Operation};
use crate::carriers::Carriers;
use crate::frame::{DropReason, Message};
use crate::mac::MacAddr;
use crate::ndp::{ALL_NODES, Kind, NdpMessage, group_mac};
use crate::time::Instant;

/// What an announcer may do, as leadership goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Voice {
    /// Nothing: another replica speaks.
    Silent,
    /// Answer, and say nothing unasked: leadership is not confirmed.
    Answering,
    /// Answer and announce.
    Announcing,
}

/// Who asks: an announcer may answer different askers differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// Its MAC.
    pub mac: MacAddr,
    /// Its address; 0.0.0.0 or `::` if it probes (RFC 5227 §2.1.1, RFC 4862 §5.4).
    pub ip: IpAddr,
}

/// What an announcer heard and said, for the metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests for an address of the table.
    pub requests: u64,
    /// Replies handed out.
    pub replies: u64,
    /// Gratuitous frames handed out: ARP requests and replies, unsolicited advertisements.
    pub gratuitous: u64,
    /// Frames not answered, by reason.
    pub ignored: [u64; DropReason::ALL.len()],
}

/// The announcer of one NIC. `handle_*` take events in, `poll_*` hand frames out.
#[derive(Debug)]
pub struct Announcer {
    /// The NIC's own MAC: Ethernet source of all it sends.
    mac: MacAddr,
    /// The NIC's own address, as which it advertises.
    own: Option<Ipv6Addr>,
    voice: Voice,
    carriers: Carriers,
    announcements: Announcements,
    /// An announced address whose request went out and whose reply did not yet.
    half_said: Option<IpAddr>,
    counters: Counters,
}

impl Announcer {
    /// A silent announcer on a NIC of this MAC, with nothing to answer for.
    pub fn new(mac: MacAddr) -> Self {
        Self {
            mac,
            own: None,
            voice: Voice::Silent,
            carriers: Carriers::default(),
            announcements: Announcements::default(),
            half_said: None,
            counters: Counters::default(),
        }
    }

    /// What it heard and said so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The MAC that carries an address now.
    #[inline]
    pub fn carrier(&self, address: IpAddr) -> Option<MacAddr> {
        self.carriers.get(address)
    }

    /// The NIC has this MAC and this IPv6 address from now on.
    pub fn handle_nic(&mut self, mac: MacAddr, own: Option<Ipv6Addr>) {
        self.mac = mac;
        self.own = own;
    }

    /// It may do this from now on. Whoever begins to announce announces all it has: an earlier voice may have died in mid-word.
    pub fn handle_voice(&mut self, now: Instant, voice: Voice) {
        let begins = voice == Voice::Announcing && self.voice != Voice::Announcing;
        self.voice = voice;
        if begins {
            self.announcements.restart(now, self.carriers.addresses());
        } else if voice != Voice::Announcing {
            self.announcements.clear();
            self.half_said = None;
        }
    }

    /// The NIC is back: the LAN may have forgotten, or heard somebody else.
    pub fn handle_link_up(&mut self, now: Instant) {
        if self.voice == Voice::Announcing {
            self.announcements.restart(now, self.carriers.addresses());
        }
    }

    /// `address` is carried by `carrier` from now on; by nobody: it is not answered for. A change is announced.
    pub fn handle_carrier(&mut self, now: Instant, address: IpAddr, carrier: Option<MacAddr>) {
        let changed = match carrier {
            Some(carrier) => self.carriers.insert(address, carrier) != Some(carrier),
            None => {
                if self.carriers.remove(address).is_some() {
                    self.announcements.withdraw(address);
                }
                false
            }
        };
        if changed && self.voice == Voice::Announcing {
            self.announcements.announce(now, address);
        }
    }

    /// What `asker` hears when it asks for `address`.
    #[inline]
    pub fn answer(&self, _asker: Asker, address: IpAddr) -> Result<MacAddr, DropReason> {
        let carrier = self.carrier(address).ok_or(DropReason::NotOurs)?;
        if self.voice == Voice::Silent { Err(DropReason::NotLeading) } else { Ok(carrier) }
    }

    /// One received message. Writes the answer into `reply` and returns `Ok`, or says why there is none.
    pub fn handle_message(&mut self, message: &Message, reply: &mut Vec<u8>) -> Result<(), DropReason> {
        let result = match message {
            Message::Arp(message) => self.reply_to(message).map(|answer| answer.emit(reply)),
            Message::Ndp(message) => self.advertise_to(message).map(|answer| answer.emit(reply)),
        };
        match result {
            Ok(()) => {
                self.counters.requests += 1;
                self.counters.replies += 1;
            }
            Err(reason) => {
                self.counters.requests += u64::from(reason == DropReason::NotLeading);
                self.handle_ignored(reason);
            }
        }
        result
    }

    /// A frame was dropped before it was a message: counts why.
    pub fn handle_ignored(&mut self, reason: DropReason) {
        self.counters.ignored[reason as usize] += 1;
    }

    /// The next gratuitous frame that is due, written into `frame`. Of IPv4 the request and the reply form, one after the other: some kernels ignore the one,
    /// some the other (layer2-peers-and-kernel §6.2).
    pub fn poll_announcement(&mut self, now: Instant, frame: &mut Vec<u8>) -> bool {
        let (address, operation) = match self.half_said.take() {
            Some(address) => (address, Operation::Reply),
            None => match self.announcements.poll(now) {
                Some(address) => (address, Operation::Request),
                None => return false,
            },
        };
        let Some(carrier) = self.carrier(address) else { return false };
        match address {
            IpAddr::V4(ip) => {
                self.half_said = (operation == Operation::Request).then_some(address);
                ArpMessage::announcement(self.mac, operation, ip, carrier).emit(frame);
            }
            IpAddr::V6(target) => self.advertisement(group_mac(ALL_NODES), ALL_NODES, target, carrier).emit(frame),
        }
        self.counters.gratuitous += 1;
        true
    }

    /// When the next gratuitous frame is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.half_said.is_some() { Some(Instant::ZERO) } else { self.announcements.poll_timeout() }
    }

    #[inline]
    fn reply_to(&self, message: &ArpMessage) -> Result<ArpMessage, DropReason> {
        if message.operation != Operation::Request {
            return Err(DropReason::NotARequest);
        }
        if message.is_gratuitous() {
            return Err(DropReason::Gratuitous);
        }
        // A probe (sender 0.0.0.0) is answered like any request: RFC 5227 §2.1.1, that is how it learns that the address is taken.
        let asker = Asker { mac: message.sender_mac, ip: message.sender_ip.into() };
        let carrier = self.answer(asker, message.target_ip.into())?;
        Ok(ArpMessage {
            destination: message.sender_mac,
            source: self.mac,
            operation: Operation::Reply,
            sender_mac: carrier,
            sender_ip: message.target_ip,
            target_mac: message.sender_mac,
            target_ip: message.sender_ip,
        })
    }

    fn advertise_to(&self, message: &NdpMessage) -> Result<NdpMessage, DropReason> {
        if message.kind != Kind::Solicitation {
            return Err(DropReason::NotARequest);
        }
        if message.source_ip == message.target {
            return Err(DropReason::Gratuitous);
        }
        let asker = Asker { mac: message.sender_mac(), ip: message.source_ip.into() };
        let carrier = self.answer(asker, message.target.into())?;
        if message.detects_duplicates() {
            // It has no address yet to be answered at, so all nodes hear that this one is taken (RFC 4861 §7.2.4).
            return Ok(self.advertisement(group_mac(ALL_NODES), ALL_NODES, message.target, carrier));
        }
        let kind = Kind::Advertisement { solicited: true, overrides: true };
        Ok(NdpMessage { kind, ..self.advertisement(asker.mac, message.source_ip, message.target, carrier) })
    }

    /// That `carrier` has `target`, to one or to all. It tells the MAC even where the RFC would let it out (an answer to a unicast): who asks us alone may
    /// have known `target` at this very NIC.
    fn advertisement(&self, destination: MacAddr, destination_ip: Ipv6Addr, target: Ipv6Addr, carrier: MacAddr) -> NdpMessage {
        NdpMessage {
            destination,
            source: self.mac,
            // A NIC that has just lost its addresses says its last words as the address itself.
            source_ip: self.own.unwrap_or(target),
            destination_ip,
            kind: Kind::Advertisement { solicited: false, overrides: true },
            target,
            link_address: Some(carrier),
        }
    }
}

#[cfg(test)]
#[path = "announcer6_tests.rs"]
mod tests6;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    const VIP: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 91);
    const MASTER1: MacAddr = MacAddr([0x52, 0x54, 0x22, 0xa3, 0x9a, 0xd9]);
    const WORKER_P001: MacAddr = MacAddr([0x52, 0x54, 0x22, 0x3a, 0xe6, 0x6e]);
    const WORKER_P002: MacAddr = MacAddr([0x52, 0x54, 0x22, 0x37, 0x6c, 0x7b]);
    const CLIENT: MacAddr = MacAddr([0x52, 0x54, 0x22, 0xfa, 0xb9, 0x3b]);

    /// The tutorial's leader on master1, with 192.168.0.91 carried by worker-p001.
    fn announcer(voice: Voice) -> Announcer {
        let mut announcer = Announcer::new(MASTER1);
        announcer.handle_carrier(Instant::ZERO, VIP.into(), Some(WORKER_P001));
        announcer.handle_voice(Instant::ZERO, voice);
        announcer
    }

    fn who_has(target_ip: Ipv4Addr) -> ArpMessage {
        ArpMessage {
            destination: MacAddr::BROADCAST,
            source: CLIENT,
            operation: Operation::Request,
            sender_mac: CLIENT,
            sender_ip: [192, 168, 0, 5].into(),
            target_mac: MacAddr::ZERO,
            target_ip,
        }
    }

    fn answer(announcer: &mut Announcer, message: &ArpMessage) -> Result<ArpMessage, DropReason> {
        let mut reply = Vec::new();
        announcer.handle_message(&Message::Arp(*message), &mut reply)?;
        ArpMessage::parse(&reply)
    }

    fn announced(announcer: &mut Announcer, now: Instant) -> Vec<(Operation, MacAddr)> {
        let mut frame = Vec::new();
        let mut messages = Vec::new();
        while announcer.poll_announcement(now, &mut frame) {
            let message = ArpMessage::parse(&frame).expect("our own frame");
            messages.push((message.operation, message.sender_mac));
        }
        messages
    }

    #[test]
    fn a_reply_speaks_from_the_leaders_nic_of_the_nodes_mac() {
        let reply = answer(&mut announcer(Voice::Answering), &who_has(VIP)).expect("an answer");
        assert_eq!((reply.source, reply.destination), (MASTER1, CLIENT));
        assert_eq!((reply.operation, reply.sender_mac, reply.sender_ip), (Operation::Reply, WORKER_P001, VIP));
        assert_eq!((reply.target_mac, reply.target_ip), (CLIENT, [192, 168, 0, 5].into()));
    }

    #[test]
    fn a_probe_is_answered_so_that_it_learns_the_address_is_taken() {
        let probe = ArpMessage { sender_ip: Ipv4Addr::UNSPECIFIED, ..who_has(VIP) };
        let reply = answer(&mut announcer(Voice::Answering), &probe).expect("an answer");
        assert_eq!((reply.destination, reply.target_ip), (CLIENT, Ipv4Addr::UNSPECIFIED));
    }

    #[test]
    fn what_is_not_for_us_is_left_alone_and_counted() {
        let mut announcer = announcer(Voice::Answering);
        let reply = ArpMessage { operation: Operation::Reply, ..who_has(VIP) };
        let gratuitous = ArpMessage { sender_ip: VIP, ..who_has(VIP) };
        assert_eq!(answer(&mut announcer, &who_has([192, 168, 0, 92].into())), Err(DropReason::NotOurs));
        assert_eq!(answer(&mut announcer, &reply), Err(DropReason::NotARequest));
        assert_eq!(answer(&mut announcer, &gratuitous), Err(DropReason::Gratuitous));
        assert_eq!(announcer.counters().ignored.iter().sum::<u64>(), 3);
        assert_eq!(announcer.counters().replies, 0);
    }

    #[test]
    fn a_follower_knows_the_answer_and_is_silent() {
        assert_eq!(answer(&mut announcer(Voice::Silent), &who_has(VIP)), Err(DropReason::NotLeading));
    }

    #[test]
    fn a_move_is_answered_at_once_and_announced_in_both_forms() {
        let mut announcer = announcer(Voice::Announcing);
        let now = Instant::from_millis(60_000);
        while announcer.poll_announcement(now, &mut Vec::new()) {}
        announcer.handle_carrier(now, VIP.into(), Some(WORKER_P002));
        assert_eq!(answer(&mut announcer, &who_has(VIP)).map(|reply| reply.sender_mac), Ok(WORKER_P002));
        assert_eq!(announced(&mut announcer, now), [(Operation::Request, WORKER_P002), (Operation::Reply, WORKER_P002)]);
        assert_eq!(announced(&mut announcer, now + std::time::Duration::from_secs(3)).len(), 6, "three more rounds");
    }

    #[test]
    fn hearing_the_same_carrier_again_is_no_move() {
        let mut announcer = announcer(Voice::Announcing);
        let now = Instant::from_millis(60_000);
        while announcer.poll_announcement(now, &mut Vec::new()) {}
        announcer.handle_carrier(now, VIP.into(), Some(WORKER_P001));
        assert_eq!(announcer.poll_timeout(), None);
    }

    #[test]
    fn who_may_only_answer_says_nothing_unasked() {
        let mut announcer = announcer(Voice::Answering);
        announcer.handle_carrier(Instant::ZERO, VIP.into(), Some(WORKER_P002));
        assert_eq!(announced(&mut announcer, Instant::from_millis(5000)), []);
    }

    #[test]
    fn who_loses_its_voice_stops_in_mid_word() {
        let mut announcer = announcer(Voice::Announcing);
        assert!(announcer.poll_announcement(Instant::ZERO, &mut Vec::new()));
        announcer.handle_voice(Instant::ZERO, Voice::Silent);
        assert_eq!(announced(&mut announcer, Instant::from_millis(5000)), []);
    }

    #[test]
    fn a_withdrawn_address_is_neither_answered_nor_announced() {
        let mut announcer = announcer(Voice::Announcing);
        announcer.handle_carrier(Instant::ZERO, VIP.into(), None);
        assert_eq!(answer(&mut announcer, &who_has(VIP)), Err(DropReason::NotOurs));
        assert_eq!(announced(&mut announcer, Instant::from_millis(5000)), []);
    }

    proptest! {
        #[test]
        fn the_table_answers_what_was_said_last(moves in prop::collection::vec((0u8..8, prop::option::of(0u8..4)), 0..60)) {
            let mut announcer = Announcer::new(MASTER1);
            let mut said = std::collections::BTreeMap::new();
            for (last, carrier) in moves {
                let address = IpAddr::from([192, 168, 0, last]);
                let carrier = carrier.map(|number| MacAddr([2, 0, 0, 0, 0, number]));
                announcer.handle_carrier(Instant::ZERO, address, carrier);
                said.insert(address, carrier);
            }
            for (address, carrier) in said {
                prop_assert_eq!(announcer.carrier(address), carrier);
            }
        }

        /// As `fuzz/targets/frame.rs`, which has more time.
        #[test]
        fn nothing_that_strangers_send_becomes_an_answer(
            frames in prop::collection::vec(prop::collection::vec((0_usize..42, any::<u8>()), 0..4), 0..20),
        ) {
            let mut announcer = announcer(Voice::Answering);
            for changes in frames {
                let mut frame = Vec::new();
                who_has(VIP).emit(&mut frame);
                changes.into_iter().for_each(|(position, byte)| frame[position] = byte);
                let Ok(message) = ArpMessage::parse(&frame) else { continue };
                if let Ok(reply) = answer(&mut announcer, &message) {
                    prop_assert_eq!((reply.operation, reply.source, reply.destination), (Operation::Reply, MASTER1, message.sender_mac));
                    prop_assert_eq!((reply.sender_mac, reply.sender_ip), (WORKER_P001, VIP));
                }
            }
            prop_assert!(answer(&mut announcer, &who_has(VIP)).is_ok());
        }
    }
}
