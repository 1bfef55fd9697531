//! Structural schemas: which fields an object may have, of which type, with which defaults.
//!
//! One reader for two sources: a CRD's `openAPIV3Schema`, and the schemas that k8s-openapi carries for the built-in kinds ([`builtin`]). It prunes
//! what is unknown and fills CRD defaults; [`node`] reads schemas, [`validate`] checks values, and rules in CEL are `cel`'s.
//! Read "Extend the Kubernetes API with CustomResourceDefinitions" first.

mod builtin;
mod node;
mod path;
mod validate;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

pub(crate) use builtin::components;
pub(crate) use node::{ListType, Node, type_of};
use path::Path;

/// The fields that an object of a kind may have.
#[derive(Debug, Clone)]
pub(crate) struct Schema {
    root: Arc<Node>,
    definitions: Arc<BTreeMap<String, Arc<Node>>>,
    custom: bool,
    /// It has rules in CEL.
    ruled: bool,
}

impl Schema {
    /// Reads a CRD version's `openAPIV3Schema`.
    pub(crate) fn custom(schema: &Value) -> Self {
        Self::custom_of(Node::read(schema, true))
    }

    fn custom_of(root: Node) -> Self {
        Self { ruled: root.is_ruled(), root: Arc::new(root), definitions: Arc::clone(builtin::definitions()), custom: true }
    }

    /// The schema of a built-in type, by its OpenAPI name (`io.k8s.api.core.v1.Pod`).
    pub(crate) fn builtin(name: &str) -> Option<Self> {
        let root = Arc::clone(builtin::definitions().get(name)?);
        Some(Self { root, definitions: Arc::clone(builtin::definitions()), custom: false, ruled: false })
    }

    /// Removes what the schema does not know and returns the paths of what was removed.
    pub(crate) fn prune(&self, object: &mut Value) -> Vec<String> {
        let mut unknown = Vec::new();
        let Some(map) = object.as_object_mut() else { return unknown };
        self.prune_map(&self.root, map, &Path::Top, &mut unknown);
        unknown
    }

    /// Fills defaults in, where the schema has them (CRDs only: the built-in kinds' defaults are code, in `admission`).
    pub(crate) fn fill_defaults(&self, object: &mut Value) {
        self.default_node(&self.root, object);
    }

    /// How the list at this path of field names merges when it is applied (`x-kubernetes-list-type`).
    pub(crate) fn list_keys(&self, names: &[String]) -> ListType {
        let at = names.iter().try_fold(&*self.root, |node, name| node.child(name));
        at.map(|node| node.list_type.clone()).unwrap_or_default()
    }

    fn resolve<'a>(&'a self, node: &'a Node) -> &'a Node {
        match &node.reference {
            Some(name) => self.definitions.get(name).map_or(node, |definition| definition),
            None => node,
        }
    }

    fn prune_node(&self, node: &Node, value: &mut Value, path: &Path<'_>, unknown: &mut Vec<String>) {
        let node = self.resolve(node);
        match value {
            Value::Object(map) => self.prune_map(node, map, path, unknown),
            Value::Array(list) => {
                let Some(items) = &node.items else { return };
                for (index, item) in list.iter_mut().enumerate() {
                    self.prune_node(items, item, &Path::Index(path, index), unknown);
                }
            }
            _ => {}
        }
    }

    fn prune_map(&self, node: &Node, map: &mut Map<String, Value>, path: &Path<'_>, unknown: &mut Vec<String>) {
        if !self.custom {
            // Go's decoder takes null for "not there".
            map.retain(|_, value| !value.is_null());
        }
        let open = node.preserve || node.additional.is_some() || (!self.custom && node.properties.is_empty());
        let whole_object = node.embedded || (self.custom && path.is_top());
        let implied = |key: &str| whole_object && matches!(key, "apiVersion" | "kind" | "metadata");
        let dropped: Vec<String> =
            map.keys().filter(|key| !open && !implied(key) && !node.properties.contains_key(*key)).cloned().collect();
        for key in dropped {
            map.remove(&key);
            unknown.push(Path::Key(path, &key).to_string());
        }
        for (key, value) in map.iter_mut() {
            if let Some(child) = node.properties.get(key).or(node.additional.as_deref()) {
                self.prune_node(child, value, &Path::Key(path, key), unknown);
            }
        }
    }

