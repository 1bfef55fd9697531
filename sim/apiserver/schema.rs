//! Structural schemas: which fields an object may have, of which type, with which defaults.
//!
//! One reader for two sources: a CRD's `openAPIV3Schema`, and the schemas that k8s-openapi carries for the built-in kinds. It prunes
//! what is unknown, fills CRD defaults and checks types, enums, patterns, bounds and required fields.
//! **CEL rules (`x-kubernetes-validations`) are kept in the CRD and never evaluated**; neither are `not`, `anyOf`, `oneOf` and `allOf`,
//! which structural schemas may only use for value validation. Read "Extend the Kubernetes API with CustomResourceDefinitions" first.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value, json};

use crate::status::FieldError;

/// What is wrong with one value, before it is worded for its kind of resource.
#[derive(Debug, Clone)]
pub(crate) struct Schema {
    root: Arc<Node>,
    definitions: Arc<BTreeMap<String, Arc<Node>>>,
    custom: bool,
}

/// One schema node, as far as it is evaluated.
#[derive(Debug, Clone, Default)]
struct Node {
    reference: Option<String>,
    types: Vec<String>,
    format: String,
    properties: BTreeMap<String, Self>,
    additional: Option<Box<Self>>,
    items: Option<Box<Self>>,
    required: Vec<String>,
    allowed: Vec<Value>,
    default: Option<Value>,
    pattern: Option<regex::Regex>,
    /// Inclusive lower and upper bound of a number.
    bounds: (Option<f64>, Option<f64>),
    /// Least and greatest length of a text, list or map.
    lengths: (Option<u64>, Option<u64>),
    nullable: bool,
    preserve: bool,
    int_or_string: bool,
    embedded: bool,
}

/// A schema nests at most this deep in an object; deeper values are refused by serde_json already (its limit is 128).
const DEPTH_MAX: usize = 128;

impl Schema {
    /// Reads a CRD version's `openAPIV3Schema`.
    pub(crate) fn custom(schema: &Value) -> Self {
        Self { root: Arc::new(Node::read(schema, true)), definitions: Arc::clone(&BUILTIN.definitions), custom: true }
    }

    /// The schema of a built-in type, by its OpenAPI name (`io.k8s.api.core.v1.Pod`).
    pub(crate) fn builtin(name: &str) -> Option<Self> {
        let root = Arc::clone(BUILTIN.definitions.get(name)?);
        Some(Self { root, definitions: Arc::clone(&BUILTIN.definitions), custom: false })
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

    /// Everything that a valid object must not have.
    pub(crate) fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        self.validate_node(&self.root, object, &Path::Top, 0, &mut errors);
        errors
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

    fn validate_node(&self, node: &Node, value: &Value, path: &Path<'_>, depth: usize, errors: &mut Vec<FieldError>) {
        let (is_quantity, node) = (node.is_quantity(), self.resolve(node));
        if depth > DEPTH_MAX || (value.is_null() && (node.nullable || !self.custom)) {
            return;
        }
        let fits = node.takes(value) || (is_quantity && value.is_number());
        if !fits {
            errors.push(FieldError::wrong_type(path.to_string(), type_of(value), node.types.first().map_or("string", String::as_str)));
            return;
        }
        node.check_value(value, path, errors);
        match value {
            Value::Object(map) => self.validate_map(node, map, path, depth, errors),
            Value::Array(list) => {
                let Some(items) = &node.items else { return };
                for (index, item) in list.iter().enumerate() {
                    self.validate_node(items, item, &Path::Index(path, index), depth + 1, errors);
                }
            }
            _ => {}
        }
    }

    fn validate_map(&self, node: &Node, map: &Map<String, Value>, path: &Path<'_>, depth: usize, errors: &mut Vec<FieldError>) {
        // The status of a built-in kind may be partial: Go's zero values stand for what is missing.
        let partial = !self.custom && path.starts_with("status");
        for key in node.required.iter().filter(|key| !partial && !map.contains_key(*key)) {
            let zero_is_fine = !self.custom && node.properties.get(key).is_some_and(|child| child.zero_is_fine(key));
            if !zero_is_fine {
                errors.push(FieldError::required(Path::Key(path, key).to_string(), ""));
            }
        }
        for (key, value) in map {
            // metadata is the server's own business, checked elsewhere with its own sentences.
            if self.custom && path.is_top() && matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
                continue;
            }
            if let Some(child) = node.properties.get(key).or(node.additional.as_deref()) {
                self.validate_node(child, value, &Path::Key(path, key), depth + 1, errors);
            }
        }
    }
}

