//! Each row of the reference's §6.2 that this table models: what Linux 6.18 was seen to do.

use std::net::Ipv4Addr;

use super::*;
use crate::frame::{Arp, Operation};
use crate::packet::echo_request;
use crate::random::stream;

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 5);
const VIP: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 91);
/// The same as the table's key.
const KEY: IpAddr = IpAddr::V4(VIP);
const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 5]);
const X: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const Y: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

/// A table with a clock that fires its timers.
struct Lab {
    now: Instant,
    table: NeighborTable,
    out: Vec<Outcome>,
}

impl Lab {
    fn new() -> Self {
        Self::with(NeighborSettings::default())
    }

    fn with(settings: NeighborSettings) -> Self {
        Self { now: Instant::ZERO, table: NeighborTable::new(Instant::ZERO, settings, stream(1, "lab")), out: Vec::new() }
    }

    /// One that has just resolved the VIP to X by asking.
    fn resolved() -> Self {
        let mut lab = Self::new();
        assert!(!lab.packet());
        lab.hear(plain_reply(X), true);
        assert_eq!(lab.entry(), (NeighborState::Reachable, Some(X)));
        lab
    }

    /// Whether a packet to the VIP goes out at once.
    fn packet(&mut self) -> bool {
        self.table.send(self.now, KEY, echo_request(CLIENT, VIP, 1, 1), false, &mut self.out).is_some()
    }

    fn confirmed_packet(&mut self) {
        let packet = echo_request(CLIENT, VIP, 1, 1);
        assert!(self.table.send(self.now, KEY, packet, true, &mut self.out).is_some());
    }

    fn hear(&mut self, arp: Arp, to_us_alone: bool) {
        self.table.handle_heard(self.now, &arp, to_us_alone, &mut self.out);
    }

    /// Lets time pass and timers fire.
    fn pass(&mut self, millis: u64) {
        let until = self.now + Duration::from_millis(millis);
        while let Some(at) = self.table.entries.get(&KEY).and_then(|entry| entry.timer).filter(|at| *at <= until) {
            self.now = at;
            self.table.handle_timer(at, KEY, &mut self.out);
        }
        self.now = until;
    }

    fn entry(&self) -> (NeighborState, Option<MacAddr>) {
        self.table.entry(KEY).expect("the VIP has an entry")
    }

    /// The solicitations since the last look: whom they went to.
    fn solicited(&mut self) -> Vec<Option<MacAddr>> {
        let ask = |outcome| if let Outcome::Solicit { to, .. } = outcome { Some(to) } else { None };
        std::mem::take(&mut self.out).into_iter().filter_map(ask).collect()
    }

    /// Lets the entry become STALE.
    fn stale(&mut self) {
        self.pass(46_000);
        assert_eq!(self.entry().0, NeighborState::Stale);
    }
}

fn arp(operation: Operation, mac: MacAddr, sender_ip: Ipv4Addr, target_mac: MacAddr, target_ip: Ipv4Addr) -> Arp {
    Arp { operation, sender_mac: mac, sender_ip, target_mac, target_ip }
}

fn plain_reply(mac: MacAddr) -> Arp {
    arp(Operation::Reply, mac, VIP, OURS, CLIENT)
}

fn gratuitous_request(mac: MacAddr) -> Arp {
    arp(Operation::Request, mac, VIP, MacAddr::ZERO, VIP)
}

/// The kube-vip form.
fn gratuitous_reply(mac: MacAddr) -> Arp {
    arp(Operation::Reply, mac, VIP, mac, VIP)
}

/// The MetalLB form.
fn broadcast_target_reply(mac: MacAddr) -> Arp {
    arp(Operation::Reply, mac, VIP, MacAddr::BROADCAST, VIP)
}

/// The MAC and state after Y spoke so long after X was learned.
fn after(millis: u64, message: Arp, to_us_alone: bool) -> (NeighborState, Option<MacAddr>) {
    let mut lab = Lab::resolved();
    lab.pass(millis);
    lab.hear(message, to_us_alone);
    lab.entry()
}

