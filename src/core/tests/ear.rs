//! A leader with one NIC, one address and one other node, that hears frames one after the other and is watched at what it says.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use bellhop_core::announcer::Voice;
use bellhop_core::arp::{ArpMessage, Operation};
use bellhop_core::link::{Interface, InterfaceAddress};
use bellhop_core::mac::MacAddr;
use bellhop_core::name::InterfaceName;
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
/// The NIC's MAC.
pub(crate) const NIC: MacAddr = MacAddr([0x52, 0x54, 0x22, 0xa3, 0x9a, 0xd9]);
/// The MAC that carries [`OURS`].
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

/// Hears the frames and takes off all that is said. Panics if that is anything but our ARP.
pub(crate) fn hear_all<'a>(frames: impl Iterator<Item = &'a [u8]>) -> Heard {
    let (mut network, eth0) = leader();
    let (mut now, mut heard) = (Instant::ZERO, Heard::default());
    drain(&mut network, now);
    for frame in frames {
        now = now + PACE;
        if let Some(learned) = network.handle_frame(now, &eth0, frame) {
            assert!(learned.address == NODE && learned.before != Some(learned.mac), "{learned:?}");
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
        let said = ArpMessage::parse(&frame).expect("what is sent is ARP");
        assert_eq!(said.source, NIC);
        let sender = if said.sender_ip == OURS { CARRIER } else { NIC };
        assert!(said.sender_mac == sender && [OURS, OWN].contains(&said.sender_ip), "nothing a stranger says is repeated: {said:?}");
        replies += usize::from(said.operation == Operation::Reply && said.destination != MacAddr::BROADCAST);
    }
    panic!("it is never done talking");
}

fn leader() -> (Network, InterfaceName) {
    let eth0 = InterfaceName::from("eth0");
    let own = InterfaceAddress { address: OWN.into(), prefix_length: 24 };
    let interface = Interface { name: eth0.clone(), mac: NIC, up: true, addresses: vec![own] };
    let mut network = Network::new("master1".into());
    network.handle_interfaces(Instant::ZERO, vec![interface], BTreeMap::from([(OURS.into(), Some(eth0.clone()))]));
    let pools = BTreeMap::from([("eip".into(), pool())]);
    let nodes = [("master1", OWN), ("worker-p001", NODE)].map(|(name, address)| (name.into(), node(name, address)));
    network.handle_objects(Instant::ZERO, &pools, &nodes.into());
    while network.poll_link(Instant::ZERO).is_some() {}
    network.handle_link(Instant::ZERO, &eth0, Ok(()));
    network.handle_voice(Instant::ZERO, Voice::Announcing);
    network.handle_carrier(Instant::ZERO, &eth0, OURS.into(), Some(CARRIER));
    (network, eth0)
}

fn pool() -> Pool {
    Pool {
        name: "eip".into(),
        uid: "1".to_owned(),
        version: Version("1".to_owned()),
        created: 0,
        deleting: false,
        has_finalizer: true,
        addresses: AddressPool::parse("192.168.0.91-192.168.0.100", true),
        protocol: Protocol::Layer2,
        interface: None,
        disabled: false,
        is_default: false,
        priority: 0,
        binding: None,
        status: PoolStatus::default(),
    }
}

fn node(name: &str, address: Ipv4Addr) -> Node {
    Node { name: name.into(), ready: true, deleting: false, excluded: false, addresses: vec![address.into()], layer2_address: None }
}
