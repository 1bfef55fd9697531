//! Faults of machines: frozen ones, new MACs, and those that do harm.

use super::*;

/// What `machine` would send to `address`: the MAC in its neighbor table.
fn believed(lan: &Lan, machine: MachineId, address: Ipv4Addr) -> Option<MacAddr> {
    lan.fabric.neighbors(machine).into_iter().find(|neighbor| neighbor.address == address).and_then(|neighbor| neighbor.mac)
}

#[test]
fn a_frozen_machine_answers_nothing_and_what_waited_is_answered_when_it_thaws() {
    let mut lan = Lan::new(1);
    assert!(lan.three_pings(lan_ip(4)).contains("3 received"));
    lan.fabric.freeze(lan.nodes[2]);
    let ping = lan.fabric.ping(lan.client, PingOptions { count: Some(3), ..PingOptions::to(lan_ip(4)) });
    lan.fabric.run_until(lan.fabric.now() + Duration::from_millis(2500));
    assert!(!lan.fabric.ping_text(ping).contains("64 bytes from"));
    assert!(lan.fabric.interfaces(lan.nodes[2])[0].up, "the light stays on");
    lan.fabric.thaw(lan.nodes[2]);
    lan.fabric.run_until(lan.fabric.now() + Duration::from_secs(20));
    let text = lan.fabric.ping_text(ping);
    assert!(text.contains("3 received"), "{text}");
    assert!(text.contains("icmp_seq=1 ttl=64 time=250"), "the first waited for two and a half seconds: {text}");
}

#[test]
fn a_ring_holds_256_frames_and_the_rest_is_dropped() {
    let mut lan = Lan::new(1);
    assert!(lan.three_pings(lan_ip(4)).contains("3 received"));
    lan.fabric.freeze(lan.nodes[2]);
    let options = PingOptions { interval: Duration::from_millis(1), count: Some(300), ..PingOptions::to(lan_ip(4)) };
    let ping = lan.fabric.ping(lan.client, options);
    lan.fabric.run_until(lan.fabric.now() + Duration::from_millis(400));
    let full = |event: &&Event| matches!(event, Event::Dropped { reason: DropReason::RingFull, .. });
    assert_eq!(lan.events.borrow().iter().filter(full).count(), 300 - 256);
    lan.fabric.thaw(lan.nodes[2]);
    lan.fabric.run_until(lan.fabric.now() + Duration::from_secs(20));
    assert!(lan.fabric.ping_text(ping).contains("300 packets transmitted, 256 received"), "{}", lan.fabric.ping_text(ping));
}

#[test]
fn the_timers_of_a_frozen_machine_are_due_when_it_thaws() {
    let mut lan = Lan::new(1);
    let ping = lan.fabric.ping(lan.client, PingOptions { count: Some(5), ..PingOptions::to(lan_ip(77)) });
    lan.fabric.run_until(Instant::from_millis(500));
    lan.fabric.freeze(lan.client);
    lan.fabric.run_until(Instant::from_millis(60_000));
    assert_eq!(lan.fabric.ip_neigh(lan.client), "192.168.0.77 dev eth0 INCOMPLETE\n", "its kernel has not looked");
    lan.events.borrow_mut().clear();
    lan.fabric.thaw(lan.client);
    let asks = lan.events.borrow().iter().filter(|event| matches!(event, Event::Sent { frame, .. } if frame.arp().is_some())).count();
    assert_eq!(asks, 1, "it asks once more, at once, not once for each second it missed");
    lan.fabric.run_until(Instant::from_millis(90_000));
    let text = lan.fabric.ping_text(ping);
    assert!(
        text.contains("5 packets transmitted") && text.contains("+4 errors"),
        "the first was waited for too long, the others were refused: {text}"
    );
}

#[test]
fn a_curl_goes_on_when_its_server_thaws() {
    let mut lan = Lan::new(1).rules(IPVS, TrafficPolicy::Cluster);
    let port = lan.port();
    let curl = lan.fabric.curl(lan.client, CurlOptions { max_time: Some(Duration::from_secs(30)), ..CurlOptions::to(VIP) });
    lan.fabric.freeze(lan.nodes[1]);
    lan.answer_until(port, 3, Instant::from_millis(4000));
    assert!(lan.fabric.take_curl(curl).is_none());
    lan.fabric.thaw(lan.nodes[1]);
    lan.answer_until(port, 3, Instant::from_millis(20_000));
    let report = lan.fabric.take_curl(curl).expect("it ended");
    assert!(report.result.is_ok(), "{report}");
}

#[test]
fn a_machine_that_loses_power_while_frozen_boots_into_a_life_of_its_own() {
    let mut lan = Lan::new(1);
    lan.fabric.freeze(lan.nodes[2]);
    lan.fabric.power_off(lan.nodes[2]);
    assert!(!lan.fabric.is_frozen(lan.nodes[2]));
    lan.fabric.freeze(lan.nodes[2]);
    assert!(!lan.fabric.is_frozen(lan.nodes[2]), "what has no power cannot stand still");
    lan.fabric.power_on(lan.nodes[2]);
    assert!(lan.three_pings(lan_ip(4)).contains("3 received"));
}

