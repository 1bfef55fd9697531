//! Core values to what is written: statuses, patches, conditions.
//!
//! Each function takes the object as last seen and what should stand on it, and gives only the parts that Bellhop owns, so that nothing
//! that somebody else wrote is touched. `None` means: it is so already. Times of conditions are kept while the state is the same.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bellhop_core::object::{Condition, PoolStatus, ServiceStatus};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition as ApiCondition, ObjectMeta, Time};
use kube::api::DynamicObject;
use serde_json::{Map, Value, json};

use crate::crd::EipStatus;
use crate::{keys, parse};

/// The Eip with this status, to be PUT to its status subresource. The object's own version is the precondition.
pub fn pool_status(object: &DynamicObject, status: &PoolStatus, now: Timestamp) -> DynamicObject {
    let present: Vec<ApiCondition> = serde_json::from_value(object.data["status"]["conditions"].clone()).unwrap_or_default();
    let conditions = with_condition(present, keys::CONDITION_READY, status.condition.as_ref(), object.metadata.generation, now);
    let rendered = EipStatus {
        first_ip: status.first.map(|address| address.to_string()),
        last_ip: status.last.map(|address| address.to_string()),
        pool_size: Some(saturating(status.size)),
        usage: Some(saturating(status.usage)),
        used: Some(status.used.iter().map(|(address, services)| (address.to_string(), joined(services))).collect()),
        occupied: Some(status.occupied),
        ready: Some(status.ready),
        v4: Some(status.v4),
        conditions: Some(conditions),
    };
    let mut object = object.clone();
    if !object.data.is_object() {
        object.data = json!({});
    }
    object.data["status"] = json!(rendered);
    object
}

/// A merge patch that puts our finalizer on an Eip or takes it off.
pub fn pool_finalizer_patch(object: &DynamicObject, present: bool) -> Value {
    let mut finalizers = object.metadata.finalizers.clone().unwrap_or_default();
    finalizers.retain(|finalizer| finalizer != keys::EIP_FINALIZER);
    if present {
        finalizers.push(keys::EIP_FINALIZER.to_owned());
    }
    json!({"metadata": {"resourceVersion": object.metadata.resource_version, "finalizers": finalizers}})
}

/// What the patches and references below look at of a Service: enough to keep between its events, of thousands.
pub fn looked_at(object: &Service) -> Service {
    let meta = &object.metadata;
    let of_ours = |map: &Option<BTreeMap<String, String>>, keys: &[&str]| {
        let kept = map.iter().flatten().filter(|(key, _)| keys.contains(&key.as_str()));
        Some(kept.map(|(key, value)| (key.clone(), value.clone())).collect())
    };
    Service {
        metadata: ObjectMeta {
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            generation: meta.generation,
            annotations: of_ours(&meta.annotations, &[keys::OPT_IN, keys::LAYER2[0], keys::LAYER2[1]]),
            labels: of_ours(&meta.labels, &keys::POOL),
            finalizers: meta.finalizers.clone(),
            ..ObjectMeta::default()
        },
        spec: object
            .spec
            .as_ref()
            .map(|spec| ServiceSpec { load_balancer_class: spec.load_balancer_class.clone(), ..ServiceSpec::default() }),
        status: object.status.clone(),
    }
}

/// A merge patch for a Service's status subresource: our conditions, and the ingress where it differs.
pub fn service_status_patch(object: &Service, status: &ServiceStatus, now: Timestamp) -> Option<Value> {
    let is = parse::service(object).status;
    if is.ingress == status.ingress && is.assigned == status.assigned && is.announced == status.announced {
        return None;
    }
    let present = object.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let generation = object.metadata.generation;
    let conditions = with_condition(present, keys::CONDITION_ASSIGNED, status.assigned.as_ref(), generation, now);
    let conditions = with_condition(conditions, keys::CONDITION_ANNOUNCED, status.announced.as_ref(), generation, now);
    let mut patch = json!({"metadata": {"resourceVersion": object.metadata.resource_version}, "status": {"conditions": conditions}});
    if is.ingress != status.ingress {
        patch["status"]["loadBalancer"] = json!({"ingress": ingress(object, &status.ingress)});
    }
    Some(patch)
}

