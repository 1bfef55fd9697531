//! The kinds with few rules of their own: Namespaces, Nodes, ConfigMaps, Secrets, Endpoints, EndpointSlices, Leases, Events, RBAC.
//!
//! kubernetes `pkg/apis/{core,discovery,coordination,events,rbac}/validation`. RBAC objects are stored and grant nothing.

use serde_json::{Value, json};

use super::immutable;
use crate::names;
use crate::object::{self, set_default, set_default_text};
use crate::registry::Kind;
use crate::status::FieldError;

/// Defaults by kind.
pub(crate) fn defaults(kind: &Kind, object: &mut Value) {
    match kind.kind.as_str() {
        "Namespace" => namespace_defaults(object),
        "Secret" => secret_defaults(object),
        "Endpoints" => {
            for subset in object.get_mut("subsets").and_then(Value::as_array_mut).into_iter().flatten() {
                port_protocols(subset);
            }
        }
        "Lease" => drop(object::map_mut(object, "spec")),
        "Event" if kind.group.is_empty() => {
            let map = object.as_object_mut().expect("decoded objects are objects");
            ["reportingComponent", "reportingInstance"].into_iter().for_each(|key| set_default(map, key, ""));
            set_default(map, "source", json!({}));
        }
        "Event" => set_default(object.as_object_mut().expect("decoded objects are objects"), "deprecatedSource", json!({})),
        "Node" => {
            let spec = object::map_mut(object, "spec");
            if let (Some(network), None) = (spec.get("podCIDR").cloned(), spec.get("podCIDRs")) {
                spec.insert("podCIDRs".to_owned(), json!([network]));
            }
        }
        "EndpointSlice" => {
            port_protocols(object);
            for port in object.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut) {
                set_default(port, "name", "");
            }
            set_default(object.as_object_mut().expect("decoded objects are objects"), "endpoints", json!([]));
        }
        "RoleBinding" | "ClusterRoleBinding" => {
            for subject in object.get_mut("subjects").and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut) {
                if subject.get("kind").is_some_and(|kind| kind != "ServiceAccount") {
                    set_default_text(subject, "apiGroup", "rbac.authorization.k8s.io");
                }
            }
        }
        _ => {}
    }
}

/// What is wrong with an object, given the old one on a change.
pub(crate) fn validate(kind: &Kind, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    match kind.kind.as_str() {
        "ConfigMap" | "Secret" => data_errors(kind, object, old),
        "Lease" => lease_errors(object),
        "Endpoints" => endpoints_errors(object),
        "Role" | "ClusterRole" => role_errors(kind, object),
        "EndpointSlice" => slice_errors(object, old),
        "Event" => event_errors(kind, object, old),
        "Node" => node_errors(object, old),
        "RoleBinding" | "ClusterRoleBinding" => binding_errors(kind, object, old),
        _ => Vec::new(),
    }
}

fn namespace_defaults(namespace: &mut Value) {
    let name = object::name(namespace).to_owned();
    let metadata = object::metadata_mut(namespace);
    let labels = metadata.entry("labels").or_insert_with(|| json!({}));
    if let Some(labels) = labels.as_object_mut()
        && !name.is_empty()
    {
        labels.insert("kubernetes.io/metadata.name".to_owned(), name.into());
    }
    let deleting = object::is_deleting(namespace);
    if !deleting {
        object::map_mut(namespace, "spec").insert("finalizers".to_owned(), json!(["kubernetes"]));
    }
    set_default_text(object::map_mut(namespace, "status"), "phase", "Active");
}

fn secret_defaults(secret: &mut Value) {
    let Some(map) = secret.as_object_mut() else { return };
    set_default_text(map, "type", "Opaque");
    if let Some(Value::Object(texts)) = map.remove("stringData") {
        let data = object::map_mut(secret, "data");
        for (key, value) in texts {
            let bytes = value.as_str().unwrap_or_default().as_bytes().to_vec();
            // k8s-openapi writes bytes as base64, as the API does.
            data.insert(key, json!(k8s_openapi::ByteString(bytes)));
        }
    }
}

fn port_protocols(object: &mut Value) {
    for port in object.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut) {
        set_default_text(port, "protocol", "TCP");
    }
}

fn data_errors(kind: &Kind, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for field in ["data", "binaryData"] {
        for key in object[field].as_object().into_iter().flatten().map(|(key, _)| key) {
            let fits = !key.is_empty()
                && key.len() <= 253
                && key != "."
                && !key.starts_with("..")
                && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
            if !fits {
                let detail = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
                errors.push(FieldError::invalid(format!("{field}[{key}]"), &json!(key), detail));
            }
        }
    }
    let twice = |key: &&String| object["binaryData"].get(key.as_str()).is_some();
    for key in object["data"].as_object().into_iter().flatten().map(|(key, _)| key).filter(twice) {
        errors.push(FieldError::invalid(format!("data[{key}]"), &json!(key), "duplicate of key present in binaryData"));
    }
    let Some(old) = old else { return errors };
    if old["immutable"] == true {
        for field in ["data", "binaryData", "immutable"] {
            if object[field] != old[field] {
                errors.push(FieldError::forbidden(field, "field is immutable when `immutable` is set"));
            }
        }
    }
    if kind.kind == "Secret" {
        errors.extend(immutable("type", object, old, &["type"]));
    }
    errors
}

