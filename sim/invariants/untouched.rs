//! Promise 5, first half: nothing that the user wrote is changed.
//!
//! Every write of Bellhop's is compared with the version before it. On a Service it may change the status of the load balancer and its own conditions, the
//! node's annotation, the pool's label (in either generation's spelling), and take PorterLB's finalizer off; on an Eip the status and its own
//! finalizer. Its Lease and its Events are its own. It writes nothing else.

use std::collections::BTreeMap;

use bellhop_api::keys;
use bellhop_apiserver::WriteRecord;
use serde_json::{Map, Value};

use super::evidence::{moment, replica};
use super::{Broken, Evidence};

pub(super) fn judge(evidence: &Evidence) -> Vec<Broken> {
    let mut broken = Vec::new();
    let mut last: BTreeMap<(&str, &str, &str), &Value> = BTreeMap::new();
    for record in &evidence.writes {
        let key = (record.resource.as_str(), record.namespace.as_str(), record.name.as_str());
        let before = last.insert(key, &record.object);
        if replica(record.client.as_str()).is_none() {
            continue;
        }
        if let Some(what) = touched(record, before) {
            let detail = format!("{} changed {what} of {} {}/{}", record.client, record.resource, record.namespace, record.name);
            let about = vec![format!("{}/{}", record.namespace, record.name)];
            broken.push(Broken { at: moment(record), invariant: "Bellhop changes nothing that the user wrote", detail, about });
        }
    }
    broken
}

/// What of a user's a write changed.
fn touched(record: &WriteRecord, before: Option<&Value>) -> Option<String> {
    let own: &[&str] = match record.resource.as_str() {
        "services" => &["labels", "annotations", "finalizers"],
        resource if resource.starts_with("eips.") => &["finalizers"],
        "leases.coordination.k8s.io" if record.name == keys::LEASE => return None,
        "events" | "events.events.k8s.io" => return None,
        _ => return Some("an object that is not its business".to_owned()),
    };
    let Some(before) = before else { return Some("what it had not read: it made it".to_owned()) };
    if record.deleted {
        // An Eip whose finalizer is taken off goes with that write: somebody else deleted it.
        return before["metadata"]["deletionTimestamp"].is_null().then(|| "its existence".to_owned());
    }
    let (before, after) = (users(before, own), users(&record.object, own));
    difference(&before, &after, "")
}

/// An object without what Bellhop may write, and without what the API server keeps.
fn users(object: &Value, own: &[&str]) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in ["resourceVersion", "managedFields", "generation"] {
            metadata.remove(field);
        }
        let strip = |map: Option<&mut Value>, keys: &[&str]| {
            if let Some(map) = map.and_then(Value::as_object_mut) {
                keys.iter().for_each(|key| drop(map.remove(*key)));
            }
        };
        if own.contains(&"labels") {
            strip(metadata.get_mut("labels"), &keys::POOL);
        }
        if own.contains(&"annotations") {
            strip(metadata.get_mut("annotations"), &keys::LAYER2);
        }
        if let Some(finalizers) = metadata.get_mut("finalizers").and_then(Value::as_array_mut) {
            finalizers.retain(|finalizer| finalizer != keys::FOREIGN_SERVICE_FINALIZER && finalizer != keys::EIP_FINALIZER);
        }
        metadata.retain(|_, value| !is_empty(value));
    }
    if object["kind"] == "Eip" {
        object.as_object_mut().map(|object| object.remove("status"));
    } else if let Some(status) = object["status"].as_object_mut() {
        status.remove("loadBalancer");
        if let Some(conditions) = status.get_mut("conditions").and_then(Value::as_array_mut) {
            conditions.retain(|condition| {
                ![keys::CONDITION_ASSIGNED, keys::CONDITION_ANNOUNCED].contains(&condition["type"].as_str().unwrap_or_default())
            });
        }
        status.retain(|_, value| !is_empty(value));
    }
    if is_empty(&object["status"]) {
        object.as_object_mut().map(|object| object.remove("status"));
    }
    object
}

/// Absent and empty are the same to Kubernetes.
fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

/// The first place where two values differ.
fn difference(before: &Value, after: &Value, path: &str) -> Option<String> {
    match (before, after) {
        (Value::Object(one), Value::Object(other)) => one.keys().chain(other.keys()).find_map(|key| {
            difference(one.get(key).unwrap_or(&Value::Null), other.get(key).unwrap_or(&Value::Null), &format!("{path}.{key}"))
        }),
        _ => (before != after).then(|| format!("{path} from {before} to {after}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::evidence::testing::{broken, evidence, lease, service, write};
    use super::*;

    fn made_by_a_user(mut record: WriteRecord) -> WriteRecord {
        record.client = bellhop_apiserver::ClientName::from("kubectl");
        record
    }

    fn changed(record: &WriteRecord, path: &str, value: Value) -> WriteRecord {
        let mut object = Value::clone(&record.object);
        *object.pointer_mut(path).expect("the path exists") = value;
        WriteRecord { object: std::sync::Arc::new(object), ..record.clone() }
    }

    #[test]
    fn bellhops_own_fields_are_its_own() {
        let bare = write("kubectl", "services", "web", 0, json!({"metadata": {"name": "web", "namespace": "default"}, "spec": {}}));
        assert_eq!(
            broken(judge(&evidence(vec![lease("a", 0), bare, service("web", 1, "a"), service("web", 2, "b")], Vec::new()))),
            [""; 0]
        );
    }

    #[test]
    fn a_users_annotation_that_goes_is_a_broken_promise() {
        let users = changed(&made_by_a_user(service("web", 0, "a")), "/metadata/annotations", json!({"mine": "x"}));
        let found = judge(&evidence(vec![users, service("web", 1, "a")], Vec::new()));
        assert_eq!(
            found[0].detail,
            r#"bellhop a changed .metadata.annotations from null to null of services default/web"#
                .replace("null to null", r#"{"mine":"x"} to null"#)
        );
    }

    #[test]
    fn a_users_spec_that_changes_is_a_broken_promise() {
        let users = made_by_a_user(service("web", 0, "a"));
        let edited = changed(&service("web", 1, "a"), "/spec", json!({"type": "NodePort"}));
        assert_eq!(broken(judge(&evidence(vec![users, edited], Vec::new()))), ["Bellhop changes nothing that the user wrote"]);
    }

    #[test]
    fn an_object_that_is_not_its_business_is_a_broken_promise() {
        let node = write("bellhop a", "nodes", "worker", 1, json!({}));
        assert_eq!(broken(judge(&evidence(vec![node], Vec::new()))), ["Bellhop changes nothing that the user wrote"]);
    }
}
