//! Cells of Deployments, ReplicaSets and DaemonSets.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{created, labels, name, or_none, selector_text};
use crate::object::{at, list, number, text};

/// `printDeployment`.
pub(super) fn deployment(object: &Value, now: Timestamp) -> Vec<Value> {
    let ready = format!("{}/{}", count(object, "readyReplicas"), wanted(object));
    let cells = [
        name(object),
        json!(ready),
        json!(count(object, "updatedReplicas")),
        json!(count(object, "availableReplicas")),
        created(object, now),
    ];
    cells.into_iter().chain(template(object)).collect()
}

/// `printReplicaSet`.
pub(super) fn replica_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let cells = [
        name(object),
        json!(wanted(object)),
        json!(count(object, "replicas")),
        json!(count(object, "readyReplicas")),
        created(object, now),
    ];
    cells.into_iter().chain(template(object)).collect()
}

/// `printDaemonSet`.
pub(super) fn daemon_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let counts = ["desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled", "numberAvailable"];
    let nodes = labels(at(object, &["spec", "template", "spec", "nodeSelector"]));
    let cells = std::iter::once(name(object)).chain(counts.into_iter().map(|key| json!(count(object, key))));
    cells.chain([nodes, created(object, now)]).chain(template(object)).collect()
}

fn wanted(object: &Value) -> i64 {
    number(object, &["spec", "replicas"]).unwrap_or(0)
}

fn count(object: &Value, key: &str) -> i64 {
    number(object, &["status", key]).unwrap_or(0)
}

/// Containers, images and the selector: the wide columns of all three.
fn template(object: &Value) -> [Value; 3] {
    let containers = list(object, &["spec", "template", "spec", "containers"]);
    let of = |key: &str| json!(containers.iter().map(|container| text(container, &[key])).collect::<Vec<_>>().join(","));
    let selector = selector_text(&object["spec"]["selector"]);
    [of("name"), of("image"), json!(or_none(&selector))]
}
