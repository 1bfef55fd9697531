//! Cluster IPs, families and node ports for a Service (`pkg/registry/core/service/storage/alloc.go`). Who holds which is `addresses`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::judge::not_an_address;
use super::{has_cluster_ip, has_health_port, has_node_ports, is_headless};
use crate::admission::addresses::{Addresses, NODE_PORTS};
use crate::object::{at, list, map_mut, number, set_default_text, text};
use crate::status::FieldError;

/// Gives a Service its families and cluster IPs, or says why not.
pub(super) fn allocate_cluster_ips(addresses: &Addresses, service: &mut Value, old: Option<&Value>) -> Vec<FieldError> {
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
                        return vec![FieldError::invalid("spec.clusterIPs", &json!(given), why)];
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
            &["PreferDualStack", "RequireDualStack", "SingleStack"],
        ));
    }
    let mut families = Vec::new();
    for (index, family) in list(service, &["spec", "ipFamilies"]).iter().enumerate() {
        families.push(match family.as_str() {
            Some("IPv4") => "IPv4",
            Some("IPv6") if addresses.is_dual_stack() => "IPv6",
            Some("IPv6") if is_headless(service) => "IPv6",
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
    if is_headless(service) && at(service, &["spec", "selector"]).is_none() && families.len() == 1 && policy != "SingleStack" {
        // Nobody allocates and nobody selects, so the cluster's families do not matter (`defaultOnRead` and its like in alloc.go).
        families.push(if families[0] == "IPv4" { "IPv6" } else { "IPv4" });
    }
    if dual && addresses.is_dual_stack() && families.len() == 1 {
        families.push(if families[0] == "IPv4" { "IPv6" } else { "IPv4" });
    }
    if let [first, second, ..] = families.as_slice()
        && first == second
    {
        return Err(FieldError::duplicate("spec.ipFamilies[1]", &json!(second)));
    }
    let asked = list(service, &["spec", "ipFamilies"]).len().max(given.len());
    if matches!(policy, "" | "SingleStack") && asked > 1 {
        let detail = "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified";
        return Err(FieldError::invalid("spec.ipFamilyPolicy", &json!("SingleStack"), detail));
    }
    Ok(families)
}

/// Gives a Service its node ports, or says why not.
pub(super) fn allocate_node_ports(addresses: &Addresses, service: &mut Value, old: Option<&Value>) -> Vec<FieldError> {
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
