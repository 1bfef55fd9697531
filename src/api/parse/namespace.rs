//! `Namespace` to the core's [`Namespace`]: its name and labels.

use bellhop_core::object::Namespace;
use k8s_openapi::api::core::v1 as api;

/// Reads a Namespace.
pub fn namespace(object: &api::Namespace) -> Namespace {
    let meta = &object.metadata;
    Namespace { name: meta.name.clone().unwrap_or_default(), labels: meta.labels.clone().unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn its_labels_are_read_and_may_be_absent() {
        let parsed =
            |labels| namespace(&serde_json::from_value(json!({"metadata": {"name": "shop", "labels": labels}})).expect("a Namespace"));
        assert_eq!(parsed(json!({"team": "a"})).labels.get("team").map(String::as_str), Some("a"));
        assert!(parsed(json!(null)).labels.is_empty());
    }
}