fn lease_errors(lease: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &lease["spec"];
    if let Some(seconds) = object::number(spec, &["leaseDurationSeconds"]).filter(|seconds| *seconds <= 0) {
        errors.push(FieldError::invalid("spec.leaseDurationSeconds", &json!(seconds), "must be greater than 0"));
    }
    if let Some(count) = object::number(spec, &["leaseTransitions"]).filter(|count| *count < 0) {
        errors.push(FieldError::invalid("spec.leaseTransitions", &json!(count), "must be greater than or equal to 0"));
    }
    for key in ["acquireTime", "renewTime"] {
        if let Some(time) = object::at(spec, &[key]).filter(|time| !is_micro_time(time)) {
            errors.push(FieldError::invalid(format!("spec.{key}"), time, "must be an RFC 3339 time with six digits of fraction"));
        }
    }
    errors
}

/// `metav1.MicroTime` reads exactly `2006-01-02T15:04:05.000000Z07:00`, with any number of fraction digits given.
fn is_micro_time(time: &Value) -> bool {
    time.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok())
}

fn slice_errors(slice: &Value, old: Option<&Value>) -> Vec<FieldError> {
    /// `discovery/validation`: maxEndpoints.
    const ENDPOINTS_MAX: usize = 1000;
    let mut errors = Vec::new();
    let kind = object::text(slice, &["addressType"]);
    if kind.is_empty() {
        errors.push(FieldError::required("addressType", ""));
    } else if !matches!(kind, "IPv4" | "IPv6" | "FQDN") {
        errors.push(FieldError::unsupported("addressType", &slice["addressType"], &["FQDN", "IPv4", "IPv6"]));
    }
    errors.extend(old.and_then(|old| immutable("addressType", slice, old, &["addressType"])));
    let endpoints = object::list(slice, &["endpoints"]);
    if endpoints.len() > ENDPOINTS_MAX {
        errors.push(FieldError {
            path: "endpoints".to_owned(),
            reason: "FieldValueTooMany",
            detail: format!("Too many: {}: must have at most {ENDPOINTS_MAX} items", endpoints.len()),
        });
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let addresses = object::list(endpoint, &["addresses"]);
        if addresses.is_empty() {
            errors.push(FieldError::required(format!("endpoints[{index}].addresses"), "must contain at least 1 address"));
        }
        for address in addresses {
            let parsed = address.as_str().and_then(|text| text.parse::<std::net::IpAddr>().ok());
            let fits = match kind {
                "IPv4" => parsed.is_some_and(|address| address.is_ipv4()),
                "IPv6" => parsed.is_some_and(|address| address.is_ipv6()),
                _ => true,
            };
            if !fits {
                errors.push(FieldError::invalid(format!("endpoints[{index}].addresses"), address, format!("must be an {kind} address")));
            }
        }
    }
    errors
}

fn endpoints_errors(endpoints: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (subset, list) in object::list(endpoints, &["subsets"]).iter().enumerate() {
        for field in ["addresses", "notReadyAddresses"] {
            for (index, address) in object::list(list, &[field]).iter().enumerate() {
                errors.extend(names::refuse_special_address(&format!("subsets[{subset}].{field}[{index}].ip"), &address["ip"]));
            }
        }
    }
    errors
}

fn role_errors(kind: &Kind, role: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, rule) in object::list(role, &["rules"]).iter().enumerate() {
        let path = |field: &str| format!("rules[{index}].{field}");
        let empty = |field: &str| object::list(rule, &[field]).is_empty();
        if empty("verbs") {
            errors.push(FieldError::required(path("verbs"), "verbs must contain at least one value"));
        }
        if !empty("nonResourceURLs") {
            if kind.namespaced {
                let detail = "namespaced rules cannot apply to non-resource URLs";
                errors.push(FieldError::invalid(path("nonResourceURLs"), &rule["nonResourceURLs"], detail));
            } else if !empty("apiGroups") || !empty("resources") || !empty("resourceNames") {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                errors.push(FieldError::invalid(path("nonResourceURLs"), &rule["nonResourceURLs"], detail));
            }
            continue;
        }
        if empty("apiGroups") {
            errors.push(FieldError::required(path("apiGroups"), "resource rules must supply at least one api group"));
        }
        if empty("resources") {
            errors.push(FieldError::required(path("resources"), "resource rules must supply at least one resource"));
        }
    }
    errors
}

