//! Who gets which address, who keeps it, and what a refusal says.

use std::collections::BTreeSet;

use super::*;
use crate::object::{ServiceStatus, TrafficPolicy, Version};

const OPEN: Offer = Offer { closed: None, is_default: false, priority: 0, binding: None };

fn allocation(pools: &[(&str, &str, Offer)]) -> Allocation {
    let mut allocation = Allocation::default();
    for (name, addresses, offer) in pools {
        allocation.set_pool(&(*name).into(), &AddressPool::parse(addresses, false).expect("a pool"), offer.clone());
    }
    allocation
}

fn service(name: &str) -> ServiceKey {
    ServiceKey::new("default", name)
}

fn address(last: u8) -> IpAddr {
    [192, 168, 0, last].into()
}

fn ask(address: Option<IpAddr>, pool: Option<&str>) -> Request {
    let addresses = address.map(|address| (Family::of(address), address)).into_iter().collect();
    Request { addresses, pools: pool.map(PoolName::from).into_iter().collect(), ..Request::default() }
}

fn families(families: &[Family], request: Request) -> Request {
    Request { families: families.to_vec(), ..request }
}

/// The books with the Services that were served from them.
struct Town {
    allocation: Allocation,
    services: BTreeMap<ServiceKey, Service>,
    namespaces: Namespaces,
}

impl Town {
    fn new(pools: &[(&str, &str, Offer)]) -> Self {
        Self { allocation: allocation(pools), services: BTreeMap::new(), namespaces: Namespaces::default() }
    }

    fn serve(&mut self, name: &str, request: &Request) -> Outcome {
        self.serve_in("default", name, request)
    }

    fn serve_in(&mut self, namespace: &str, name: &str, request: &Request) -> Outcome {
        let key = ServiceKey::new(namespace, name);
        let (version, status) = (Version::default(), ServiceStatus::default());
        let service =
            Service { key: key.clone(), version, created: 0, request: Some(request.clone()), status, has_foreign_finalizer: false };
        self.services.insert(key.clone(), service);
        self.allocation.allocate(&key, request, Known { services: &self.services, namespaces: &self.namespaces })
    }

    /// The pool and address that a Service gets, or the reason why none.
    fn got(&mut self, name: &str, request: &Request) -> Result<(String, IpAddr), &'static str> {
        one(self.serve(name, request))
    }

    fn record(&mut self, name: &str, pool: &str, address: IpAddr) -> bool {
        let known = Known { services: &self.services, namespaces: &self.namespaces };
        self.allocation.record(&service(name), &pool.into(), address, known)
    }

    fn addresses(&self, name: &str) -> Vec<IpAddr> {
        self.allocation.held(&service(name)).values().map(|held| held.address).collect()
    }
}

fn one(outcome: Outcome) -> Result<(String, IpAddr), &'static str> {
    match outcome.refusal {
        Some(refusal) => Err(refusal.reason),
        None => outcome.gained.first().map(|held| (held.pool.to_string(), held.address)).ok_or("nothing changed"),
    }
}

#[test]
fn without_a_wish_the_default_pool_is_asked_first_then_by_priority_then_by_name() {
    let default = Offer { is_default: true, ..OPEN };
    let urgent = Offer { priority: -1, ..OPEN };
    let mut town =
        Town::new(&[("a", "192.168.0.1", OPEN), ("b", "192.168.0.2", OPEN), ("y", "192.168.0.8", urgent), ("z", "192.168.0.9", default)]);
    let mut next = |name: &str| town.got(name, &Request::default()).map(|(pool, _)| pool);
    assert_eq!([next("1"), next("2"), next("3"), next("4")], ["z", "y", "a", "b"].map(|pool| Ok(pool.to_owned())));
    assert_eq!(next("5"), Err(reason::POOL_EXHAUSTED));
}

