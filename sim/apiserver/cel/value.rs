//! The values of CEL, as far as JSON has them. Ordered, so that every run sees them in the same order.

use std::collections::BTreeMap;

use serde_json::Value as Json;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    List(Vec<Self>),
    Map(BTreeMap<String, Self>),
    /// What `optionalOldSelf` makes of `oldSelf`.
    Optional(Option<Box<Self>>),
}

impl Value {
    /// JSON as CEL sees it; field names are escaped as Kubernetes escapes them.
    pub(super) fn read(json: &Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(flag) => Self::Bool(*flag),
            Json::Number(number) => number.as_i64().map_or_else(|| Self::Double(number.as_f64().unwrap_or_default()), Self::Int),
            Json::String(text) => Self::Text(text.clone()),
            Json::Array(list) => Self::List(list.iter().map(Self::read).collect()),
            Json::Object(map) => Self::Map(map.iter().map(|(key, value)| (key.clone(), Self::read(value))).collect()),
        }
    }

    /// As a sentence of CEL names it.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Double(_) => "double",
            Self::Text(_) => "string",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Optional(_) => "optional_type",
        }
    }

    /// CEL's `==`: numbers by value.
    pub(super) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Int(left), Self::Double(right)) | (Self::Double(right), Self::Int(left)) => *left as f64 == *right,
            (left, right) => left == right,
        }
    }
}

/// A field's name as a rule writes it: `self.x__dash__y` is the field `x-y`.
pub(super) fn unescape(name: &str) -> String {
    if !name.contains("__") {
        return name.to_owned();
    }
    let reserved = |name: &str| Some(name.strip_prefix("__")?.strip_suffix("__")?.to_owned()).filter(|name| !name.contains("__"));
    if let Some(name) = reserved(name).filter(|name| !matches!(name.as_str(), "dash" | "dot" | "slash" | "underscores")) {
        return name;
    }
    name.replace("__dash__", "-").replace("__dot__", ".").replace("__slash__", "/").replace("__underscores__", "__")
}
