//! What a kind's objects get and what they must be: defaulting and validation by kind.
//!
//! The order is fixed: [`defaults`] before anything is judged, then the schema, then [`create`] or [`update`], which may ask the cluster's
//! state for an address or a port. The rules are those of kubernetes `pkg/apis/*/v1/defaults.go` and `pkg/apis/*/validation`.

pub(crate) mod addresses;
mod other;
mod pod;
mod service;
mod workload;

use serde_json::Value;

use crate::engine::Engine;
use crate::registry::Kind;
use crate::status::FieldError;
use crate::{crd, object};

/// Fills in defaults that depend on nothing but the object.
pub(crate) fn defaults(kind: &Kind, object: &mut Value) {
    if kind.custom.is_some() {
        return;
    }
    match kind.kind.as_str() {
        "Service" => service::defaults(object),
        "Pod" => pod::defaults(object),
        "Deployment" | "ReplicaSet" | "DaemonSet" => workload::defaults(kind, object),
        _ => other::defaults(kind, object),
    }
}

/// Completes and judges a new object.
pub(crate) fn create(engine: &mut Engine, kind: &Kind, object: &mut Value) -> Vec<FieldError> {
    match kind.kind.as_str() {
        _ if kind.custom.is_some() => Vec::new(),
        "Service" => service::create(engine, object),
        "Pod" => pod::create(object),
        "Deployment" | "ReplicaSet" | "DaemonSet" => workload::create(object),
        "CustomResourceDefinition" => {
            crd::complete(engine, object);
            crd::validate(engine, object)
        }
        _ => other::validate(kind, object, None),
    }
}

/// Completes and judges a change; `subresource` is empty for the object itself.
pub(crate) fn update(engine: &mut Engine, kind: &Kind, subresource: &str, new: &mut Value, old: &Value) -> Vec<FieldError> {
    match (kind.kind.as_str(), subresource) {
        _ if kind.custom.is_some() => Vec::new(),
        ("Service", "status") => service::update_status(new),
        ("Service", _) => service::update(engine, new, old),
        ("Pod", "") => pod::update(new, old),
        ("Deployment" | "ReplicaSet" | "DaemonSet", "" | "scale") => workload::update(new, old),
        ("CustomResourceDefinition", "") => {
            crd::complete(engine, new);
            let mut errors = crd::validate(engine, new);
            errors.extend(immutable("spec.scope", new, old, &["spec", "scope"]));
            errors.extend(immutable("spec.group", new, old, &["spec", "group"]));
            errors
        }
        (_, "") => other::validate(kind, new, Some(old)),
        _ => Vec::new(),
    }
}

/// What an accepted object is warned of.
pub(crate) fn warnings(kind: &Kind, object: &Value) -> Option<String> {
    let warned = kind.kind == "Service" && kind.custom.is_none() && !object::list(object, &["spec", "externalIPs"]).is_empty();
    warned.then(|| "spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned())
}

/// An error when a field changed that may not.
fn immutable(said: &str, new: &Value, old: &Value, path: &[&str]) -> Option<FieldError> {
    let (after, before) = (object::at(new, path), object::at(old, path));
    (after != before).then(|| FieldError::invalid(said, after.unwrap_or(&Value::Null), "field is immutable"))
}