#[test]
fn each_refusal_says_which() {
    let closed = Offer { closed: Some("it is disabled".to_owned()), ..OPEN };
    let mut town = Town::new(&[("lan", "192.168.0.91-192.168.0.92", OPEN), ("off", "192.168.0.80", closed)]);
    let mut asked = |request: Request| town.got("web", &request).map_err(str::to_owned);
    assert_eq!(asked(ask(None, Some("nowhere"))), Err(reason::UNKNOWN_EIP.to_owned()));
    assert_eq!(asked(ask(None, Some("off"))), Err(reason::EIP_NOT_USABLE.to_owned()));
    assert_eq!(asked(ask(Some(address(80)), None)), Err(reason::EIP_NOT_USABLE.to_owned()));
    assert_eq!(asked(ask(Some(address(7)), None)), Err(reason::ADDRESS_OUTSIDE_POOL.to_owned()));
    assert_eq!(asked(ask(Some(address(7)), Some("lan"))), Err(reason::ADDRESS_OUTSIDE_POOL.to_owned()));
    assert_eq!(
        asked(Request { invalid_address: Some("`x` is no address".into()), ..Request::default() }),
        Err(reason::INVALID_ADDRESS.to_owned())
    );
    assert_eq!(
        asked(Request { protocol: Some(Protocol::Other("bgp".into())), ..Request::default() }),
        Err(reason::PROTOCOL_MISMATCH.to_owned())
    );
    assert_eq!(asked(Request { families: vec![Family::V6], ..ask(None, Some("lan")) }), Err(reason::FAMILY_MISMATCH.to_owned()));
    assert_eq!(asked(Request { families: vec![Family::V6], ..Request::default() }), Err(reason::NO_MATCHING_EIP.to_owned()));
}

#[test]
fn a_taken_address_is_refused_with_its_holders_name() {
    let mut town = Town::new(&[("lan", "192.168.0.91-192.168.0.92", OPEN)]);
    assert!(town.got("first", &ask(Some(address(91)), None)).is_ok());
    let refusal = town.serve("second", &ask(Some(address(91)), None)).refusal.expect("taken");
    assert_eq!(refusal.reason, reason::ADDRESS_TAKEN);
    assert!(refusal.message.contains("default/first"), "{}", refusal.message);
}

#[test]
fn what_is_held_is_given_up_only_for_what_is_got() {
    let mut town = Town::new(&[("lan", "192.168.0.91-192.168.0.92", OPEN)]);
    assert!(town.got("other", &ask(Some(address(92)), None)).is_ok());
    assert!(town.got("web", &Request::default()).is_ok());
    assert!(town.got("web", &ask(Some(address(92)), None)).is_err());
    assert_eq!(town.addresses("web"), [address(91)]);
    town.allocation.release(&service("other"));
    assert!(town.got("web", &ask(Some(address(92)), None)).is_ok());
    assert_eq!(town.allocation.used(&"lan".into()).keys().copied().collect::<Vec<_>>(), [address(92)]);
}

#[test]
fn asking_for_less_moves_nothing() {
    let held = Holding::from_iter([(V4, Held { pool: "lan".into(), address: address(91) })]);
    assert!(Allocation::satisfies(&held, &Request::default()));
    assert!(Allocation::satisfies(&held, &ask(Some(address(91)), Some("elsewhere"))), "the address outranks the pool");
    assert!(!Allocation::satisfies(&held, &ask(None, Some("elsewhere"))));
    assert!(!Allocation::satisfies(&held, &ask(Some(address(92)), None)));
}

#[test]
fn an_address_outlives_its_pool_and_belongs_to_the_one_that_comes_back() {
    let mut town = Town::new(&[("lan", "192.168.0.91-192.168.0.92", OPEN)]);
    assert!(town.got("web", &ask(Some(address(92)), None)).is_ok());
    town.allocation.remove_pool(&"lan".into());
    assert_eq!(town.addresses("web"), [address(92)]);
    town.allocation.set_pool(&"lan".into(), &AddressPool::parse("192.168.0.92", false).expect("a pool"), OPEN);
    assert_eq!(town.got("next", &Request::default()), Err(reason::POOL_EXHAUSTED));
}

