//! Switches among machines: loops, trees that converge anew, and what is refused.

use super::*;

/// Three switches in a triangle, a machine at each.
struct Triangle {
    fabric: Fabric,
    switches: [SwitchId; 3],
    machines: [MachineId; 3],
}

impl Triangle {
    fn new(config: &SwitchConfig) -> Self {
        let mut fabric = Fabric::new(1);
        let switches = [0, 1, 2].map(|_| fabric.add_switch_with(config.clone()));
        for (one, other) in [(0, 1), (1, 2), (2, 0)] {
            fabric.connect_switches(switches[one], switches[other], Latency::default());
        }
        let machines = [1_u8, 2, 3].map(|last| {
            let machine = fabric.add_machine(MachineConfig::new(&format!("host{last}")).nic("eth0", mac(last), lan_ip(last), 24));
            let nic = fabric.nic(machine, "eth0").expect("it has an eth0");
            fabric.connect(nic, switches[usize::from(last) - 1], Latency::default());
            machine
        });
        Self { fabric, switches, machines }
    }

    /// How many of some pings, a hundred milliseconds apart, were answered.
    fn pings(&mut self, from: usize, to: u8, count: u32) -> u32 {
        let interval = Duration::from_millis(100);
        let ping = self.fabric.ping(self.machines[from], PingOptions { interval, count: Some(count), ..PingOptions::to(lan_ip(to)) });
        self.fabric.run_until(self.fabric.now() + interval * count);
        let answered = self.fabric.ping_text(ping).matches("64 bytes from").count();
        self.fabric.remove_ping(ping);
        u32::try_from(answered).expect("not that many")
    }

    fn cut(&mut self, one: usize, other: usize, fault: WireFault) {
        self.fabric.set_uplink(self.switches[one], self.switches[other], Direction::Both, fault);
    }
}

#[test]
fn a_loop_of_switches_floods_once_and_not_for_ever() {
    let mut triangle = Triangle::new(&SwitchConfig::default());
    let before = triangle.fabric.event_count();
    triangle.fabric.ping(triangle.machines[0], PingOptions { count: Some(1), ..PingOptions::to(lan_ip(99)) });
    triangle.fabric.run_until(Instant::from_millis(900));
    // Sent, three switches, two receivers, the entry INCOMPLETE.
    assert_eq!(triangle.fabric.event_count() - before, 7);
    for (from, to) in [(0, 2), (0, 3), (1, 3)] {
        assert_eq!(triangle.pings(from, to, 3), 3);
    }
}

#[test]
fn two_cables_between_two_switches_and_one_into_itself_are_no_loop() {
    let mut lan = Lan::new(1);
    let elsewhere = lan.fabric.add_switch();
    for _ in 0..3 {
        lan.fabric.connect_switches(SwitchId(0), elsewhere, Latency::default());
    }
    lan.fabric.connect_switches(elsewhere, elsewhere, Latency::default());
    lan.fabric.connect(lan.eth0(lan.nodes[2]), elsewhere, Latency::default());
    assert!(lan.three_pings(lan_ip(4)).contains("3 received"));
    assert!(lan.fabric.event_count() < 200, "{}", lan.fabric.event_count());
    lan.fabric.set_uplink(elsewhere, SwitchId(0), Direction::Both, WireFault::cut());
    assert!(lan.three_pings(lan_ip(4)).contains("0 received"), "all three are cut");
}

#[test]
fn a_cut_uplink_is_silent_until_the_tree_has_converged_and_then_the_other_way_carries() {
    for (converge, lost) in [(CONVERGE_RSTP, 18..=21), (CONVERGE_STP, 270..=311)] {
        let mut triangle = Triangle::new(&SwitchConfig { converge, ..SwitchConfig::default() });
        assert_eq!(triangle.pings(0, 2, 10), 10);
        // A ping confirms nothing, so the neighbor is FAILED by then and asked for, three times a second apart: what waits at the end is answered
        // when it is found, or given up when the last question of a round was just lost, up to a second later.
        triangle.cut(0, 1, WireFault::cut());
        let count = 400;
        let answered = triangle.pings(0, 2, count);
        assert!(lost.contains(&(count - answered)), "{converge:?}: {} of {count} lost", count - answered);
        assert_eq!(triangle.pings(0, 2, 10), 10);
        // The cut cable comes back: its way is better, so the tree changes again, and nothing ever floods for ever.
        triangle.cut(0, 1, WireFault::default());
        let answered = triangle.pings(0, 2, count);
        assert!(lost.contains(&(count - answered)), "{converge:?}: {} of {count} lost as it came back", count - answered);
        assert_eq!(triangle.pings(0, 2, 10), 10);
        assert!(triangle.fabric.event_count() < 50_000);
    }
}

