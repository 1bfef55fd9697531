//! Promise 1: no address is ever given to two Services that may not share it, and none from outside its pool.
//!
//! Sharing is not built yet, so no two may. What a pool lost after it gave an address away is not judged: an assignment stays. Whose an address is stands
//! in the Eips' `status.used`, which is written before the Service; its label follows.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bellhop_apiserver::WriteRecord;
use bellhop_core::pool::AddressPool;
use bellhop_core::time::Instant;
use serde_json::Value;

use super::evidence::moment;
use super::{Broken, Evidence};

pub(super) fn judge(evidence: &Evidence) -> Vec<Broken> {
    let mut broken = Vec::new();
    let mut has: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
    let mut holders: BTreeMap<IpAddr, String> = BTreeMap::new();
    for version in evidence.services() {
        let before = has.insert(version.key.clone(), version.addresses.clone()).unwrap_or_default();
        for lost in before.difference(&version.addresses) {
            holders.retain(|address, holder| address != lost || *holder != version.key);
        }
        for given in version.addresses.difference(&before) {
            let about = vec![given.to_string(), version.key.clone()];
            if let Some(other) = holders.insert(*given, version.key.clone()).filter(|other| *other != version.key) {
                let detail = format!("{given} is on {other} and on {}", version.key);
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