#[test]
fn of_two_services_on_one_address_of_an_absent_pool_only_one_holds_it() {
    let mut town = Town::new(&[]);
    town.allocation.adopt(&service("first"), address(91), Some(&"lan".into()));
    town.allocation.adopt(&service("second"), address(91), Some(&"lan".into()));
    assert!(town.addresses("second").is_empty());
    town.allocation.set_pool(&"lan".into(), &AddressPool::parse("192.168.0.91", false).expect("a pool"), OPEN);
    town.allocation.release(&service("second"));
    assert_eq!(town.got("third", &Request::default()), Err(reason::POOL_EXHAUSTED));
}

#[test]
fn a_closed_pool_does_not_hide_the_open_one_that_it_overlaps() {
    let closed = Offer { closed: Some("it overlaps the older Eip lan".to_owned()), ..OPEN };
    let mut town = Town::new(&[("aaa", "192.168.0.91", closed), ("lan", "192.168.0.91-192.168.0.92", OPEN)]);
    assert_eq!(town.got("web", &ask(Some(address(91)), None)), Ok(("lan".to_owned(), address(91))));
}

#[test]
fn an_address_held_of_another_pool_is_taken_and_no_nodes() {
    let mut town = Town::new(&[("lan", "192.168.0.91", OPEN)]);
    assert!(town.got("web", &Request::default()).is_ok());
    town.allocation.set_pool(&"lan".into(), &AddressPool::parse("192.168.0.80", false).expect("a pool"), OPEN);
    town.allocation.set_pool(&"new".into(), &AddressPool::parse("192.168.0.91", false).expect("a pool"), OPEN);
    town.allocation.reserve(BTreeMap::new());
    assert_eq!(town.got("next", &ask(Some(address(91)), None)), Err(reason::ADDRESS_TAKEN));
}

#[test]
fn a_nodes_own_address_is_not_adopted() {
    let mut town = Town::new(&[("lan", "192.168.0.3-192.168.0.4", OPEN)]);
    town.allocation.reserve(BTreeMap::from([(address(3), Reserved::Node("worker".into()))]));
    town.allocation.adopt(&service("web"), address(3), None);
    assert!(town.addresses("web").is_empty());
}

const V4: Family = Family::V4;
const V6: Family = Family::V6;

fn v6(last: u16) -> IpAddr {
    std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last).into()
}

const BOTH: [(&str, &str, Offer); 2] = [("four", "192.168.0.91-192.168.0.92", OPEN), ("six", "fd00::91-fd00::92", OPEN)];

fn required(request: Request) -> Request {
    Request { all_families: true, ..families(&[V6, V4], request) }
}

#[test]
fn a_dual_stack_service_gets_one_address_of_each_family_from_two_pools() {
    let mut town = Town::new(&BOTH);
    assert_eq!(town.serve("web", &required(Request::default())).refusal, None);
    assert_eq!(town.addresses("web"), [address(91), v6(0x91)]);
    let named = Request { pools: vec!["four".into(), "six".into()], ..Request::default() };
    assert_eq!(town.serve("named", &required(named)).refusal, None);
    assert_eq!(town.addresses("named"), [address(92), v6(0x92)]);
}

#[test]
fn who_requires_both_families_gets_none_while_one_is_lacking_and_is_told_which() {
    let mut town = Town::new(&BOTH[..1]);
    let refusal = town.serve("web", &required(Request::default())).refusal.expect("no IPv6");
    assert_eq!((refusal.reason, refusal.optional), (reason::FAMILY_MISSING, false));
    assert!(refusal.message.starts_with("no IPv6 address"), "{}", refusal.message);
    assert!(town.addresses("web").is_empty());
}

