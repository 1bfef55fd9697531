//! What an Eip hands out, what it keeps back, and what becomes of its users when it is edited or deleted.

use super::*;

#[test]
fn a_pool_that_fills_up_says_so_and_serves_whoever_waits_when_freed() {
    let mut bench = Bench::new();
    bench.add_pool(pool("lan", "192.168.0.91"));
    bench.add_service(service("first", 1));
    bench.add_service(service("second", 2));
    bench.sync();
    assert_eq!(bench.status("second").assigned.as_ref().map(|condition| condition.reason.as_str()), Some("PoolExhausted"));
    assert!(bench.reasons().contains(&"AllocationFailed"));
    let first = ServiceKey::new("default", "first");
    bench.services.remove(&first);
    bench.replica.handle_service_deleted(bench.now, &first);
    bench.drain();
    assert_eq!(bench.status("second").ingress, [IpAddr::V4(VIP)]);
}

#[test]
fn a_malformed_eip_says_so_and_the_one_beside_it_serves() {
    let mut bench = Bench::new();
    bench.add_pool(pool("broken", "192.168.0.100-192.168.0.91"));
    bench.add_pool(pool("lan", "192.168.0.91"));
    bench.add_service(service("web", 1));
    bench.sync();
    let broken = &bench.pools[&PoolName::from("broken")].status;
    assert_eq!(broken.condition.as_ref().map(|condition| condition.reason.as_str()), Some("InvalidAddress"));
    assert!(bench.reasons().contains(&"EipInvalid"));
    assert_eq!(bench.status("web").ingress, [IpAddr::V4(VIP)]);
}

#[test]
fn of_two_pools_that_overlap_the_younger_is_conflicting() {
    let mut bench = Bench::new();
    bench.add_pool(Pool { created: 2, ..pool("a-younger", "192.168.0.91-192.168.0.100") });
    bench.add_pool(pool("older", "192.168.0.91"));
    bench.add_service(service("web", 1));
    bench.sync();
    let reason = |name: &str| bench.pools[&PoolName::from(name)].status.condition.as_ref().map(|condition| condition.reason.clone());
    assert_eq!((reason("older").as_deref(), reason("a-younger").as_deref()), (Some("Ready"), Some("Conflicting")));
    assert_eq!(bench.status("web").pool, Some("older".into()));
}

#[test]
fn what_a_conflicting_pool_lets_go_of_is_free_in_the_older_one() {
    let mut bench = Bench::new();
    bench.add_pool(pool("older", "192.168.0.50"));
    bench.add_pool(Pool { created: 2, ..pool("younger", "192.168.0.91") });
    let of = |pool: &str| Some(Request { pools: vec![pool.into()], ..Request::default() });
    bench.add_service(Service { request: of("younger"), ..service("web", 1) });
    bench.sync();
    bench.add_pool(Pool { addresses: AddressPool::parse("192.168.0.91", false), ..bench.pools[&PoolName::from("older")].clone() });
    bench.add_service(Service { request: of("older"), ..service("next", 2) });
    bench.drain();
    assert_eq!(bench.status("next").assigned.as_ref().map(|condition| condition.reason.as_str()), Some("PoolExhausted"));
    let web = ServiceKey::new("default", "web");
    bench.services.remove(&web);
    bench.replica.handle_service_deleted(bench.now, &web);
    bench.drain();
    assert_eq!(bench.status("next").ingress, [IpAddr::V4(VIP)]);
}

#[test]
fn an_address_that_its_old_pool_no_longer_has_is_free_in_another_once_exchanged() {
    let mut bench = Bench::new();
    bench.add_pool(pool("a", "192.168.0.110"));
    bench.add_pool(Pool { created: 2, ..pool("c", "192.168.0.91-192.168.0.100") });
    let of = |pool: &str| Some(Request { pools: vec![pool.into()], ..Request::default() });
    bench.add_service(Service { request: of("a"), ..service("first", 5) });
    bench.sync();
    let edited = Pool { addresses: AddressPool::parse("192.168.0.111", false), ..bench.pools[&PoolName::from("a")].clone() };
    bench.add_pool(edited);
    bench.add_pool(Pool { created: 3, ..pool("b", "192.168.0.110") });
    bench.add_service(Service { request: of("b"), ..service("second", 6) });
    bench.drain();
    assert!(bench.status("second").ingress.is_empty());
    let moved = Service { request: of("c"), ..bench.services[&ServiceKey::new("default", "first")].clone() };
    bench.add_service(moved);
    bench.drain();
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.status("second").ingress, [IpAddr::from([192, 168, 0, 110])]);
}

#[test]
fn an_eip_of_another_family_takes_the_address_off_the_service_too() {
    let mut bench = Bench::tutorial();
    let lan = bench.pools[&PoolName::from("porter-layer2-eip")].clone();
    bench.version += 1;
    let version = Version(bench.version.to_string());
    bench.add_pool(Pool { addresses: AddressPool::parse("2001:db8::1-2001:db8::9", false), version, ..lan });
    bench.drain();
    let status = bench.status("porter-layer2-svc").clone();
    assert_eq!(status.ingress, ["2001:db8::1".parse::<IpAddr>().expect("an address")]);
    assert_eq!(status.announced.map(|condition| condition.reason), Some("NoNodeAddress".to_owned()));
    assert_eq!(bench.who_has(VIP), None);
}

