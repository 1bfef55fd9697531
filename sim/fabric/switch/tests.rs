//! One switch by itself.

use std::net::Ipv4Addr;

use super::*;
use crate::frame::{Arp, Operation};

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

fn switch(config: SwitchConfig) -> Switch {
    let mut switch = Switch::new(config, Numbered::new(1, "switch"));
    (0..4).for_each(|cable| switch.plug(cable, 1, cable == 3));
    switch
}

fn frame(source: MacAddr, destination: MacAddr) -> Frame {
    Frame::from(&[&destination.0[..], &source.0, &[0x08, 0x00, 1, 2, 3]].concat()[..])
}

fn says(ethernet: MacAddr, sender_mac: MacAddr, sender_ip: Ipv4Addr) -> Frame {
    let arp = Arp { operation: Operation::Reply, sender_mac, sender_ip, target_mac: B, target_ip: Ipv4Addr::new(192, 0, 2, 9) };
    arp.frame(ethernet, B)
}

#[test]
fn an_unknown_destination_is_flooded_and_a_learned_one_is_not() {
    let mut switch = switch(SwitchConfig::default());
    assert_eq!(switch.handle_frame(Instant::ZERO, 1, &frame(A, B)), Way::Flood);
    assert_eq!(switch.handle_frame(Instant::ZERO, 2, &frame(B, A)), Way::Port(1));
    assert_eq!(switch.handle_frame(Instant::ZERO, 1, &frame(B, A)), Way::Nowhere);
}

#[test]
fn an_address_is_forgotten_after_its_age_and_with_its_port() {
    let mut switch = switch(SwitchConfig { ageing: Duration::from_secs(10), ..SwitchConfig::default() });
    switch.handle_frame(Instant::ZERO, 1, &frame(A, B));
    assert_eq!(switch.handle_frame(Instant::from_millis(10_000), 2, &frame(B, A)), Way::Port(1));
    assert_eq!(switch.handle_frame(Instant::from_millis(11_000), 2, &frame(B, A)), Way::Flood);
    switch.handle_frame(Instant::from_millis(11_000), 1, &frame(A, B));
    switch.forget_port(1);
    assert_eq!(switch.handle_frame(Instant::from_millis(11_000), 2, &frame(B, A)), Way::Flood);
}

#[test]
fn a_full_table_learns_nothing_new_until_something_has_aged() {
    let mut switch = switch(SwitchConfig { table_max: 100, ..SwitchConfig::default() });
    for number in 0..20_000_u32 {
        let [a, b, c, d] = number.to_be_bytes();
        switch.handle_frame(Instant::ZERO, 1, &frame(MacAddr([2, 1, a, b, c, d]), B));
    }
    assert_eq!(switch.counters(), SwitchCounters { known: 100, moves: 0, not_learned: 19_900 });
    switch.handle_frame(Instant::ZERO, 2, &frame(A, B));
    assert_eq!(switch.handle_frame(Instant::ZERO, 1, &frame(B, A)), Way::Flood, "A found no room");
    let later = Instant::ZERO + AGEING + Duration::from_secs(1);
    switch.handle_frame(later, 2, &frame(A, B));
    assert_eq!(switch.handle_frame(later, 1, &frame(B, A)), Way::Port(2));
}

#[test]
fn a_mac_that_moves_is_found_where_it_is_and_counted() {
    let mut switch = switch(SwitchConfig::default());
    for port in [1, 2, 2, 1] {
        switch.handle_frame(Instant::ZERO, port, &frame(A, B));
    }
    assert_eq!(switch.counters().moves, 2);
    assert_eq!(switch.handle_frame(Instant::ZERO, 0, &frame(B, A)), Way::Port(1));
}

#[test]
fn a_storm_limit_lets_a_seconds_worth_through_and_then_its_rate_port_by_port() {
    let mut switch = switch(SwitchConfig { storm_limit: Some(100), ..SwitchConfig::default() });
    let mut passed = |port, from: u64, count: u64| {
        let at = |n| Instant::from_millis(from + n);
        (0..count).filter(|n| switch.handle_frame(at(*n), port, &frame(A, MacAddr::BROADCAST)) == Way::Flood).count()
    };
    assert_eq!(passed(1, 0, 1000), 199, "a hundred at once, and one each ten milliseconds as they drain");
    assert_eq!(passed(1, 1000, 1000), 100);
    assert_eq!(passed(2, 2000, 100), 100, "the other port has its own");
    assert_eq!(switch.handle_frame(Instant::from_millis(1999), 1, &frame(A, B)), Way::Flood, "unicast is not counted");
}

#[test]
fn inspection_binds_an_address_to_the_mac_and_port_where_it_was_first_seen() {
    let mut switch = switch(SwitchConfig { inspect: true, ..SwitchConfig::default() });
    let now = Instant::ZERO;
    assert_eq!(switch.handle_frame(now, 1, &says(A, A, IP)), Way::Flood);
    assert_eq!(switch.handle_frame(now, 2, &says(A, A, IP)), Way::Refused(DropReason::ArpBinding), "the same MAC on another port");
    assert_eq!(switch.handle_frame(now, 1, &says(B, B, IP)), Way::Refused(DropReason::ArpBinding), "another MAC on the same port");
    let other = Ipv4Addr::new(192, 0, 2, 2);
    assert_eq!(switch.handle_frame(now, 1, &says(A, B, other)), Way::Refused(DropReason::ArpSource), "announced for somebody else");
    assert_eq!(switch.handle_frame(now, 3, &says(A, B, IP)), Way::Flood, "the way to another switch is trusted");
    assert_eq!(switch.handle_frame(now, 2, &says(A, A, Ipv4Addr::UNSPECIFIED)), Way::Flood, "a probe claims nothing");
    switch.bind(IP, B, 2);
    assert_eq!(switch.handle_frame(now, 1, &says(A, A, IP)), Way::Refused(DropReason::ArpBinding), "bound by hand");
}

#[test]
fn a_refused_frame_teaches_nothing() {
    let mut switch = switch(SwitchConfig { inspect: true, ..SwitchConfig::default() });
    switch.handle_frame(Instant::ZERO, 1, &says(A, A, IP));
    switch.handle_frame(Instant::ZERO, 2, &says(B, B, IP));
    assert_eq!(switch.counters().known, 1);
    switch.ports[2].blocked = true;
    assert_eq!(switch.handle_frame(Instant::ZERO, 2, &frame(B, A)), Way::Refused(DropReason::Blocked));
    assert_eq!(switch.counters().known, 1);
}
