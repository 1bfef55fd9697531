//! Label selectors and field selectors: parse once, then match objects.
//!
//! The grammar is k8s.io/apimachinery `pkg/labels` and `pkg/fields`. Which fields a kind can be selected by is the registry's table;
//! a field outside it is refused with 400, as the API server does.

use serde_json::Value;

use crate::object;
use crate::registry::Kind;
use crate::status::ApiError;

/// A list's or watch's selection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    labels: Vec<LabelRule>,
    fields: Vec<FieldRule>,
}

#[derive(Debug, Clone, PartialEq)]
enum LabelRule {
    Exists(String),
    Absent(String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Greater(String, i64),
    Less(String, i64),
}

#[derive(Debug, Clone)]
struct FieldRule {
    path: String,
    value: String,
    equal: bool,
}

impl Selection {
    /// Parses both selectors of a request.
    pub(crate) fn parse(kind: &Kind, labels: &str, fields: &str) -> Result<Self, ApiError> {
        Ok(Self { labels: parse_labels(labels)?, fields: parse_fields(kind, fields)? })
    }

    /// Whether the object is selected.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.labels.iter().all(|rule| label_matches(rule, object)) && self.fields.iter().all(|rule| field_matches(rule, object))
    }
}

fn label_matches(rule: &LabelRule, object: &Value) -> bool {
    let label = |key: &str| object::at(object, &["metadata", "labels", key]).and_then(Value::as_str);
    let number = |key: &str| label(key).and_then(|value| value.parse::<i64>().ok());
    match rule {
        LabelRule::Exists(key) => label(key).is_some(),
        LabelRule::Absent(key) => label(key).is_none(),
        LabelRule::In(key, values) => label(key).is_some_and(|value| values.iter().any(|wanted| wanted == value)),
        LabelRule::NotIn(key, values) => label(key).is_none_or(|value| values.iter().all(|other| other != value)),
        LabelRule::Greater(key, bound) => number(key).is_some_and(|value| value > *bound),
        LabelRule::Less(key, bound) => number(key).is_some_and(|value| value < *bound),
    }
}

fn field_matches(rule: &FieldRule, object: &Value) -> bool {
    let path: Vec<&str> = rule.path.split('.').collect();
    let found = match object::at(object, &path) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(flag)) => flag.to_string(),
        Some(Value::Number(number)) => number.to_string(),
        _ => default_field(&rule.path).to_owned(),
    };
    (found == rule.value) == rule.equal
}

/// What a field selector reads where the object says nothing.
fn default_field(path: &str) -> &'static str {
    match path {
        "spec.unschedulable" | "spec.hostNetwork" => "false",
        _ => "",
    }
}

fn parse_fields(kind: &Kind, text: &str) -> Result<Vec<FieldRule>, ApiError> {
    text.split(',').filter(|term| !term.is_empty()).map(|term| parse_field(kind, term)).collect()
}

fn parse_field(kind: &Kind, term: &str) -> Result<FieldRule, ApiError> {
    let split = term
        .split_once("!=")
        .map(|(path, value)| (path, value, false))
        .or_else(|| term.split_once("==").map(|(path, value)| (path, value, true)))
        .or_else(|| term.split_once('=').map(|(path, value)| (path, value, true)));
    let Some((path, value, equal)) = split else {
        return Err(ApiError::bad_request(format!("invalid selector: '{term}'; can't understand '{term}'")));
    };
    let everywhere = path == "metadata.name" || (path == "metadata.namespace" && kind.namespaced);
    let path = match (kind.kind.as_str(), path) {
        _ if everywhere => path,
        // `kubectl get events --for` and describe ask events.k8s.io for `regarding.*`; storage is core/v1.
        ("Event", path) if path.starts_with("regarding.") => return event_field(kind, path, value, equal),
        _ if kind.selectable(path) => path,
        _ => {
            return Err(ApiError::bad_request(unknown_field(kind, path)));
        }
    };
    Ok(FieldRule { path: path.to_owned(), value: value.to_owned(), equal })
}

