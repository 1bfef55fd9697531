//! Services: defaults, cluster IPs and node ports, and which fields go with which type.
//!
//! Follows kubernetes `pkg/apis/core/v1/defaults.go` (`SetDefaults_Service`), `pkg/registry/core/service/strategy.go`
//! (`patchAllocatedValues`, `dropTypeDependentFields`), `.../storage/alloc.go` and `pkg/apis/core/validation` (`ValidateService`).
//! An update that leaves out what was allocated keeps it. Who holds which address is `addresses`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::addresses::{Addresses, NODE_PORTS};
use crate::engine::Engine;
use crate::names;
use crate::object::{at, list, map_mut, number, set_default, set_default_text, text};
use crate::status::FieldError;

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

/// What depends on nothing but the Service.
pub(crate) fn defaults(service: &mut Value) {
    let spec = map_mut(service, "spec");
    set_default_text(spec, "sessionAffinity", "None");
    set_default_text(spec, "type", "ClusterIP");
    if spec["sessionAffinity"] == "ClientIP" && spec.get("sessionAffinityConfig").is_none() {
        // Three hours: `DefaultClientIPServiceAffinitySeconds`.
        spec.insert("sessionAffinityConfig".to_owned(), json!({"clientIP": {"timeoutSeconds": 10_800}}));
    }
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut) {
        set_default_text(port, "protocol", "TCP");
        let unset = port.get("targetPort").is_none_or(|target| target == 0 || target == "");
        if let (true, Some(number)) = (unset, port.get("port").cloned()) {
            port.insert("targetPort".to_owned(), number);
        }
    }
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") || !list(service, &["spec", "externalIPs"]).is_empty() {
        set_default_text(map_mut(service, "spec"), "externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") {
        set_default_text(map_mut(service, "spec"), "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        set_default(map_mut(service, "spec"), "allocateLoadBalancerNodePorts", true);
    }
    let status = map_mut(service, "status");
    set_default(status, "loadBalancer", json!({}));
    for ingress in
        status["loadBalancer"].get_mut("ingress").and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
    {
        if kind == "LoadBalancer" && ingress.get("ip").is_some() {
            set_default_text(ingress, "ipMode", "VIP");
        }
    }
}

/// Judges a new Service and gives it its addresses and ports.
pub(crate) fn create(engine: &Engine, service: &mut Value) -> Vec<FieldError> {
    complete(engine, service, None)
}

/// Judges a change of a Service; what was allocated stays.
pub(crate) fn update(engine: &Engine, service: &mut Value, old: &Value) -> Vec<FieldError> {
    keep_allocated(service, old);
    drop_what_the_type_lost(service, old);
    complete(engine, service, Some(old))
}

