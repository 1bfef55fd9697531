//! The tutorial's Service: its address, its node and its answer; and what is left of them when it goes or asks no more.

use super::*;

#[test]
fn the_tutorial_gets_its_address_its_node_and_its_answer() {
    let mut bench = Bench::tutorial();
    let status = bench.status("porter-layer2-svc").clone();
    assert_eq!(status.ingress, [IpAddr::V4(VIP)]);
    assert_eq!(status.pool, Some("porter-layer2-eip".into()));
    assert_eq!(status.announced.as_ref().map(|condition| condition.reason.as_str()), Some("Announced"));
    let reply = bench.who_has(VIP).expect("an answer");
    assert_eq!((reply.source, reply.sender_mac, reply.sender_ip), (MASTER1, carrier_of(&status), VIP));
    assert_eq!(bench.reasons(), ["IPAllocated", "NodeAssigned"]);
    let pool = &bench.pools[&PoolName::from("porter-layer2-eip")];
    assert_eq!((pool.status.usage, pool.status.size, pool.status.ready, pool.has_finalizer), (1, 10, true, true));
}

#[test]
fn once_all_is_written_nothing_more_is() {
    let mut bench = Bench::tutorial();
    bench.pass(Duration::from_secs(10));
    let writes = bench.writes;
    bench.pass(Duration::from_secs(600));
    assert_eq!(bench.writes, writes);
}

#[test]
fn a_deleted_service_gives_its_address_back_and_goes_silent() {
    let mut bench = Bench::tutorial();
    let key = ServiceKey::new("default", "porter-layer2-svc");
    bench.services.remove(&key);
    bench.replica.handle_service_deleted(bench.now, &key);
    bench.drain();
    assert_eq!(bench.who_has(VIP), None);
    let pool = &bench.pools[&PoolName::from("porter-layer2-eip")];
    assert_eq!((pool.status.usage, pool.has_finalizer), (0, false));
}

#[test]
fn a_service_that_is_no_longer_ours_is_left_clean() {
    let mut bench = Bench::tutorial();
    let ours = bench.services[&ServiceKey::new("default", "porter-layer2-svc")].clone();
    bench.add_service(Service { request: None, ..ours });
    bench.drain();
    assert_eq!(*bench.status("porter-layer2-svc"), ServiceStatus::default());
    assert_eq!(bench.who_has(VIP), None);
}

#[test]
fn the_ingress_of_a_service_that_never_was_ours_is_not_touched() {
    let mut bench = Bench::tutorial();
    let foreign = ServiceStatus { ingress: vec![[203, 0, 113, 7].into()], ..ServiceStatus::default() };
    bench.add_service(Service { request: None, status: foreign.clone(), ..service("other", 9) });
    bench.drain();
    assert_eq!(*bench.status("other"), foreign);
}

#[test]
fn an_address_that_somebody_else_gave_meanwhile_stays_on_a_service_that_asks_no_more() {
    let mut bench = Bench::tutorial();
    let key = ServiceKey::new("default", "porter-layer2-svc");
    let theirs = IpAddr::from([10, 9, 9, 9]);
    let mut left = bench.services[&key].clone();
    left.request = None;
    left.status.ingress = vec![theirs];
    bench.add_service(left);
    bench.drain();
    assert_eq!(bench.status("porter-layer2-svc"), &ServiceStatus { ingress: vec![theirs], ..ServiceStatus::default() });
}

#[test]
fn the_label_and_annotation_of_another_system_do_not_make_its_ingress_ours() {
    let mut bench = Bench::tutorial();
    let foreign = ServiceStatus {
        ingress: vec![[203, 0, 113, 7].into()],
        node: Some("worker-p001".into()),
        pool: Some("theirs".into()),
        ..ServiceStatus::default()
    };
    bench.add_service(Service { request: None, status: foreign.clone(), ..service("other", 9) });
    bench.drain();
    assert_eq!(*bench.status("other"), foreign);
}
