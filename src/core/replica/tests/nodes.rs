//! Which node carries an address, as nodes and endpoints come and go.

use super::*;

#[test]
fn a_node_that_is_not_ready_loses_the_address_and_the_lan_hears_it_at_once() {
    let mut bench = Bench::tutorial();
    bench.pass(Duration::from_secs(10));
    let before = bench.status("porter-layer2-svc").clone();
    let name = before.node.clone().expect("a node");
    let dead = bench.replica.controller.nodes()[&name].clone();
    bench.sent.clear();
    bench.replica.handle_node(bench.now, Node { ready: false, ..dead });
    bench.drain();
    let after = bench.status("porter-layer2-svc").clone();
    assert_ne!(after.node, before.node);
    let said: Vec<(Operation, MacAddr)> =
        bench.sent.iter().filter(|message| message.is_gratuitous()).map(|message| (message.operation, message.sender_mac)).collect();
    assert_eq!(said, [(Operation::Request, carrier_of(&after)), (Operation::Reply, carrier_of(&after))]);
    assert_eq!(bench.who_has(VIP).map(|reply| reply.sender_mac), Some(carrier_of(&after)));
    assert_eq!(bench.reasons().last(), Some(&"NodeChanged"));
}

#[test]
fn a_node_that_comes_back_pulls_nothing_back() {
    let mut bench = Bench::tutorial();
    let name = bench.status("porter-layer2-svc").node.clone().expect("a node");
    let alive = bench.replica.controller.nodes()[&name].clone();
    bench.replica.handle_node(bench.now, Node { ready: false, ..alive.clone() });
    bench.drain();
    let moved_to = bench.status("porter-layer2-svc").node.clone();
    bench.replica.handle_node(bench.now, alive);
    bench.drain();
    assert_eq!(bench.status("porter-layer2-svc").node, moved_to);
}

#[test]
fn without_a_ready_endpoint_the_address_is_kept_and_not_announced() {
    let mut bench = Bench::tutorial();
    bench.replica.handle_slice(bench.now, slice("porter-layer2-svc", &[]));
    bench.drain();
    assert_eq!(bench.status("porter-layer2-svc").ingress, [IpAddr::V4(VIP)]);
    assert_eq!(bench.who_has(VIP), None);
    bench.replica.handle_slice(bench.now, slice("porter-layer2-svc", &["worker-p001"]));
    bench.drain();
    assert!(bench.who_has(VIP).is_some());
}

#[test]
fn under_local_the_address_follows_the_endpoints() {
    let mut bench = Bench::new();
    bench.add_pool(pool("lan", "192.168.0.91-192.168.0.100"));
    let local = Request { policy: TrafficPolicy::Local, ..Request::default() };
    bench.add_service(Service { request: Some(local), ..service("web", 1) });
    bench.replica.handle_slice(bench.now, slice("web", &["worker-p002"]));
    bench.sync();
    assert_eq!(bench.who_has(VIP).map(|reply| reply.sender_mac), Some(WORKER_P002));
    bench.replica.handle_slice(bench.now, slice("web", &["worker-p001"]));
    bench.drain();
    assert_eq!(bench.who_has(VIP).map(|reply| reply.sender_mac), Some(WORKER_P001));
}

#[test]
fn a_node_that_may_carry_again_after_none_might_gets_its_address_back() {
    let mut bench = Bench::tutorial();
    let before = bench.status("porter-layer2-svc").node.clone();
    let every = [("master1", 2), ("worker-p001", 3), ("worker-p002", 4)];
    for ready in [false, true] {
        every.iter().for_each(|(name, last)| bench.replica.handle_node(bench.now, Node { ready, ..node(name, *last) }));
        bench.drain();
        bench.pass(Duration::from_secs(1));
    }
    assert_eq!(bench.status("porter-layer2-svc").node, before);
    assert_eq!(bench.reasons().iter().filter(|reason| **reason == "NodeAssigned").count(), 1, "{:?}", bench.reasons());
}