/// Judges a change of the status.
pub(crate) fn update_status(service: &Value) -> Vec<FieldError> {
    let ingress = list(service, &["status", "loadBalancer", "ingress"]);
    let mut errors = Vec::new();
    if !ingress.is_empty() && text(service, &["spec", "type"]) != "LoadBalancer" {
        errors.push(FieldError::forbidden("status.loadBalancer.ingress", "may only be used when `spec.type` is \"LoadBalancer\""));
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

fn complete(engine: &Engine, service: &mut Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = allocate_cluster_ips(&engine.addresses, service, old);
    if errors.is_empty() {
        errors = judge(service);
        errors.extend(old.into_iter().flat_map(|old| judge_change(service, old)));
    }
    if errors.is_empty() {
        errors = allocate_node_ports(&engine.addresses, service, old);
    }
    errors
}

fn kind_of(service: &Value) -> &str {
    text(service, &["spec", "type"])
}

fn has_cluster_ip(service: &Value) -> bool {
    kind_of(service) != "ExternalName"
}

fn has_node_ports(service: &Value) -> bool {
    let skipped = at(service, &["spec", "allocateLoadBalancerNodePorts"]).is_some_and(|wanted| wanted == false);
    kind_of(service) == "NodePort" || (kind_of(service) == "LoadBalancer" && !skipped)
}

fn may_have_node_ports(service: &Value) -> bool {
    matches!(kind_of(service), "NodePort" | "LoadBalancer")
}

fn has_health_port(service: &Value) -> bool {
    kind_of(service) == "LoadBalancer" && text(service, &["spec", "externalTrafficPolicy"]) == "Local"
}

fn is_headless(service: &Value) -> bool {
    text(service, &["spec", "clusterIP"]) == "None"
}

// --- What an update keeps and loses -----------------------------------------------------------------------------------------------

fn copy(spec: &mut Map<String, Value>, old: &Value, key: &str) {
    if let Some(value) = at(old, &["spec", key]) {
        spec.insert(key.to_owned(), value.clone());
    }
}

fn keep_allocated(service: &mut Value, old: &Value) {
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

fn drop_what_the_type_lost(service: &mut Value, old: &Value) {
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

// --- Allocation -------------------------------------------------------------------------------------------------------------------

fn allocate_cluster_ips(addresses: &Addresses, service: &mut Value, old: Option<&Value>) -> Vec<FieldError> {
    if !has_cluster_ip(service) {
        return Vec::new();
    }
    let mut given: Vec<String> = list(service, &["spec", "clusterIPs"]).iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let single = text(service, &["spec", "clusterIP"]).to_owned();
    if !single.is_empty() && given.first().is_some_and(|first| *first != single) {
        return vec![FieldError::invalid("spec.clusterIPs[0]", &json!(given), "first value must match `clusterIP`")];
    }
    if given.is_empty() && !single.is_empty() {
        given.push(single);
    }
    let families = match families(addresses, service, &given) {
        Ok(families) => families,
        Err(error) => return vec![error],
    };
    let held: Vec<&str> = old.into_iter().flat_map(|old| list(old, &["spec", "clusterIPs"])).filter_map(Value::as_str).collect();
    if given.first().is_some_and(|first| first != "None") || given.is_empty() {
        for (index, family) in families.iter().enumerate() {
            match given.get(index) {
                Some(address) if held.contains(&address.as_str()) => {}
                Some(address) => {
                    let path = format!("spec.clusterIPs[{index}]");
                    let Ok(parsed) = address.parse::<IpAddr>() else { return vec![not_an_address(path, &json!(address))] };
                    // A change of an address is refused as such, not as a failed allocation.
                    if let Some(why) = addresses.refuse_cluster_ip(parsed).filter(|_| held.is_empty()) {
                        return vec![FieldError::invalid(path, &json!(given), why)];
                    }
                }
                None => match addresses.free_cluster_ip(*family == "IPv6") {
                    Some(address) => given.push(address.to_string()),
                    None => return vec![FieldError::invalid("spec.clusterIPs", &json!(given), "failed to allocate IP: range is full")],
                },
            }
        }
    }
    let spec = map_mut(service, "spec");
    spec.insert("clusterIP".to_owned(), json!(given.first()));
    spec.insert("clusterIPs".to_owned(), json!(given));
    spec.insert("ipFamilies".to_owned(), json!(families));
    set_default_text(spec, "ipFamilyPolicy", if families.len() > 1 { "RequireDualStack" } else { "SingleStack" });
    Vec::new()
}

/// The families of a Service's cluster IPs, from what was asked for and what the cluster has.
fn families(addresses: &Addresses, service: &Value, given: &[String]) -> Result<Vec<&'static str>, FieldError> {
    let policy = text(service, &["spec", "ipFamilyPolicy"]);
    if !matches!(policy, "" | "SingleStack" | "PreferDualStack" | "RequireDualStack") {
        return Err(FieldError::unsupported(
            "spec.ipFamilyPolicy",
            &json!(policy),
            &["SingleStack", "PreferDualStack", "RequireDualStack"],
        ));
    }
    let mut families = Vec::new();
    for (index, family) in list(service, &["spec", "ipFamilies"]).iter().enumerate() {
        families.push(match family.as_str() {
            Some("IPv4") => "IPv4",
            Some("IPv6") if addresses.is_dual_stack() => "IPv6",
            Some("IPv6") => return Err(FieldError::invalid(format!("spec.ipFamilies[{index}]"), family, "not configured on this cluster")),
            _ => return Err(FieldError::unsupported(format!("spec.ipFamilies[{index}]"), family, &["IPv4", "IPv6"])),
        });
    }
    if families.is_empty() {
        let family = |address: &String| if address.contains(':') { "IPv6" } else { "IPv4" };
        families.extend(given.iter().filter(|address| *address != "None").map(family));
    }
    if families.is_empty() {
        families.push("IPv4");
    }
    let dual = policy == "PreferDualStack" || policy == "RequireDualStack";
    if policy == "RequireDualStack" && !addresses.is_dual_stack() && !is_headless(service) {
        let detail = "this cluster is not configured for dual-stack services";
        return Err(FieldError::invalid("spec.ipFamilyPolicy", &json!(policy), detail));
    }
    if dual && addresses.is_dual_stack() && families.len() == 1 {
        families.push(if families[0] == "IPv4" { "IPv6" } else { "IPv4" });
    }
    if policy == "SingleStack" && families.len() > 1 {
        let detail = "may only hold up to 1 values when `ipFamilyPolicy` is SingleStack";
        return Err(FieldError::invalid("spec.ipFamilyPolicy", &json!(policy), detail));
    }
    Ok(families)
}

fn allocate_node_ports(addresses: &Addresses, service: &mut Value, old: Option<&Value>) -> Vec<FieldError> {
    let held: BTreeSet<i64> =
        old.into_iter().flat_map(|old| list(old, &["spec", "ports"])).filter_map(|port| number(port, &["nodePort"])).collect();
    let held_health = old.and_then(|old| number(old, &["spec", "healthCheckNodePort"]));
    let (wanted, health) = (has_node_ports(service), has_health_port(service));
    let name = format!("{}/{}", text(service, &["metadata", "namespace"]), text(service, &["metadata", "name"]));
    let mut errors = Vec::new();
    let check = |path: String, port: i64, held: bool| {
        let Some(number) = u16::try_from(port).ok().filter(|port| NODE_PORTS.contains(port)) else {
            let range = format!("{}-{}", NODE_PORTS.start(), NODE_PORTS.end());
            return Some(FieldError::invalid(
                path,
                &json!(port),
                format!("provided port is not in the valid range. The range of valid ports is {range}"),
            ));
        };
        (!held && addresses.is_port_taken(number)).then(|| FieldError::invalid(path, &json!(port), "provided port is already allocated"))
    };
    // What is asked for by number is taken before anything is given out.
    let asked = list(service, &["spec", "ports"]).iter().filter_map(|port| u16::try_from(number(port, &["nodePort"])?).ok());
    let mut taken: BTreeSet<u16> = asked.collect();
    for (index, port) in service["spec"].get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten().enumerate() {
        match number(port, &["nodePort"]).unwrap_or(0) {
            0 if wanted => match addresses.free_node_port(&format!("{name}/{}/{}", port["port"], text(port, &["protocol"])), &taken) {
                Some(free) => {
                    taken.insert(free);
                    port["nodePort"] = json!(free);
                }
                None => errors.push(FieldError::invalid(
                    format!("spec.ports[{index}].nodePort"),
                    &json!(0),
                    "failed to allocate a nodePort: range is full",
                )),
            },
            0 => {}
            given => errors.extend(check(format!("spec.ports[{index}].nodePort"), given, held.contains(&given))),
        }
    }
    if health {
        match number(service, &["spec", "healthCheckNodePort"]).unwrap_or(0) {
            0 => match addresses.free_node_port(&format!("{name}/health"), &taken) {
                Some(free) => service["spec"]["healthCheckNodePort"] = json!(free),
                None => errors.push(FieldError::invalid("spec.healthCheckNodePort", &json!(0), "failed to allocate a port: range is full")),
            },
            given => errors.extend(check("spec.healthCheckNodePort".to_owned(), given, held_health == Some(given))),
        }
    }
    errors
}

// --- Validation -------------------------------------------------------------------------------------------------------------------

fn judge(service: &Value) -> Vec<FieldError> {
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
        }
    }
    errors
}

fn judge_ports(service: &Value, errors: &mut Vec<FieldError>) {
    let ports = list(service, &["spec", "ports"]);
    for (index, port) in ports.iter().enumerate() {
        let path = |field: &str| format!("spec.ports[{index}].{field}");
        let name = text(port, &["name"]);
        if name.is_empty() && ports.len() > 1 {
            errors.push(FieldError::required(path("name"), ""));
        } else if !name.is_empty() && !names::is_label(name) {
            errors.extend(names::refuse(names::NameRule::Label, &path("name"), name));
        } else if !name.is_empty() && ports[..index].iter().any(|other| text(other, &["name"]) == name) {
            errors.push(FieldError::duplicate(path("name"), &json!(name)));
        }
        let number_of = number(port, &["port"]).unwrap_or(0);
        if !(1..=65_535).contains(&number_of) {
            errors.push(FieldError::invalid(path("port"), &json!(number_of), "must be between 1 and 65535, inclusive"));
        }
        let protocol = text(port, &["protocol"]);
        if !PROTOCOLS.contains(&protocol) {
            errors.push(FieldError::unsupported(path("protocol"), &json!(protocol), &PROTOCOLS));
        }
        judge_target(&path("targetPort"), &port["targetPort"], errors);
        if number(port, &["nodePort"]).unwrap_or(0) != 0 && !may_have_node_ports(service) {
            errors.push(FieldError::forbidden(path("nodePort"), format!("may not be used when `type` is '{}'", kind_of(service))));
        }
        let same = |other: &Value, key: &str| (&other[key], &other["protocol"]) == (&port[key], &port["protocol"]);
        if ports[..index].iter().any(|other| same(other, "port")) {
            errors.push(FieldError::duplicate(format!("spec.ports[{index}]"), &json!({"port": port["port"], "protocol": protocol})));
        }
        if number(port, &["nodePort"]).unwrap_or(0) != 0 && ports[..index].iter().any(|other| same(other, "nodePort")) {
            errors.push(FieldError::duplicate(path("nodePort"), &port["nodePort"]));
        }
    }
}

fn judge_target(path: &str, target: &Value, errors: &mut Vec<FieldError>) {
    if let Some(number) = target.as_i64() {
        if !(1..=65_535).contains(&number) {
            errors.push(FieldError::invalid(path, target, "must be between 1 and 65535, inclusive"));
        }
        return;
    }
    // RFC 6335 section 5.1: up to 15 of letters, digits and single hyphens, with a letter.
    let name = target.as_str().unwrap_or_default();
    let fits = name.len() <= 15 && names::is_label(name) && !name.contains("--") && name.contains(|char: char| char.is_ascii_lowercase());
    if !name.is_empty() && !fits {
        errors.push(FieldError::invalid(path, target, "must be a port name: at most 15 characters of [a-z0-9-], with at least one letter"));
    }
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
            errors.push(FieldError::invalid(
                "spec.loadBalancerClass",
                &json!(class),
                "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
            ));
        }
    } else {
        for key in ["allocateLoadBalancerNodePorts", "loadBalancerClass", "loadBalancerSourceRanges"] {
            if at(service, &["spec", key]).is_some_and(|value| *value != json!([])) {
                errors.push(FieldError::forbidden(format!("spec.{key}"), "may only be used when `type` is 'LoadBalancer'"));
            }
        }
    }
}

