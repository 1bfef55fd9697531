//! The network card and the list of interfaces against the real kernel, in network namespaces.
//!
//! That a frame is *not* handed up is shown by a second one that is: a cable keeps the order, so what comes first is what came through.
#![allow(unsafe_code)] // Namespaces are entered by system call; see `lan.rs`.

mod lan;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bellhop_core::link::{Interface, InterfaceAddress, LinkError, LinkLayer};
use bellhop_core::mac::MacAddr;
use bellhop_link::probe::{ArpAnswer, arp_ask};
use bellhop_link::{Interfaces, Nic};
use caps::{CapSet, Capability};

use lan::{BROADCAST, Lan, NIC_MAC, PATIENCE, WIRE_MAC, arp, discovery, ip, next_frame, open};

#[test]
fn a_request_arrives_and_the_reply_is_seen_on_the_wire() {
    Lan::run(async |lan| {
        let (mut nic, mut wire) = lan.open();
        let request = arp(1, WIRE_MAC, BROADCAST, 91);
        wire.send(&request).expect("the cable is up");
        assert_eq!(next_frame(&mut nic).await, request);
        let reply = arp(2, NIC_MAC, WIRE_MAC, 91);
        nic.send(&reply).expect("the cable is up");
        assert_eq!(next_frame(&mut wire).await, reply);
    });
}

#[test]
fn neighbor_discovery_arrives_and_its_answer_is_seen_on_the_wire() {
    Lan::run(async |lan| {
        let (mut nic, mut wire) = lan.open();
        for to in [NIC_MAC, [0x33, 0x33, 0xff, 0, 0, 0x91]] {
            let asks = discovery(135, WIRE_MAC, to);
            wire.send(&asks).expect("the cable is up");
            assert_eq!(next_frame(&mut nic).await, asks);
        }
        let says = discovery(136, NIC_MAC, WIRE_MAC);
        nic.send(&says).expect("the cable is up");
        assert_eq!(next_frame(&mut wire).await, says);
    });
}

#[test]
fn a_storm_of_arp_does_not_keep_neighbor_discovery_waiting() {
    Lan::run(async |lan| {
        let (mut nic, mut wire) = lan.open();
        for last in 0..32 {
            wire.send(&arp(1, WIRE_MAC, BROADCAST, last)).expect("the cable is up");
        }
        let asks = discovery(135, WIRE_MAC, NIC_MAC);
        wire.send(&asks).expect("the cable is up");
        let first = [next_frame(&mut nic).await, next_frame(&mut nic).await];
        assert!(first.contains(&asks), "it is among the first two");
    });
}

/// What the kernel counts of this namespace's nic0.
fn count(name: &str) -> u64 {
    let counters = std::fs::read_to_string("/proc/thread-self/net/dev_snmp6/nic0").expect("the kernel has IPv6");
    let line = counters.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel counts it");
    line.trim().parse().expect("a number")
}

/// Whether nic0 listens to a group.
fn listens_to(group: Ipv6Addr) -> bool {
    let groups = std::fs::read_to_string("/proc/thread-self/net/igmp6").expect("the kernel has IPv6");
    let digits: String = group.octets().iter().map(|byte| format!("{byte:02x}")).collect();
    groups.lines().any(|line| line.contains("nic0") && line.contains(&digits))
}

#[test]
fn a_group_is_joined_reported_and_left_and_that_needs_no_capability() {
    Lan::run(async |_lan| {
        let mut nic = open("nic0");
        // This thread's alone, and it ends with the test.
        caps::clear(None, CapSet::Effective).expect("capabilities may always be dropped");
        let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0x91);
        let reports = count("Icmp6OutMLDv2Reports");
        assert_eq!(nic.join(group), Ok(()));
        assert_eq!(nic.join(group), Ok(()), "twice is once");
        assert!(listens_to(group));
        let reported = async {
            while count("Icmp6OutMLDv2Reports") == reports {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, reported).await.expect("switches are told");
        nic.leave(group);
        nic.leave(group);
        assert!(!listens_to(group));
        assert_eq!(nic.join(group), Ok(()));
        drop(nic);
        // A process that another test is just starting may hold the socket for a moment longer.
        let left = async {
            while listens_to(group) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, left).await.expect("a card that is closed leaves its groups");
    });
}

