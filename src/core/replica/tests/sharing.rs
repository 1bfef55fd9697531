//! Services that share an address: one node carries them, and who may not share gives way.

use super::*;

pub(super) fn shared(name: &str, created: i64, port: i32, policy: TrafficPolicy) -> Service {
    let request = Request {
        addresses: ByFamily::from_iter([(Family::V4, IpAddr::V4(VIP))]),
        sharing_key: Some("k".to_owned()),
        ports: vec![("TCP".to_owned(), port)],
        selector: vec![("app".to_owned(), "web".to_owned())],
        policy,
        ..Request::default()
    };
    Service { request: Some(request), ..service(name, created) }
}

/// Two Services share the tutorial's first address.
fn sharing(policy: TrafficPolicy) -> Bench {
    let mut bench = Bench::new();
    bench.add_pool(pool("lan", "192.168.0.91-192.168.0.100"));
    bench.add_service(shared("web", 1, 80, policy));
    bench.add_service(shared("tls", 2, 443, policy));
    bench.replica.handle_slice(bench.now, slice("web", &["worker-p001"]));
    bench.sync();
    bench
}

#[test]
fn a_shared_address_is_carried_by_one_node_and_answered_for_while_any_sharer_needs_it() {
    let mut bench = sharing(TrafficPolicy::Local);
    assert_eq!(bench.status("web").ingress, bench.status("tls").ingress);
    assert_eq!(
        (bench.status("tls").node.as_ref(), bench.status("web").node.as_ref()),
        (Some(&"worker-p001".into()), Some(&"worker-p001".into()))
    );
    assert!(bench.status("tls").assigned.as_ref().is_some_and(|assigned| assigned.message.contains("shared with default/web")));
    let web = ServiceKey::new("default", "web");
    bench.replica.handle_slice(bench.now, slice("tls", &["worker-p001"]));
    bench.services.remove(&web);
    bench.replica.handle_service_deleted(bench.now, &web);
    bench.replica.handle_slice_deleted(bench.now, "default", "web-x");
    bench.drain();
    assert_eq!(bench.who_has(VIP).map(|reply| reply.sender_mac), Some(WORKER_P001));
    let users = &bench.pools[&PoolName::from("lan")].status.used[&IpAddr::V4(VIP)];
    assert_eq!(users.iter().map(ToString::to_string).collect::<Vec<_>>(), ["default/tls"]);
    let tls = ServiceKey::new("default", "tls");
    bench.services.remove(&tls);
    bench.replica.handle_service_deleted(bench.now, &tls);
    bench.drain();
    assert_eq!(bench.who_has(VIP), None);
    assert_eq!(bench.pools[&PoolName::from("lan")].status.usage, 0);
}

#[test]
fn sharers_move_together_when_their_node_goes() {
    let mut bench = sharing(TrafficPolicy::Cluster);
    let first = bench.status("web").node.clone().expect("a node");
    let dead = bench.replica.controller.nodes()[&first].clone();
    bench.replica.handle_node(bench.now, Node { ready: false, ..dead });
    bench.drain();
    assert_ne!(bench.status("web").node, Some(first));
    assert_eq!(bench.status("web").node, bench.status("tls").node);
    assert_eq!(bench.who_has(VIP).map(|reply| reply.sender_mac), Some(carrier_of(bench.status("tls"))));
}

#[test]
fn of_sharers_that_come_to_collide_the_younger_gives_way_and_is_told_the_rule() {
    let mut bench = sharing(TrafficPolicy::Cluster);
    let mut edited = bench.services[&ServiceKey::new("default", "web")].clone();
    edited.request.as_mut().expect("ours").ports.push(("TCP".to_owned(), 443));
    bench.add_service(edited);
    bench.drain();
    assert_eq!(bench.status("web").ingress, [IpAddr::V4(VIP)]);
    let assigned = bench.status("tls").assigned.clone().expect("told");
    assert_eq!((bench.status("tls").ingress.len(), assigned.reason.as_str()), (0, "SharingRefused"));
    assert!(assigned.message.contains("port 443/TCP"), "{}", assigned.message);
    assert!(bench.who_has(VIP).is_some());
}

#[test]
fn a_restart_leaves_sharers_together() {
    let first = sharing(TrafficPolicy::Cluster);
    let mut second = Bench::new();
    first.pools.values().for_each(|pool| second.add_pool(pool.clone()));
    first.services.values().for_each(|service| second.add_service(service.clone()));
    second.replica.handle_slice(second.now, slice("web", &["worker-p001"]));
    second.version = 1000;
    second.sync();
    second.pass(Duration::from_secs(5));
    assert_eq!((second.writes, &second.services), (0, &first.services));
}
