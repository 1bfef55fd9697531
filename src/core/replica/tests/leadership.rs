//! Leadership that comes, goes or is in doubt: who answers then, who writes, and what stands whoever leads.

use super::*;

#[test]
fn an_unconfirmed_leader_answers_and_moves_nothing() {
    let mut bench = Bench::tutorial();
    bench.pass(Duration::from_secs(10));
    bench.api_up = false;
    bench.pass(Duration::from_secs(5));
    assert_eq!(bench.replica.role(), Role::Unconfirmed);
    let before = bench.status("porter-layer2-svc").clone();
    let writes = bench.writes;
    let dead = bench.replica.controller.nodes()[before.node.as_ref().expect("a node")].clone();
    bench.replica.handle_node(bench.now, Node { ready: false, ..dead });
    bench.pass(Duration::from_secs(5));
    assert_eq!(bench.writes, writes);
    assert_eq!(bench.who_has(VIP).map(|reply| reply.sender_mac), Some(carrier_of(&before)));
    bench.api_up = true;
    bench.pass(Duration::from_secs(5));
    assert_ne!(bench.status("porter-layer2-svc").node, before.node, "confirmed again, it moves");
}

fn held_by_another() -> LeaseRecord {
    LeaseRecord {
        version: Version("999999".into()),
        holder: Some("worker-p001".into()),
        duration: Duration::from_secs(5),
        ..LeaseRecord::default()
    }
}

#[test]
fn a_leader_that_reads_another_holder_falls_silent() {
    let mut bench = Bench::tutorial();
    bench.replica.handle_lease(bench.now, Some(held_by_another()));
    bench.drain();
    assert_eq!(bench.replica.role(), Role::Follower);
    assert_eq!(bench.who_has(VIP), None);
}

#[test]
fn a_leader_that_stood_still_answers_no_old_question_once_it_reads_another_holder() {
    let mut bench = Bench::tutorial();
    bench.now = bench.now + Duration::from_secs(60);
    // Waking, it finds both at once: the frames that waited in its socket, and the Lease.
    bench.ask(VIP);
    bench.replica.handle_lease(bench.now, Some(held_by_another()));
    bench.drain();
    assert_eq!(bench.answer(), None);
}

#[test]
fn an_unconfirmed_leader_answers_on_a_nic_that_was_away_for_a_moment() {
    let mut bench = Bench::tutorial();
    let eth0 = Interface {
        name: "eth0".into(),
        mac: MASTER1,
        up: true,
        addresses: vec![InterfaceAddress { address: [192, 168, 0, 2].into(), prefix_length: 24 }],
    };
    // A pool whose NIC is found by its subnet serves on none while the address is away.
    let chosen = Pool { interface: None, ..bench.pools[&PoolName::from("porter-layer2-eip")].clone() };
    bench.add_pool(chosen);
    bench.drain();
    bench.api_up = false;
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.replica.role(), Role::Unconfirmed);
    let before = bench.who_has(VIP).expect("an answer");
    bench.replica.handle_interfaces(bench.now, vec![Interface { addresses: Vec::new(), ..eth0.clone() }], BTreeMap::new());
    bench.drain();
    assert_eq!(bench.who_has(VIP), None, "no NIC serves the pool");
    bench.replica.handle_interfaces(bench.now, vec![eth0], BTreeMap::new());
    bench.drain();
    assert_eq!(bench.who_has(VIP).map(|reply| reply.sender_mac), Some(before.sender_mac));
}

#[test]
fn a_service_that_was_made_anew_while_nobody_told_gets_an_address_of_its_own() {
    let mut bench = Bench::tutorial();
    let shrunk = Pool {
        addresses: AddressPool::parse("192.168.0.92-192.168.0.99", false),
        ..bench.pools[&PoolName::from("porter-layer2-eip")].clone()
    };
    bench.add_pool(shrunk);
    bench.drain();
    assert_eq!(bench.status("porter-layer2-svc").ingress, [IpAddr::V4(VIP)], "an assignment stays");
    bench.version += 1;
    bench.add_service(Service { version: Version(bench.version.to_string()), ..service("porter-layer2-svc", 9) });
    bench.drain();
    assert_eq!(bench.status("porter-layer2-svc").ingress, [IpAddr::from([192, 168, 0, 92])]);
    assert_eq!(bench.pools[&PoolName::from("porter-layer2-eip")].status.usage, 1);
}