#[test]
fn more_groups_are_joined_than_one_socket_may_hold() {
    Lan::run(async |_lan| {
        let mut nic = open("nic0");
        let group = |number: u16| Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, number);
        for number in 0..1000 {
            assert_eq!(nic.join(group(number)), Ok(()), "group {number}");
        }
        assert!(listens_to(group(0)) && listens_to(group(999)));
        (0..1000).for_each(|number| nic.leave(group(number)));
        assert!(!listens_to(group(0)) && !listens_to(group(999)));
    });
}

#[test]
fn a_group_is_refused_on_a_card_without_ipv6() {
    Lan::run(async |_lan| {
        let mut nic = open("nic0");
        std::fs::write("/proc/sys/net/ipv6/conf/nic0/disable_ipv6", "1").expect("root may set it");
        ip("link set nic0 mtu 1000");
        assert!(nic.join(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0x91)).is_err(), "IPv6 needs an MTU of 1280");
    });
}

#[test]
fn an_address_that_is_looked_for_is_not_listed_yet() {
    Lan::run(async |_lan| {
        let interfaces = Interfaces::watch().expect("netlink needs no capability");
        let has = |found: &[Interface]| found[0].addresses.iter().any(|own| own.address.is_ipv6());
        ip("address add 2001:db8::1/64 dev nic0");
        assert!(!has(&interfaces.snapshot()), "the kernel looks for duplicates for a second");
        until(&interfaces, has).await;
    });
}

/// Sends what should not be handed up and then what should, and checks that the second comes first.
fn check_unseen(unseen: fn() -> Vec<Vec<u8>>) {
    Lan::run(async move |lan| {
        let (mut nic, mut wire) = lan.open();
        for frame in unseen() {
            wire.send(&frame).expect("the cable is up");
        }
        let marker = arp(1, WIRE_MAC, BROADCAST, 99);
        wire.send(&marker).expect("the cable is up");
        assert_eq!(next_frame(&mut nic).await, marker);
    });
}

#[test]
fn a_frame_with_a_vlan_tag_is_not_handed_up() {
    check_unseen(|| {
        let tagged = |tag: [u8; 4]| {
            let mut frame = arp(1, WIRE_MAC, BROADCAST, 91);
            frame.splice(12..12, tag);
            frame
        };
        vec![tagged([0x81, 0x00, 0, 5]), tagged([0x88, 0xa8, 0, 5]), tagged([0x81, 0x00, 0xe0, 5])]
    });
}

#[test]
fn a_frame_for_another_host_is_not_handed_up() {
    check_unseen(|| vec![arp(1, WIRE_MAC, [0x52, 0x54, 0x22, 0, 0, 9], 91)]);
}

#[test]
fn neither_other_protocols_nor_other_operations_are_handed_up() {
    check_unseen(|| {
        let mut ipv4 = arp(1, WIRE_MAC, BROADCAST, 91);
        ipv4[12..14].copy_from_slice(&[8, 0]);
        let echo = discovery(128, WIRE_MAC, NIC_MAC);
        vec![ipv4, echo, arp(3, WIRE_MAC, BROADCAST, 91), arp(1, WIRE_MAC, BROADCAST, 91)[..20].to_vec()]
    });
}

#[test]
fn our_own_frames_are_not_handed_up() {
    Lan::run(async |lan| {
        let (mut nic, mut wire) = lan.open();
        nic.send(&arp(1, NIC_MAC, BROADCAST, 91)).expect("the cable is up");
        // Those of this machine's kernel neither: it asks for 192.0.2.77 now.
        ip("neigh add 192.0.2.77 dev nic0 nud incomplete use");
        next_frame(&mut wire).await;
        let marker = arp(1, WIRE_MAC, BROADCAST, 99);
        wire.send(&marker).expect("the cable is up");
        assert_eq!(next_frame(&mut nic).await, marker);
    });
}

