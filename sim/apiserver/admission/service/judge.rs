//! What a Service must not have, and what must not change (`ValidateService`, `ValidateServiceUpdate`).

use std::net::IpAddr;

use serde_json::{Value, json};

use super::ports::judge_ports;
use super::{has_cluster_ip, has_health_port, is_headless, kind_of, may_have_node_ports};
use crate::names;
use crate::object::{at, list, number, text};
use crate::status::FieldError;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

/// What a Service must not have.
pub(super) fn judge(service: &Value) -> Vec<FieldError> {
    let (kind, mut errors) = (kind_of(service), Vec::new());
    if !TYPES.contains(&kind) {
        errors.push(FieldError::unsupported("spec.type", &json!(kind), &TYPES));
    }
    if kind != "ExternalName" && !is_headless(service) && list(service, &["spec", "ports"]).is_empty() {
        errors.push(FieldError::required("spec.ports", ""));
    }
    match kind {
        "ExternalName" => {
            let name = text(service, &["spec", "externalName"]);
            if name.is_empty() {
                errors.push(FieldError::required("spec.externalName", ""));
            } else if !names::is_subdomain(name.trim_end_matches('.')) {
                errors.push(FieldError::invalid(
                    "spec.externalName",
                    &json!(name),
                    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'",
                ));
            }
            for key in ["clusterIP", "clusterIPs"]
                .into_iter()
                .filter(|key| at(service, &["spec", key]).is_some_and(|value| value != "" && *value != json!([])))
            {
                errors.push(FieldError::forbidden(format!("spec.{key}"), "may not be set when `type` is 'ExternalName'"));
            }
        }
        "LoadBalancer" | "NodePort" if is_headless(service) => {
            errors.push(FieldError::invalid("spec.clusterIPs[0]", &json!("None"), format!("may not be set to 'None' for {kind} services")));
        }
        _ => {}
    }
    judge_ports(service, &mut errors);
    judge_policies(service, &mut errors);
    errors.extend(names::refuse_labels("spec.selector", at(service, &["spec", "selector"])));
    for (index, address) in list(service, &["spec", "externalIPs"]).iter().enumerate() {
        if address.as_str().is_none_or(|text| text.parse::<IpAddr>().is_err()) {
            errors.push(not_an_address(format!("spec.externalIPs[{index}]"), address));
        } else {
            errors.extend(names::refuse_special_address(&format!("spec.externalIPs[{index}]"), address));
        }
    }
    for (index, range) in list(service, &["spec", "loadBalancerSourceRanges"]).iter().enumerate() {
        if !range.as_str().is_some_and(|text| is_network(text.trim())) {
            let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
            errors.push(FieldError::invalid(format!("spec.LoadBalancerSourceRanges[{index}]"), range, detail));
        }
    }
    errors
}

fn is_network(text: &str) -> bool {
    text.split_once('/').is_some_and(|(address, length)| {
        let most = if address.contains(':') { 128 } else { 32 };
        address.parse::<IpAddr>().is_ok() && length.parse::<u8>().is_ok_and(|length| length <= most)
    })
}

