//! One schema node, as far as it is evaluated.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cel::Rule;

/// How a list merges, and what must be different in it (`x-kubernetes-list-type`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum ListType {
    /// It is one value.
    #[default]
    Atomic,
    /// No item is there twice.
    Set,
    /// No two items have the same values under these keys.
    Map(Vec<String>),
}

impl ListType {
    fn read(schema: &Value) -> Self {
        let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array).into_iter().flatten();
        match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
            Some("set") => Self::Set,
            Some("map") => Self::Map(keys.filter_map(Value::as_str).map(str::to_owned).collect()),
            _ => Self::Atomic,
        }
    }
}

/// A node, with what it says of values and of what is below them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Node {
    pub(super) reference: Option<String>,
    pub(crate) types: Vec<String>,
    pub(super) format: String,
    pub(super) properties: BTreeMap<String, Self>,
    pub(super) additional: Option<Box<Self>>,
    pub(super) items: Option<Box<Self>>,
    pub(super) required: Vec<String>,
    pub(super) allowed: Vec<Value>,
    pub(super) default: Option<Value>,
    pub(super) pattern: Option<regex::Regex>,
    /// Inclusive lower and upper bound of a number.
    pub(super) bounds: (Option<f64>, Option<f64>),
    /// Least and greatest length of a text, list or map.
    pub(super) lengths: (Option<u64>, Option<u64>),
    pub(super) nullable: bool,
    pub(super) preserve: bool,
    pub(super) int_or_string: bool,
    pub(super) embedded: bool,
    /// The bounds themselves are not allowed.
    pub(super) exclusive: (bool, bool),
    pub(super) multiple_of: Option<f64>,
    pub(super) list_type: ListType,
    pub(super) all_of: Vec<Self>,
    pub(super) any_of: Vec<Self>,
    pub(super) one_of: Vec<Self>,
    pub(super) not: Option<Box<Self>>,
    pub(super) rules: Vec<Rule>,
}

impl Node {
    pub(crate) fn read(schema: &Value, custom: bool) -> Self {
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
        let several = |key: &str| {
            let all = schema.get(key).and_then(Value::as_array).into_iter().flatten();
            all.map(|child| Self::read(child, custom)).collect::<Vec<_>>()
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
            exclusive: (flag("exclusiveMinimum"), flag("exclusiveMaximum")),
            multiple_of: number("multipleOf"),
            list_type: ListType::read(schema),
            all_of: if custom { several("allOf") } else { Vec::new() },
            any_of: if custom { several("anyOf") } else { Vec::new() },
            one_of: if custom { several("oneOf") } else { Vec::new() },
            not: child("not").filter(|_| custom),
            rules: if custom { Rule::all(schema) } else { Vec::new() },
        }
    }

    /// The schema of a field, as a rule in CEL asks for it: `Ok(None)` where anything may be.
    pub(crate) fn field(&self, name: &str) -> Result<Option<&Self>, ()> {
        if let Some(child) = self.properties.get(name).or(self.additional.as_deref()) {
            return Ok(Some(child));
        }
        // An object's own names are everywhere; a node without a type is whatever it is.
        let open = self.preserve || self.types.is_empty() || matches!(name, "metadata" | "apiVersion" | "kind");
        if open { Ok(None) } else { Err(()) }
    }

    /// The schema of a list's items.
    pub(crate) fn item(&self) -> Option<&Self> {
        self.items.as_deref()
    }

    /// The schema of what an index finds.
    pub(crate) fn element(&self) -> Option<&Self> {
        self.items.as_deref().or(self.additional.as_deref())
    }

    pub(crate) fn is_boolean(&self) -> bool {
        self.types.iter().any(|kind| kind == "boolean")
    }

    /// The format that makes of a text something else where a rule asks for it (apiextensions `model.SchemaDeclType`).
    pub(crate) fn untextual_format(&self) -> Option<&str> {
        let is_text = self.types.iter().any(|kind| kind == "string");
        Some(self.format.as_str()).filter(|format| is_text && matches!(*format, "byte" | "date" | "date-time" | "duration"))
    }

    /// Whether it has a rule anywhere.
    pub(super) fn is_ruled(&self) -> bool {
        let below = self.properties.values().chain(self.additional.as_deref()).chain(self.items.as_deref());
        !self.rules.is_empty() || below.into_iter().any(Self::is_ruled)
    }

    /// The schema below a name: of a field, or of a field of a list's items.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        let own = self.properties.get(name).or(self.additional.as_deref());
        own.or_else(|| self.items.as_ref()?.child(name))
    }

    pub(super) fn is_quantity(&self) -> bool {
        self.reference.as_deref().is_some_and(|name| name.ends_with(".resource.Quantity"))
    }

    /// Fields that OpenAPI calls required though the API server takes their zero value.
    pub(super) fn zero_is_fine(&self, key: &str) -> bool {
        self.types.iter().any(|kind| kind == "boolean") || matches!(key, "endpoints" | "roleRef" | "selector")
    }

    pub(super) fn takes(&self, value: &Value) -> bool {
        if self.int_or_string {
            return value.is_string() || value.as_i64().is_some();
        }
        self.types.is_empty() || self.types.iter().any(|wanted| is_of_type(value, wanted))
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

/// The type of a JSON value, as schemas name it.
pub(crate) fn type_of(value: &Value) -> &'static str {
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
