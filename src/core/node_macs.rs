//! Which MAC each node has on the LAN of one NIC: learned by asking, by ARP or by neighbor discovery.
//!
//! A node's kernel answers for its own address, so nothing is installed there. A node is asked until it answers, then again every ten seconds, by unicast
//! to the MAC it had; if that brings no answer, by broadcast, since the NIC may have been replaced. A node that falls silent keeps its last MAC: whether it is
//! still there is not decided here.
//!
//! Anybody on the LAN can say that a node's address is at another MAC. That alone moves nothing: the MAC that is known is asked at once, and another one is
//! believed only as the answer to the broadcast that follows when it is silent. Who forges that answer too is not told from the node.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::arp::Operation;
use crate::frame::Message;
use crate::mac::MacAddr;
use crate::ndp::Kind;
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

/// What a message tells of where an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The address.
    pub address: IpAddr,
    /// Where it is said to be.
    pub mac: MacAddr,
    /// How that is said.
    pub said: Said,
}

/// How somebody says where an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// By asking for another.
    Asking,
    /// Unasked.
    Announcing,
    /// As an answer.
    Answering,
}

impl Claim {
    /// What a message tells. Who detects duplicates claims nothing: its address is `::` or 0.0.0.0, which no node has.
    pub fn of(message: &Message) -> Self {
        match message {
            Message::Arp(arp) => {
                let said = match arp.operation {
                    Operation::Request => Said::Asking,
                    // A gratuitous reply answers nobody.
                    Operation::Reply if arp.is_gratuitous() => Said::Announcing,
                    Operation::Reply => Said::Answering,
                };
                Self { address: arp.sender_ip.into(), mac: arp.sender_mac, said }
            }
            Message::Ndp(ndp) => {
                let (address, said) = match ndp.kind {
                    Kind::Solicitation => (ndp.source_ip, Said::Asking),
                    Kind::Advertisement { solicited: false, .. } => (ndp.target, Said::Announcing),
                    Kind::Advertisement { solicited: true, .. } => (ndp.target, Said::Answering),
                };
                Self { address: address.into(), mac: ndp.sender_mac(), said }
            }
        }
    }
}

/// A question that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// The address to ask for.
    pub address: IpAddr,
    /// Whom to ask; `None`: everybody, of IPv6 the address's group.
    pub to: Option<MacAddr>,
}

/// A node's address turned out to be at another MAC than before, or at one at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned {
    /// The node's address.
    pub address: IpAddr,
    /// Where it was before, if known.
    pub before: Option<MacAddr>,
    /// Where it is.
    pub mac: MacAddr,
}

/// The node addresses of one NIC's LAN and their MACs.
#[derive(Debug, Default)]
pub struct NodeMacs {
    neighbors: BTreeMap<IpAddr, Neighbor>,
}

impl NodeMacs {
    /// Asks for exactly these addresses from now on.
    pub fn handle_addresses(&mut self, now: Instant, addresses: impl Iterator<Item = IpAddr>) {
        let known = std::mem::take(&mut self.neighbors);
        let fresh = Neighbor { mac: None, asked: None, next: now, unanswered: 0 };
        self.neighbors = addresses.map(|address| (address, known.get(&address).copied().unwrap_or(fresh))).collect();
    }

    /// Any message of either family: its sender tells where it is, and is believed if nothing else is known. Returns what that changed.
    pub fn handle_claim(&mut self, now: Instant, claim: &Claim) -> Option<Learned> {
        let neighbor = self.neighbors.get_mut(&claim.address)?;
        let is_news = neighbor.mac.is_some_and(|known| known != claim.mac);
        // The first question without an answer was a unicast, the second a broadcast.
        if is_news && !(claim.said == Said::Answering && neighbor.unanswered >= 2) {
            let soonest = neighbor.asked.map_or(now, |asked| now.max(asked + RETRY));
            neighbor.next = neighbor.next.min(soonest);
            return None;
        }
        if claim.said != Said::Asking {
            neighbor.unanswered = 0;
            neighbor.next = now + REFRESH;
        }
        let before = neighbor.mac.replace(claim.mac);
        (before != Some(claim.mac)).then_some(Learned { address: claim.address, before, mac: claim.mac })
    }

    /// Where an address is.
    pub fn mac(&self, address: IpAddr) -> Option<MacAddr> {
        self.neighbors.get(&address)?.mac
    }

    /// The next question that is due.
    pub fn poll_question(&mut self, now: Instant) -> Option<Question> {
        let (&address, neighbor) = self.neighbors.iter_mut().find(|(_, neighbor)| neighbor.next <= now)?;
        let to = neighbor.mac.filter(|_| neighbor.unanswered == 0);
        neighbor.asked = Some(now);
        neighbor.unanswered = neighbor.unanswered.saturating_add(1);
        neighbor.next = now + if neighbor.unanswered <= EAGER_TRIES { RETRY } else { REFRESH };
        Some(Question { address, to })
    }

    /// When the next question is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.neighbors.values().map(|neighbor| neighbor.next).min()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;
    use crate::arp::ArpMessage;
    use crate::ndp::NdpMessage;

