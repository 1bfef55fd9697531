//! Which MAC each node has on the LAN of one NIC: learned by asking.
//!
//! A node's kernel answers for its own address, so nothing is installed there. A node is asked until it answers, then again every ten seconds, by unicast
//! to the MAC it had; if that brings no answer, by broadcast, since the NIC may have been replaced. A node that falls silent keeps its last MAC: whether it is
//! still there is not decided here.
//!
//! Anybody on the LAN can say that a node's address is at another MAC. That alone moves nothing: the MAC that is known is asked at once, and another one is
//! believed only as the answer to the broadcast that follows when it is silent. Who forges that answer too is not told from the node.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::arp::{ArpMessage, Operation};
use crate::mac::MacAddr;
use crate::time::Instant;

/// How often a node that answers is asked again (design, "Who answers").
const REFRESH: Duration = Duration::from_secs(10);

/// How long to wait for an answer: `RetransTimer` of RFC 4861 §10, as Linux has it for ARP too.
const RETRY: Duration = Duration::from_secs(1);

/// Unanswered questions in a row before asking only every [`REFRESH`]: a node that is off is no reason for a broadcast a second.
const EAGER_TRIES: u32 = 3;

#[derive(Clone, Copy, Debug)]
struct Neighbor {
    mac: Option<MacAddr>,
    /// When it was asked last, if ever.
    asked: Option<Instant>,
    next: Instant,
    unanswered: u32,
}

/// A node's address turned out to be at another MAC than before, or at one at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned {
    /// The node's address.
    pub address: Ipv4Addr,
    /// Where it was before, if known.
    pub before: Option<MacAddr>,
    /// Where it is.
    pub mac: MacAddr,
}

/// The node addresses of one NIC's LAN and their MACs.
#[derive(Debug, Default)]
pub struct NodeMacs {
    neighbors: BTreeMap<Ipv4Addr, Neighbor>,
}

impl NodeMacs {
    /// Asks for exactly these addresses from now on.
    pub fn handle_addresses(&mut self, now: Instant, addresses: impl Iterator<Item = Ipv4Addr>) {
        let known = std::mem::take(&mut self.neighbors);
        let fresh = Neighbor { mac: None, asked: None, next: now, unanswered: 0 };
        self.neighbors = addresses.map(|address| (address, known.get(&address).copied().unwrap_or(fresh))).collect();
    }

    /// Any ARP message: its sender tells where it is, and is believed if nothing else is known. Returns what that changed.
    pub fn handle_message(&mut self, now: Instant, message: &ArpMessage) -> Option<Learned> {
        let neighbor = self.neighbors.get_mut(&message.sender_ip)?;
        // A gratuitous reply answers nobody. The first question without an answer was a unicast, the second a broadcast.
        let answers = message.operation == Operation::Reply && message.target_ip != message.sender_ip;
        let is_news = neighbor.mac.is_some_and(|known| known != message.sender_mac);
        if is_news && !(answers && neighbor.unanswered >= 2) {
            let soonest = neighbor.asked.map_or(now, |asked| now.max(asked + RETRY));
            neighbor.next = neighbor.next.min(soonest);
            return None;
        }
        if message.operation == Operation::Reply {
            neighbor.unanswered = 0;
            neighbor.next = now + REFRESH;
        }
        let before = neighbor.mac.replace(message.sender_mac);
        (before != Some(message.sender_mac)).then_some(Learned { address: message.sender_ip, before, mac: message.sender_mac })
    }

    /// Where an address is.
    pub fn mac(&self, address: Ipv4Addr) -> Option<MacAddr> {
        self.neighbors.get(&address)?.mac
    }

    /// The next question that is due, from a NIC of this MAC and address.
    pub fn poll_question(&mut self, now: Instant, mac: MacAddr, ip: Ipv4Addr) -> Option<ArpMessage> {
        let (&address, neighbor) = self.neighbors.iter_mut().find(|(_, neighbor)| neighbor.next <= now)?;
        let destination = neighbor.mac.filter(|_| neighbor.unanswered == 0).unwrap_or(MacAddr::BROADCAST);
        neighbor.asked = Some(now);
        neighbor.unanswered = neighbor.unanswered.saturating_add(1);
        neighbor.next = now + if neighbor.unanswered <= EAGER_TRIES { RETRY } else { REFRESH };
        Some(ArpMessage {
            destination,
            source: mac,
            operation: Operation::Request,
            sender_mac: mac,
            sender_ip: ip,
            target_mac: MacAddr::ZERO,
            target_ip: address,
        })
    }