#[test]
fn a_frame_longer_than_the_buffer_is_dropped_and_counted() {
    Lan::run(async |lan| {
        let (mut nic, mut wire) = lan.open();
        wire.send(&arp(1, WIRE_MAC, BROADCAST, 91)).expect("the cable is up");
        std::future::poll_fn(|cx| nic.poll_readable(cx)).await;
        assert_eq!(nic.receive(&mut [0; 59]), Ok(None));
        assert_eq!(nic.ignored(), [("queue_full", 0), ("too_long", 1)]);
    });
}

#[test]
fn frames_that_find_the_queue_full_are_counted() {
    Lan::run(async |lan| {
        let (nic, mut wire) = lan.open();
        let queue_full = || nic.ignored()[0].1;
        let frame = arp(1, WIRE_MAC, BROADCAST, 91);
        // The largest queue that an administrator could have allowed us holds fewer small frames than this.
        for _ in 0..20_000 {
            let _ = wire.send(&frame);
        }
        let counted = queue_full();
        assert!(counted > 0);
        assert!(queue_full() >= counted, "the kernel's own count starts again when it is read, ours does not");
    });
}

#[test]
fn a_card_that_went_down_and_up_again_goes_on() {
    Lan::run(async |lan| {
        let (mut nic, mut wire) = lan.open();
        ip("link set nic0 down");
        assert_eq!(nic.send(&arp(1, NIC_MAC, BROADCAST, 91)), Err(LinkError::Down("nic0".into())));
        ip("link set nic0 up");
        let request = arp(1, WIRE_MAC, BROADCAST, 91);
        wire.send(&request).expect("the cable is up");
        assert_eq!(next_frame(&mut nic).await, request);
    });
}

#[test]
fn a_card_that_is_down_can_be_opened() {
    Lan::run(async |lan| {
        ip("link set nic0 down");
        let mut nic = open("nic0");
        ip("link set nic0 up");
        let mut wire = lan.at_far_end(|| open("wire0"));
        let request = arp(1, WIRE_MAC, BROADCAST, 91);
        wire.send(&request).expect("the cable is up");
        assert_eq!(next_frame(&mut nic).await, request);
    });
}

#[test]
fn a_card_that_was_removed_is_gone_even_if_another_has_its_name() {
    Lan::run(async |_lan| {
        let mut nic = open("nic0");
        ip("link delete nic0");
        assert_eq!(nic.send(&arp(1, NIC_MAC, BROADCAST, 91)), Err(LinkError::Gone("nic0".into())));
        ip("link add nic0 type veth peer name other");
        assert_eq!(nic.send(&arp(1, NIC_MAC, BROADCAST, 91)), Err(LinkError::Gone("nic0".into())));
    });
}

#[test]
fn without_the_capability_a_card_is_refused_by_name() {
    // Capabilities are a thread's own: this thread gives it up, no other does. Without root there is none to give up.
    let thread = std::thread::spawn(|| {
        caps::drop(None, CapSet::Effective, Capability::CAP_NET_RAW).expect("a capability may always be dropped");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async { Nic::open(&"lo".into()).err() })
    });
    let refused = thread.join().expect("it does not panic");
    assert_eq!(refused, Some(LinkError::NotPermitted("lo".into())));
}

#[test]
fn the_probing_client_hears_who_has_an_address() {
    Lan::run(async |_lan| {
        let ask = |last| arp_ask(&"nic0".into(), Ipv4Addr::new(192, 0, 2, last), Duration::from_millis(200));
        let wire = ArpAnswer { ethernet_source: MacAddr(WIRE_MAC), sender_mac: MacAddr(WIRE_MAC) };
        assert_eq!(ask(2), Ok(Some(wire)));
        assert_eq!(ask(77), Ok(None));
    });
}

