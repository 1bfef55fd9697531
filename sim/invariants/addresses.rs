//! Promise 1: no address is ever given to two Services that may not share it, and none from outside its pool.
//!
//! Sharing is not built yet, so no two may. What a pool lost after it gave an address away is not judged: an assignment stays.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bellhop_core::pool::AddressPool;

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
            if pool_at(evidence, &version.pool, version.at).is_some_and(|pool| !pool.contains(*given)) {
                let detail = format!("{given} of {} is not in Eip {}", version.key, version.pool);
                broken.push(Broken { at: version.at, invariant: "no address is given from outside its pool", detail, about });
            }
        }
    }
    broken
}

/// The addresses of an Eip at a moment; `None` where there is none that parses.
fn pool_at(evidence: &Evidence, name: &str, at: bellhop_core::time::Instant) -> Option<AddressPool> {
    let is_version = |record: &&bellhop_apiserver::WriteRecord| record.resource.starts_with("eips.") && record.name == name;
    let last = evidence.writes.iter().take_while(|record| moment(record) <= at).filter(is_version).last()?;
    // Known addresses (.0, .255) are kept back by allocation, not by the pool's extent.
    AddressPool::parse(last.object["spec"]["address"].as_str()?, true).ok().filter(|_| !last.deleted)
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
        let gone = bellhop_apiserver::WriteRecord { deleted: true, ..service("web", 1, "a") };
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
}
