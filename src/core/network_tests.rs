//! A NIC with both families: who is asked, what is learned, which groups are joined.

use super::*;
use crate::object::{PoolStatus, Version};
use crate::pool::AddressPool;

const NIC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const NODE: MacAddr = MacAddr([2, 0, 0, 0, 0, 3]);

fn ip(text: &str) -> IpAddr {
    text.parse().expect("a literal")
}

fn ip6(text: &str) -> Ipv6Addr {
    text.parse().expect("a literal")
}

fn pool(name: &str, addresses: &str) -> Pool {
    Pool {
        name: name.into(),
        uid: name.to_owned(),
        version: Version("1".to_owned()),
        created: 0,
        deleting: false,
        has_finalizer: false,
        addresses: AddressPool::parse(addresses, true),
        protocol: Protocol::Layer2,
        interface: None,
        disabled: false,
        is_default: false,
        binding: None,
        priority: 0,
        status: PoolStatus::default(),
    }
}

fn node(name: &str, addresses: &[&str]) -> Node {
    let addresses = addresses.iter().map(|address| ip(address)).collect();
    Node { name: name.into(), ready: true, deleting: false, excluded: false, addresses, layer2_address: None }
}

/// worker-p001, of both families.
fn worker() -> Node {
    node("worker-p001", &["192.168.0.3", "2001:db8::3"])
}

/// A leader on master1 with these pools, its NIC open and all there was to say said, but no answer yet.
fn network(pools: &[(&str, &str)]) -> Network {
    let own = [("192.168.0.2", 24), ("2001:db8::2", 64), ("fe80::2", 64)];
    let addresses = own.map(|(address, prefix_length)| InterfaceAddress { address: ip(address), prefix_length }).to_vec();
    let mut network = Network::new("master1".into());
    network.handle_interfaces(Instant::ZERO, vec![Interface { name: "eth0".into(), mac: NIC, up: true, addresses }], BTreeMap::new());
    let pools = pools.iter().map(|(name, addresses)| ((*name).into(), pool(name, addresses))).collect();
    let nodes = [node("master1", &["192.168.0.2", "2001:db8::2"]), worker()];
    network.handle_objects(Instant::ZERO, &pools, &nodes.map(|node| (node.name.clone(), node)).into());
    network.handle_voice(Instant::ZERO, Voice::Announcing);
    while network.poll_link(Instant::ZERO).is_some() {}
    network.handle_link(Instant::ZERO, &"eth0".into(), Ok(()));
    network
}

const POOL6: (&str, &str) = ("six", "2001:db8::91-2001:db8::99");

fn sent(network: &mut Network, now: Instant) -> Vec<Message> {
    let mut frame = Vec::new();
    std::iter::from_fn(|| network.poll_transmit(now, &mut frame).map(|_| Message::parse(&frame).expect("our own frame"))).collect()
}

fn commands(network: &mut Network) -> Vec<LinkCommand> {
    std::iter::from_fn(|| network.poll_link(Instant::ZERO)).collect()
}

#[test]
fn a_node_is_asked_for_its_ipv6_address_from_the_nics_own_and_reached_once_it_answers() {
    let mut network = network(&[POOL6]);
    let unknown = network.reach(&"six".into(), ip("2001:db8::91"), &worker()).expect_err("it was not asked yet");
    assert_eq!(unknown.reason, reason::NODE_MAC_UNKNOWN);
    let asked = NdpMessage {
        destination: MacAddr([0x33, 0x33, 0xff, 0, 0, 3]),
        source: NIC,
        source_ip: ip6("fe80::2"),
        destination_ip: ip6("ff02::1:ff00:3"),
        kind: ndp::Kind::Solicitation,
        target: ip6("2001:db8::3"),
        link_address: Some(NIC),
    };
    assert_eq!(sent(&mut network, Instant::ZERO), [Message::Ndp(asked)], "IPv4 has no pool here, so nobody is asked by ARP");
    let kind = ndp::Kind::Advertisement { solicited: true, overrides: true };
    let (source_ip, destination_ip) = (asked.target, asked.source_ip);
    let answer = NdpMessage { destination: NIC, source: NODE, source_ip, destination_ip, kind, link_address: Some(NODE), ..asked };
    let mut frame = Vec::new();
    answer.emit(&mut frame);
    let learned = network.handle_frame(Instant::ZERO, &"eth0".into(), &frame);
    assert_eq!(learned, Some(Learned { address: ip("2001:db8::3"), before: None, mac: NODE }));
    assert_eq!(network.reach(&"six".into(), ip("2001:db8::91"), &worker()), Ok(("eth0".into(), NODE)));
    // The next time, ten seconds later, it is asked alone.
    let again = NdpMessage { destination: NODE, destination_ip: asked.target, ..asked };
    assert_eq!(sent(&mut network, Instant::from_millis(10_000)), [Message::Ndp(again)]);
}