#[test]
fn both_gratuitous_forms_are_taken_inside_the_locktime() {
    for millis in [50, 500, 1300] {
        for unicast in [false, true] {
            assert_eq!(after(millis, gratuitous_request(Y), unicast), (NeighborState::Stale, Some(Y)), "request at {millis}");
        }
        assert_eq!(after(millis, gratuitous_reply(Y), false), (NeighborState::Stale, Some(Y)), "reply at {millis}");
    }
}

#[test]
fn a_reply_to_the_broadcast_address_is_ignored_inside_the_locktime() {
    for (millis, mac) in [(50, X), (500, X), (1300, Y)] {
        assert_eq!(after(millis, broadcast_target_reply(Y), false).1, Some(mac), "at {millis}");
    }
}

#[test]
fn a_plain_reply_of_a_second_answerer_is_ignored_inside_the_locktime_and_taken_as_reachable_after_it() {
    for millis in [50, 500] {
        assert_eq!(after(millis, plain_reply(Y), true), (NeighborState::Reachable, Some(X)), "at {millis}");
    }
    assert_eq!(after(1300, plain_reply(Y), true), (NeighborState::Reachable, Some(Y)));
}

#[test]
fn a_question_for_the_clients_own_address_overrides_at_once_and_creates() {
    let mut lab = Lab::resolved();
    lab.pass(50);
    lab.table.handle_asked(lab.now, KEY, Some(Y), &mut lab.out);
    assert_eq!(lab.entry(), (NeighborState::Stale, Some(Y)));
    let mut fresh = Lab::new();
    fresh.table.handle_asked(fresh.now, KEY, Some(Y), &mut fresh.out);
    assert_eq!(fresh.entry(), (NeighborState::Stale, Some(Y)));
}

#[test]
fn a_gratuitous_frame_creates_no_entry_unless_arp_accept_is_set() {
    let mut lab = Lab::new();
    lab.hear(gratuitous_request(X), false);
    assert_eq!(lab.table.entry(KEY), None);
    let mut accepting = Lab::with(NeighborSettings { accept_gratuitous: true, ..NeighborSettings::default() });
    accepting.hear(gratuitous_request(X), false);
    assert_eq!(accepting.entry(), (NeighborState::Stale, Some(X)));
}

#[test]
fn a_frame_that_tells_nothing_new_leaves_a_reachable_entry_and_its_lock_alone() {
    let mut lab = Lab::resolved();
    lab.pass(900);
    lab.hear(gratuitous_request(X), false);
    assert_eq!(lab.entry(), (NeighborState::Reachable, Some(X)));
    lab.pass(200);
    lab.hear(plain_reply(Y), true);
    assert_eq!(lab.entry().1, Some(Y), "the lock counts from the change, not from the echo of it");
}

#[test]
fn an_unanswered_resolution_asks_everybody_three_times_and_fails_after_three_seconds() {
    let mut lab = Lab::new();
    assert!(!lab.packet());
    lab.pass(2999);
    assert_eq!(lab.entry(), (NeighborState::Incomplete, None));
    assert_eq!(lab.solicited(), [None; 3]);
    lab.pass(1);
    assert_eq!(lab.entry(), (NeighborState::Failed, None));
    assert!(lab.out.iter().any(|outcome| matches!(outcome, Outcome::Unreachable { .. })));
}

#[test]
fn packets_that_waited_go_out_when_the_answer_comes() {
    let mut lab = Lab::new();
    (0..3).for_each(|_| assert!(!lab.packet()));
    lab.hear(plain_reply(X), true);
    let sent = lab.out.iter().filter(|outcome| matches!(outcome, Outcome::Send { mac: X, .. })).count();
    assert_eq!(sent, 3);
}

#[test]
fn no_more_packets_wait_than_the_queue_holds() {
    let mut lab = Lab::new();
    (0..500).for_each(|_| assert!(!lab.packet()));
    assert_eq!(lab.table.entries[&KEY].queue.len(), 256, "as many small packets as Linux 6.18 was seen to keep");
}

