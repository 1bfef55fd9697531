//! Faults of cables, as machines and the trace see them.

use super::*;

fn drops(lan: &Lan, reason: DropReason) -> usize {
    lan.events.borrow().iter().filter(|event| matches!(event, Event::Dropped { reason: why, .. } if *why == reason)).count()
}

fn received(text: &str) -> &str {
    text.lines().find(|line| line.contains("packets transmitted")).expect("a ping that ended")
}

#[test]
fn a_cut_in_one_direction_keeps_the_carrier_and_lets_the_other_direction_pass() {
    let mut lan = Lan::new(1);
    let nic = lan.eth0(lan.nodes[2]);
    lan.fabric.set_wire(nic, Direction::Out, WireFault::cut());
    assert!(lan.three_pings(lan_ip(4)).contains("0 received"));
    assert!(lan.fabric.interfaces(lan.nodes[2])[0].up);
    let asked = |event: &Event| matches!(event, Event::Received { nic: at, frame } if *at == nic && frame.arp().is_some());
    assert!(lan.events.borrow().iter().any(asked), "the question came in");
    assert!(drops(&lan, DropReason::Cut) >= 3, "and no answer went out");
    lan.fabric.set_wire(nic, Direction::Both, WireFault::default());
    assert!(lan.three_pings(lan_ip(4)).contains("3 received"));
}

#[test]
fn a_cut_in_both_directions_takes_the_carrier_and_what_the_switch_knew_behind_it() {
    let mut lan = Lan::new(1);
    assert!(lan.three_pings(lan_ip(4)).contains("3 received"));
    let nic = lan.eth0(lan.nodes[2]);
    let known = lan.fabric.switch_counters(SwitchId(0)).known;
    lan.fabric.set_wire(nic, Direction::In, WireFault::cut());
    assert!(lan.fabric.interfaces(lan.nodes[2])[0].up);
    lan.fabric.take_changed();
    lan.fabric.set_wire(nic, Direction::Out, WireFault::cut());
    assert!(!lan.fabric.interfaces(lan.nodes[2])[0].up);
    assert_eq!(lan.fabric.take_changed(), [lan.nodes[2]]);
    assert_eq!(lan.fabric.ip_neigh(lan.nodes[2]), "");
    assert_eq!(lan.fabric.switch_counters(SwitchId(0)).known, known - 1);
    lan.fabric.set_wire(nic, Direction::Out, WireFault::default());
    assert!(lan.fabric.interfaces(lan.nodes[2])[0].up, "one direction is enough for a light");
}

#[test]
fn every_lost_frame_is_in_the_trace_with_its_reason() {
    let mut lan = Lan::new(1);
    lan.fabric.set_wire(lan.eth0(lan.client), Direction::Both, WireFault::loss(Chance::CERTAIN));
    assert!(lan.three_pings(lan_ip(4)).contains("0 received"));
    let sent = |event: &Event| matches!(event, Event::Sent { nic, .. } if *nic == lan.eth0(lan.client));
    let sent = lan.events.borrow().iter().filter(|event| sent(event)).count();
    assert!(sent >= 3);
    assert_eq!(drops(&lan, DropReason::Lost), sent);
}

#[test]
fn a_broken_frame_is_dropped_by_its_receiver() {
    let mut lan = Lan::new(1);
    lan.fabric.set_wire(lan.eth0(lan.client), Direction::In, WireFault { corrupt: Chance::CERTAIN, ..WireFault::default() });
    assert!(lan.three_pings(lan_ip(4)).contains("0 received"));
    let client = Place::Nic(lan.eth0(lan.client));
    let there = |event: &Event| matches!(event, Event::Dropped { place, reason: DropReason::Corrupt, .. } if *place == client);
    assert!(lan.events.borrow().iter().filter(|event| there(event)).count() >= 3);
}

#[test]
fn a_duplicated_frame_arrives_twice() {
    let mut lan = Lan::new(1);
    let nic = lan.eth0(lan.client);
    lan.fabric.set_wire(nic, Direction::In, WireFault { duplicate: Chance::CERTAIN, ..WireFault::default() });
    assert!(lan.three_pings(lan_ip(4)).contains("3 received"));
    let reply = |event: &Event| matches!(event, Event::Received { nic: at, frame } if *at == nic && frame.ethertype() == 0x0800);
    assert_eq!(lan.events.borrow().iter().filter(|event| reply(event)).count(), 6);
}

#[test]
fn a_fault_on_one_cable_changes_no_latency_on_another() {
    // Client and node 3 talk over their own cables; node 4's cable loses what floods bring to it.
    let times = |fault: WireFault| {
        let mut lan = Lan::new(1);
        lan.fabric.set_wire(lan.eth0(lan.nodes[2]), Direction::Both, fault);
        lan.three_pings(lan_ip(3))
    };
    assert_eq!(times(WireFault::default()), times(WireFault { loss: Chance::percent(50), ..WireFault::default() }));
    assert_eq!(times(WireFault::default()), times(WireFault { delay: Some(Latency::default()), ..WireFault::default() }));
}

#[test]
fn a_slow_cable_makes_round_trips_longer() {
    let mut lan = Lan::new(1);
    // 98 bytes and 24 of overhead are 976 bits: 9.76 ms at 100 kbit/s.
    lan.fabric.set_wire(lan.eth0(lan.client), Direction::Out, WireFault { rate: Some(100_000), ..WireFault::default() });
    let text = lan.three_pings(lan_ip(4));
    assert!(received(&text).contains("3 received"), "{text}");
    assert!(text.lines().filter(|line| line.contains("icmp_seq=3")).all(|line| line.contains("time=10.")), "{text}");
}

#[test]
fn a_fault_that_hits_nothing_changes_nothing() {
    let played = |fault: WireFault| {
        let mut lan = Lan::new(1);
        for machine in [lan.client, lan.nodes[2]] {
            lan.fabric.set_wire(lan.eth0(machine), Direction::Both, fault.clone());
        }
        let text = lan.three_pings(lan_ip(4)) + &lan.three_pings(lan_ip(77));
        // Copies of a flood come at one moment; the one through a faulty cable goes by itself, and may be told after the others.
        let mut events: Vec<_> = lan.events.borrow().iter().map(|event| format!("{event:?}")).collect();
        events.sort();
        (text, events)
    };
    assert_eq!(played(WireFault::default()), played(WireFault { rate: Some(u64::MAX), ..WireFault::default() }));
}