fn judge_change(service: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if has_cluster_ip(service) && has_cluster_ip(old) {
        let (new_ips, old_ips) = (list(service, &["spec", "clusterIPs"]), list(old, &["spec", "clusterIPs"]));
        if new_ips.first() != old_ips.first() && !old_ips.is_empty() {
            // Go prints the list with its type.
            let printed = new_ips.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
            let mut error = FieldError::invalid("spec.clusterIPs[0]", &Value::Null, "");
            error.detail = format!("Invalid value: []string{{{printed}}}: may not change once set");
            errors.push(error);
        }
        let (new_families, old_families) = (list(service, &["spec", "ipFamilies"]), list(old, &["spec", "ipFamilies"]));
        if new_families.first() != old_families.first() && !old_families.is_empty() {
            errors.push(FieldError::invalid("spec.ipFamilies[0]", &json!(new_families), "may not change once set"));
        }
    }
    let class = |service: &Value| at(service, &["spec", "loadBalancerClass"]).cloned();
    if kind_of(service) == "LoadBalancer" && kind_of(old) == "LoadBalancer" && class(service) != class(old) {
        errors.push(FieldError::invalid("spec.loadBalancerClass", &class(service).unwrap_or_default(), "may not change once set"));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use jiff::Timestamp;

    fn engine() -> Engine {
        Engine::new(&Config::default(), Timestamp::UNIX_EPOCH)
    }

    fn created(spec: Value) -> Result<Value, Vec<String>> {
        let mut service = json!({"metadata": {"name": "web", "namespace": "default"}, "spec": spec});
        defaults(&mut service);
        let errors = create(&engine(), &mut service);
        if errors.is_empty() { Ok(service) } else { Err(errors.iter().map(FieldError::sentence).collect()) }
    }

    #[test]
    fn a_load_balancer_gets_a_cluster_ip_and_node_ports() {
        let service = created(json!({"type": "LoadBalancer", "ports": [{"port": 80}]})).expect("valid");
        let spec = &service["spec"];
        assert_eq!(spec["clusterIPs"], json!(["10.96.0.1"]));
        assert_eq!(spec["ports"][0]["targetPort"], 80);
        assert!(number(&spec["ports"][0], &["nodePort"]).is_some_and(|port| port >= 30_000));
        assert_eq!(spec["externalTrafficPolicy"], "Cluster");
        assert_eq!(service["status"], json!({"loadBalancer": {}}));
    }

    #[test]
    fn an_update_that_leaves_out_what_was_allocated_keeps_it() {
        let old = created(json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 80}]})).expect("valid");
        let mut new = json!({"metadata": old["metadata"], "spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 80}]}});
        defaults(&mut new);
        assert_eq!(update(&engine(), &mut new, &old), []);
        assert_eq!(new, old);
    }

    #[test]
    fn a_cluster_ip_does_not_change() {
        let old = created(json!({"ports": [{"port": 80}]})).expect("valid");
        let mut new = json!({"metadata": old["metadata"], "spec": {"clusterIP": "10.96.0.9", "ports": [{"port": 80}]}});
        defaults(&mut new);
        let errors = update(&engine(), &mut new, &old);
        assert_eq!(errors[0].sentence(), "spec.clusterIPs[0]: Invalid value: []string{\"10.96.0.9\"}: may not change once set");
    }

    #[test]
    fn a_load_balancer_that_becomes_a_cluster_ip_service_loses_what_only_the_former_has() {
        let old = created(json!({"type": "LoadBalancer", "loadBalancerClass": "a.b/c", "ports": [{"port": 80}]})).expect("valid");
        let mut new = old.clone();
        new["spec"]["type"] = json!("ClusterIP");
        assert_eq!(update(&engine(), &mut new, &old), []);
        let keys = ["loadBalancerClass", "allocateLoadBalancerNodePorts", "externalTrafficPolicy"];
        assert!(keys.iter().all(|key| at(&new, &["spec", key]).is_none()), "{new}");
        assert_eq!(new["spec"]["ports"][0].get("nodePort"), None);
    }

    #[test]
    fn what_a_real_server_refuses_is_refused() {
        let refused = |spec| created(spec).expect_err("refused");
        assert_eq!(refused(json!({"type": "LoadBalancer"})), ["spec.ports: Required value"]);
        assert_eq!(
            refused(json!({"loadBalancerClass": "x", "ports": [{"port": 1}]})),
            ["spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'"]
        );
        assert_eq!(
            refused(json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]})),
            ["spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767"]
        );
    }
}