#[test]
fn an_unused_entry_is_stale_after_15_to_45_seconds() {
    let mut lab = Lab::resolved();
    lab.pass(14_999);
    assert_eq!(lab.entry().0, NeighborState::Reachable);
    lab.pass(30_002);
    assert_eq!(lab.entry(), (NeighborState::Stale, Some(X)));
}

#[test]
fn a_used_stale_entry_delays_five_seconds_probes_its_mac_three_times_and_fails() {
    let mut lab = Lab::resolved();
    lab.stale();
    lab.out.clear();
    assert!(lab.packet());
    assert_eq!(lab.entry().0, NeighborState::Delay);
    lab.pass(5000);
    assert_eq!(lab.entry().0, NeighborState::Probe);
    assert!(lab.packet(), "packets keep flowing to the old MAC");
    lab.pass(2999);
    assert_eq!(lab.solicited(), [Some(X); 3]);
    lab.pass(1);
    assert_eq!(lab.entry(), (NeighborState::Failed, None));
    assert!(!lab.packet());
    assert_eq!(lab.solicited(), [None], "the next packet asks everybody at once");
}

#[test]
fn with_mcast_resolicit_the_fourth_probe_asks_everybody() {
    let mut lab = Lab::with(NeighborSettings { broadcast_reprobes: 3, ..NeighborSettings::default() });
    lab.packet();
    lab.hear(plain_reply(X), true);
    lab.stale();
    lab.packet();
    lab.out.clear();
    lab.pass(8500);
    assert_eq!(lab.solicited(), [Some(X), Some(X), Some(X), None]);
}

#[test]
fn an_answered_probe_makes_the_entry_reachable() {
    let mut lab = Lab::resolved();
    lab.stale();
    lab.packet();
    lab.pass(5500);
    lab.hear(plain_reply(X), true);
    assert_eq!(lab.entry(), (NeighborState::Reachable, Some(X)));
}

#[test]
fn progress_above_confirms_a_delayed_entry_without_a_probe() {
    let mut lab = Lab::resolved();
    lab.stale();
    lab.packet();
    lab.out.clear();
    lab.pass(1000);
    lab.confirmed_packet();
    lab.pass(4000);
    assert_eq!(lab.entry().0, NeighborState::Reachable);
    assert_eq!(lab.solicited(), []);
}

#[test]
fn a_flow_that_confirms_never_asks_in_a_hundred_seconds() {
    let mut lab = Lab::resolved();
    lab.out.clear();
    for _ in 0..100 {
        lab.pass(1000);
        lab.confirmed_packet();
    }
    assert_eq!(lab.solicited(), []);
}

#[test]
fn a_gratuitous_frame_revives_a_failed_entry() {
    let mut lab = Lab::new();
    lab.packet();
    lab.pass(3000);
    lab.hear(gratuitous_request(Y), false);
    assert_eq!(lab.entry(), (NeighborState::Stale, Some(Y)));
}

#[test]
fn invented_neighbors_do_not_grow_the_table_without_end() {
    let mut lab = Lab::new();
    for number in 0..5000_u32 {
        lab.table.handle_asked(lab.now, Ipv4Addr::from(0x0a00_0001 + number).into(), Some(X), &mut lab.out);
    }
    assert_eq!(lab.table.entries.len(), 1024);
    lab.now = Instant::from_millis(10_000);
    lab.table.handle_asked(lab.now, KEY, Some(X), &mut lab.out);
    assert_eq!(lab.entry().0, NeighborState::Stale, "old ones make room");
}

#[test]
fn entries_print_as_ip_neigh_prints_them() {
    let mut lab = Lab::resolved();
    let line = |lab: &Lab| lab.table.lines("eth0").next().expect("one entry").to_string();
    assert_eq!(line(&lab), "192.168.0.91 dev eth0 lladdr 02:00:00:00:00:01 REACHABLE");
    lab.stale();
    lab.packet();
    lab.pass(8000);
    assert_eq!(line(&lab), "192.168.0.91 dev eth0 FAILED");
}
