//! What a schema refuses: types, enums, patterns, bounds, required fields, combinations (`allOf` and its like), then rules in CEL.
//!
//! The sentences are those of apiextensions-apiserver `pkg/apiserver/validation` and of kube-openapi's `validate`, which it calls; a place that
//! they print as `<nil>` is printed so here.

use serde_json::{Map, Value};

use super::Schema;
use super::node::{ListType, Node, type_of};
use super::path::Path;
use crate::status::FieldError;

/// A schema nests at most this deep in an object; deeper values are refused by serde_json already (its limit is 128).
const DEPTH_MAX: usize = 128;
/// What kube-openapi prints where it has no path.
const NOWHERE: &str = "<nil>";

impl Schema {
    /// Everything that a valid object must not have.
    pub(crate) fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        self.validate_node(&self.root, object, &Path::Top, 0, &mut errors);
        errors
    }

    /// The same, and what the rules say of an object and of the one before it.
    pub(crate) fn judge(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = self.validate(object);
        if !self.ruled {
            return errors;
        }
        // Rules are not asked of what their types do not fit.
        let blocking = ["FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"];
        if errors.iter().any(|error| blocking.contains(&error.reason)) {
            let detail =
                "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
            errors.push(FieldError::invalid(NOWHERE, &Value::Null, detail));
        } else {
            judge_rules(&self.root, object, old, &Path::Top, &mut errors);
        }
        errors
    }

    fn validate_node(&self, node: &Node, value: &Value, path: &Path<'_>, depth: usize, errors: &mut Vec<FieldError>) {
        let (is_quantity, node) = (node.is_quantity(), self.resolve(node));
        if depth > DEPTH_MAX || (value.is_null() && (node.nullable || !self.custom)) {
            return;
        }
        let fits = node.takes(value) || (is_quantity && value.is_number());
        let fits = fits && !(is_quantity && value.as_str().is_some_and(|text| !is_quantity_text(text)));
        if !fits {
            let wanted = if node.int_or_string { "integer,string" } else { node.types.first().map_or("string", String::as_str) };
            errors.push(FieldError::wrong_type(path.to_string(), type_of(value), wanted));
            check_enum(node, value, path, errors);
            return;
        }
        self.combine(node, value, path, depth, errors);
        check_enum(node, value, path, errors);
        check_value(node, value, path, errors);
        match value {
            Value::Object(map) => self.validate_map(node, map, path, depth, errors),
            Value::Array(list) => {
                if let Some(items) = &node.items {
                    for (index, item) in list.iter().enumerate() {
                        self.validate_node(items, item, &Path::Index(path, index), depth + 1, errors);
                    }
                }
                check_unique(&node.list_type, list, path, errors);
            }
            _ => {}
        }
    }

    fn validate_map(&self, node: &Node, map: &Map<String, Value>, path: &Path<'_>, depth: usize, errors: &mut Vec<FieldError>) {
        // The status of a built-in kind may be partial: Go's zero values stand for what is missing.
        let partial = !self.custom && (path.starts_with("status") || path.starts_with("metadata"));
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

    /// `anyOf`, `oneOf`, `allOf` and `not`: of alternatives of which none fits, what is wrong with the first is said, too.
    fn combine(&self, node: &Node, value: &Value, path: &Path<'_>, depth: usize, errors: &mut Vec<FieldError>) {
        let wrong = |alternative: &Node| {
            let mut errors = Vec::new();
            self.validate_node(alternative, value, path, depth + 1, &mut errors);
            errors
        };
        let mut refuse = |said: &str, why: Vec<FieldError>| {
            errors.push(FieldError::invalid(NOWHERE, &Value::from(""), format!("\"{path}\" must {said}")));
            errors.extend(why);
        };
        let tried = |alternatives: &[Node]| alternatives.iter().map(wrong).collect::<Vec<_>>();
        let any = tried(&node.any_of);
        if !any.is_empty() && any.iter().all(|errors| !errors.is_empty()) {
            refuse("validate at least one schema (anyOf)", any.into_iter().next().unwrap_or_default());
        }
        let one = tried(&node.one_of);
        match one.iter().filter(|errors| errors.is_empty()).count() {
            1 => {}
            _ if one.is_empty() => {}
            0 => refuse("validate one and only one schema (oneOf). Found none valid", one.into_iter().next().unwrap_or_default()),
            many => refuse(&format!("validate one and only one schema (oneOf). Found {many} valid alternatives"), Vec::new()),
        }
        if node.not.as_ref().is_some_and(|not| wrong(not).is_empty()) {
            refuse("not validate the schema (not)", Vec::new());
        }
        let all: Vec<FieldError> = node.all_of.iter().flat_map(wrong).collect();
        if !all.is_empty() {
            errors.extend(all);
            errors.push(FieldError::invalid(NOWHERE, &Value::from(""), format!("\"{path}\" must validate all the schemas (allOf)")));
        }
    }
}

fn check_enum(node: &Node, value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if !node.allowed.is_empty() && !node.allowed.contains(value) {
        let names: Vec<&str> = node.allowed.iter().filter_map(Value::as_str).collect();
        errors.push(FieldError::unsupported(path.to_string(), value, &names));
    }
}

fn check_value(node: &Node, value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let mut refuse = |detail: String| errors.push(FieldError::invalid(path.to_string(), value, format!("{path} in body {detail}")));
    match value {
        Value::String(text) => {
            if let Some(pattern) = node.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
                refuse(format!("should match '{pattern}'"));
            }
            if !is_of_format(text, &node.format) {
                errors.push(FieldError {
                    path: path.to_string(),
                    reason: "FieldValueTypeInvalid",
                    detail: format!("Invalid value: {value}: {path} in body must be of type {}: {value}", node.format),
                });
            }
        }
        Value::Number(number) => number.as_f64().into_iter().for_each(|number| check_number(node, number, value, &mut refuse)),
        _ => {}
    }
    check_length(node, value, path, errors);
}