impl Node {
    fn read(schema: &Value, custom: bool) -> Self {
        let flag = |key: &str| schema.get(key).and_then(Value::as_bool).unwrap_or(false);
        let child = |key: &str| schema.get(key).filter(|child| child.is_object()).map(|child| Box::new(Self::read(child, custom)));
        let length = |text: &str, list: &str, map: &str| [text, list, map].iter().find_map(|key| schema.get(*key).and_then(Value::as_u64));
        let number = |key: &str| schema.get(key).and_then(Value::as_f64);
        let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        let types = match schema.get("type") {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        let open = matches!(schema.get("additionalProperties"), Some(Value::Bool(true)));
        Self {
            reference: reference(schema),
            types,
            format: schema.get("format").and_then(Value::as_str).unwrap_or_default().to_owned(),
            properties: properties.map(|(key, child)| (key.clone(), Self::read(child, custom))).collect(),
            additional: child("additionalProperties"),
            items: child("items"),
            required: schema
                .get("required")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            allowed: schema.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
            default: schema.get("default").filter(|_| custom).cloned(),
            pattern: schema.get("pattern").and_then(Value::as_str).and_then(|pattern| regex::Regex::new(pattern).ok()),
            bounds: (number("minimum"), number("maximum")),
            lengths: (length("minLength", "minItems", "minProperties"), length("maxLength", "maxItems", "maxProperties")),
            nullable: flag("nullable"),
            preserve: flag("x-kubernetes-preserve-unknown-fields") || open,
            int_or_string: flag("x-kubernetes-int-or-string"),
            embedded: flag("x-kubernetes-embedded-resource"),
        }
    }

    fn is_quantity(&self) -> bool {
        self.reference.as_deref().is_some_and(|name| name.ends_with(".resource.Quantity"))
    }

    /// Fields that OpenAPI calls required though the API server takes their zero value.
    fn zero_is_fine(&self, key: &str) -> bool {
        self.types.iter().any(|kind| kind == "boolean") || key == "endpoints"
    }

    fn takes(&self, value: &Value) -> bool {
        if self.int_or_string {
            return value.is_string() || value.as_i64().is_some();
        }
        self.types.is_empty() || self.types.iter().any(|wanted| is_of_type(value, wanted))
    }

    fn check_value(&self, value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
        if !self.allowed.is_empty() && !self.allowed.contains(value) {
            let names: Vec<&str> = self.allowed.iter().filter_map(Value::as_str).collect();
            errors.push(FieldError::unsupported(path.to_string(), value, &names));
        }
        let mut refuse = |detail: String| errors.push(FieldError::invalid(path.to_string(), value, format!("{path} in body {detail}")));
        if let (Some(pattern), Some(text)) = (&self.pattern, value.as_str())
            && !pattern.is_match(text)
        {
            refuse(format!("should match '{pattern}'"));
        }
        if let Some(number) = value.as_f64() {
            if let Some(least) = self.bounds.0.filter(|least| number < *least) {
                refuse(format!("should be greater than or equal to {least}"));
            }
            if let Some(most) = self.bounds.1.filter(|most| number > *most) {
                refuse(format!("should be less than or equal to {most}"));
            }
            let (low, high) = if self.format == "int32" { (i32::MIN.into(), i32::MAX.into()) } else { (f64::MIN, f64::MAX) };
            if number < low || number > high {
                refuse(format!("must be of type {}: {value}", self.format));
            }
        }
        let (length, unit) = match value {
            Value::String(text) => (text.chars().count() as u64, "chars long"),
            Value::Array(list) => (list.len() as u64, "items"),
            Value::Object(map) => (map.len() as u64, "properties"),
            _ => return,
        };
        if let Some(least) = self.lengths.0.filter(|least| length < *least) {
            refuse(format!("should be at least {least} {unit}"));
        }
        if let Some(most) = self.lengths.1.filter(|most| length > *most) {
            refuse(format!("may not be more than {most} {unit}"));
        }
        if let (Some(text), "date-time") = (value.as_str(), self.format.as_str())
            && text.parse::<jiff::Timestamp>().is_err()
        {
            refuse("must be of type date-time".to_owned());
        }
    }
}

/// The definition that a built-in schema points at; OpenAPI 3.0 wraps a reference that has siblings into `allOf`.
fn reference(schema: &Value) -> Option<String> {
    let wrapped = || schema.get("allOf")?.get(0)?.get("$ref");
    let path = schema.get("$ref").or_else(wrapped)?.as_str()?;
    let name = path.rsplit('/').next()?;
    // These are whatever JSON they are (`apiextensions` JSON, JSONSchemaPropsOrArray and its like), though OpenAPI calls them objects.
    let any = name.ends_with(".JSON") || name.contains(".JSONSchemaPropsOr");
    (!any).then(|| name.to_owned())
}

/// Every built-in schema by its OpenAPI name, as JSON: what `/openapi/v3` serves and `kubectl explain` reads.
pub(crate) fn components() -> &'static Map<String, Value> {
    &BUILTIN.json
}

