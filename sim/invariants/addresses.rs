//! Promise 1: no address is ever given to two Services that may not share it, and none from outside its pool.
//!
//! Two may share one if both give the same key, use different ports, have the same policy and, under `Local`, the same selector (design §5). What somebody else wrote on
//! a Service is not judged. What a pool lost after it gave an address away is not judged either: an assignment stays. Whose an address is stands in the Eips'
//! `status.used`, which is written before the Service; its label follows.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bellhop_apiserver::WriteRecord;
use bellhop_core::pool::AddressPool;
use bellhop_core::time::Instant;
use serde_json::Value;

use super::evidence::{mark, moment, replica};
use super::{Broken, Evidence};

pub(super) fn judge(evidence: &Evidence) -> Vec<Broken> {
    let mut broken = Vec::new();
    let mut has: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
    let mut holders: BTreeMap<IpAddr, BTreeSet<String>> = BTreeMap::new();
    let mut objects: BTreeMap<String, &Value> = BTreeMap::new();
    for version in evidence.services() {
        let before = has.insert(version.key.clone(), version.addresses.clone()).unwrap_or_default();
        for lost in before.difference(&version.addresses) {
            holders.entry(*lost).or_default().remove(&version.key);
        }
        objects.insert(version.key.clone(), version.object);
        for given in version.addresses.difference(&before) {
            let about = vec![given.to_string(), version.key.clone()];
            let holding = holders.entry(*given).or_default();
            let others = holding.iter().filter(|other| **other != version.key && replica(version.client).is_some());
            let parted = others.filter_map(|other| Some((other, keeps_apart(version.object, objects[other])?))).next();
            let parted = parted.map(|(other, rule)| (other.clone(), rule));
            holding.insert(version.key.clone());
            if let Some((other, rule)) = parted {
                let detail = format!("{given} is on {other} and on {}, and {rule}", version.key);
                broken.push(Broken { at: version.at, invariant: "no address is given to two Services", detail, about: about.clone() });
            }
            let name = giver(evidence, *given, &version.key, version.at).unwrap_or(&version.pool);
            if pool_at(evidence, name, version.at).is_some_and(|pool| !pool.contains(*given)) {
                let detail = format!("{given} of {} is not in Eip {name}", version.key);
                broken.push(Broken { at: version.at, invariant: "no address is given from outside its pool", detail, about });
            }
        }
    }
    broken
}

/// The rule by which two Services may not share an address.
fn keeps_apart(one: &Value, other: &Value) -> Option<&'static str> {
    let key = |service: &'_ Value| mark(service, "annotations", bellhop_api::keys::ALLOW_SHARED_IP).to_owned();
    let (ports, others) = (ports(one), ports(other));
    let policy = |service: &Value| service["spec"]["externalTrafficPolicy"] == "Local";
    if key(one).is_empty() || key(one) != key(other) {
        Some("they give no common key")
    } else if !ports.is_disjoint(&others) {
        Some("both use a port")
    } else if policy(one) != policy(other) {
        Some("their policies differ")
    } else {
        (policy(one) && one["spec"]["selector"] != other["spec"]["selector"]).then_some("their selectors differ")
    }
}

/// The ports of a Service with their protocols.
fn ports(service: &Value) -> BTreeSet<(String, i64)> {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    ports.filter_map(|port| Some((port["protocol"].as_str().unwrap_or("TCP").to_owned(), port["port"].as_i64()?))).collect()
}

/// The Eip that says at a moment that it gave an address to a Service.
fn giver<'a>(evidence: &'a Evidence, address: IpAddr, service: &str, at: Instant) -> Option<&'a str> {
    let gave = |record: &&WriteRecord| {
        let users = record.object["status"]["used"].get(address.to_string()).and_then(Value::as_str).unwrap_or_default();
        !record.deleted && users.split(';').any(|user| user == service)
    };
    let newest: BTreeMap<&str, &WriteRecord> = eips(evidence, at).map(|record| (record.name.as_str(), record)).collect();
    newest.into_values().find(gave).map(|record| record.name.as_str())
}

/// The addresses of an Eip at a moment; `None` where there is none that parses.
fn pool_at(evidence: &Evidence, name: &str, at: Instant) -> Option<AddressPool> {
    let last = eips(evidence, at).filter(|record| record.name == name).last()?;
    // Known addresses (.0, .255) are kept back by allocation, not by the pool's extent.
    AddressPool::parse(last.object["spec"]["address"].as_str()?, true).ok().filter(|_| !last.deleted)
}

