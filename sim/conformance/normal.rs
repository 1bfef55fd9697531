//! What differs from run to run is taken out of an answer: times, uids, versions, drawn addresses, ports and names.
//!
//! Several causes of one refusal come in an order of their own. A time that a call wrote itself stays: calls write the year 2001. `null` and "not there" are the same to every client of Kubernetes, and
//! so they are here. The namespace of a theme is `NS`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value, json};

use crate::call::Call;

static TIME: LazyLock<Regex> = LazyLock::new(|| regex(r"\b2[0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z"));
static UID: LazyLock<Regex> = LazyLock::new(|| regex("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"));
static AGE: LazyLock<Regex> = LazyLock::new(|| regex("^([0-9]+[smhd])+$"));
static NODE_PORT: LazyLock<Regex> = LazyLock::new(|| regex(":3[0-9]{4}/"));
static LETTERS: LazyLock<Regex> = LazyLock::new(|| regex("a{40,}"));

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("written here, and each run compiles it")
}

/// What one theme's answers have in common that must go.
#[derive(Debug)]
pub struct Normal<'a> {
    /// The theme's namespace.
    pub namespace: &'a str,
    /// What earlier calls kept: sentences of the server repeat it.
    pub kept: &'a BTreeMap<String, Value>,
}

impl Normal<'_> {
    /// The comparable part of an answer's body.
    pub fn body(&self, call: &Call, mut body: Value) -> Value {
        for path in &call.skip {
            skip(&mut body, &path.split('/').skip(1).collect::<Vec<_>>());
        }
        self.value("", &mut body, call.owners);
        order_causes(&mut body);
        if call.look.is_empty() {
            return body;
        }
        let parts = call.look.iter().map(|pointer| (pointer.clone(), body.pointer(pointer).cloned().unwrap_or(Value::Null)));
        Value::Object(parts.collect())
    }

    /// A sentence, for instance a warning.
    pub fn text(&self, text: &str) -> String {
        let text = TIME.replace_all(
            text,
            |found: &regex::Captures<'_>| {
                if found[0].starts_with("2001-") { found[0].to_owned() } else { "<time>".to_owned() }
            },
        );
        let text = UID.replace_all(&text, "<uid>");
        let text = LETTERS.replace_all(&text, |found: &regex::Captures<'_>| format!("<{} a>", found[0].len()));
        text.replace(self.namespace, "NS")
    }

    fn value(&self, key: &str, value: &mut Value, owners: bool) {
        match value {
            Value::Object(map) => self.map(map, owners),
            Value::Array(list) => list.iter_mut().for_each(|item| self.value(key, item, owners)),
            Value::String(text) => *text = self.known(key, text),
            Value::Number(number) if matches!(key, "nodePort" | "healthCheckNodePort") && number.as_i64() > Some(0) => {
                *value = json!("<port>");
            }
            _ => {}
        }
    }

    fn map(&self, map: &mut Map<String, Value>, owners: bool) {
        if !owners {
            map.remove("managedFields");
        }
        map.retain(|_, value| !value.is_null());
        let base = map.get("generateName").and_then(Value::as_str).map(str::to_owned);
        if let (Some(base), Some(Value::String(name))) = (base, map.get_mut("name"))
            && let Some(suffix) = name.strip_prefix(&base)
        {
            *name = format!("{base}<{}>", suffix.len());
        }
        for (key, value) in map.iter_mut() {
            if key == "cells" {
                value.as_array_mut().into_iter().flatten().for_each(cell);
            }
            self.value(key, value, owners);
        }
    }

    fn known(&self, key: &str, text: &str) -> String {
        match key {
            "uid" | "continue" if !text.is_empty() => format!("<{key}>"),
            "resourceVersion" if !text.is_empty() && text != "0" => "<version>".to_owned(),
            "clusterIP" | "clusterIPs" if text.parse::<std::net::IpAddr>().is_ok() => address(text),
            "message" => self.sentence(text),
            _ => self.text(text),
        }
    }

    /// What the server says of what it was told: kept values become their names again.
    fn sentence(&self, text: &str) -> String {
        let mut text = self.text(text);
        for (name, value) in self.kept {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if value.len() > 1
                && let Ok(pattern) = Regex::new(&format!(r"\b{}\b", regex::escape(&value)))
            {
                text = pattern.replace_all(&text, regex::NoExpand(&format!("<{name}>"))).into_owned();
            }
        }
        text
    }
}