#[test]
fn who_prefers_both_families_gets_what_there_is_and_the_other_when_it_comes() {
    let mut town = Town::new(&BOTH[..1]);
    let prefers = families(&[V4, V6], Request::default());
    let refusal = town.serve("web", &prefers).refusal.expect("no IPv6");
    assert!(refusal.optional && refusal.message.starts_with("no IPv6 address"), "{refusal:?}");
    assert_eq!(town.addresses("web"), [address(91)]);
    town.allocation.set_pool(&"six".into(), &AddressPool::parse("fd00::91", false).expect("a pool"), OPEN);
    assert_eq!(town.serve("web", &prefers).refusal, None);
    assert_eq!(town.addresses("web"), [address(91), v6(0x91)]);
}

#[test]
fn an_address_may_be_named_of_each_family_and_one_alone_leaves_the_other_free_to_choose() {
    let mut town = Town::new(&BOTH);
    let named = |addresses: &[IpAddr]| Request {
        addresses: addresses.iter().map(|each| (Family::of(*each), *each)).collect(),
        ..Request::default()
    };
    assert_eq!(town.serve("web", &required(named(&[address(92), v6(0x92)]))).refusal, None);
    assert_eq!(town.addresses("web"), [address(92), v6(0x92)]);
    assert_eq!(town.serve("one", &required(named(&[v6(0x91)]))).refusal, None);
    assert_eq!(town.addresses("one"), [address(91), v6(0x91)]);
}

#[test]
fn pools_for_a_namespace_go_first_then_the_default_one_and_those_for_others_never() {
    let of = |namespace: &str, priority| {
        let binding = Binding { namespaces: BTreeSet::from([namespace.to_owned()]), ..Binding::default() };
        Offer { binding: Some(binding), priority, ..OPEN }
    };
    let mut town = Town::new(&[
        ("a-for-others", "192.168.0.1", Offer { is_default: true, ..of("other", -9) }),
        ("for-shop", "192.168.0.2", of("shop", 5)),
        ("for-shop-first", "192.168.0.3", of("shop", 1)),
        ("default", "192.168.0.4", Offer { is_default: true, ..OPEN }),
        ("for-all", "192.168.0.5", Offer { priority: -5, ..OPEN }),
    ]);
    let mut next = |name: &str| one(town.serve_in("shop", name, &Request::default())).map(|(pool, _)| pool);
    let order = [next("1"), next("2"), next("3"), next("4")];
    assert_eq!(order, ["for-shop-first", "for-shop", "default", "for-all"].map(|pool| Ok(pool.to_owned())));
    assert_eq!(next("5"), Err(reason::POOL_EXHAUSTED));
    assert!(one(town.serve_in("shop", "named", &ask(None, Some("a-for-others")))).is_ok(), "who names a pool is bound by no namespace");
}

#[test]
fn a_selector_waits_for_the_namespaces_to_be_listed() {
    let binding = Binding { selector: BTreeMap::from([("team".to_owned(), "a".to_owned())]), ..Binding::default() };
    let mut town = Town::new(&[("bound", "192.168.0.1", Offer { binding: Some(binding), ..OPEN }), ("all", "192.168.0.2", OPEN)]);
    assert_eq!(town.got("web", &Request::default()), Err(reason::NAMESPACES_UNKNOWN));
    assert_eq!(town.got("named", &ask(None, Some("all"))), Ok(("all".to_owned(), address(2))));
    town.namespaces.handle_listed();
    assert_eq!(town.got("web", &Request::default()), Err(reason::POOL_EXHAUSTED));
}

fn sharing(port: i32, key: Option<&str>) -> Request {
    let ports = vec![("TCP".to_owned(), port)];
    Request { ports, sharing_key: key.map(str::to_owned), ..ask(Some(address(91)), None) }
}