fn binding_errors(kind: &Kind, binding: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let role = object::text(binding, &["roleRef", "kind"]);
    let known: &[&str] = if kind.namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !known.contains(&role) {
        errors.push(FieldError::unsupported("roleRef.kind", &json!(role), known));
    }
    if object::text(binding, &["roleRef", "name"]).is_empty() {
        errors.push(FieldError::required("roleRef.name", ""));
    }
    for (index, subject) in object::list(binding, &["subjects"]).iter().enumerate() {
        let given = object::text(subject, &["kind"]);
        if !matches!(given, "ServiceAccount" | "User" | "Group") {
            let path = format!("subjects[{index}].kind");
            errors.push(FieldError::unsupported(path, &json!(given), &["ServiceAccount", "User", "Group"]));
        }
        if object::text(subject, &["name"]).is_empty() {
            errors.push(FieldError::required(format!("subjects[{index}].name"), ""));
        }
    }
    if old.is_some_and(|old| old["roleRef"] != binding["roleRef"]) {
        let field = |key: &str| object::text(binding, &["roleRef", key]);
        let shown = format!("{{\"APIGroup\":{:?},\"Kind\":{:?},\"Name\":{:?}}}", field("apiGroup"), field("kind"), field("name"));
        let detail = format!("Invalid value: {shown}: cannot change roleRef");
        errors.push(FieldError { path: "roleRef".to_owned(), reason: "FieldValueInvalid", detail });
    }
    errors
}

/// core/v1 Events are hardly judged; events.k8s.io/v1 asks for the whole (`validateV1EventSeries` and its like), unless they come through core.
fn event_errors(kind: &Kind, event: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let about = if kind.group.is_empty() { "involvedObject" } else { "regarding" };
    let (namespace, other) = (object::namespace(event), object::text(event, &[about, "namespace"]));
    let fits = if other.is_empty() { matches!(namespace, "" | "default") } else { namespace == other };
    if !fits {
        errors.push(FieldError::invalid(format!("{about}.namespace"), &json!(other), "does not match event.namespace"));
    }
    if kind.group.is_empty() {
        return errors;
    }
    if old.is_none() {
        for key in ["eventTime", "reportingController", "reportingInstance", "action", "reason"] {
            if object::text(event, &[key]).is_empty() {
                errors.push(FieldError::required(key, ""));
            }
        }
        let controller = object::text(event, &["reportingController"]);
        if !controller.is_empty() && !names::is_qualified_name(controller) {
            errors.push(FieldError::invalid(
                "reportingController",
                &json!(controller),
                "name part must consist of alphanumeric characters, '-', '_' or '.'",
            ));
        }
        for (key, said, most) in [
            ("action", "action", 128),
            ("reason", "reason", 128),
            ("reportingInstance", "reportingInstance", 128),
            ("note", "message", 1024),
        ] {
            if object::text(event, &[key]).len() > most {
                errors.push(FieldError::invalid(said, &json!(""), format!("can have at most {most} characters")));
            }
        }
        let given = object::text(event, &["type"]);
        if !matches!(given, "Normal" | "Warning") {
            errors.push(FieldError::invalid("type", &json!(""), format!("has invalid value: {given}")));
        }
        for key in ["deprecatedFirstTimestamp", "deprecatedLastTimestamp", "deprecatedCount", "deprecatedSource"] {
            let set = object::at(event, &[key]).is_some_and(|value| *value != json!({}) && *value != json!(0));
            if set {
                errors.push(FieldError::invalid(key, &event[key], "needs to be unset"));
            }
        }
    }
    // An update may only change the series (ValidateEventUpdate).
    for key in ["regarding", "reason", "action", "note", "type", "eventTime", "reportingController", "reportingInstance", "related"] {
        errors.extend(old.and_then(|old| immutable(key, event, old, &[key])));
    }
    errors
}

fn node_errors(node: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, taint) in object::list(node, &["spec", "taints"]).iter().enumerate() {
        let effect = object::text(taint, &["effect"]);
        if !matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
            let known = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
            let error = FieldError::unsupported(format!("metadata.taints[{index}].effect"), &taint["effect"], &known);
            // An update is judged as a new Node, too.
            errors.extend(old.map(|_| error.clone()));
            errors.push(error);
        }
        if !names::is_qualified_name(object::text(taint, &["key"])) {
            errors.push(FieldError::invalid(format!("spec.taints[{index}].key"), &taint["key"], "name part must be non-empty"));
        }
    }
    let changed = |key: &str| {
        old.is_some_and(|old| object::at(old, &["spec", key]).is_some_and(|before| object::at(node, &["spec", key]) != Some(before)))
    };
    if changed("podCIDRs") || changed("podCIDR") {
        errors.push(FieldError::forbidden("spec.podCIDRs", "node updates may not change podCIDR except from \"\" to valid"));
    } else if changed("providerID") {
        errors.push(FieldError::forbidden("spec", "node updates may only change labels, taints, or capacity (or configSource, if the DynamicKubeletConfig feature gate is enabled)"));
    }
    errors
}
