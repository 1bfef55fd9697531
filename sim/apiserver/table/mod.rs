//! STUB with the interface that dispatch, watch, server and subresource call; helper B replaces this file.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::read::Listed;
use crate::registry::Kind;

/// A list as a Table; `include` is the query's includeObject ("" is Metadata).
pub(crate) fn of_list(_kind: &Kind, _listed: &Listed, _now: Timestamp, _include: &str) -> Value {
    json!({})
}

/// One object as a Table with one row.
pub(crate) fn of_object(_kind: &Kind, _object: &Value, _now: Timestamp, _include: &str) -> Value {
    json!({})
}

/// meta.k8s.io/v1 PartialObjectMetadata.
pub(crate) fn partial_metadata(_object: &Value) -> Value {
    json!({})
}

/// `metav1.LabelSelector` as text: `a=b,c in (d)`; empty for an empty one.
pub(crate) fn selector_text(_selector: &Value) -> String {
    String::new()
}

/// What `kubectl get` prints.
pub(crate) fn print(_kind: &Kind, _objects: &[Arc<Value>], _now: Timestamp, _wide: bool, _namespaces: bool) -> String {
    String::new()
}
