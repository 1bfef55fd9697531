//! Promise 5, second half: nothing assigned moves without a cause in the trace.
//!
//! An address leaves a Service because somebody changed the Service, one that shares the address, or a pool. A Service leaves its node because that node was, at some time since it
//! was chosen, not one that may carry it, because somebody changed the Service or its endpoints, or to be with those who share its address. A node that came back pulls nothing to it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bellhop_apiserver::WriteRecord;
use bellhop_core::time::Instant;
use serde_json::Value;

use super::calm::Calm;
use super::evidence::{Version, moment, replica};
use super::{Broken, Evidence};

/// The promise.
const MOVES: &str = "nothing that is assigned moves without a cause";

pub(super) fn judge(evidence: &Evidence) -> Vec<Broken> {
    let mut broken = Vec::new();
    // When, and by which replica. What a user wrote there is no choice of Bellhop's, and may be left at once.
    let mut chosen: BTreeMap<String, (Instant, Option<&str>)> = BTreeMap::new();
    let mut given: BTreeMap<String, (Instant, Option<&str>)> = BTreeMap::new();
    let mut before: BTreeMap<String, Version<'_>> = BTreeMap::new();
    for version in evidence.services() {
        let key = version.key.clone();
        let by = replica(version.client);
        if let (Some(last), Some(mover)) = (before.get(&key), by.filter(|_| !version.deleted)) {
            let about = vec![key.clone()];
            let by_a_user = chosen.get(&key).is_some_and(|(_, by)| by.is_none());
            let since = known_since(evidence, chosen.get(&key), mover, version.at);
            let moved = !last.node.is_empty() && last.node != version.node && !by_a_user && !joins(&before, &version);
            if moved && !may_leave(evidence, last, since, version.at) {
                let detail = format!("{key} moved from {} to {:?}, and nothing had happened to {}", last.node, version.node, last.node);
                broken.push(Broken { at: version.at, invariant: MOVES, detail, about: about.clone() });
            }
            let since = known_since(evidence, given.get(&key), mover, version.at);
            let lost = last.addresses.difference(&version.addresses).next();
            let collided = |lost: &IpAddr| {
                let mut sharing = before.iter().filter(|(_, other)| other.addresses.contains(lost));
                sharing.any(|(other, _)| changed_by_a_user(evidence, other, since, version.at))
            };
            if let Some(lost) = lost.filter(|lost| !collided(lost) && !was_changed(evidence, &key, since, version.at)) {
                let detail = format!("{key} lost {lost}, and nobody had changed it or a pool");
                broken.push(Broken { at: version.at, invariant: MOVES, detail, about });
            }
        }
        if before.get(&key).is_none_or(|last| last.node != version.node) {
            chosen.insert(key.clone(), (version.at, by));
        }
        if before.get(&key).is_none_or(|last| last.addresses != version.addresses) {
            given.insert(key.clone(), (version.at, by));
        }
        before.insert(key, version);
    }
    broken
}

/// From when on what happened may be the cause of a change. A replica may have made a choice out of an outage, resting on what was so before it, or
/// undo one on what it knows from before an outage of its own.
fn known_since(evidence: &Evidence, choice: Option<&(Instant, Option<&str>)>, mover: &str, at: Instant) -> Instant {
    let Some((chosen, by)) = choice else { return Instant::ZERO };
    let reach_back = |replica: &str, at| Calm::of_replica(&evidence.ordeal.disturbances, replica).reach_back(at);
    by.map_or(*chosen, |by| reach_back(by, *chosen)).min(reach_back(mover, at))
}

