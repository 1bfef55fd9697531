//! What holds in every scenario, even in one that expects nothing (design §6): judged once, when the run is over.
//!
//! Pure: it is given every write of Services and Eips, how much each replica wrote, and every frame of Bellhop's that names an address. It
//! judges Bellhop alone: what kernels and intruders say on the wire is the scenario's business.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bellhop_apiserver::WriteRecord;
use bellhop_core::mac::MacAddr;
use bellhop_core::pool::AddressPool;
use bellhop_core::time::Instant;
use serde_json::Value;

use crate::clock::WorldClock;

/// How long an old answer may be heard beside a new one, and how far announcement and record may lie apart: a Lease (5 s) runs out, the
/// standby tries every second, and gratuitous frames are repeated for 2.2 s.
const HANDOVER: Duration = Duration::from_secs(10);

/// Writes of one replica in a minute that are no storm: a Lease renewed every second, and some for each Service that changes.
const WRITES_PER_MINUTE: usize = 600;

/// A frame of Bellhop's that says "this address is at this MAC".
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spoken {
    pub(crate) at: Instant,
    pub(crate) address: Ipv4Addr,
    pub(crate) mac: MacAddr,
}

/// A promise that did not hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) at: Instant,
    pub(crate) invariant: &'static str,
    pub(crate) detail: String,
}

/// Everything that was seen of Bellhop.
#[derive(Default)]
pub(crate) struct Evidence {
    /// Writes of Services and Eips, in order.
    pub(crate) objects: Vec<WriteRecord>,
    /// When each replica wrote anything, in order.
    pub(crate) writes: BTreeMap<String, Vec<Instant>>,
    /// What it said on the wire, in order.
    pub(crate) spoken: Vec<Spoken>,
    /// The MACs of each node.
    pub(crate) macs: BTreeMap<String, BTreeSet<MacAddr>>,
}

/// A stretch of time in which a Service had an address, carried by a node.
struct Held {
    from: Instant,
    until: Instant,
    node: String,
}

impl Evidence {
    /// The promises that did not hold; the first case of each.
    pub(crate) fn judge(&self) -> Vec<Broken> {
        let mut broken: Vec<Broken> = Vec::new();
        let held = self.addresses(&mut broken);
        broken.extend(self.answers(&held));
        broken.extend(self.storms());
        let mut said = BTreeSet::new();
        broken.retain(|broken| said.insert(broken.invariant));
        broken
    }

    /// Follows every Service: who holds which address, from when to when. Two at a time, or one outside its pool, is a broken promise.
    fn addresses(&self, broken: &mut Vec<Broken>) -> BTreeMap<IpAddr, Vec<Held>> {
        let mut pools: BTreeMap<String, AddressPool> = BTreeMap::new();
        let mut holders: BTreeMap<IpAddr, String> = BTreeMap::new();
        let mut held: BTreeMap<IpAddr, Vec<Held>> = BTreeMap::new();
        for record in &self.objects {
            let at = WorldClock::moment_of(record.time);
            if record.resource.starts_with("eips") {
                let text = record.object["spec"]["address"].as_str().unwrap_or_default();
                match AddressPool::parse(text, true) {
                    Ok(pool) if !record.deleted => drop(pools.insert(record.name.clone(), pool)),
                    _ => drop(pools.remove(&record.name)),
                }
                continue;
            }
            let service = format!("{}/{}", record.namespace, record.name);
            let addresses = if record.deleted { BTreeSet::new() } else { ingress(&record.object) };
            let lost: Vec<IpAddr> =
                holders.iter().filter(|(ip, holder)| **holder == service && !addresses.contains(ip)).map(|(ip, _)| *ip).collect();
            for ip in lost.iter().chain(&addresses) {
                if let Some(last) = held.get_mut(ip).and_then(|held| held.last_mut()) {
                    last.until = last.until.min(at);
                }
            }
            lost.iter().for_each(|ip| drop(holders.remove(ip)));
            for ip in addresses {
                if let Some(other) = holders.insert(ip, service.clone()).filter(|other| *other != service) {
                    let invariant = "no address is given to two Services";
                    broken.push(Broken { at, invariant, detail: format!("{ip} is on {other} and on {service}") });
                }
                let pool = mark(&record.object, "labels", bellhop_api::keys::POOL_LABEL);
                if pools.get(&pool).is_some_and(|pool| !pool.contains(ip)) {
                    let invariant = "no address is given from outside its pool";
                    broken.push(Broken { at, invariant, detail: format!("{ip} of {service} is not in {pool}") });
                }
                let node = mark(&record.object, "annotations", bellhop_api::keys::NODE_ANNOTATION);
                held.entry(ip).or_default().push(Held { from: at, until: Instant::FAR_FUTURE, node });
            }
        }
        held
    }

