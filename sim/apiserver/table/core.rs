//! Cells of the core kinds, except for Pods and Events.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{created, labels, name, or_none, shortened};
use crate::object::{at, list, number, text};

/// `printNamespace`.
pub(super) fn namespace(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), json!(text(object, &["status", "phase"])), created(object, now)]
}

/// `printNode`.
pub(super) fn node(object: &Value, now: Timestamp) -> Vec<Value> {
    let ready = list(object, &["status", "conditions"]).iter().find(|condition| condition["type"] == "Ready");
    let mut status = ready.map_or("Unknown", |ready| if ready["status"] == "True" { "Ready" } else { "NotReady" }).to_owned();
    if object["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    let address = |kind: &str| {
        let found = list(object, &["status", "addresses"]).iter().find(|address| address["type"] == kind);
        json!(found.map_or("<none>", |address| text(address, &["address"])))
    };
    let info = |key: &str| match text(object, &["status", "nodeInfo", key]) {
        "" => json!("<unknown>"),
        text => json!(text),
    };
    let version = json!(text(object, &["status", "nodeInfo", "kubeletVersion"]));
    let (internal, external) = (address("InternalIP"), address("ExternalIP"));
    let machine = [info("osImage"), info("kernelVersion"), info("containerRuntimeVersion")];
    let first = [name(object), json!(status), json!(roles(object)), created(object, now), version, internal, external];
    first.into_iter().chain(machine).collect()
}

fn roles(node: &Value) -> String {
    let labels = at(node, &["metadata", "labels"]).and_then(Value::as_object).into_iter().flatten();
    let role = |(key, value): (&String, &Value)| match key.strip_prefix("node-role.kubernetes.io/") {
        Some(role) => Some(role.to_owned()).filter(|role| !role.is_empty()),
        None if key == "kubernetes.io/role" => value.as_str().filter(|role| !role.is_empty()).map(str::to_owned),
        None => None,
    };
    let mut roles: Vec<String> = labels.filter_map(role).collect();
    roles.sort();
    roles.dedup();
    or_none(&roles.join(",")).to_owned()
}

/// `printService`.
pub(super) fn service(object: &Value, now: Timestamp) -> Vec<Value> {
    let kind = text(object, &["spec", "type"]);
    let cluster_ip = list(object, &["spec", "clusterIPs"]).first().and_then(Value::as_str).unwrap_or("<none>");
    let ports: Vec<String> = list(object, &["spec", "ports"])
        .iter()
        .map(|port| {
            let (number_of, protocol) = (number(port, &["port"]).unwrap_or(0), text(port, &["protocol"]));
            match number(port, &["nodePort"]).filter(|node_port| *node_port > 0) {
                Some(node_port) => format!("{number_of}:{node_port}/{protocol}"),
                None => format!("{number_of}/{protocol}"),
            }
        })
        .collect();
    vec![
        name(object),
        json!(kind),
        json!(cluster_ip),
        json!(external_ip(object, kind)),
        json!(or_none(&ports.join(","))),
        created(object, now),
        labels(at(object, &["spec", "selector"])),
    ]
}

fn external_ip(service: &Value, kind: &str) -> String {
    let external = list(service, &["spec", "externalIPs"]).iter().filter_map(Value::as_str).map(str::to_owned);
    match kind {
        "ExternalName" => text(service, &["spec", "externalName"]).to_owned(),
        "LoadBalancer" => {
            let ingress = list(service, &["status", "loadBalancer", "ingress"]).iter();
            let shown = |ingress: &Value| match text(ingress, &["ip"]) {
                "" => text(ingress, &["hostname"]).to_owned(),
                address => address.to_owned(),
            };
            // The real printer collects the ingress in a sorted set.
            let mut all: Vec<String> = ingress.map(shown).filter(|shown| !shown.is_empty()).collect();
            all.sort();
            all.dedup();
            all.extend(external);
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        _ => or_none(&external.collect::<Vec<_>>().join(",")).to_owned(),
    }
}

/// `printConfigMap`.
pub(super) fn config_map(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), json!(keys(object, "data") + keys(object, "binaryData")), created(object, now)]
}

/// `printSecret`.
pub(super) fn secret(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), json!(text(object, &["type"])), json!(keys(object, "data")), created(object, now)]
}

/// `printServiceAccount`.
pub(super) fn service_account(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), created(object, now)]
}

fn keys(object: &Value, field: &str) -> usize {
    at(object, &[field]).and_then(Value::as_object).map_or(0, serde_json::Map::len)
}

/// `printEndpoints`.
pub(super) fn endpoints(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut all = Vec::new();
    for subset in list(object, &["subsets"]) {
        let addresses = || list(subset, &["addresses"]).iter().map(|address| text(address, &["ip"]));
        let ports = list(subset, &["ports"]);
        if ports.is_empty() {
            all.extend(addresses().map(str::to_owned));
        }
        for port in ports {
            let port = number(port, &["port"]).unwrap_or(0);
            all.extend(
                addresses().map(|address| if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }),
            );
        }
    }
    vec![name(object), json!(or_none(&shortened(&all, ","))), created(object, now)]
}
