//! What holds whatever users do: no address twice, none outside its pool, nothing moves, no frame panics.

use proptest::prelude::*;

use super::sharing::shared;
use super::*;

/// What a user can do, one at a time.
#[derive(Clone, Debug)]
enum Step {
    Add(u8, Option<u8>),
    Delete(u8),
    NodeReady(u8, bool),
    Endpoints(u8, Vec<u8>),
    Pass,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u8..6, prop::option::of(90u8..96)).prop_map(|(service, wish)| Step::Add(service, wish)),
        (0u8..6).prop_map(Step::Delete),
        (0u8..3, any::<bool>()).prop_map(|(node, ready)| Step::NodeReady(node, ready)),
        (0u8..6, prop::collection::vec(0u8..3, 0..3)).prop_map(|(service, nodes)| Step::Endpoints(service, nodes)),
        Just(Step::Pass),
    ]
}

const NODES: [(&str, u8); 3] = [("master1", 2), ("worker-p001", 3), ("worker-p002", 4)];

fn apply(bench: &mut Bench, step: &Step) {
    let now = bench.now;
    match step {
        Step::Add(number, wish) => {
            let mut new = service(&format!("s{number}"), i64::from(*number));
            let addresses = wish.map(|last| (Family::V4, IpAddr::from([192, 168, 0, last]))).into_iter().collect();
            new.request = Some(Request { addresses, ..Request::default() });
            if let Some(old) = bench.services.get(&new.key) {
                (new.status, new.version) = (old.status.clone(), Version((bench.version + 1).to_string()));
                bench.version += 1;
            }
            bench.add_service(new);
        }
        Step::Delete(number) => {
            let key = ServiceKey::new("default", format!("s{number}"));
            bench.services.remove(&key);
            bench.replica.handle_service_deleted(now, &key);
        }
        Step::NodeReady(number, ready) => {
            let (name, last) = NODES[usize::from(*number)];
            bench.replica.handle_node(now, Node { ready: *ready, ..node(name, last) });
        }
        Step::Endpoints(number, nodes) => {
            let nodes: Vec<&str> = nodes.iter().map(|node| NODES[usize::from(*node)].0).collect();
            bench.replica.handle_slice(now, slice(&format!("s{number}"), &nodes));
        }
        Step::Pass => bench.pass(Duration::from_secs(1)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_address_is_given_twice_nor_outside_its_pool_and_a_valid_one_never_moves(steps in prop::collection::vec(step(), 1..40)) {
        let mut bench = Bench::new();
        bench.add_pool(pool("lan", "192.168.0.91-192.168.0.94"));
        bench.sync();
        for step in &steps {
            let before: BTreeMap<ServiceKey, ServiceStatus> = bench.services.iter().map(|(key, service)| (key.clone(), service.status.clone())).collect();
            apply(&mut bench, step);
            bench.drain();
            let given: Vec<IpAddr> = bench.services.values().flat_map(|service| service.status.ingress.clone()).collect();
            let distinct: BTreeSet<IpAddr> = given.iter().copied().collect();
            prop_assert_eq!(distinct.len(), given.len(), "an address was given twice");
            for address in &distinct {
                prop_assert!(bench.pools[&PoolName::from("lan")].addresses.as_ref().is_ok_and(|pool| pool.contains(*address)));
            }
            for (key, service) in &bench.services {
                let Some(old) = before.get(key).and_then(|status| status.ingress.first()) else { continue };
                let wish = service.request.as_ref().and_then(|request| request.addresses.get(Family::V4));
                if wish.is_none_or(|wish| wish == old) {
                    prop_assert_eq!(service.status.ingress.first(), Some(old), "{} moved", key);
                }
            }
        }
    }

    #[test]
    fn the_order_of_arrival_within_one_batch_changes_nothing(order in Just((0u8..6).collect::<Vec<_>>()).prop_shuffle()) {
        let played = |order: &[u8]| {
            let mut bench = Bench::new();
            for number in order {
                bench.add_service(service(&format!("s{number}"), 1));
                bench.replica.handle_slice(bench.now, slice(&format!("s{number}"), &["worker-p001"]));
            }
            bench.add_pool(pool("lan", "192.168.0.91-192.168.0.94"));
            bench.sync();
            bench.services.into_iter().map(|(key, service)| (key, service.status)).collect::<BTreeMap<_, _>>()
        };
        prop_assert_eq!(played(&order), played(&[0, 1, 2, 3, 4, 5]));
    }

    #[test]
    fn no_frame_panics(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut bench = Bench::tutorial();
        bench.replica.handle_frame(bench.now, &"eth0".into(), &bytes);
        bench.drain();
    }

    #[test]
    fn who_shares_an_address_may_share_it_whatever_is_edited_and_a_restart_changes_nothing(
        steps in prop::collection::vec((0u8..6, prop::option::of(0u8..6)), 1..30)
    ) {
        let mut bench = Bench::new();
        bench.add_pool(pool("lan", "192.168.0.91-192.168.0.93"));
        bench.sync();
        for (number, terms) in steps {
            let key = ServiceKey::new("default", format!("s{number}"));
            match terms {
                None => {
                    bench.services.remove(&key);
                    bench.replica.handle_service_deleted(bench.now, &key);
                }
                Some(terms) => {
                    let policy = if terms == 5 { TrafficPolicy::Local } else { TrafficPolicy::Cluster };
                    let mut new = shared(&format!("s{number}"), i64::from(number), 80 + i32::from(terms % 3), policy);
                    if terms == 4 {
                        new.request.as_mut().expect("ours").sharing_key = None;
                    }
                    if let Some(old) = bench.services.get(&key) {
                        (new.status, new.version) = (old.status.clone(), Version((bench.version + 1).to_string()));
                        bench.version += 1;
                    }
                    bench.add_service(new);
                }
            }
            bench.drain();
            let mut users: BTreeMap<IpAddr, Vec<&Service>> = BTreeMap::new();
            for service in bench.services.values() {
                service.status.ingress.iter().for_each(|address| users.entry(*address).or_default().push(service));
            }
            for (address, services) in users {
                let requests: Vec<&Request> = services.iter().filter_map(|service| service.request.as_ref()).collect();
                for (index, one) in requests.iter().enumerate() {
                    let apart = requests[index + 1..].iter().find_map(|other| crate::sharing::keeps_apart(one, other));
                    prop_assert_eq!(apart, None, "{} is on {:?}", address, services.iter().map(|service| &service.key).collect::<Vec<_>>());
                }
                let nodes: BTreeSet<_> = services.iter().map(|service| &service.status.node).collect();
                prop_assert_eq!(nodes.len(), 1, "one node carries {}", address);
            }
        }
        bench.pass(Duration::from_secs(5));
        let mut second = Bench::new();
        bench.pools.values().for_each(|pool| second.add_pool(pool.clone()));
        bench.services.values().for_each(|service| second.add_service(service.clone()));
        second.version = bench.version + 1000;
        second.sync();
        second.pass(Duration::from_secs(5));
        prop_assert_eq!(second.writes, 0);
        prop_assert_eq!(second.services, bench.services);
    }
}