#[test]
fn a_pool_that_is_deleted_while_in_use_waits_says_for_whom_and_how_to_end_it() {
    let mut bench = Bench::tutorial();
    let deleting = Pool { deleting: true, ..bench.pools[&PoolName::from("porter-layer2-eip")].clone() };
    bench.add_pool(deleting);
    bench.drain();
    let pool = &bench.pools[&PoolName::from("porter-layer2-eip")];
    let condition = pool.status.condition.clone().expect("told");
    assert_eq!((condition.reason.as_str(), pool.has_finalizer), ("Deleting", true));
    assert!(condition.message.contains("default/porter-layer2-svc") && condition.message.contains("kubectl patch eip porter-layer2-eip"));
    assert!(bench.events.iter().any(|event| event.reason == "EipInUse" && event.message.contains("default/porter-layer2-svc")));
    assert!(bench.who_has(VIP).is_some(), "its address is still answered for");
}

#[test]
fn an_invalid_pool_that_is_deleted_says_so_and_goes_with_its_last_user() {
    let mut bench = Bench::tutorial();
    let (key, eip) = (ServiceKey::new("default", "porter-layer2-svc"), PoolName::from("porter-layer2-eip"));
    let invalid = Pool { addresses: AddressPool::parse("192.168.0.91-192.168.0.9", false), ..bench.pools[&eip].clone() };
    bench.add_pool(invalid);
    bench.drain();
    assert_eq!((bench.pools[&eip].status.usage, bench.pools[&eip].has_finalizer), (1, true));
    let deleting = Pool { deleting: true, ..bench.pools[&eip].clone() };
    bench.add_pool(deleting);
    bench.drain();
    let condition = bench.pools[&eip].status.condition.clone().expect("told");
    assert_eq!((condition.reason.as_str(), condition.message.contains("default/porter-layer2-svc")), ("Deleting", true));
    bench.services.remove(&key);
    bench.replica.handle_service_deleted(bench.now, &key);
    bench.drain();
    assert_eq!((bench.pools[&eip].status.usage, bench.pools[&eip].has_finalizer), (0, false));
}

#[test]
fn what_a_pool_that_is_not_ours_to_serve_records_of_others_stays() {
    let mut bench = Bench::tutorial();
    let mut bgp = Pool { protocol: crate::object::Protocol::Other("bgp".into()), ..pool("bgp", "10.0.0.0/24") };
    let (there, gone) = (ServiceKey::new("default", "routed"), ServiceKey::new("default", "gone"));
    bgp.status.used = BTreeMap::from([
        ([10, 0, 0, 1].into(), crate::sharers::Sharers::from_iter([there.clone()])),
        ([10, 0, 0, 2].into(), crate::sharers::Sharers::from_iter([gone])),
    ]);
    bench.add_service(Service { request: None, ..service("routed", 2) });
    bench.add_pool(bgp);
    bench.drain();
    let used = &bench.pools[&PoolName::from("bgp")].status.used;
    assert_eq!(*used, BTreeMap::from([([10, 0, 0, 1].into(), crate::sharers::Sharers::from_iter([there]))]));
}

#[test]
fn what_a_pool_never_hands_out_stands_in_its_condition() {
    let mut bench = Bench::new();
    bench.replica.handle_gateways(bench.now, BTreeSet::from([[192, 168, 0, 1].into()]));
    let eth0 = Interface {
        name: "eth0".into(),
        mac: MASTER1,
        up: true,
        addresses: vec![InterfaceAddress { address: [192, 168, 0, 5].into(), prefix_length: 24 }],
    };
    bench.replica.handle_interfaces(bench.now, vec![eth0], BTreeMap::new());
    bench.add_pool(pool("lan", "192.168.0.1-192.168.0.6"));
    bench.add_service(service("web", 1));
    bench.sync();
    assert_eq!(bench.status("web").ingress, [IpAddr::from([192, 168, 0, 6])]);
    let message = bench.pools[&PoolName::from("lan")].status.condition.clone().expect("told").message;
    for part in ["192.168.0.1 (a gateway)", "192.168.0.2 (node master1's own address)", "192.168.0.5 (Bellhop's own address on eth0)"] {
        assert!(message.contains(part), "{part} in {message}");
    }
}

#[test]
fn neither_a_disabled_pool_nor_a_better_one_moves_what_is_assigned() {
    let mut bench = Bench::new();
    bench.add_pool(pool("lan", "192.168.0.91-192.168.0.100"));
    bench.add_service(service("web", 1));
    bench.sync();
    let disabled = Pool { disabled: true, ..bench.pools[&PoolName::from("lan")].clone() };
    bench.add_pool(disabled);
    bench.add_pool(Pool { created: 2, is_default: true, priority: -1, ..pool("better", "192.168.0.81") });
    bench.drain();
    assert_eq!(bench.status("web").ingress, [IpAddr::V4(VIP)]);
    bench.add_service(service("next", 2));
    bench.drain();
    assert_eq!(bench.status("next").ingress, [IpAddr::from([192, 168, 0, 81])]);
}

#[test]
fn a_pool_whose_name_fits_no_label_is_recorded_without_one() {
    let mut bench = Bench::new();
    bench.add_pool(pool(&"a".repeat(64), "192.168.0.91"));
    bench.add_service(service("web", 1));
    bench.sync();
    assert_eq!((bench.status("web").ingress.len(), bench.status("web").pool.clone()), (1, None));
    let (writes, status) = (bench.writes, bench.status("web").clone());
    bench.pass(Duration::from_secs(60));
    assert_eq!((bench.writes, bench.status("web")), (writes, &status));
}