/// Kinds with conversions of their own say it in their own way.
fn unknown_field(kind: &Kind, path: &str) -> String {
    let plain = kind.custom.is_none() && kind.fields.is_empty();
    if plain {
        format!("\"{path}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
    } else {
        format!("field label not supported: {path}")
    }
}

fn event_field(kind: &Kind, path: &str, value: &str, equal: bool) -> Result<FieldRule, ApiError> {
    let path = path.replacen("regarding", "involvedObject", 1);
    if kind.selectable(&path) {
        return Ok(FieldRule { path, value: value.to_owned(), equal });
    }
    Err(ApiError::bad_request(format!("field label not supported: {path}")))
}

fn parse_labels(text: &str) -> Result<Vec<LabelRule>, ApiError> {
    split_outside_parentheses(text).into_iter().filter(|term| !term.trim().is_empty()).map(|term| parse_label(term.trim())).collect()
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn parse_label(term: &str) -> Result<LabelRule, ApiError> {
    let bad = || ApiError::bad_request(format!("unable to parse requirement: {term:?}"));
    let value = |text: &str| -> Result<String, ApiError> {
        let text = text.trim();
        if crate::names::is_label_value(text) { Ok(text.to_owned()) } else { Err(bad()) }
    };
    let key = |text: &str| -> Result<String, ApiError> {
        let text = text.trim();
        let fits = crate::names::is_qualified_name(text);
        if fits { Ok(text.to_owned()) } else { Err(bad()) }
    };
    if let Some(name) = term.strip_prefix('!').filter(|name| !name.contains('=')) {
        return Ok(LabelRule::Absent(key(name)?));
    }
    if let Some((name, set)) = term.split_once('(') {
        let values = set.trim().strip_suffix(')').ok_or_else(bad)?;
        let values = values.split(',').map(value).collect::<Result<Vec<_>, _>>()?;
        let name = name.trim();
        if let Some(name) = name.strip_suffix(" notin") {
            return Ok(LabelRule::NotIn(key(name)?, values));
        }
        return Ok(LabelRule::In(key(name.strip_suffix(" in").ok_or_else(bad)?)?, values));
    }
    if let Some((name, wanted)) = term.split_once("!=") {
        return Ok(LabelRule::NotIn(key(name)?, vec![value(wanted)?]));
    }
    if let Some((name, wanted)) = term.split_once("==").or_else(|| term.split_once('=')) {
        return Ok(LabelRule::In(key(name)?, vec![value(wanted)?]));
    }
    if let Some((name, value)) = term.split_once('>') {
        return Ok(LabelRule::Greater(key(name)?, value.trim().parse().map_err(|_| bad())?));
    }
    if let Some((name, value)) = term.split_once('<') {
        return Ok(LabelRule::Less(key(name)?, value.trim().parse().map_err(|_| bad())?));
    }
    Ok(LabelRule::Exists(key(term)?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry;

    fn selects(labels: &str, fields: &str) -> bool {
        let pods = registry::builtin("", "v1", "pods").expect("pods are built in");
        let pod = json!({"metadata": {"name": "a", "labels": {"app": "web", "tier": "3"}}, "spec": {"nodeName": "n1"}});
        Selection::parse(&pods, labels, fields).expect("the selector parses").matches(&pod)
    }

    #[test]
    fn label_selectors_follow_the_grammar_of_kubectl() {
        for yes in ["app=web", "app==web", "app in (db, web)", "app notin (db)", "app", "!missing", "app!=db", "tier>2,app", ""] {
            assert!(selects(yes, ""), "{yes}");
        }
        for no in ["app=db", "app in (db)", "!app", "tier<3", "app=web,missing"] {
            assert!(!selects(no, ""), "{no}");
        }
    }

    #[test]
    fn field_selectors_read_the_fields_of_the_kind_and_no_others() {
        assert!(selects("", "spec.nodeName=n1,metadata.name!=b"));
        assert!(!selects("", "spec.nodeName=n2"));
        let pods = registry::builtin("", "v1", "pods").expect("pods are built in");
        assert_eq!(Selection::parse(&pods, "", "spec.color=red").expect_err("not a field of pods").code, 400);
    }
}
