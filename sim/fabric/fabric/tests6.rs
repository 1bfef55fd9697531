//! IPv6 hosts on one switch: they find each other, answer who asks for them, and say when nobody is there.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::time::Duration;

use bellhop_core::mac::MacAddr;

use super::*;
use crate::packet6::{self, Icmp6};
use crate::{EchoOutcome, NeighborState, PingOptions};

fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, last])
}

fn ip(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)
}

/// Two hosts, ::1 and ::2.
fn pair() -> (Fabric, [MachineId; 2], Rc<RefCell<Vec<Event>>>) {
    let mut fabric = Fabric::new(1);
    let switch = fabric.add_switch();
    let hosts = [1, 2].map(|last| {
        let host = fabric.add_machine(MachineConfig::new(&format!("host{last}")).nic("eth0", mac(last), ip(last.into()), 64));
        let nic = fabric.nic(host, "eth0").expect("it has an eth0");
        fabric.connect(nic, switch, Latency::default());
        host
    });
    let events = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&events);
    fabric.set_sink(Box::new(move |_, event| kept.borrow_mut().push(event.clone())));
    (fabric, hosts, events)
}

#[test]
fn two_hosts_find_each_other_and_the_table_prints_both() {
    let (mut fabric, [one, two], _) = pair();
    let ping = fabric.ping(one, PingOptions { count: Some(3), ..PingOptions::to(ip(2)) });
    fabric.run_until(Instant::from_millis(5000));
    assert!(fabric.ping_is_done(ping));
    let text = fabric.ping_text(ping);
    assert!(text.starts_with("PING 2001:db8::2 (2001:db8::2) 56 data bytes\n64 bytes from 2001:db8::2: icmp_seq=1 ttl=64 time="), "{text}");
    assert!(text.contains("3 packets transmitted, 3 received, 0% packet loss"), "{text}");
    assert_eq!(fabric.ip_neigh(one), "2001:db8::2 dev eth0 lladdr 02:00:00:00:00:02 REACHABLE\n");
    // Whoever was asked knows the asker, has answered it, and waits for a sign of life.
    assert_eq!(fabric.neighbors(two).first().map(|neighbor| neighbor.state), Some(NeighborState::Delay));
}

#[test]
fn a_host_that_nobody_has_is_unreachable_after_three_seconds() {
    let (mut fabric, [one, _], events) = pair();
    let ping = fabric.ping(one, PingOptions { count: Some(1), ..PingOptions::to(ip(9)) });
    fabric.run_until(Instant::from_millis(3100));
    assert!(fabric.ping_text(ping).contains("From 2001:db8::1 icmp_seq=1 Destination unreachable: Address unreachable\n"));
    let outcome = events.borrow().iter().find_map(|event| if let Event::Echo { echo, .. } = event { Some(echo.outcome) } else { None });
    assert_eq!(outcome, Some(EchoOutcome::Unreachable { from: IpAddr::V6(ip(1)), code: 3 }));
}

#[test]
fn hostile_bytes_are_heard_by_nobody() {
    let (mut fabric, [one, _], events) = pair();
    let nic = fabric.nic(one, "eth0").expect("it has an eth0");
    let mut frame = packet6::solicitation(ip(7), packet6::solicited_node(ip(1)), ip(1), Some(mac(7)));
    crate::frame::write_header(
        &mut frame,
        mac(7),
        packet6::group_mac(packet6::solicited_node(ip(1))),
        smoltcp::wire::EthernetProtocol::Ipv6,
    );
    let sent = |events: &Rc<RefCell<Vec<Event>>>| events.borrow().iter().filter(|event| matches!(event, Event::Sent { .. })).count();
    for length in 0..frame.len() {
        fabric.inject(nic, &frame[..length]);
        let mut damaged = frame.clone();
        damaged[length] ^= 0x80;
        // The Ethernet addresses, the traffic class, the flow label and the hop limit are under no checksum; the rest is.
        if length >= 18 && length != 21 {
            fabric.inject(nic, &damaged);
        }
    }
    fabric.run_until(Instant::from_millis(1));
    let answered_flow_labels = sent(&events);
    assert!(answered_flow_labels <= 3, "{answered_flow_labels} answers to damaged questions");
    fabric.inject(nic, &frame);
    fabric.run_until(fabric.now() + Duration::from_millis(1));
    assert_eq!(sent(&events), answered_flow_labels + 1, "the whole question is answered");
    let answers = events
        .borrow()
        .iter()
        .filter(|event| matches!(event, Event::Sent { frame, .. } if matches!(packet6::icmp(frame), Some(Icmp6::Advertisement(_)))))
        .count();
    assert_eq!(answers, answered_flow_labels + 1);
}