#[test]
fn a_standby_that_takes_over_moves_nothing_of_a_service_that_was_made_anew_meanwhile() {
    let mut bench = Bench::tutorial();
    let (key, eip, given) =
        (ServiceKey::new("default", "porter-layer2-svc"), PoolName::from("porter-layer2-eip"), IpAddr::from([192, 168, 0, 95]));
    bench.replica.handle_lease(bench.now, Some(held_by_another()));
    bench.drain();
    // The leader of the meantime gave the new Service an address that is not the lowest free one.
    bench.version = 1_000_000;
    let mut anew = Service { created: 9, version: Version("1000000".into()), ..bench.services[&key].clone() };
    anew.status.ingress = vec![given];
    bench.add_service(anew);
    let mut recorded = Pool { version: Version("1000000".into()), ..bench.pools[&eip].clone() };
    recorded.status.used = BTreeMap::from([(given, crate::sharers::Sharers::from_iter([key]))]);
    bench.add_pool(recorded);
    bench.drain();
    bench.replica.handle_lease(bench.now, Some(LeaseRecord { holder: None, version: Version("1000000".into()), ..held_by_another() }));
    bench.drain();
    assert_eq!(bench.replica.role(), Role::Leader);
    assert_eq!(bench.status("porter-layer2-svc").ingress, [given]);
}

#[test]
fn what_another_leader_chose_during_an_outage_stands_when_it_is_heard_of() {
    let mut bench = Bench::tutorial();
    let key = ServiceKey::new("default", "porter-layer2-svc");
    for kind in Kind::ALL {
        bench.replica.handle_away(bench.now, kind);
    }
    bench.replica.handle_lease(bench.now, Some(held_by_another()));
    bench.drain();
    let mut given_back = held_by_another();
    bench.version = 1_000_000;
    (given_back.holder, given_back.version) = (None, Version(bench.version.to_string()));
    bench.replica.handle_lease(bench.now, Some(given_back));
    bench.drain();
    assert_eq!(bench.replica.role(), Role::Leader);
    assert!(bench.who_has(VIP).is_some(), "what stands is answered for at once");
    let mut moved = bench.services[&key].clone();
    bench.version += 1;
    (moved.status.node, moved.version) = (Some("master1".into()), Version(bench.version.to_string()));
    bench.add_service(moved);
    bench.drain();
    assert_eq!(bench.status("porter-layer2-svc").node, Some("master1".into()));
    assert_eq!(bench.who_has(VIP).map(|reply| reply.sender_mac), Some(MASTER1));
}

#[test]
fn a_restart_from_what_is_written_changes_nothing() {
    let mut first = Bench::tutorial();
    first.pass(Duration::from_secs(5));
    let mut second = Bench::new();
    for pool in first.pools.values() {
        second.add_pool(pool.clone());
    }
    for service in first.services.values() {
        second.add_service(service.clone());
    }
    second.replica.handle_slice(second.now, slice("porter-layer2-svc", &["worker-p001", "worker-p002"]));
    second.version = 1000;
    second.sync();
    second.pass(Duration::from_secs(5));
    assert_eq!((second.writes, second.events.len()), (0, 0));
    assert_eq!(second.services, first.services);
}

#[test]
fn a_move_that_was_announced_stays_when_leadership_is_regained_and_the_node_is_back() {
    let mut bench = Bench::tutorial();
    bench.pass(Duration::from_secs(10));
    let first = bench.status("porter-layer2-svc").node.clone().expect("a node");
    let alive = bench.replica.controller.nodes()[&first].clone();
    bench.replica.handle_node(bench.now, Node { ready: false, ..alive.clone() });
    // The LAN hears of the move; the API does not.
    assert_eq!(bench.replica.poll_link(bench.now), None);
    let moved_to = bench.replica.announced().next().map(|(_, (_, _, mac))| mac);
    bench.api_up = false;
    while bench.replica.role() != Role::Unconfirmed {
        bench.now = bench.now + Duration::from_millis(500);
        bench.replica.handle_timeout(bench.now);
        while let Some(write) = bench.replica.poll_lease(bench.now) {
            bench.lease(&write);
        }
    }
    bench.replica.handle_node(bench.now, alive);
    bench.api_up = true;
    bench.pass(Duration::from_secs(5));
    assert_eq!(bench.who_has(VIP).map(|reply| reply.sender_mac), moved_to);
}

#[test]
fn nothing_is_written_before_every_kind_was_listed() {
    let mut bench = Bench::new();
    bench.drain();
    assert_eq!(bench.replica.role(), Role::Leader);
    bench.add_pool(pool("lan", "192.168.0.91-192.168.0.100"));
    bench.drain();
    assert_eq!(bench.writes, 0);
    bench.sync();
    assert_eq!(bench.pools[&PoolName::from("lan")].status.size, 10);
}