/// Go walks a schema's fields in an order that it draws: several causes are put in order, and the sentence that repeats them is cut.
fn order_causes(body: &mut Value) {
    let Some(causes) = body.pointer_mut("/details/causes").and_then(Value::as_array_mut) else { return };
    if causes.len() < 2 {
        return;
    }
    causes.sort_by_key(|cause| cause.to_string());
    if let Some(Value::String(message)) = body.get_mut("message")
        && let Some((before, _)) = message.split_once(" is invalid: [")
    {
        *message = format!("{before} is invalid: [<causes>]");
    }
}

fn address(text: &str) -> String {
    if text.contains(':') { "<ipv6>" } else { "<ipv4>" }.to_owned()
}

/// A table's cell: ages, addresses and node ports.
fn cell(value: &mut Value) {
    let Value::String(text) = value else { return };
    if AGE.is_match(text) {
        *text = "<age>".to_owned();
    } else if text.starts_with("10.96.") && text.parse::<std::net::IpAddr>().is_ok() {
        *text = address(text);
    } else {
        *text = NODE_PORT.replace_all(text, ":<port>/").into_owned();
    }
}

fn skip(value: &mut Value, path: &[&str]) {
    let Some((first, rest)) = path.split_first() else { return };
    match value {
        Value::Object(map) if rest.is_empty() => {
            if *first == "*" {
                map.clear();
            } else {
                map.remove(*first);
            }
        }
        Value::Object(map) => map.iter_mut().filter(|(key, _)| *first == "*" || key == first).for_each(|(_, child)| skip(child, rest)),
        Value::Array(list) if rest.is_empty() && *first == "*" => list.clear(),
        Value::Array(list) => {
            let wanted = |index: usize| *first == "*" || *first == index.to_string();
            list.iter_mut().enumerate().filter(|(index, _)| wanted(*index)).for_each(|(_, child)| skip(child, rest));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(body: Value) -> Value {
        let kept = BTreeMap::from([("rv".to_owned(), json!("512"))]);
        Normal { namespace: "bellhop-conformance-x", kept: &kept }.body(&Call::default(), body)
    }

    #[test]
    fn what_a_server_draws_is_taken_out_and_what_a_call_wrote_stays() {
        let service = json!({
            "metadata": {"name": "web-abcde", "generateName": "web-", "uid": "x", "resourceVersion": "7", "creationTimestamp": "2026-01-01T00:00:00Z",
                "namespace": "bellhop-conformance-x", "managedFields": []},
            "spec": {"clusterIP": "10.96.0.9", "ports": [{"port": 80, "nodePort": 30080}], "renewTime": "2001-01-01T00:00:00.000000Z", "x": null},
        });
        let wanted = json!({
            "metadata": {"name": "web-<5>", "generateName": "web-", "uid": "<uid>", "resourceVersion": "<version>", "creationTimestamp": "<time>",
                "namespace": "NS"},
            "spec": {"clusterIP": "<ipv4>", "ports": [{"port": 80, "nodePort": "<port>"}], "renewTime": "2001-01-01T00:00:00.000000Z"},
        });
        assert_eq!(normal(service), wanted);
    }

    #[test]
    fn sentences_lose_versions_and_long_runs_of_a_letter() {
        let said = format!("too old resource version: 512 (999), {}", "a".repeat(64));
        assert_eq!(normal(json!({"message": said}))["message"], "too old resource version: <rv> (999), <64 a>");
    }

    #[test]
    fn what_does_not_count_is_left_out() {
        let mut table = json!({"columnDefinitions": [{"name": "Age", "description": "long"}], "b": 1});
        skip(&mut table, &["columnDefinitions", "*", "description"]);
        assert_eq!(table, json!({"columnDefinitions": [{"name": "Age"}], "b": 1}));
    }
}