/// The list of ingress points with these addresses, each as it stands there, with whatever somebody wrote beside it, and what is no address. A merge patch replaces a
/// list as a whole.
fn ingress(object: &Service, addresses: &[IpAddr]) -> Value {
    let present = object.status.as_ref().and_then(|status| status.load_balancer.as_ref()?.ingress.as_deref()).unwrap_or_default();
    let address_of = |entry: &LoadBalancerIngress| entry.ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok());
    let entry = |address: &IpAddr| {
        let stands = present.iter().find(|entry| address_of(entry) == Some(*address));
        stands.map_or_else(|| json!({"ip": address}), |entry| json!(entry))
    };
    let others = present.iter().filter(|entry| address_of(entry).is_none()).map(|entry| json!(entry));
    let entries: Vec<Value> = addresses.iter().map(entry).chain(others).collect();
    // An empty list is written as none at all, as the service controller of Kubernetes does.
    if entries.is_empty() { Value::Null } else { json!(entries) }
}

/// A merge patch for a Service's metadata: the chosen node, the pool's label, and finalizers that others left.
pub fn service_metadata_patch(object: &Service, status: &ServiceStatus, remove_foreign_finalizer: bool) -> Option<Value> {
    let meta = &object.metadata;
    let is = parse::service(object);
    let mut patch = Map::new();
    if is.status.node != status.node {
        let value = status.node.as_ref().map(|node| node.as_str());
        patch.insert("annotations".into(), spelled(meta.annotations.as_ref(), &keys::LAYER2, value));
    }
    if is.status.pool != status.pool {
        let value = status.pool.as_ref().map(|pool| pool.as_str());
        patch.insert("labels".into(), spelled(meta.labels.as_ref(), &keys::POOL, value));
    }
    if remove_foreign_finalizer && is.has_foreign_finalizer {
        let kept: Vec<&String> =
            meta.finalizers.iter().flatten().filter(|finalizer| *finalizer != keys::FOREIGN_SERVICE_FINALIZER).collect();
        patch.insert("finalizers".into(), json!(kept));
    }
    if patch.is_empty() {
        return None;
    }
    patch.insert("resourceVersion".into(), json!(meta.resource_version));
    Some(json!({ "metadata": patch }))
}

/// A value under the spelling that we write; the other one goes, where it is.
fn spelled(present: Option<&BTreeMap<String, String>>, spellings: &[&str; 2], value: Option<&str>) -> Value {
    let [ours, other] = *spellings;
    let mut patch = Map::from_iter([(ours.to_owned(), json!(value))]);
    if present.is_some_and(|present| present.contains_key(other)) {
        patch.insert(other.to_owned(), Value::Null);
    }
    Value::Object(patch)
}

/// The list with this condition as wanted; all others stay. `None` takes it out.
fn with_condition(
    mut conditions: Vec<ApiCondition>,
    type_: &str,
    wanted: Option<&Condition>,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<ApiCondition> {
    let before = conditions.iter().position(|condition| condition.type_ == type_).map(|index| conditions.remove(index));
    if let Some(wanted) = wanted {
        let status = if wanted.status { "True" } else { "False" };
        let since = before.filter(|before| before.status == status).map(|before| before.last_transition_time);
        conditions.push(ApiCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: wanted.reason.clone(),
            message: wanted.message.clone(),
            observed_generation: generation,
            last_transition_time: since.unwrap_or_else(|| whole_seconds(now)),
        });
    }
    conditions
}