/// Whether a Service is where another is that has an address with it: one node carries them all.
fn joins(before: &BTreeMap<String, Version<'_>>, version: &Version<'_>) -> bool {
    let shares = |(key, other): (&String, &Version<'_>)| *key != version.key && !other.addresses.is_disjoint(&version.addresses);
    before.iter().any(|(key, other)| shares((key, other)) && other.node == version.node)
}

/// Whether there was a cause for a Service to leave its node between two moments.
fn may_leave(evidence: &Evidence, service: &Version<'_>, since: Instant, until: Instant) -> bool {
    let node_failed =
        versions_in_force(evidence, "nodes", &service.node, since, until).any(|node| node.deleted || !may_carry(&node.object));
    node_failed || was_without_endpoints(evidence, service, since, until) || changed_by_a_user(evidence, &service.key, since, until)
}

/// Whether there was a time between two moments at which no endpoint was ready: for traffic policy Local, none on the Service's node.
fn was_without_endpoints(evidence: &Evidence, service: &Version<'_>, since: Instant, until: Instant) -> bool {
    let node = (service.object["spec"]["externalTrafficPolicy"] == "Local").then_some(service.node.as_str());
    let (namespace, name) = service.key.split_once('/').unwrap_or_default();
    let is_slice = |record: &&WriteRecord| {
        let of = record.object["metadata"]["labels"][bellhop_api::keys::SERVICE_NAME_LABEL].as_str();
        record.resource.starts_with("endpointslices") && record.namespace == namespace && of == Some(name) && moment(record) <= until
    };
    let mut slices: BTreeMap<&str, &WriteRecord> = BTreeMap::new();
    for record in evidence.writes.iter().filter(is_slice) {
        let carried = slices.values().any(|slice| !slice.deleted && has_ready(&slice.object, node));
        // What stood until this write counts if it stood into the time. Before the first there was nothing to stand on.
        if !slices.is_empty() && moment(record) >= since && !carried {
            return true;
        }
        slices.insert(&record.name, record);
    }
    !slices.values().any(|slice| !slice.deleted && has_ready(&slice.object, node))
}

/// Whether somebody changed a Service or a pool between two moments.
fn was_changed(evidence: &Evidence, key: &str, since: Instant, until: Instant) -> bool {
    let pool = |record: &WriteRecord| record.resource.starts_with("eips.") && replica(record.client.as_str()).is_none();
    within(evidence, since, until).any(pool) || changed_by_a_user(evidence, key, since, until)
}

fn changed_by_a_user(evidence: &Evidence, key: &str, since: Instant, until: Instant) -> bool {
    evidence.services().any(|version| version.key == key && replica(version.client).is_none() && version.at > since && version.at <= until)
}

/// What took effect between two moments, both included: what caused a choice may have been written at the same one.
fn within(evidence: &Evidence, since: Instant, until: Instant) -> impl Iterator<Item = &WriteRecord> {
    evidence.writes.iter().filter(move |record| (since..=until).contains(&moment(record)))
}

/// The versions of an object that were in force at some time between two moments.
fn versions_in_force<'a>(
    evidence: &'a Evidence,
    resource: &'a str,
    name: &'a str,
    since: Instant,
    until: Instant,
) -> impl Iterator<Item = &'a WriteRecord> {
    let versions =
        evidence.writes.iter().filter(move |record| record.resource == resource && record.name == name && moment(record) <= until);
    let earlier = versions.clone().take_while(|record| moment(record) <= since).count();
    versions.skip(earlier.saturating_sub(1))
}

/// Whether a node may carry addresses: Ready, staying, not excluded (design §4, "Candidates").
fn may_carry(node: &Value) -> bool {
    let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    let ready = conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    ready && node["metadata"]["deletionTimestamp"].is_null() && node["metadata"]["labels"].get(bellhop_api::keys::EXCLUDE_LABEL).is_none()
}