/// All versions of all Eips up to a moment, in order.
fn eips(evidence: &Evidence, at: Instant) -> impl Iterator<Item = &WriteRecord> {
    evidence.writes.iter().take_while(move |record| moment(record) <= at).filter(|record| record.resource.starts_with("eips."))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::evidence::testing::{broken, evidence, service, write};
    use super::*;

    #[test]
    fn one_address_on_two_services_is_a_broken_promise() {
        let two = vec![service("web", 0, "a"), service("api", 1, "a")];
        assert_eq!(broken(judge(&evidence(two, Vec::new()))), ["no address is given to two Services"]);
    }

    #[test]
    fn two_services_share_an_address_where_every_rule_lets_them() {
        let sharing = |name: &str, seconds, port: i64, key: &str, policy: &str| {
            let mut record = service(name, seconds, "a");
            let mut object = Value::clone(&record.object);
            object["metadata"]["annotations"]["bellhop.dev/allow-shared-ip"] = json!(key);
            object["spec"] = json!({"ports": [{"port": port}], "externalTrafficPolicy": policy, "selector": {"app": name}});
            record.object = std::sync::Arc::new(object);
            record
        };
        let both = |other: WriteRecord| broken(judge(&evidence(vec![sharing("web", 0, 80, "k", "Cluster"), other], Vec::new())));
        assert_eq!(both(sharing("tls", 1, 443, "k", "Cluster")), [""; 0]);
        for other in [("tls", 443, "z", "Cluster"), ("tls", 443, "", "Cluster"), ("tls", 80, "k", "Cluster"), ("tls", 443, "k", "Local")] {
            assert_eq!(both(sharing(other.0, 1, other.1, other.2, other.3)), ["no address is given to two Services"], "{other:?}");
        }
        let local = vec![sharing("web", 0, 80, "k", "Local"), sharing("tls", 1, 443, "k", "Local")];
        assert_eq!(broken(judge(&evidence(local, Vec::new()))), ["no address is given to two Services"], "other selectors");
    }

    #[test]
    fn an_address_that_was_given_back_may_be_given_again() {
        let gone = WriteRecord { deleted: true, ..service("web", 1, "a") };
        let writes = vec![service("web", 0, "a"), gone, service("api", 2, "a"), service("api", 3, "b")];
        assert_eq!(broken(judge(&evidence(writes, Vec::new()))), [""; 0]);
    }

    #[test]
    fn an_address_from_outside_its_pool_is_a_broken_promise_and_a_pool_that_shrinks_later_is_not() {
        let pool =
            |seconds, address: &str| write("kubectl", "eips.network.kubesphere.io", "lan", seconds, json!({"spec": {"address": address}}));
        let outside = vec![pool(0, "192.168.0.92-192.168.0.99"), service("web", 1, "a")];
        assert_eq!(broken(judge(&evidence(outside, Vec::new()))), ["no address is given from outside its pool"]);
        let shrunk = vec![pool(0, "192.168.0.91"), service("web", 1, "a"), pool(2, "192.168.0.92"), service("web", 3, "a")];
        assert_eq!(broken(judge(&evidence(shrunk, Vec::new()))), [""; 0]);
    }

    #[test]
    fn the_pool_of_an_address_is_the_one_that_says_that_it_gave_it_whatever_the_label_says_still() {
        let pool = |name: &str, address: &str, used: Value| {
            write("bellhop a", "eips.network.kubesphere.io", name, 0, json!({"spec": {"address": address}, "status": {"used": used}}))
        };
        let given =
            |users: &str| vec![pool("lan", "192.168.0.92", json!({})), pool("second", "192.168.0.91", json!({"192.168.0.91": users}))];
        let moved = |pools: Vec<WriteRecord>| broken(judge(&evidence([pools, vec![service("web", 1, "a")]].concat(), Vec::new())));
        assert_eq!(moved(given("default/other;default/web")), [""; 0]);
        assert_eq!(moved(given("default/other")), ["no address is given from outside its pool"]);
        let beyond = pool("lan", "192.168.0.92", json!({"192.168.0.91": "default/web"}));
        assert_eq!(moved(vec![beyond]), ["no address is given from outside its pool"]);
    }
}
