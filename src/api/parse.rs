//! API objects to core values. Never fails and never panics.
//!
//! Typed objects come for the built-in kinds, which the API server itself holds valid; Eips come untyped, because a schema may have been
//! changed under objects that exist. What cannot be read becomes a part of the value that says so. What it means is not decided here.

mod eip;
mod endpoints;
mod namespace;
mod node;
mod service;

use std::collections::BTreeMap;

use bellhop_core::object::{Condition, Created, Version};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition as ApiCondition, ObjectMeta};

pub use eip::pool;
pub use endpoints::endpoint_slice;
pub use namespace::namespace;
pub use node::node;
pub use service::service;

/// The value of the first of these keys that is there and not blank.
fn first_of<'a>(map: Option<&'a BTreeMap<String, String>>, keys: &[&str]) -> Option<&'a str> {
    keys.iter().find_map(|key| map?.get(*key)).map(|value| value.trim()).filter(|value| !value.is_empty())
}

fn version(meta: &ObjectMeta) -> Version {
    Version(meta.resource_version.clone().unwrap_or_default())
}

fn created(meta: &ObjectMeta) -> Created {
    meta.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second())
}

/// The condition of this type. `Unknown` reads as false.
fn condition(conditions: &[ApiCondition], type_: &str) -> Option<Condition> {
    let found = conditions.iter().find(|condition| condition.type_ == type_)?;
    Some(Condition { status: found.status == "True", reason: found.reason.clone(), message: found.message.clone() })
}