    /// Whatever Bellhop says of an address is what is on its Service, up to a handover.
    fn answers(&self, held: &BTreeMap<IpAddr, Vec<Held>>) -> Vec<Broken> {
        let near = |held: &&Held, at: Instant| at + HANDOVER >= held.from && held.until + HANDOVER >= at;
        let mut broken = Vec::new();
        for Spoken { at, address, mac } in &self.spoken {
            let stretches: Vec<&Held> = held.get(&IpAddr::V4(*address)).into_iter().flatten().filter(|held| near(held, *at)).collect();
            let (invariant, detail) = if stretches.is_empty() {
                ("Bellhop answers for no address that is not assigned", format!("{address} is at {mac}, it said"))
            } else if !stretches.iter().any(|held| self.macs.get(&held.node).is_some_and(|macs| macs.contains(mac))) {
                let nodes: BTreeSet<&str> = stretches.iter().map(|held| held.node.as_str()).collect();
                ("Bellhop names the MAC of the Service's node", format!("{address} is at {mac}, it said, and its node is {nodes:?}"))
            } else {
                continue;
            };
            broken.push(Broken { at: *at, invariant, detail });
        }
        broken
    }

    /// No write loops.
    fn storms(&self) -> Vec<Broken> {
        let mut broken = Vec::new();
        for (replica, writes) in &self.writes {
            let storm =
                writes.windows(WRITES_PER_MINUTE).find(|window| window[WRITES_PER_MINUTE - 1] - window[0] < Duration::from_secs(60));
            if let Some(window) = storm {
                let detail = format!("{replica} made {WRITES_PER_MINUTE} writes within a minute");
                broken.push(Broken { at: window[0], invariant: "writes to the API stay bounded", detail });
            }
        }
        broken
    }
}

/// The addresses that Bellhop gave to a Service: it marks them with the pool's label.
fn ingress(service: &Value) -> BTreeSet<IpAddr> {
    if mark(service, "labels", bellhop_api::keys::POOL_LABEL).is_empty() {
        return BTreeSet::new();
    }
    let ingress = service["status"]["loadBalancer"]["ingress"].as_array();
    ingress.into_iter().flatten().filter_map(|each| each["ip"].as_str()?.parse().ok()).collect()
}

/// A label or an annotation; empty where there is none.
fn mark(object: &Value, field: &str, key: &str) -> String {
    object["metadata"][field].get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bellhop_apiserver::ClientName;
    use serde_json::json;

    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 91);

    fn moment(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn record(resource: &str, name: &str, seconds: u64, object: Value) -> WriteRecord {
        WriteRecord {
            client: ClientName::from("bellhop a"),
            verb: "patch",
            resource: resource.to_owned(),
            subresource: String::new(),
            namespace: "default".to_owned(),
            name: name.to_owned(),
            resource_version: 1,
            time: WorldClock::wall_at(moment(seconds)),
            deleted: false,
            object: Arc::new(object),
        }
    }

    fn service(name: &str, seconds: u64, node: &str) -> WriteRecord {
        let metadata = json!({"labels": {bellhop_api::keys::POOL_LABEL: "lan"}, "annotations": {bellhop_api::keys::NODE_ANNOTATION: node}});
        record("services", name, seconds, json!({"metadata": metadata, "status": {"loadBalancer": {"ingress": [{"ip": ADDRESS}]}}}))
    }

    fn mac(last: u8) -> MacAddr {
        MacAddr([0x52, 0x54, 0x22, 0, 0, last])
    }

    fn evidence(objects: Vec<WriteRecord>, spoken: &[(u64, u8)]) -> Evidence {
        let macs = [("a".to_owned(), BTreeSet::from([mac(1)])), ("b".to_owned(), BTreeSet::from([mac(2)]))];
        let spoken = spoken.iter().map(|(at, last)| Spoken { at: moment(*at), address: ADDRESS, mac: mac(*last) });
        Evidence { objects, writes: BTreeMap::new(), spoken: spoken.collect(), macs: macs.into_iter().collect() }
    }

    fn broken(evidence: &Evidence) -> Vec<&'static str> {
        evidence.judge().into_iter().map(|broken| broken.invariant).collect()
    }

    #[test]
    fn a_move_with_its_handover_breaks_nothing() {
        let objects = vec![service("web", 0, "a"), service("web", 100, "b")];
        assert_eq!(broken(&evidence(objects, &[(1, 1), (99, 2), (105, 1), (200, 2)])), [""; 0]);
    }

    #[test]
    fn an_old_answer_after_the_handover_is_a_broken_promise() {
        let objects = vec![service("web", 0, "a"), service("web", 100, "b")];
        assert_eq!(broken(&evidence(objects, &[(111, 1)])), ["Bellhop names the MAC of the Service's node"]);
    }

    #[test]
    fn an_answer_for_nobodys_address_is_a_broken_promise() {
        assert_eq!(broken(&evidence(Vec::new(), &[(1, 1)])), ["Bellhop answers for no address that is not assigned"]);
    }

    #[test]
    fn one_address_on_two_services_and_one_outside_its_pool_are_broken_promises() {
        let two = evidence(vec![service("web", 0, "a"), service("api", 1, "a")], &[]);
        assert_eq!(broken(&two), ["no address is given to two Services"]);
        let pool = record("eips.network.kubesphere.io", "lan", 0, json!({"spec": {"address": "192.168.0.92-192.168.0.99"}}));
        assert_eq!(broken(&evidence(vec![pool, service("web", 1, "a")], &[])), ["no address is given from outside its pool"]);
    }

    #[test]
    fn a_write_loop_is_a_broken_promise() {
        let writes = BTreeMap::from([("bellhop a".to_owned(), (0..700).map(Instant::from_millis).collect())]);
        assert_eq!(broken(&Evidence { writes, ..Evidence::default() }), ["writes to the API stay bounded"]);
    }
}
