//! Services of two families: an address of each out of two Eips, both on one node.

use super::*;

const VIP6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x91));

fn dual(name: &str, all_families: bool) -> Service {
    let families = vec![Family::V6, Family::V4];
    Service { request: Some(Request { families, all_families, ..Request::default() }), ..service(name, 1) }
}

#[test]
fn a_dual_stack_service_has_both_addresses_on_record_in_its_order_and_on_one_node() {
    let mut bench = Bench::new();
    bench.add_pool(pool("four", "192.168.0.91"));
    bench.add_pool(pool("six", "fd00::91-fd00::ffff"));
    bench.add_service(dual("web", true));
    bench.replica.handle_slice(bench.now, slice("web", &["worker-p001"]));
    bench.sync();
    let status = bench.status("web").clone();
    assert_eq!(status.ingress, [VIP6, IpAddr::V4(VIP)]);
    assert_eq!(status.pool, Some("six".into()), "the label names the pool of the first");
    for (name, address) in [("four", IpAddr::V4(VIP)), ("six", VIP6)] {
        let used = &bench.pools[&PoolName::from(name)].status.used;
        assert!(used.get(&address).is_some_and(|users| users.contains(&ServiceKey::new("default", "web"))), "{name}: {used:?}");
    }
    assert_eq!(bench.who_has(VIP).map(|reply| reply.sender_mac), Some(carrier_of(&status)));
}

#[test]
fn an_eip_that_is_invalid_when_the_leader_changes_keeps_its_record_and_serves_again_once_mended() {
    let mut first = Bench::new();
    first.add_pool(pool("four", "192.168.0.91"));
    first.add_pool(pool("six", "fd00::91-fd00::ffff"));
    first.add_service(dual("web", true));
    first.replica.handle_slice(first.now, slice("web", &["worker-p001"]));
    first.sync();
    let four = first.pools[&PoolName::from("four")].clone();
    let mut second = Bench::new();
    second.version = 1000;
    second.add_pool(Pool { addresses: AddressPool::parse("192.168.0.91-192.168.0.9", false), ..four.clone() });
    second.add_pool(first.pools[&PoolName::from("six")].clone());
    second.add_service(first.services[&ServiceKey::new("default", "web")].clone());
    second.replica.handle_slice(second.now, slice("web", &["worker-p001"]));
    second.sync();
    let invalid = second.pools[&PoolName::from("four")].clone();
    assert_eq!(invalid.status.condition.as_ref().map(|condition| condition.reason.as_str()), Some("InvalidAddress"));
    assert_eq!((&invalid.status.used, second.status("web").ingress.as_slice()), (&four.status.used, &[VIP6, IpAddr::V4(VIP)][..]));
    assert_eq!(second.who_has(VIP), None);
    second.add_pool(Pool { addresses: four.addresses.clone(), ..invalid });
    second.drain();
    assert!(second.who_has(VIP).is_some());
    assert_eq!(second.pools[&PoolName::from("four")].status.used, four.status.used);
    assert_eq!(second.status("web").ingress, [VIP6, IpAddr::V4(VIP)]);
}

#[test]
fn a_family_that_is_no_longer_wanted_goes_back_and_the_other_stays() {
    let mut bench = Bench::new();
    bench.add_pool(pool("four", "192.168.0.91"));
    bench.add_pool(pool("six", "fd00::91"));
    bench.add_service(dual("web", true));
    bench.replica.handle_slice(bench.now, slice("web", &["worker-p001"]));
    bench.sync();
    let mut single = bench.services[&ServiceKey::new("default", "web")].clone();
    single.request = Some(Request { families: vec![Family::V4], ..Request::default() });
    bench.add_service(single);
    bench.drain();
    assert_eq!(bench.status("web").ingress, [IpAddr::V4(VIP)]);
    assert!(bench.pools[&PoolName::from("six")].status.used.is_empty());
    assert!(bench.who_has(VIP).is_some());
}

#[test]
fn the_family_that_is_lacking_is_named_in_a_condition_and_an_event() {
    let mut bench = Bench::new();
    bench.add_pool(pool("four", "192.168.0.91"));
    bench.add_service(dual("web", true));
    bench.sync();
    let assigned = bench.status("web").assigned.clone().expect("told");
    assert_eq!((bench.status("web").ingress.len(), assigned.reason.as_str()), (0, "FamilyMissing"));
    assert!(assigned.message.starts_with("no IPv6 address"), "{}", assigned.message);
    assert!(bench.events.iter().any(|event| event.warning && event.message.contains("no IPv6 address")));
    bench.add_pool(pool("six", "fd00::91"));
    bench.drain();
    assert_eq!(bench.status("web").ingress, [VIP6, IpAddr::V4(VIP)]);
}

#[test]
fn a_preferred_family_that_comes_later_moves_nothing() {
    let mut bench = Bench::new();
    bench.add_pool(pool("four", "192.168.0.91"));
    bench.add_service(dual("web", false));
    bench.replica.handle_slice(bench.now, slice("web", &["worker-p001"]));
    bench.sync();
    assert_eq!(bench.status("web").ingress, [IpAddr::V4(VIP)]);
    assert!(bench.status("web").assigned.as_ref().is_some_and(|assigned| assigned.status && assigned.message.contains("no IPv6 address")));
    assert!(!bench.reasons().contains(&"AllocationFailed"), "it has what it must have");
    bench.sent.clear();
    bench.add_pool(pool("six", "fd00::91"));
    bench.drain();
    assert_eq!(bench.status("web").ingress, [VIP6, IpAddr::V4(VIP)]);
    assert!(bench.who_has(VIP).is_some());
}