    fn default_node(&self, node: &Node, value: &mut Value) {
        let node = self.resolve(node);
        match value {
            Value::Object(map) => {
                for (key, child) in &node.properties {
                    let absent = map.get(key).is_none_or(|value| value.is_null() && !child.nullable);
                    if let (true, Some(default)) = (absent, &child.default) {
                        map.insert(key.clone(), default.clone());
                    }
                }
                for (key, value) in map.iter_mut() {
                    if let Some(child) = node.properties.get(key).or(node.additional.as_deref()) {
                        self.default_node(child, value);
                    }
                }
            }
            Value::Array(list) => {
                let Some(items) = &node.items else { return };
                list.iter_mut().for_each(|item| self.default_node(items, item));
            }
            _ => {}
        }
    }
}

/// Quantities may be written as numbers; they are kept as text (`resource.Quantity`).
pub(crate) fn quantities_to_text(object: &mut Value) {
    match object {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                if matches!(key.as_str(), "requests" | "limits" | "capacity" | "allocatable")
                    && let Some(quantities) = value.as_object_mut()
                {
                    quantities.values_mut().filter(|value| value.is_number()).for_each(|value| *value = json!(value.to_string()));
                } else {
                    quantities_to_text(value);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(quantities_to_text),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::FieldError;

    fn eip() -> Schema {
        Schema::custom(&json!({"type": "object", "required": ["spec"], "properties": {"spec": {
        "type": "object", "required": ["address"], "properties": {
            "address": {"type": "string", "pattern": "^[0-9./,:-]+$"},
            "protocol": {"type": "string", "enum": ["bgp", "layer2"], "default": "layer2"},
            "disable": {"type": "boolean"},
        }}}}))
    }

    #[test]
    fn a_custom_object_loses_unknown_fields_and_gains_defaults() {
        let mut object =
            json!({"apiVersion": "a/v1", "kind": "Eip", "metadata": {"name": "x"}, "spec": {"address": "10.0.0.1", "colour": 1}});
        assert_eq!(eip().prune(&mut object), ["spec.colour"]);
        eip().fill_defaults(&mut object);
        assert_eq!(object["spec"], json!({"address": "10.0.0.1", "protocol": "layer2"}));
    }

    #[test]
    fn wrong_types_enums_patterns_and_missing_fields_are_named() {
        let errors = eip().validate(&json!({"spec": {"protocol": "vip", "disable": "yes"}}));
        let said: Vec<String> = errors.iter().map(FieldError::sentence).collect();
        assert_eq!(
            said,
            [
                "spec.address: Required value",
                "spec.disable: Invalid value: \"string\": spec.disable in body must be of type boolean: \"string\"",
                "spec.protocol: Unsupported value: \"vip\": supported values: \"bgp\", \"layer2\"",
            ]
        );
        assert_eq!(eip().validate(&json!({"spec": {"address": "?"}})).len(), 1);
    }

    #[test]
    fn built_in_kinds_are_pruned_by_their_own_schema() {
        let schema = Schema::builtin("io.k8s.api.core.v1.Service").expect("services are built in");
        let mut object = json!({"spec": {"ports": [{"port": 80, "prot": "TCP", "name": null}], "selector": {"any": "thing"}}});
        assert_eq!(schema.prune(&mut object), ["spec.ports[0].prot"]);
        assert_eq!(object["spec"], json!({"ports": [{"port": 80}], "selector": {"any": "thing"}}));
        assert_eq!(schema.validate(&json!({"metadata": {}, "spec": {"ports": [{"port": "http"}]}})).len(), 1);
    }
}