fn check_number(node: &Node, number: f64, value: &Value, refuse: &mut impl FnMut(String)) {
    if let Some(factor) = node.multiple_of.filter(|factor| *factor > 0.0 && (number / factor).fract() != 0.0) {
        refuse(format!("should be a multiple of {factor}"));
    }
    match (node.bounds.0, node.exclusive.0) {
        (Some(least), true) if number <= least => refuse(format!("should be greater than {least}")),
        (Some(least), false) if number < least => refuse(format!("should be greater than or equal to {least}")),
        _ => {}
    }
    match (node.bounds.1, node.exclusive.1) {
        (Some(most), true) if number >= most => refuse(format!("should be less than {most}")),
        (Some(most), false) if number > most => refuse(format!("should be less than or equal to {most}")),
        _ => {}
    }
    let (low, high) = if node.format == "int32" { (i32::MIN.into(), i32::MAX.into()) } else { (f64::MIN, f64::MAX) };
    if number < low || number > high {
        refuse(format!("must be of type {}: {value}", node.format));
    }
}

fn check_length(node: &Node, value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let (length, unit) = match value {
        Value::String(text) => (text.chars().count() as u64, "chars long"),
        Value::Array(list) => (list.len() as u64, "items"),
        Value::Object(map) => (map.len() as u64, "properties"),
        _ => return,
    };
    if let Some(least) = node.lengths.0.filter(|least| length < *least) {
        errors.push(FieldError::invalid(path.to_string(), value, format!("{path} in body should be at least {least} {unit}")));
    }
    let Some(most) = node.lengths.1.filter(|most| length > *most) else { return };
    let (reason, detail) = if value.is_string() {
        ("FieldValueTooLong", format!("Too long: may not be more than {most} bytes"))
    } else {
        ("FieldValueTooMany", format!("Too many: {length}: must have at most {most} items"))
    };
    errors.push(FieldError { path: path.to_string(), reason, detail });
}

/// The formats that are checked; others are words.
fn is_of_format(text: &str, format: &str) -> bool {
    match format {
        "date-time" => text.parse::<jiff::Timestamp>().is_ok(),
        "byte" => serde_json::from_value::<k8s_openapi::ByteString>(text.into()).is_ok(),
        "ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
        "cidr" => text.split_once('/').is_some_and(|(address, length)| {
            let most = if address.contains(':') { 128 } else { 32 };
            address.parse::<std::net::IpAddr>().is_ok() && length.parse::<u8>().is_ok_and(|length| length <= most)
        }),
        _ => true,
    }
}

/// `resource.ParseQuantity`'s grammar.
fn is_quantity_text(text: &str) -> bool {
    let rest = text.trim_start_matches(['+', '-']).trim_start_matches(|char: char| char.is_ascii_digit() || char == '.');
    let number = &text[..text.len() - rest.len()];
    let exponent = rest.strip_prefix(['e', 'E']).map(|digits| digits.trim_start_matches(['+', '-']));
    let suffix = matches!(rest, "" | "n" | "u" | "m" | "k" | "M" | "G" | "T" | "P" | "E" | "Ki" | "Mi" | "Gi" | "Ti" | "Pi" | "Ei");
    number.contains(|char: char| char.is_ascii_digit())
        && (suffix || exponent.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())))
}

/// Sets and maps have nothing twice.
fn check_unique(list_type: &ListType, list: &[Value], path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let identity = |item: &Value| match list_type {
        ListType::Atomic => None,
        ListType::Set => Some(item.clone()),
        ListType::Map(keys) => {
            Some(Value::Object(keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone()))).collect::<Map<_, _>>()))
        }
    };
    let mut seen: Vec<Value> = Vec::new();
    for (index, item) in list.iter().enumerate() {
        let Some(identity) = identity(item) else { return };
        if seen.contains(&identity) {
            errors.push(FieldError::duplicate(Path::Index(path, index).to_string(), &identity));
        }
        seen.push(identity);
    }
}

/// Asks the rules of a value and of everything below it.
fn judge_rules(node: &Node, value: &Value, old: Option<&Value>, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if value.is_null() {
        return;
    }
    for rule in &node.rules {
        if let Some(broken) = rule.judge(value, old) {
            let place = if path.is_top() && rule.field_path.is_empty() { NOWHERE.to_owned() } else { format!("{path}{}", rule.field_path) };
            errors.push(FieldError { path: place, reason: broken.reason, detail: broken.detail });
        }
    }
    match value {
        Value::Object(map) => {
            for (key, child) in map {
                let Some(below) = node.properties.get(key).or(node.additional.as_deref()).filter(|below| below.is_ruled()) else {
                    continue;
                };
                judge_rules(below, child, old.and_then(|old| old.get(key)), &Path::Key(path, key), errors);
            }
        }
        Value::Array(list) => {
            let Some(items) = node.items.as_ref().filter(|items| items.is_ruled()) else { return };
            for (index, item) in list.iter().enumerate() {
                let before = old.and_then(Value::as_array).and_then(|old| same_item(&node.list_type, old, item));
                judge_rules(items, item, before, &Path::Index(path, index), errors);
            }
        }
        _ => {}
    }
}

/// The item of the list before that is this one: only keys say so.
fn same_item<'a>(list_type: &ListType, old: &'a [Value], item: &Value) -> Option<&'a Value> {
    let ListType::Map(keys) = list_type else { return None };
    old.iter().find(|other| keys.iter().all(|key| other.get(key) == item.get(key)))
}
