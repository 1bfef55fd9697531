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
use bellhop_core::text;
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

/// The name of an object as somebody wrote it. What is longer than any name can be stays none, and is not carried around whole.
fn name(text: &str) -> String {
    // A DNS subdomain: RFC 1123, `DNS1123SubdomainMaxLength`.
    const LENGTH_MAX: usize = 253;
    if text.len() <= LENGTH_MAX { text.to_owned() } else { text::quoted(text).into_owned() }
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