/// Whether some endpoint of a slice is ready, on a node if one is given.
fn has_ready(slice: &Value, node: Option<&str>) -> bool {
    let mut endpoints = slice["endpoints"].as_array().into_iter().flatten();
    endpoints.any(|endpoint| endpoint["conditions"]["ready"] != false && node.is_none_or(|node| endpoint["nodeName"] == node))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::evidence::testing::{broken, evidence, service, write};
    use super::*;

    fn node(name: &str, seconds: u64, ready: &str) -> WriteRecord {
        write("node a", "nodes", name, seconds, json!({"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}))
    }

    #[test]
    fn a_move_off_a_healthy_node_is_a_broken_promise() {
        let writes = vec![node("a", 0, "True"), slice(0, &["c"]), service("web", 1, "a"), service("web", 50, "b")];
        assert_eq!(broken(judge(&evidence(writes, Vec::new()))), [MOVES]);
    }

    #[test]
    fn a_service_may_move_to_where_another_is_that_shares_its_address() {
        let to = |node_of_web: &str| {
            let writes = vec![
                node("a", 0, "True"),
                slice(0, &["c"]),
                service("web", 1, "a"),
                service("api", 2, "b"),
                service("web", 50, node_of_web),
            ];
            broken(judge(&evidence(writes, Vec::new())))
        };
        assert_eq!(to("b"), [""; 0]);
        assert_eq!(to("c"), [MOVES]);
    }

    #[test]
    fn a_node_that_failed_since_it_was_chosen_is_a_cause_and_one_that_failed_before_is_none() {
        let failed_since =
            vec![slice(0, &["c"]), node("a", 0, "True"), service("web", 1, "a"), node("a", 40, "Unknown"), service("web", 50, "b")];
        assert_eq!(broken(judge(&evidence(failed_since, Vec::new()))), [""; 0]);
        let failed_before =
            vec![slice(0, &["c"]), node("a", 0, "Unknown"), node("a", 5, "True"), service("web", 10, "a"), service("web", 50, "b")];
        assert_eq!(broken(judge(&evidence(failed_before, Vec::new()))), [MOVES]);
    }

    /// The slice of `web`, with a ready endpoint on each of these nodes.
    fn slice(seconds: u64, nodes: &[&str]) -> WriteRecord {
        let endpoints: Vec<Value> = nodes.iter().map(|node| json!({"nodeName": node, "conditions": {"ready": true}})).collect();
        let metadata = json!({"labels": {(bellhop_api::keys::SERVICE_NAME_LABEL): "web"}});
        write("control-plane", "endpointslices.discovery.k8s.io", "web-1", seconds, json!({"metadata": metadata, "endpoints": endpoints}))
    }

    fn local(mut service: WriteRecord) -> WriteRecord {
        let mut object = Value::clone(&service.object);
        object["spec"]["externalTrafficPolicy"] = json!("Local");
        service.object = std::sync::Arc::new(object);
        service
    }

    #[test]
    fn a_local_service_may_leave_a_node_that_lost_its_endpoint_and_none_that_kept_it() {
        let moved = |slices: [WriteRecord; 2]| {
            let [first, second] = slices;
            let writes = vec![node("a", 0, "True"), first, local(service("web", 1, "a")), second, local(service("web", 50, "b"))];
            broken(judge(&evidence(writes, Vec::new())))
        };
        assert_eq!(moved([slice(0, &["a", "b"]), slice(40, &["b"])]), [""; 0]);
        assert_eq!(moved([slice(0, &["a", "b"]), slice(40, &["a", "b", "c"])]), [MOVES]);
        let elsewhere = WriteRecord { namespace: "other".to_owned(), ..slice(40, &["b"]) };
        assert_eq!(moved([slice(0, &["a", "b"]), elsewhere]), [MOVES]);
    }

    #[test]
    fn a_service_may_leave_its_node_when_it_has_no_endpoint_at_all() {
        let ends =
            |nodes: &[&str]| vec![node("a", 0, "True"), slice(0, &["c"]), service("web", 1, "a"), slice(40, nodes), service("web", 50, "")];
        assert_eq!(broken(judge(&evidence(ends(&[]), Vec::new()))), [""; 0]);
        assert_eq!(broken(judge(&evidence(ends(&["c"]), Vec::new()))), [MOVES]);
    }

    #[test]
    fn a_choice_out_of_an_outage_may_be_put_right_by_what_happened_in_it() {
        let slices = [slice(0, &["c"]), slice(45, &[]), slice(48, &["c"])];
        let writes = [node("a", 0, "True")].into_iter().chain(slices).chain([service("web", 50, "a"), service("web", 51, "b")]);
        let mut moved = evidence(writes.collect(), Vec::new());
        assert_eq!(broken(judge(&moved)), [MOVES]);
        let at = super::super::evidence::testing::at;
        let outage = |of: &str| super::super::Disturbance {
            from: at(44),
            until: at(49),
            machine: Some(of.to_owned()),
            of_the_lan: false,
            what: String::new(),
        };
        // Replica `a` wrote it; what `b` could not know is no excuse.
        moved.ordeal.disturbances = vec![outage("b")];
        assert_eq!(broken(judge(&moved)), [MOVES]);
        moved.ordeal.disturbances = vec![outage("a")];
        assert_eq!(broken(judge(&moved)), [""; 0]);
    }

    #[test]
    fn a_node_that_a_user_wrote_may_be_left_at_once() {
        let mut by_a_user = service("web", 50, "nonsense");
        by_a_user.client = bellhop_apiserver::ClientName::from("kubectl");
        let repaired = vec![node("a", 0, "True"), slice(0, &["c"]), service("web", 1, "a"), by_a_user, service("web", 50, "a")];
        assert_eq!(broken(judge(&evidence(repaired.clone(), Vec::new()))), [""; 0]);
        // Once it is repaired, what the user wrote before is no cause any more.
        let moved = [repaired, vec![service("web", 90, "b")]].concat();
        assert_eq!(broken(judge(&evidence(moved, Vec::new()))), [MOVES]);
    }

    #[test]
    fn an_address_that_a_service_loses_needs_somebody_who_changed_something() {
        let mut without = service("web", 50, "a");
        let mut object = Value::clone(&without.object);
        object["status"] = json!({});
        without.object = std::sync::Arc::new(object);
        let lost = || vec![node("a", 0, "True"), service("web", 1, "a"), without.clone()];
        assert_eq!(broken(judge(&evidence(lost(), Vec::new()))), [MOVES]);
        let mut edited = lost();
        let mut by_a_user = service("web", 40, "a");
        by_a_user.client = bellhop_apiserver::ClientName::from("kubectl");
        edited.insert(2, by_a_user);
        assert_eq!(broken(judge(&evidence(edited, Vec::new()))), [""; 0]);
    }
}