/// The one interface that the near namespace lists.
fn nic0(interfaces: &Interfaces) -> Interface {
    let found = interfaces.snapshot();
    assert_eq!(found.len(), 1, "neither the loopback nor anything else is listed: {found:?}");
    found.into_iter().next().expect("one")
}

#[test]
fn a_card_is_listed_with_mac_state_and_addresses() {
    Lan::run(async |_lan| {
        // What is not to be found, made as kube-proxy's dummy is: without ARP. (Not every kernel has dummies.)
        ip("link add kube-ipvs0 arp off type veth peer name kube-ipvs1 arp off");
        let found = nic0(&Interfaces::watch().expect("netlink needs no capability"));
        assert_eq!((found.name.as_str(), found.mac, found.up), ("nic0", MacAddr(NIC_MAC), true));
        let address = InterfaceAddress { address: [192, 0, 2, 1].into(), prefix_length: 24 };
        assert_eq!(found.addresses.first(), Some(&address));
    });
}

/// Waits until what `changed` announces brings the wanted state; a card changes in several steps.
async fn until(interfaces: &Interfaces, wanted: impl Fn(&[Interface]) -> bool) {
    let wait = async {
        while !wanted(&interfaces.snapshot()) {
            interfaces.changed().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the change is noticed");
}

#[test]
fn a_new_mac_a_lost_carrier_and_a_new_address_are_noticed() {
    Lan::run(async |lan| {
        let interfaces = Interfaces::watch().expect("netlink needs no capability");
        ip("link set nic0 address 52:54:22:00:00:77");
        until(&interfaces, |found| found[0].mac == MacAddr([0x52, 0x54, 0x22, 0, 0, 0x77])).await;
        lan.at_far_end(|| ip("link set wire0 down"));
        until(&interfaces, |found| !found[0].up).await;
        ip("address add 192.0.2.5/24 dev nic0");
        until(&interfaces, |found| found[0].addresses.iter().any(|a| a.address == Ipv4Addr::new(192, 0, 2, 5))).await;
        ip("link delete nic0");
        until(&interfaces, <[Interface]>::is_empty).await;
    });
}

#[test]
fn a_change_wakes_who_is_waiting_already() {
    Lan::run(async |_lan| {
        // A namespace that is being set up still changes by itself (IPv6 finds its own address): without it all is quiet.
        std::fs::write("/proc/sys/net/ipv6/conf/nic0/disable_ipv6", "1").expect("root may set it");
        let interfaces = Interfaces::watch().expect("netlink needs no capability");
        interfaces.snapshot();
        let quiet = tokio::time::timeout(Duration::from_millis(100), interfaces.changed()).await;
        assert!(quiet.is_err(), "nothing has changed");
        let change = async {
            tokio::task::yield_now().await;
            ip("link set nic0 down");
        };
        let woken = async { tokio::join!(interfaces.changed(), change) };
        tokio::time::timeout(PATIENCE, woken).await.expect("the change wakes");
        assert!(!nic0(&interfaces).up);
    });
}

#[test]
fn a_route_leads_where_the_kernel_would_send() {
    Lan::run(async |_lan| {
        let interfaces = Interfaces::watch().expect("netlink needs no capability");
        let route_to = |text: &str| interfaces.route_to(text.parse().expect("a literal"));
        assert_eq!(route_to("192.0.2.2"), Some("nic0".into()));
        assert_eq!(route_to("192.0.2.1"), None, "an address of this machine");
        assert_eq!(route_to("127.0.0.1"), None, "the loopback");
        assert_eq!(route_to("203.0.113.1"), None, "no route");
        assert_eq!(route_to("2001:db8::1"), None, "no route, the other family");
        interfaces.snapshot();
        ip("route add default via 192.0.2.2");
        tokio::time::timeout(PATIENCE, interfaces.changed()).await.expect("a new route is a change");
        assert_eq!(route_to("203.0.113.1"), Some("nic0".into()));
        ip("route add blackhole 203.0.113.0/24");
        assert_eq!(route_to("203.0.113.1"), None, "a route that leads nowhere");
    });
}