#[test]
fn a_cut_in_one_direction_between_switches_changes_no_tree() {
    let mut triangle = Triangle::new(&SwitchConfig::default());
    assert_eq!(triangle.pings(0, 2, 3), 3);
    triangle.fabric.set_uplink(triangle.switches[0], triangle.switches[1], Direction::Out, WireFault::cut());
    assert_eq!(triangle.pings(0, 2, 50), 0);
    triangle.fabric.set_uplink(triangle.switches[1], triangle.switches[0], Direction::In, WireFault::default());
    assert_eq!(triangle.pings(0, 2, 3), 3, "the same lane, named from the other end");
}

#[test]
fn an_inspecting_switch_lets_nobody_announce_for_another() {
    let mut lan = Lan::inspected(1);
    let text = lan.three_pings(lan_ip(4));
    assert!(text.contains("3 received"), "who speaks for himself passes: {text}");
    // Node 2's port answers for the address with node 3's MAC, as Bellhop's leader does.
    let text = lan.three_pings(VIP);
    assert!(text.contains("0 received"), "{text}");
    let refused = |event: &Event| matches!(event, Event::Dropped { reason: DropReason::ArpSource, .. });
    assert!(lan.events.borrow().iter().any(refused));
}

#[test]
fn an_address_bound_by_hand_is_refused_from_anybody_else() {
    let mut lan = Lan::inspected(1);
    let nic = lan.eth0(lan.nodes[0]);
    lan.fabric.bind_address(SwitchId(0), lan_ip(4), nic);
    assert!(lan.three_pings(lan_ip(4)).contains("0 received"));
    let refused = |event: &Event| matches!(event, Event::Dropped { reason: DropReason::ArpBinding, .. });
    assert!(lan.events.borrow().iter().any(refused));
}

#[test]
fn a_flood_of_sources_fills_the_table_and_then_unicast_reaches_everybody() {
    let mut lan = Lan::with(1, SwitchConfig { table_max: 2, ..SwitchConfig::default() });
    assert!(lan.three_pings(lan_ip(3)).contains("3 received"));
    // The client and node 3 are in the table; node 4 is not, so what goes to it floods.
    assert!(lan.three_pings(lan_ip(4)).contains("3 received"));
    let bystander = lan.eth0(lan.nodes[0]);
    let overheard = |event: &Event| matches!(event, Event::Received { nic, frame } if *nic == bystander && frame.destination() == mac(4));
    assert!(lan.events.borrow().iter().any(overheard));
    assert!(lan.fabric.switch_counters(SwitchId(0)).not_learned > 0);
}

#[test]
fn a_storm_costs_one_event_for_each_switch_and_not_one_for_each_receiver() {
    let mut lan = Lan::new(1);
    for last in 100..150 {
        let machine = lan.fabric.add_machine(MachineConfig::new(&format!("host{last}")).nic("eth0", mac(last), lan_ip(last), 24));
        let nic = lan.fabric.nic(machine, "eth0").expect("it has an eth0");
        lan.fabric.connect(nic, SwitchId(0), Latency::default());
    }
    lan.fabric.storm(lan.client, 100_000);
    let end = Instant::from_millis(100);
    let mut steps = 0_u32;
    while lan.fabric.next_event().is_some_and(|at| at <= end) {
        lan.fabric.step();
        steps += 1;
    }
    // The storm's own clock, the arrival at the switch, the flood.
    assert!((29_900..30_100).contains(&steps), "{steps} for 10,000 frames to 53 receivers");
    let received = lan.events.borrow().iter().filter(|event| matches!(event, Event::Received { .. })).count();
    assert!((525_000..530_100).contains(&received), "{received}");
}