#[test]
fn a_node_without_an_address_of_the_family_carries_none_of_it() {
    let network = network(&[POOL6]);
    let why = network.reach(&"six".into(), ip("2001:db8::91"), &node("worker-p002", &["192.168.0.4"])).expect_err("it cannot be asked");
    assert_eq!((why.reason, why.message.as_str()), (reason::NO_NODE_ADDRESS, "node worker-p002 has no IPv6 address on the subnet of eth0"));
}

#[test]
fn our_own_node_is_at_the_nics_mac_in_both_families() {
    let network = network(&[POOL6, ("four", "192.168.0.91")]);
    let own = node("master1", &["192.168.0.2", "2001:db8::2"]);
    assert_eq!(network.reach(&"six".into(), ip("2001:db8::91"), &own), Ok(("eth0".into(), NIC)));
    assert_eq!(network.reach(&"four".into(), ip("192.168.0.91"), &own), Ok(("eth0".into(), NIC)));
}

#[test]
fn the_group_of_an_address_is_joined_while_it_is_answered_for() {
    let (eth0, group) = (InterfaceName::from("eth0"), ip6("ff02::1:ff00:91"));
    let mut network = network(&[POOL6]);
    network.handle_carrier(Instant::ZERO, &eth0, ip("2001:db8::91"), Some(NODE));
    assert_eq!(commands(&mut network), [LinkCommand::Join(eth0.clone(), group)]);
    network.handle_carrier(Instant::ZERO, &eth0, ip("2001:db8::91"), Some(NIC));
    network.handle_carrier(Instant::ZERO, &eth0, ip("192.168.0.91"), Some(NIC));
    assert_eq!(commands(&mut network), [], "neither a move nor IPv4 is a reason");
    network.handle_carrier(Instant::ZERO, &eth0, ip("2001:db8::91"), None);
    assert_eq!(commands(&mut network), [LinkCommand::Leave(eth0, group)]);
}

#[test]
fn a_nic_that_is_opened_anew_joins_its_groups_again() {
    let (eth0, group) = (InterfaceName::from("eth0"), ip6("ff02::1:ff00:91"));
    let mut network = network(&[POOL6]);
    network.handle_carrier(Instant::ZERO, &eth0, ip("2001:db8::91"), Some(NODE));
    commands(&mut network);
    network.handle_link(Instant::ZERO, &eth0, Err(LinkError::Gone(eth0.clone())));
    assert_eq!(commands(&mut network), [LinkCommand::Close(eth0.clone())], "nothing is joined on a NIC that is closed");
    network.handle_link(Instant::ZERO, &eth0, Ok(()));
    assert_eq!(commands(&mut network), [LinkCommand::Join(eth0, group)]);
}

#[test]
fn a_nic_that_is_down_when_it_is_to_be_opened_is_tried_again() {
    let eth0 = InterfaceName::from("eth0");
    let mut network = network(&[POOL6]);
    network.handle_link(Instant::ZERO, &eth0, Err(LinkError::Down(eth0.clone())));
    assert_eq!(commands(&mut network), [], "a frame that is lost closes nothing");
    network.handle_link(Instant::ZERO, &eth0, Err(LinkError::Gone(eth0.clone())));
    commands(&mut network);
    let again = Instant::ZERO + OPEN_RETRY;
    assert_eq!(network.poll_link(again), Some(LinkCommand::Open(eth0.clone())));
    network.handle_link(again, &eth0, Err(LinkError::Down(eth0.clone())));
    assert_eq!((network.poll_link(again), network.poll_timeout()), (None, Some(again + OPEN_RETRY)));
    assert_eq!(network.poll_link(again + OPEN_RETRY), Some(LinkCommand::Open(eth0)));
}
