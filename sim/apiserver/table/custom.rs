//! Custom objects: the columns that their CRD asks for, found by simple JSON paths.
//!
//! The paths are those of kubectl's JSONPath as far as printer columns use it: `.a.b`, `['a.b']`, `\.`, `[0]`, `[*]` and the filter
//! `[?(@.type=="Ready")]`. A path that cannot be read shows an empty cell, as a path that finds nothing does.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Column, age, created, name, spelled};
use crate::registry::{Custom, PrinterColumn};

/// Name and the CRD's columns; Name and Age where it asks for none.
pub(super) fn columns(custom: &Custom) -> Vec<Column> {
    let described = |spelling: &str| {
        let meta = super::metadata_description;
        spelled(spelling).into_iter().map(move |column| Column { description: meta(&column.name), ..column })
    };
    if custom.columns.is_empty() {
        return described("Name,Age@").collect();
    }
    let column = |column: &PrinterColumn| Column {
        name: column.name.clone(),
        column_type: column.column_type.clone(),
        format: column.format.clone(),
        description: if column.description.is_empty() {
            format!("Custom resource definition column (in JSONPath format): {}", column.json_path)
        } else {
            column.description.clone()
        },
        priority: column.priority,
    };
    described("Name").chain(custom.columns.iter().map(column)).collect()
}

/// The cells of one object, in the order of [`columns`].
pub(super) fn cells(custom: &Custom, object: &Value, now: Timestamp) -> Vec<Value> {
    if custom.columns.is_empty() {
        return vec![name(object), created(object, now)];
    }
    let cell = |column: &PrinterColumn| cell(&column.column_type, find(object, &column.json_path), now);
    std::iter::once(name(object)).chain(custom.columns.iter().map(cell)).collect()
}

/// `cellForJSONValue`: a value of another type than the column's is not shown.
fn cell(column_type: &str, value: Option<&Value>, now: Timestamp) -> Value {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Value::Null };
    match (column_type, value) {
        ("string", Value::String(_)) => value.clone(),
        ("string", other) => json!(other.to_string()),
        ("date", Value::String(time)) => json!(age::since(time, now)),
        ("integer", Value::Number(number)) => number.as_i64().map_or(Value::Null, |number| json!(number)),
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
        _ => Value::Null,
    }
}

/// The first value at a path.
fn find<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let path = path.trim().trim_start_matches('{').trim_end_matches('}').trim_start_matches('$');
    walk(object, path)
}

fn walk<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    if path.is_empty() {
        return Some(value);
    }
    if let Some(rest) = path.strip_prefix('[') {
        // A quoted key or filter may itself hold a bracket; printer columns do not use that.
        let (inner, rest) = rest.split_once(']')?;
        return select(value, inner.trim(), rest);
    }
    let (key, rest) = key(path.strip_prefix('.').unwrap_or(path));
    if key.is_empty() {
        return None;
    }
    walk(value.get(&key)?, rest)
}

fn select<'a>(value: &'a Value, inner: &str, rest: &str) -> Option<&'a Value> {
    if let Some(filter) = inner.strip_prefix("?(").and_then(|filter| filter.strip_suffix(')')) {
        let (left, right, wanted) = match (filter.split_once("=="), filter.split_once("!=")) {
            (Some((left, right)), _) => (left, right, true),
            (None, Some((left, right))) => (left, right, false),
            (None, None) => return None,
        };
        let (path, literal) = (left.trim().strip_prefix('@')?, right.trim());
        let fits = |item: &&Value| walk(item, path).is_some_and(|found| is_literal(found, literal)) == wanted;
        return value.as_array()?.iter().filter(fits).find_map(|item| walk(item, rest));
    }
    if inner == "*" {
        return value.as_array()?.iter().find_map(|item| walk(item, rest));
    }
    if let Some(quoted) = unquoted(inner) {
        return walk(value.get(quoted)?, rest);
    }
    let (list, index) = (value.as_array()?, inner.parse::<i64>().ok()?);
    let index = if index < 0 { list.len().checked_sub(usize::try_from(-index).ok()?)? } else { usize::try_from(index).ok()? };
    walk(list.get(index)?, rest)
}

fn unquoted(text: &str) -> Option<&str> {
    ['\'', '"'].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
}

fn is_literal(value: &Value, literal: &str) -> bool {
    match unquoted(literal) {
        Some(text) => value.as_str() == Some(text),
        None => serde_json::from_str::<Value>(literal).is_ok_and(|literal| literal == *value),
    }
}

/// The key that a path begins with, `\.` being a dot within it, and the rest of the path.
fn key(path: &str) -> (String, &str) {
    let mut key = String::new();
    let mut chars = path.char_indices();
    while let Some((index, char)) = chars.next() {
        match char {
            '.' | '[' => return (key, &path[index..]),
            '\\' => key.extend(chars.next().map(|(_, escaped)| escaped)),
            other => key.push(other),
        }
    }
    (key, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printer_paths_find_keys_indices_and_conditions() {
        let object = json!({
            "metadata": {"labels": {"app.kubernetes.io/name": "x"}},
            "spec": {"list": [1, 2]},
            "status": {"conditions": [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]},
        });
        assert_eq!(find(&object, ".status.conditions[?(@.type==\"Ready\")].status"), Some(&json!("True")));
        assert_eq!(find(&object, ".metadata.labels.app\\.kubernetes\\.io/name"), Some(&json!("x")));
        assert_eq!(find(&object, "{.metadata.labels['app.kubernetes.io/name']}"), Some(&json!("x")));
        assert_eq!(find(&object, ".spec.list[-1]"), Some(&json!(2)));
        assert_eq!(find(&object, ".spec.list[9]"), None);
        assert_eq!(find(&object, ".spec.["), None);
    }

    #[test]
    fn a_cell_of_another_type_is_not_shown_and_dates_are_ages() {
        let now = "2026-01-01T00:01:00Z".parse().expect("a time");
        assert_eq!(cell("date", Some(&json!("2026-01-01T00:00:00Z")), now), json!("60s"));
        assert_eq!(cell("integer", Some(&json!("7")), now), Value::Null);
        assert_eq!(cell("string", Some(&json!(true)), now), json!("true"));
        assert_eq!(cell("string", None, now), Value::Null);
    }
}
