//! The ports of a Service (`validateServicePort`).

use serde_json::{Value, json};

use super::{kind_of, may_have_node_ports};
use crate::names;
use crate::object::{list, number, text};
use crate::status::FieldError;

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// What is wrong with them.
pub(super) fn judge_ports(service: &Value, errors: &mut Vec<FieldError>) {
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
            // Go prints its own struct.
            let shown = format!(
                "{{\"Name\":\"\",\"Protocol\":{protocol:?},\"AppProtocol\":null,\"Port\":{number_of},\"TargetPort\":0,\"NodePort\":0}}"
            );
            let detail = format!("Duplicate value: {shown}");
            errors.push(FieldError { path: format!("spec.ports[{index}]"), reason: "FieldValueDuplicate", detail });
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
    let name = target.as_str().unwrap_or_default();
    if !name.is_empty() {
        errors.extend(names::port_name_errors(name).into_iter().map(|why| FieldError::invalid(path, target, why)));
    }
}