#[test]
fn a_new_mac_is_told_to_nobody_but_the_machines_own_programs() {
    let mut lan = Lan::new(1);
    assert!(lan.three_pings(lan_ip(4)).contains("3 received"));
    lan.fabric.take_changed();
    lan.events.borrow_mut().clear();
    let nic = lan.eth0(lan.nodes[2]);
    lan.fabric.set_mac(nic, mac(0x44));
    assert_eq!(lan.fabric.take_changed(), [lan.nodes[2]]);
    assert_eq!(lan.fabric.interfaces(lan.nodes[2])[0].mac, mac(0x44));
    assert_eq!(lan.fabric.ip_neigh(lan.nodes[2]), "");
    lan.fabric.run_until(lan.fabric.now() + Duration::from_millis(100));
    assert!(!lan.events.borrow().iter().any(|event| matches!(event, Event::Sent { .. })), "arp_notify is 0");
    assert_eq!(believed(&lan, lan.client, lan_ip(4)), Some(mac(4)), "the client goes on with the old one");
    let ping = lan.fabric.ping(lan.client, PingOptions { count: Some(60), ..PingOptions::to(lan_ip(4)) });
    lan.fabric.run_until(lan.fabric.now() + Duration::from_secs(90));
    assert!(lan.fabric.ping_text(ping).contains("icmp_seq=60 ttl=64"), "and finds the new one when the entry has run out");
    assert_eq!(believed(&lan, lan.client, lan_ip(4)), Some(mac(0x44)));
}

#[test]
fn an_intruder_answers_for_the_address_that_it_took_until_it_gives_it_up() {
    let mut lan = Lan::new(1);
    let intruder = lan.nodes[2];
    lan.fabric.take_changed();
    assert!(lan.fabric.claim_address(intruder, VIP));
    assert!(!lan.fabric.claim_address(intruder, VIP), "it has it already");
    assert!(!lan.fabric.claim_address(intruder, Ipv4Addr::new(10, 9, 9, 9)), "no NIC is on that subnet");
    assert_eq!(lan.fabric.take_changed(), [intruder]);
    assert!(lan.fabric.interfaces(intruder)[0].addresses.iter().any(|own| own.address == VIP));
    let ping = lan.fabric.ping(lan.client, PingOptions { count: Some(1), ..PingOptions::to(VIP) });
    lan.fabric.run_until(Instant::from_millis(900));
    assert!(lan.fabric.ping_text(ping).contains("1 received"));
    assert_eq!(believed(&lan, lan.client, VIP), Some(mac(4)));
    assert!(lan.fabric.release_address(intruder, VIP));
    assert!(!lan.fabric.release_address(intruder, lan_ip(4)), "its own it keeps");
    assert!(lan.three_pings(lan_ip(4)).contains("3 received"));
    let mut lan = Lan::new(1);
    lan.fabric.claim_address(intruder, VIP);
    lan.fabric.power_off(intruder);
    lan.fabric.power_on(intruder);
    assert!(!lan.fabric.interfaces(intruder)[0].addresses.iter().any(|own| own.address == VIP), "ip address add does not survive a boot");
}

#[test]
fn a_spoofer_turns_a_clients_entry_and_stops_when_it_is_stopped() {
    let mut lan = Lan::new(1);
    assert!(lan.three_pings(lan_ip(4)).contains("3 received"));
    let spoof = lan.fabric.spoof(lan.nodes[0], lan_ip(4), Duration::from_millis(500));
    lan.fabric.run_until(lan.fabric.now() + Duration::from_millis(1100));
    assert_eq!(believed(&lan, lan.client, lan_ip(4)), Some(mac(2)));
    lan.fabric.stop_spoof(spoof);
    let said = |lan: &Lan| lan.events.borrow().iter().filter(|event| matches!(event, Event::Sent { frame, .. } if says(frame))).count();
    assert_eq!(said(&lan), 6, "a request and a reply, three times");
    lan.fabric.run_until(lan.fabric.now() + Duration::from_secs(5));
    assert_eq!(said(&lan), 6);
}

fn says(frame: &Frame) -> bool {
    frame.arp().is_some_and(|arp| arp.sender_ip == lan_ip(4) && arp.sender_mac == mac(2) && arp.is_gratuitous())
}

#[test]
fn a_storm_sends_at_its_rate_whatever_the_rate_and_the_switch_can_limit_it() {
    let mut lan = Lan::with(1, SwitchConfig { storm_limit: Some(1000), ..SwitchConfig::default() });
    let storm = lan.fabric.storm(lan.nodes[0], 30_000);
    lan.fabric.run_until(Instant::from_millis(1000));
    lan.fabric.stop_storm(storm);
    let before = lan.fabric.event_count();
    lan.fabric.run_until(Instant::from_millis(5000));
    assert!(lan.fabric.event_count() - before < 10, "what was on its way, and nothing more");
    let sent = lan.events.borrow().iter().filter(|event| matches!(event, Event::Sent { .. })).count();
    assert_eq!(sent, 30_001, "both ends of the second");
    let limited = |event: &&Event| matches!(event, Event::Dropped { reason: DropReason::StormLimit, .. });
    let limited = lan.events.borrow().iter().filter(limited).count();
    assert!((27_990..28_010).contains(&limited), "a second's worth at once and a second's worth as time passes: {limited}");
}

#[test]
fn a_storm_stands_still_with_its_machine_and_dies_with_its_power() {
    let mut lan = Lan::new(1);
    lan.fabric.storm(lan.nodes[0], 1000);
    let sent = |lan: &Lan| lan.events.borrow().iter().filter(|event| matches!(event, Event::Sent { .. })).count();
    lan.fabric.run_until(Instant::from_millis(100));
    assert_eq!(sent(&lan), 101);
    lan.fabric.freeze(lan.nodes[0]);
    lan.fabric.run_until(Instant::from_millis(200));
    assert_eq!(sent(&lan), 101);
    lan.fabric.thaw(lan.nodes[0]);
    lan.fabric.run_until(Instant::from_millis(300));
    assert_eq!(sent(&lan), 201);
    lan.fabric.power_off(lan.nodes[0]);
    lan.fabric.power_on(lan.nodes[0]);
    lan.fabric.run_until(Instant::from_millis(500));
    assert_eq!(sent(&lan), 201);
}
