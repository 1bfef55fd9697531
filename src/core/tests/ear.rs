//! A leader with one NIC, an address of each family and one other node, that hears frames one after the other and is watched at what it says.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bellhop_core::announcer::Voice;
use bellhop_core::arp::{ArpMessage, Operation};
use bellhop_core::frame::Message;
use bellhop_core::link::{Interface, InterfaceAddress};
use bellhop_core::mac::MacAddr;
use bellhop_core::name::InterfaceName;
use bellhop_core::ndp::{Kind, NdpMessage};
use bellhop_core::network::Network;
use bellhop_core::object::{Node, Pool, PoolStatus, Protocol, Version};
use bellhop_core::pool::AddressPool;
use bellhop_core::time::Instant;

/// The address that is announced.
pub(crate) const OURS: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 91);
/// The NIC's own address.
pub(crate) const OWN: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 2);
/// The other node's.
pub(crate) const NODE: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 3);
/// The address that is announced, of IPv6.
pub(crate) const OURS6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x91);
/// The NIC's own.
pub(crate) const OWN6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
/// The other node's.
pub(crate) const NODE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 3);
/// The NIC's MAC.
pub(crate) const NIC: MacAddr = MacAddr([0x52, 0x54, 0x22, 0xa3, 0x9a, 0xd9]);
/// The MAC that carries both.
pub(crate) const CARRIER: MacAddr = MacAddr([0x52, 0x54, 0x22, 0x3a, 0xe6, 0x6e]);
/// From one frame to the next: long enough for questions to become due between them.
const PACE: Duration = Duration::from_millis(400);

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Questions that were answered.
    pub(crate) replies: usize,
    /// Times that the node's MAC was another.
    pub(crate) learned: usize,
}

/// Hears the frames and takes off all that is said. Panics if that is anything but what is ours to say.
pub(crate) fn hear_all<'a>(frames: impl Iterator<Item = &'a [u8]>) -> Heard {
    let (mut network, eth0) = leader();
    let (mut now, mut heard) = (Instant::ZERO, Heard::default());
    drain(&mut network, now);
    for frame in frames {
        now = now + PACE;
        if let Some(learned) = network.handle_frame(now, &eth0, frame) {
            assert!([IpAddr::from(NODE), NODE6.into()].contains(&learned.address) && learned.before != Some(learned.mac), "{learned:?}");
            assert!(learned.mac.is_unicast(), "{learned:?}");
            heard.learned += 1;
        }
        heard.replies += drain(&mut network, now);
    }
    heard
}

/// Checks each frame that is due to be sent. How many are answers.
fn drain(network: &mut Network, now: Instant) -> usize {
    let mut frame = Vec::new();
    let mut replies = 0;
    // A bound: whoever is never done talking is a storm.
    for _ in 0..64 {
        frame.clear();
        if network.poll_transmit(now, &mut frame).is_none() {
            return replies;
        }
        replies += usize::from(match Message::parse(&frame).expect("what is sent is whole") {
            Message::Arp(said) => check_arp(&said),
            Message::Ndp(said) => check_ndp(&said),
        });
    }
    panic!("it is never done talking");
}

/// Nothing a stranger says is repeated. Whether it is an answer.
fn check_arp(said: &ArpMessage) -> bool {
    let sender = if said.sender_ip == OURS { CARRIER } else { NIC };
    assert!(said.source == NIC && said.sender_mac == sender && [OURS, OWN].contains(&said.sender_ip), "{said:?}");
    said.operation == Operation::Reply && said.destination != MacAddr::BROADCAST
}

/// The same of IPv6.
fn check_ndp(said: &NdpMessage) -> bool {
    assert!(said.source == NIC && said.source_ip == OWN6, "{said:?}");
    match said.kind {
        Kind::Solicitation => {
            assert!(said.target == NODE6 && said.link_address == Some(NIC), "{said:?}");
            false
        }
        Kind::Advertisement { solicited, overrides } => {
            assert!(said.target == OURS6 && said.link_address == Some(CARRIER) && overrides, "{said:?}");
            solicited
        }
    }
}

fn leader() -> (Network, InterfaceName) {
    let eth0 = InterfaceName::from("eth0");
    let own = |address: IpAddr, prefix_length| InterfaceAddress { address, prefix_length };
    let interface = Interface { name: eth0.clone(), mac: NIC, up: true, addresses: vec![own(OWN.into(), 24), own(OWN6.into(), 64)] };
    let mut network = Network::new("master1".into());
    network.handle_interfaces(Instant::ZERO, vec![interface], BTreeMap::from([(OURS.into(), Some(eth0.clone()))]));
    let pools = [("eip", "192.168.0.91-192.168.0.100"), ("eip6", "2001:db8::91-2001:db8::100")]
        .map(|(name, addresses)| (name.into(), pool(name, addresses)));
    let nodes = [("master1", OWN, OWN6), ("worker-p001", NODE, NODE6)].map(|(name, v4, v6)| (name.into(), node(name, v4, v6)));
    network.handle_objects(Instant::ZERO, &pools.into(), &nodes.into());
    while network.poll_link(Instant::ZERO).is_some() {}
    network.handle_link(Instant::ZERO, &eth0, Ok(()));
    network.handle_voice(Instant::ZERO, Voice::Announcing);
    for ours in [OURS.into(), OURS6.into()] {
        network.handle_carrier(Instant::ZERO, &eth0, ours, Some(CARRIER));
    }
    (network, eth0)
}

fn pool(name: &str, addresses: &str) -> Pool {
    Pool {
        name: name.into(),
        uid: name.to_owned(),
        version: Version("1".to_owned()),
        created: 0,
        deleting: false,
        has_finalizer: true,
        addresses: AddressPool::parse(addresses, true),
        protocol: Protocol::Layer2,
        interface: None,
        disabled: false,
        is_default: false,
        priority: 0,
        binding: None,
        status: PoolStatus::default(),
    }
}

fn node(name: &str, v4: Ipv4Addr, v6: Ipv6Addr) -> Node {
    Node { name: name.into(), ready: true, deleting: false, excluded: false, addresses: vec![v4.into(), v6.into()], layer2_address: None }
}