    /// When the next question is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.neighbors.values().map(|neighbor| neighbor.next).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: (MacAddr, Ipv4Addr) = (MacAddr([2, 0, 0, 0, 0, 2]), Ipv4Addr::new(192, 168, 0, 2));
    const NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 3);
    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 3]);

    const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    fn asking() -> NodeMacs {
        let mut macs = NodeMacs::default();
        macs.handle_addresses(at(0), [NODE].into_iter());
        macs
    }

    fn reply(mac: MacAddr) -> ArpMessage {
        ArpMessage {
            destination: US.0,
            source: mac,
            operation: Operation::Reply,
            sender_mac: mac,
            sender_ip: NODE,
            target_mac: US.0,
            target_ip: US.1,
        }
    }

    fn asked(macs: &mut NodeMacs, now: Instant) -> Option<MacAddr> {
        macs.poll_question(now, US.0, US.1).map(|question| question.destination)
    }

    #[test]
    fn a_node_is_asked_by_broadcast_until_it_answers() {
        let mut macs = asking();
        assert_eq!(asked(&mut macs, at(0)), Some(MacAddr::BROADCAST));
        assert_eq!(asked(&mut macs, at(0)), None);
        assert_eq!(asked(&mut macs, at(1)), Some(MacAddr::BROADCAST));
        assert_eq!(macs.handle_message(at(1), &reply(MAC)), Some(Learned { address: NODE, before: None, mac: MAC }));
        assert_eq!(macs.mac(NODE), Some(MAC));
        assert_eq!(macs.poll_timeout(), Some(at(11)));
    }

    #[test]
    fn a_known_node_is_asked_by_unicast_and_by_broadcast_if_that_brings_nothing() {
        let mut macs = asking();
        macs.handle_message(at(0), &reply(MAC));
        assert_eq!(asked(&mut macs, at(10)), Some(MAC));
        assert_eq!(asked(&mut macs, at(11)), Some(MacAddr::BROADCAST));
        assert_eq!(macs.mac(NODE), Some(MAC), "silence changes nothing here");
    }

    #[test]
    fn a_silent_node_is_soon_asked_less_often() {
        let mut macs = asking();
        let questions = (0..60).filter(|second| asked(&mut macs, at(*second)).is_some()).count();
        assert!((8..=10).contains(&questions), "{questions} questions a minute");
    }

    #[test]
    fn another_mac_is_believed_once_the_known_one_is_silent() {
        let mut macs = asking();
        macs.handle_message(at(0), &reply(MAC));
        let claim = ArpMessage { operation: Operation::Request, target_ip: NODE, ..reply(OTHER) };
        assert_eq!(macs.handle_message(at(3), &claim), None);
        assert_eq!(asked(&mut macs, at(3)), Some(MAC), "the known one is asked at once");
        assert_eq!(macs.handle_message(at(3), &reply(OTHER)), None, "nobody but the known one was asked");
        assert_eq!(asked(&mut macs, at(4)), Some(MacAddr::BROADCAST));
        assert_eq!(macs.handle_message(at(4), &reply(OTHER)), Some(Learned { address: NODE, before: Some(MAC), mac: OTHER }));
        assert_eq!(macs.handle_message(at(4), &reply(OTHER)), None);
        assert_eq!(macs.poll_timeout(), Some(at(14)));
    }

    #[test]
    fn who_shouts_moves_no_node_that_answers_and_costs_a_question_a_second() {
        let mut macs = asking();
        asked(&mut macs, at(0));
        macs.handle_message(at(0), &reply(MAC));
        let gratuitous = ArpMessage { destination: MacAddr::BROADCAST, target_mac: OTHER, target_ip: NODE, ..reply(OTHER) };
        let mut questions = 0;
        for millis in (1000..11_000).step_by(10) {
            let now = Instant::from_millis(millis);
            for operation in [Operation::Request, Operation::Reply] {
                assert_eq!(macs.handle_message(now, &ArpMessage { operation, ..gratuitous }), None);
            }
            if let Some(to) = asked(&mut macs, now) {
                assert_eq!(to, MAC);
                macs.handle_message(now, &reply(MAC));
                questions += 1;
            }
        }
        assert_eq!((macs.mac(NODE), questions), (Some(MAC), 10));
    }

    #[test]
    fn strangers_are_not_remembered() {
        let mut macs = asking();
        let stranger = ArpMessage { sender_ip: [192, 168, 0, 77].into(), ..reply(MAC) };
        assert_eq!(macs.handle_message(at(0), &stranger), None);
        assert_eq!(macs.mac([192, 168, 0, 77].into()), None);
    }
}