/// `metav1.Time` has seconds; what is finer would be cut by the server and read back as a change.
fn whole_seconds(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

/// Whom an Eip or a Service is for an Event: apiVersion, kind and metadata become an `ObjectReference`.
pub fn reference(api_version: &str, kind: &str, meta: &ObjectMeta) -> k8s_openapi::api::core::v1::ObjectReference {
    k8s_openapi::api::core::v1::ObjectReference {
        api_version: Some(api_version.to_owned()),
        kind: Some(kind.to_owned()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        ..Default::default()
    }
}

fn joined(services: &bellhop_core::sharers::Sharers) -> String {
    services.iter().map(ToString::to_string).collect::<Vec<_>>().join(";")
}

fn saturating(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use bellhop_core::name::ServiceKey;
    use bellhop_core::sharers::Sharers;

    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn condition(status: bool) -> Condition {
        Condition { status, reason: "Because".into(), message: "so".into() }
    }

    fn web(more: Value) -> Service {
        let mut object =
            json!({"metadata": {"namespace": "default", "name": "web", "resourceVersion": "5"}, "spec": {"type": "LoadBalancer"}});
        json_merge(&mut object, more);
        serde_json::from_value(object).expect("a Service")
    }

    /// RFC 7386, so that a test can do what the API server does.
    fn json_merge(target: &mut Value, patch: Value) {
        let Value::Object(patch) = patch else {
            *target = patch;
            return;
        };
        if !target.is_object() {
            *target = json!({});
        }
        for (key, value) in patch {
            if value.is_null() {
                target.as_object_mut().expect("made so").remove(&key);
            } else {
                json_merge(&mut target[key], value);
            }
        }
    }

    fn wanted() -> ServiceStatus {
        ServiceStatus {
            ingress: vec![ADDRESS],
            node: Some("worker".into()),
            pool: Some("pool".into()),
            assigned: Some(condition(true)),
            announced: Some(condition(false)),
        }
    }

    #[test]
    fn what_was_written_reads_back_and_is_not_written_again() {
        let before = web(json!({}));
        let mut object = json!(before);
        json_merge(&mut object, service_status_patch(&before, &wanted(), NOW).expect("a change"));
        json_merge(&mut object, service_metadata_patch(&before, &wanted(), false).expect("a change"));
        let after: Service = serde_json::from_value(object).expect("a Service");
        assert_eq!(parse::service(&after).status, wanted());
        assert_eq!(service_status_patch(&after, &wanted(), NOW), None);
        assert_eq!(service_metadata_patch(&after, &wanted(), true), None);
    }

    #[test]
    fn what_somebody_wrote_beside_an_address_stays() {
        let theirs =
            json!([{"ip": "192.0.2.7", "ipMode": "Proxy", "ports": [{"port": 80, "protocol": "TCP"}]}, {"hostname": "web.example"}]);
        let before = web(json!({"status": {"loadBalancer": {"ingress": theirs}}}));
        let told = service_status_patch(&before, &wanted(), NOW).expect("conditions");
        assert_eq!(told["status"].get("loadBalancer"), None, "the addresses are so already");
        let second = IpAddr::from([192, 0, 2, 8]);
        let more = service_status_patch(&before, &ServiceStatus { ingress: vec![second, ADDRESS], ..wanted() }, NOW).expect("an address");
        assert_eq!(more["status"]["loadBalancer"]["ingress"], json!([{"ip": second}, theirs[0], theirs[1]]));
        let released = service_status_patch(&before, &ServiceStatus::default(), NOW).expect("a release");
        assert_eq!(released["status"]["loadBalancer"]["ingress"], json!([theirs[1]]));
        let bare = web(json!({"status": {"loadBalancer": {"ingress": [{"ip": ADDRESS}]}}}));
        let released = service_status_patch(&bare, &ServiceStatus::default(), NOW).expect("a release");
        assert_eq!(released["status"]["loadBalancer"], json!({"ingress": null}));
    }

    #[test]
    fn a_release_takes_off_both_spellings_and_leaves_what_others_wrote() {
        let object = web(json!({
            "metadata": {
                "labels": {"app": "web", keys::POOL[0]: "pool", keys::POOL[1]: "pool"},
                "annotations": {keys::LAYER2[0]: "worker", keys::OPT_IN: "porter"},
                "finalizers": ["example.com/other", keys::FOREIGN_SERVICE_FINALIZER],
            },
        }));
        let patch = service_metadata_patch(&object, &ServiceStatus::default(), true).expect("a change");
        let mut after = json!(object);
        json_merge(&mut after, patch);
        assert_eq!(after["metadata"]["labels"], json!({"app": "web"}));
        assert_eq!(after["metadata"]["annotations"], json!({keys::OPT_IN: "porter"}));
        assert_eq!(after["metadata"]["finalizers"], json!(["example.com/other"]));
    }

    #[test]
    fn what_is_looked_at_of_a_service_is_all_that_its_patches_need() {
        let foreign = json!([{"type": "example.com/Other", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        let with = |spec: Value| {
            web(json!({
                "metadata": {
                    "uid": "u", "generation": 3, "labels": {"app": "web", keys::POOL[1]: "pool"},
                    "annotations": {keys::LAYER2[1]: "worker", keys::OPT_IN: "porter", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
                    "finalizers": ["example.com/other", keys::FOREIGN_SERVICE_FINALIZER],
                },
                "spec": spec,
                "status": {"loadBalancer": {"ingress": [{"hostname": "web.example"}]}, "conditions": foreign},
            }))
        };
        for spec in
            [json!({}), json!({"loadBalancerClass": keys::LOAD_BALANCER_CLASS}), json!({"loadBalancerClass": "example.com/another"})]
        {
            let (whole, slim) = (with(spec.clone()), looked_at(&with(spec)));
            assert!(slim.metadata.annotations.as_ref().is_some_and(|annotations| annotations.len() == 2));
            for status in [wanted(), ServiceStatus::default()] {
                assert_eq!(service_status_patch(&slim, &status, NOW), service_status_patch(&whole, &status, NOW));
                assert_eq!(service_metadata_patch(&slim, &status, true), service_metadata_patch(&whole, &status, true));
            }
            assert_eq!(reference("v1", "Service", &slim.metadata), reference("v1", "Service", &whole.metadata));
        }
    }

    #[test]
    fn a_condition_keeps_its_time_while_its_status_is_the_same() {
        let later = Timestamp::from_second(100).expect("a time");
        let first = with_condition(Vec::new(), "Ready", Some(&condition(true)), Some(1), NOW);
        let same = with_condition(first.clone(), "Ready", Some(&Condition { message: "other".into(), ..condition(true) }), Some(2), later);
        assert_eq!((same[0].last_transition_time.0, same[0].message.as_str()), (NOW, "other"));
        let changed = with_condition(first, "Ready", Some(&condition(false)), Some(2), later);
        assert_eq!(changed[0].last_transition_time.0, later);
    }

    #[test]
    fn a_pools_status_reads_back_as_it_was_written() {
        let object: DynamicObject =
            serde_json::from_value(json!({"metadata": {"name": "pool"}, "spec": {"address": "192.0.2.7"}})).expect("an Eip");
        let status = PoolStatus {
            used: BTreeMap::from([(ADDRESS, Sharers::from_iter([ServiceKey::new("a", "x"), ServiceKey::new("b", "y")]))]),
            first: Some(ADDRESS),
            last: Some(ADDRESS),
            size: 1,
            usage: 1,
            occupied: true,
            ready: true,
            v4: true,
            condition: Some(condition(true)),
        };
        let written = pool_status(&object, &status, NOW);
        assert_eq!(written.data["status"]["used"]["192.0.2.7"], "a/x;b/y");
        assert_eq!(parse::pool(&written).status, status);
    }
}