fn judge_policies(service: &Value, errors: &mut Vec<FieldError>) {
    let field = |key: &str| text(service, &["spec", key]);
    let (kind, external) = (kind_of(service), field("externalTrafficPolicy"));
    if !matches!(field("sessionAffinity"), "None" | "ClientIP") {
        errors.push(FieldError::unsupported("spec.sessionAffinity", &json!(field("sessionAffinity")), &["ClientIP", "None"]));
    }
    if !matches!(external, "" | "Cluster" | "Local") {
        errors.push(FieldError::unsupported("spec.externalTrafficPolicy", &json!(external), &["Cluster", "Local"]));
    } else if !external.is_empty() && !may_have_node_ports(service) && list(service, &["spec", "externalIPs"]).is_empty() {
        errors.push(FieldError::invalid(
            "spec.externalTrafficPolicy",
            &json!(external),
            "may only be set for externally-accessible services",
        ));
    }
    if !matches!(field("internalTrafficPolicy"), "" | "Cluster" | "Local") {
        errors.push(FieldError::unsupported("spec.internalTrafficPolicy", &json!(field("internalTrafficPolicy")), &["Cluster", "Local"]));
    }
    if number(service, &["spec", "healthCheckNodePort"]).unwrap_or(0) != 0 && !has_health_port(service) {
        let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.push(FieldError::invalid("spec.healthCheckNodePort", &service["spec"]["healthCheckNodePort"], detail));
    }
    if kind == "LoadBalancer" {
        let class = field("loadBalancerClass");
        if !class.is_empty() && !names::is_qualified_name(class) {
            errors.push(FieldError::invalid("spec.loadBalancerClass", &json!(class), names::qualified_name_errors(class).join(", ")));
        }
    } else {
        for key in ["allocateLoadBalancerNodePorts", "loadBalancerClass", "loadBalancerSourceRanges"] {
            if at(service, &["spec", key]).is_some_and(|value| *value != json!([])) {
                errors.push(FieldError::forbidden(format!("spec.{key}"), "may only be used when `type` is 'LoadBalancer'"));
            }
        }
    }
}

/// What must not change.
pub(super) fn judge_change(service: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if has_cluster_ip(service) && has_cluster_ip(old) {
        let (new_ips, old_ips) = (list(service, &["spec", "clusterIPs"]), list(old, &["spec", "clusterIPs"]));
        if new_ips.first() != old_ips.first() && !old_ips.is_empty() {
            errors.push(FieldError::invalid("spec.clusterIPs[0]", &json!(new_ips), "may not change once set"));
        }
        let (new_families, old_families) = (list(service, &["spec", "ipFamilies"]), list(old, &["spec", "ipFamilies"]));
        if new_families.first() != old_families.first() && !old_families.is_empty() {
            // The address is still the old family's, and that is what is said.
            let detail = format!("expected an {} value as indicated by `ipFamilies[0]`", text(&new_families[0], &[]));
            errors.push(FieldError::invalid("spec.clusterIPs[0]", &new_ips[0], detail));
        }
    }
    let class = |service: &Value| at(service, &["spec", "loadBalancerClass"]).cloned();
    if kind_of(service) == "LoadBalancer" && kind_of(old) == "LoadBalancer" && class(service) != class(old) {
        errors.push(FieldError::invalid("spec.loadBalancerClass", &class(service).unwrap_or_default(), "may not change once set"));
    }
    errors
}

/// Judges a change of the status.
pub(crate) fn update_status(service: &Value) -> Vec<FieldError> {
    let ingress = list(service, &["status", "loadBalancer", "ingress"]);
    let mut errors = Vec::new();
    if !ingress.is_empty() && text(service, &["spec", "type"]) != "LoadBalancer" {
        errors.push(FieldError::forbidden("status.loadBalancer.ingress", "may only be used when `spec.type` is 'LoadBalancer'"));
    }
    for (index, ingress) in ingress.iter().enumerate() {
        let path = |field: &str| format!("status.loadBalancer.ingress[{index}].{field}");
        if let Some(address) = at(ingress, &["ip"]).filter(|address| address.as_str().is_none_or(|text| text.parse::<IpAddr>().is_err())) {
            errors.push(not_an_address(path("ip"), address));
        }
        let mode = text(ingress, &["ipMode"]);
        if !mode.is_empty() && at(ingress, &["ip"]).is_none() {
            errors.push(FieldError::forbidden(path("ipMode"), "may not be specified when `ip` is not set"));
        } else if !matches!(mode, "" | "VIP" | "Proxy") {
            errors.push(FieldError::unsupported(path("ipMode"), &json!(mode), &["Proxy", "VIP"]));
        }
        let host = text(ingress, &["hostname"]);
        if !host.is_empty() && (!names::is_subdomain(host) || host.parse::<IpAddr>().is_ok()) {
            errors.push(FieldError::invalid(path("hostname"), &json!(host), "must be a DNS name, not an IP address"));
        }
    }
    errors
}

/// `IsValidIP`'s sentence.
pub(crate) fn not_an_address(path: impl Into<String>, value: &Value) -> FieldError {
    FieldError::invalid(path, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")
}