#[test]
fn an_address_is_shared_by_those_who_give_the_same_key_and_freed_with_the_last() {
    let mut town = Town::new(&[("lan", "192.168.0.91", OPEN)]);
    assert!(town.got("web", &sharing(80, Some("k"))).is_ok());
    assert!(town.got("tls", &sharing(443, Some("k"))).is_ok());
    let users = Sharers::from_iter([service("web"), service("tls")]);
    assert_eq!(town.allocation.used(&"lan".into()), BTreeMap::from([(address(91), users)]));
    town.allocation.release(&service("web"));
    assert_eq!(town.got("other", &Request::default()), Err(reason::POOL_EXHAUSTED));
    town.allocation.release(&service("tls"));
    assert!(town.got("other", &Request::default()).is_ok());
}

#[test]
fn who_may_not_share_is_told_which_rule_it_is() {
    let mut town = Town::new(&[("lan", "192.168.0.91", OPEN)]);
    assert!(town.got("web", &sharing(80, Some("k"))).is_ok());
    let mut refused =
        |request: Request| town.serve("x", &request).refusal.map(|refusal| (refusal.reason, refusal.message)).expect("refused");
    assert_eq!(refused(sharing(443, None)).0, reason::ADDRESS_TAKEN);
    let (reason, message) = refused(sharing(443, Some("z")));
    assert!(reason == reason::SHARING_REFUSED && message.contains("keys") && message.contains("default/web"), "{message}");
    assert!(refused(sharing(80, Some("k"))).1.contains("port 80/TCP"));
    assert!(refused(Request { policy: TrafficPolicy::Local, ..sharing(443, Some("k")) }).1.contains("externalTrafficPolicy"));
}

#[test]
fn a_record_that_porterlb_left_of_two_services_at_one_address_stands_while_nothing_collides() {
    let mut town = Town::new(&[("lan", "192.168.0.91", OPEN), ("elsewhere", "192.168.0.1-192.168.0.9", OPEN)]);
    for (name, port) in [("web", 80), ("tls", 443), ("web-too", 80)] {
        assert!(
            town.got(name, &Request { pools: vec!["elsewhere".into()], ..Request { addresses: ByFamily::NONE, ..sharing(port, None) } })
                .is_ok()
        );
        town.allocation.release(&service(name));
    }
    assert_eq!([town.record("web", "lan", address(91)), town.record("tls", "lan", address(91))], [true, true]);
    assert!(!town.record("web-too", "lan", address(91)), "two Services want port 80");
}

#[test]
fn a_gateway_and_our_own_address_are_nobodys() {
    let mut town = Town::new(&[("lan", "192.168.0.1-192.168.0.3", OPEN)]);
    let owners = [(address(1), Reserved::Gateway), (address(2), Reserved::Interface("eth0".into()))];
    town.allocation.reserve(owners.into_iter().collect());
    assert_eq!(town.got("named", &ask(Some(address(1)), None)), Err(reason::ADDRESS_RESERVED));
    assert_eq!(town.got("named", &ask(Some(address(2)), None)), Err(reason::ADDRESS_RESERVED));
    assert_eq!(town.got("any", &Request::default()), Ok(("lan".to_owned(), address(3))));
}

#[test]
fn a_record_as_large_as_kubernetes_takes_grows_no_more() {
    let mut town = Town::new(&[("lan", "10.0.0.0/8", OPEN)]);
    let name = "a".repeat(60);
    let mut last = Outcome::default();
    for number in 0..20_000 {
        let (namespace, name) = (format!("{name}{number:03}"), format!("{name}{number:03}"));
        last = town.allocation.allocate(
            &ServiceKey::new(namespace, name),
            &Request::default(),
            Known { services: &town.services, namespaces: &town.namespaces },
        );
        if last.refusal.is_some() {
            break;
        }
    }
    assert!(last.refusal.is_some() && town.allocation.record_bytes(&"lan".into()) <= RECORD_BYTES_MAX);
    let record = town.allocation.used(&"lan".into());
    let written: usize =
        record.iter().map(|(address, users)| format!("\"{address}\":\"{}\",", users.iter().next().expect("one")).len()).sum();
    assert!(written <= RECORD_BYTES_MAX && written > RECORD_BYTES_MAX - 256, "{written}");
}