struct Builtin {
    json: Map<String, Value>,
    definitions: Arc<BTreeMap<String, Arc<Node>>>,
}

// Computed once and never changed: the same in every run, whoever asks first.
static BUILTIN: LazyLock<Builtin> = LazyLock::new(|| {
    let mut json = generate();
    crate::patch::strategic::tag(&mut json);
    let definitions = json.iter().map(|(name, schema)| (name.clone(), Arc::new(Node::read(schema, false)))).collect();
    Builtin { json, definitions: Arc::new(definitions) }
});

fn generate() -> Map<String, Value> {
    use k8s_openapi::api::{apps, autoscaling, coordination, core, discovery, events, policy, rbac};
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions;
    let settings = schemars::generate::SchemaSettings::openapi3();
    let mut generator = schemars::SchemaGenerator::new(settings);
    macro_rules! kinds {
        ($($kind:ty),* $(,)?) => { $( generator.subschema_for::<$kind>(); )* };
    }
    kinds!(
        core::v1::Namespace,
        core::v1::Node,
        core::v1::Pod,
        core::v1::Service,
        core::v1::ConfigMap,
        core::v1::Secret,
        core::v1::Endpoints,
        core::v1::Event,
        core::v1::ServiceAccount,
        core::v1::Binding,
        apps::v1::Deployment,
        apps::v1::ReplicaSet,
        apps::v1::DaemonSet,
        autoscaling::v1::Scale,
        policy::v1::Eviction,
        discovery::v1::EndpointSlice,
        coordination::v1::Lease,
        events::v1::Event,
        policy::v1::PodDisruptionBudget,
        rbac::v1::Role,
        rbac::v1::RoleBinding,
        rbac::v1::ClusterRole,
        rbac::v1::ClusterRoleBinding,
        apiextensions::v1::CustomResourceDefinition,
    );
    let mut definitions = generator.take_definitions(true);
    // Upstream these marshal as whatever JSON they hold (custom marshalers); k8s-openapi's schema calls them objects.
    for name in ["JSON", "JSONSchemaPropsOrArray", "JSONSchemaPropsOrBool", "JSONSchemaPropsOrStringArray"] {
        let name = format!("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.{name}");
        definitions.insert(name, json!({"x-kubernetes-preserve-unknown-fields": true}));
    }
    definitions
}

/// Where a value is in its object. Written out only for what is wrong with it: nearly always nothing is.
enum Path<'a> {
    /// The object itself.
    Top,
    /// A field of what is there.
    Key(&'a Self, &'a str),
    /// An item of the list that is there.
    Index(&'a Self, usize),
}

impl Path<'_> {
    fn is_top(&self) -> bool {
        matches!(self, Path::Top)
    }

    /// Whether it is this field of the object, or below it.
    fn starts_with(&self, field: &str) -> bool {
        match self {
            Path::Top => false,
            Path::Key(Path::Top, key) => *key == field,
            Path::Key(path, _) | Path::Index(path, _) => path.starts_with(field),
        }
    }
}

/// `spec.ports[0].port`.
impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Top => Ok(()),
            Path::Key(Path::Top, key) => f.write_str(key),
            Path::Key(path, key) => write!(f, "{path}.{key}"),
            Path::Index(path, index) => write!(f, "{path}[{index}]"),
        }
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn is_of_type(value: &Value, wanted: &str) -> bool {
    match wanted {
        // JSON knows one kind of number: 3.0 is an integer.
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        _ => type_of(value) == wanted,
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