    const US: (MacAddr, Ipv4Addr) = (MacAddr([2, 0, 0, 0, 0, 2]), Ipv4Addr::new(192, 168, 0, 2));
    const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 0, 3));
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

    fn reply(mac: MacAddr) -> Claim {
        Claim { address: NODE, mac, said: Said::Answering }
    }

    /// Whom it asks, if it does: [`MacAddr::BROADCAST`] stands for everybody.
    fn asked(macs: &mut NodeMacs, now: Instant) -> Option<MacAddr> {
        macs.poll_question(now).map(|question| question.to.unwrap_or(MacAddr::BROADCAST))
    }

    #[test]
    fn a_message_of_arp_tells_where_its_sender_is_and_how() {
        let sender_ip = Ipv4Addr::new(192, 168, 0, 3);
        let answer = ArpMessage {
            destination: US.0,
            source: MAC,
            operation: Operation::Reply,
            sender_mac: MAC,
            sender_ip,
            target_mac: US.0,
            target_ip: US.1,
        };
        let said = |message: ArpMessage| Claim::of(&Message::Arp(message));
        assert_eq!(said(answer), reply(MAC));
        assert_eq!(said(ArpMessage { target_ip: sender_ip, ..answer }).said, Said::Announcing);
        assert_eq!(said(ArpMessage { operation: Operation::Request, ..answer }).said, Said::Asking);
    }

    #[test]
    fn a_message_of_neighbor_discovery_tells_where_its_source_or_its_target_is() {
        let (node, us): (Ipv6Addr, Ipv6Addr) = ("2001:db8::3".parse().expect("a literal"), "fe80::2".parse().expect("a literal"));
        let answer = NdpMessage {
            destination: US.0,
            source: MAC,
            source_ip: node,
            destination_ip: us,
            kind: Kind::Advertisement { solicited: true, overrides: true },
            target: node,
            link_address: Some(OTHER),
        };
        let claim = |message: NdpMessage| Claim::of(&Message::Ndp(message));
        assert_eq!(claim(answer), Claim { address: node.into(), mac: OTHER, said: Said::Answering });
        assert_eq!(claim(NdpMessage { link_address: None, ..answer }).mac, MAC, "an answer to a unicast may leave the MAC out");
        let unasked = Kind::Advertisement { solicited: false, overrides: true };
        assert_eq!(claim(NdpMessage { kind: unasked, ..answer }).said, Said::Announcing);
        let asks = NdpMessage { kind: Kind::Solicitation, target: us, ..answer };
        assert_eq!(claim(asks), Claim { address: node.into(), mac: OTHER, said: Said::Asking });
    }

    #[test]
    fn a_node_is_asked_by_broadcast_until_it_answers() {
        let mut macs = asking();
        assert_eq!(asked(&mut macs, at(0)), Some(MacAddr::BROADCAST));
        assert_eq!(asked(&mut macs, at(0)), None);
        assert_eq!(asked(&mut macs, at(1)), Some(MacAddr::BROADCAST));
        assert_eq!(macs.handle_claim(at(1), &reply(MAC)), Some(Learned { address: NODE, before: None, mac: MAC }));
        assert_eq!(macs.mac(NODE), Some(MAC));
        assert_eq!(macs.poll_timeout(), Some(at(11)));
    }

    #[test]
    fn a_known_node_is_asked_by_unicast_and_by_broadcast_if_that_brings_nothing() {
        let mut macs = asking();
        macs.handle_claim(at(0), &reply(MAC));
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
        macs.handle_claim(at(0), &reply(MAC));
        let claim = Claim { said: Said::Asking, ..reply(OTHER) };
        assert_eq!(macs.handle_claim(at(3), &claim), None);
        assert_eq!(asked(&mut macs, at(3)), Some(MAC), "the known one is asked at once");
        assert_eq!(macs.handle_claim(at(3), &reply(OTHER)), None, "nobody but the known one was asked");
        assert_eq!(asked(&mut macs, at(4)), Some(MacAddr::BROADCAST));
        assert_eq!(macs.handle_claim(at(4), &reply(OTHER)), Some(Learned { address: NODE, before: Some(MAC), mac: OTHER }));
        assert_eq!(macs.handle_claim(at(4), &reply(OTHER)), None);
        assert_eq!(macs.poll_timeout(), Some(at(14)));
    }

    #[test]
    fn who_shouts_moves_no_node_that_answers_and_costs_a_question_a_second() {
        let mut macs = asking();
        asked(&mut macs, at(0));
        macs.handle_claim(at(0), &reply(MAC));
        let mut questions = 0;
        for millis in (1000..11_000).step_by(10) {
            let now = Instant::from_millis(millis);
            for said in [Said::Asking, Said::Announcing] {
                assert_eq!(macs.handle_claim(now, &Claim { said, ..reply(OTHER) }), None);
            }
            if let Some(to) = asked(&mut macs, now) {
                assert_eq!(to, MAC);
                macs.handle_claim(now, &reply(MAC));
                questions += 1;
            }
        }
        assert_eq!((macs.mac(NODE), questions), (Some(MAC), 10));
    }

    #[test]
    fn strangers_are_not_remembered() {
        let mut macs = asking();
        let stranger = Claim { address: [192, 168, 0, 77].into(), ..reply(MAC) };
        assert_eq!(macs.handle_claim(at(0), &stranger), None);
        assert_eq!(macs.mac([192, 168, 0, 77].into()), None);
    }
}
