//! What an update keeps of a Service, and what it loses with its type (`patchAllocatedValues`, `dropTypeDependentFields`).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{has_cluster_ip, has_health_port, kind_of, may_have_node_ports};
use crate::object::{at, list, map_mut, number, text};

fn copy(spec: &mut Map<String, Value>, old: &Value, key: &str) {
    if let Some(value) = at(old, &["spec", key]) {
        spec.insert(key.to_owned(), value.clone());
    }
}

/// What was allocated stays, where an update leaves it out.
pub(super) fn keep_allocated(service: &mut Value, old: &Value) {
    if text(service, &["spec", "ipFamilyPolicy"]) == "SingleStack" && text(old, &["spec", "ipFamilyPolicy"]) != "SingleStack" {
        // A downgrade gives the second family up (`trimFieldsForDualStackDowngrade`).
        for key in ["clusterIPs", "ipFamilies"] {
            if list(service, &["spec", key]) == list(old, &["spec", key])
                && let Some(values) = service["spec"].get_mut(key).and_then(Value::as_array_mut)
            {
                values.truncate(1);
            }
        }
    }
    if has_cluster_ip(service) && has_cluster_ip(old) {
        if text(service, &["spec", "clusterIP"]).is_empty() && list(service, &["spec", "clusterIPs"]).is_empty() {
            copy(map_mut(service, "spec"), old, "clusterIP");
        }
        if text(service, &["spec", "clusterIP"]) == text(old, &["spec", "clusterIP"]) {
            for key in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if at(service, &["spec", key]).is_none() {
                    copy(map_mut(service, "spec"), old, key);
                }
            }
        }
    }
    if may_have_node_ports(service) && may_have_node_ports(old) {
        keep_node_ports(service, old);
    }
    if has_health_port(service) && has_health_port(old) && number(service, &["spec", "healthCheckNodePort"]).unwrap_or(0) == 0 {
        copy(map_mut(service, "spec"), old, "healthCheckNodePort");
    }
}

fn keep_node_ports(service: &mut Value, old: &Value) {
    let mut used: BTreeSet<i64> =
        list(service, &["spec", "ports"]).iter().filter_map(|port| number(port, &["nodePort"])).filter(|port| *port != 0).collect();
    for port in service["spec"].get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if number(port, &["nodePort"]).unwrap_or(0) != 0 {
            continue;
        }
        let same = |before: &&Value| (&before["port"], &before["protocol"]) == (&port["port"], &port["protocol"]);
        let kept = list(old, &["spec", "ports"]).iter().find(same).and_then(|before| number(before, &["nodePort"]));
        if let Some(kept) = kept.filter(|kept| *kept != 0 && used.insert(*kept)) {
            port["nodePort"] = json!(kept);
        }
    }
}

/// What only the old type has goes.
pub(super) fn drop_what_the_type_lost(service: &mut Value, old: &Value) {
    let unchanged = |service: &Value, key: &str| at(service, &["spec", key]) == at(old, &["spec", key]);
    let mut lost: Vec<&str> = Vec::new();
    if has_cluster_ip(old) && !has_cluster_ip(service) {
        lost.extend(["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"]);
    }
    if kind_of(old) == "LoadBalancer" && kind_of(service) != "LoadBalancer" {
        lost.extend(["allocateLoadBalancerNodePorts", "loadBalancerClass"]);
    }
    if may_have_node_ports(old) && !may_have_node_ports(service) && list(service, &["spec", "externalIPs"]).is_empty() {
        lost.push("externalTrafficPolicy");
    }
    if has_health_port(old) && !has_health_port(service) {
        lost.push("healthCheckNodePort");
    }
    if kind_of(old) == "LoadBalancer" && kind_of(service) != "LoadBalancer" {
        clear_ingress(service);
    }
    lost.retain(|key| unchanged(service, key));
    let spec = map_mut(service, "spec");
    lost.into_iter().for_each(|key| drop(spec.remove(key)));
    if may_have_node_ports(old) && !may_have_node_ports(service) {
        let before: Vec<Option<i64>> = list(old, &["spec", "ports"]).iter().map(|port| number(port, &["nodePort"])).collect();
        for port in service["spec"].get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut) {
            if before.contains(&port.get("nodePort").and_then(Value::as_i64)) {
                port.remove("nodePort");
            }
        }
    }
}

/// Who is no load balancer any more has no ingress.
fn clear_ingress(service: &mut Value) {
    map_mut(service, "status").insert("loadBalancer".to_owned(), json!({}));
}
