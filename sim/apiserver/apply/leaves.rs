//! The leaves of an object, which are what somebody can own: found, looked up, laid over another object and taken out of it.
//!
//! How a list merges is said by the kind: a built-in one's lists by the keys of `patch::strategic`, a custom one's as its CRD says.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::patch::strategic::{ListKind, list_kind};
use crate::registry::Kind;
use crate::schema::ListType;

/// A leaf's path: `f:name` for a field, `k:{"name":"a"}` for a list's item, `v:"x"` for a set's.
pub(super) type Leaf = Vec<String>;

pub(super) type Leaves = BTreeSet<Leaf>;

/// The leaves of an object; identity and system metadata are nobody's.
pub(super) fn leaves_of(kind: &Kind, object: &Value) -> Leaves {
    let mut leaves = Leaves::new();
    collect(kind, object, &mut Vec::new(), &mut Vec::new(), &mut leaves);
    let system = [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "managedFields",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ];
    leaves.retain(|leaf| {
        let first = leaf.first().map(String::as_str).unwrap_or_default();
        let second = leaf.get(1).and_then(|field| field.strip_prefix("f:")).unwrap_or_default();
        let of_the_system = first == "f:metadata" && system.contains(&second);
        !of_the_system && !matches!(first, "f:apiVersion" | "f:kind")
    });
    leaves
}

fn collect(kind: &Kind, value: &Value, names: &mut Vec<String>, leaf: &mut Leaf, leaves: &mut Leaves) {
    match value {
        Value::Object(map) if !map.is_empty() && !is_atomic_map(kind, names) => {
            for (key, child) in map {
                names.push(key.clone());
                leaf.push(format!("f:{key}"));
                collect(kind, child, names, leaf, leaves);
                leaf.pop();
                names.pop();
            }
        }
        Value::Array(items) => match list_type(kind, names) {
            ListType::Map(keys) if !items.is_empty() && items.iter().all(|item| key_of(item, &keys).is_some()) => {
                for item in items {
                    leaf.push(format!("k:{}", key_of(item, &keys).unwrap_or_default()));
                    collect(kind, item, names, leaf, leaves);
                    leaf.pop();
                }
            }
            ListType::Set if !items.is_empty() => {
                for item in items {
                    leaf.push(format!("v:{item}"));
                    leaves.insert(leaf.clone());
                    leaf.pop();
                }
            }
            _ => drop(leaves.insert(leaf.clone())),
        },
        _ if leaf.is_empty() => {}
        _ => drop(leaves.insert(leaf.clone())),
    }
}

/// How a list merges when it is applied. Ports have one key more than in a strategic patch, and so has what spreads over a topology.
fn list_type(kind: &Kind, names: &[String]) -> ListType {
    let metadata = names.first().is_some_and(|name| name == "metadata");
    if let (Some(schema), true, false) = (&kind.schema, kind.custom.is_some(), metadata) {
        return schema.list_keys(names);
    }
    let second = |key: &str| match key {
        "port" | "containerPort" => Some("protocol"),
        "topologyKey" => Some("whenUnsatisfiable"),
        _ => None,
    };
    match list_kind(&kind.kind, names) {
        ListKind::Atomic => ListType::Atomic,
        ListKind::Set => ListType::Set,
        ListKind::Keyed(key) => ListType::Map([Some(key), second(key)].into_iter().flatten().map(str::to_owned).collect()),
    }
}

/// Selectors are one value each.
fn is_atomic_map(kind: &Kind, names: &[String]) -> bool {
    let last = names.last().map(String::as_str).unwrap_or_default();
    kind.custom.is_none() && matches!(last, "selector" | "labelSelector" | "nodeSelector") && names.len() > 1
}

/// An item's identity; a protocol that is not said is TCP.
fn key_of(item: &Value, keys: &[String]) -> Option<Value> {
    let value = |key: &String| item.get(key).cloned().or_else(|| (key == "protocol").then(|| json!("TCP")));
    keys.iter().map(|key| Some((key.clone(), value(key)?))).collect::<Option<Map<_, _>>>().map(Value::Object)
}

/// Whether an item is the one that a `k:` step names.
fn has_key(item: &Value, key: &Map<String, Value>) -> bool {
    let keys: Vec<String> = key.keys().cloned().collect();
    key_of(item, &keys).is_some_and(|own| own.as_object() == Some(key))
}

/// Lays the applied configuration over the object.
pub(super) fn overlay(kind: &Kind, names: &mut Vec<String>, target: &mut Value, config: &Value) {
    match config {
        Value::Object(_) if is_atomic_map(kind, names) => *target = config.clone(),
        Value::Object(fields) => {
            if !target.is_object() {
                *target = Value::Object(Map::new());
            }
            for (key, value) in fields {
                names.push(key.clone());
                overlay(kind, names, &mut target[key.as_str()], value);
                names.pop();
            }
        }
        Value::Array(items) => {
            let keyed = list_type(kind, names);
            let (Some(list), false) = (target.as_array_mut(), keyed == ListType::Atomic) else {
                *target = config.clone();
                return;
            };
            for item in items {
                let same = |old: &&mut Value| match &keyed {
                    ListType::Map(keys) => key_of(old, keys).is_some() && key_of(old, keys) == key_of(item, keys),
                    _ => **old == *item,
                };
                match list.iter_mut().find(same) {
                    Some(old) => overlay(kind, names, old, item),
                    None => list.push(item.clone()),
                }
            }
        }
        plain => *target = plain.clone(),
    }
}

pub(super) fn value_at<'a>(object: &'a Value, leaf: &[String]) -> Option<&'a Value> {
    leaf.iter().try_fold(object, |value, step| match step.split_once(':')? {
        ("f", name) => value.get(name),
        ("k", key) => {
            let key: Map<String, Value> = serde_json::from_str(key).ok()?;
            value.as_array()?.iter().find(|item| has_key(item, &key))
        }
        (_, text) => value.as_array()?.iter().find(|item| is_written(item, text)),
    })
}

/// Removes a leaf, and the list's item or map that is empty after it.
pub(super) fn remove_leaf(object: &mut Value, leaf: &[String]) {
    let Some((first, rest)) = leaf.split_first() else { return };
    match (first.split_once(':'), object) {
        (Some(("f", name)), Value::Object(map)) => {
            if rest.is_empty() {
                map.remove(name);
            } else if let Some(child) = map.get_mut(name) {
                remove_leaf(child, rest);
                let empty = child.as_object().is_some_and(Map::is_empty) || child.as_array().is_some_and(Vec::is_empty);
                if empty {
                    map.remove(name);
                }
            }
        }
        (Some(("k", key)), Value::Array(list)) => {
            let Ok(key) = serde_json::from_str::<Map<String, Value>>(key) else { return };
            let found = list.iter().position(|item| has_key(item, &key));
            let Some(index) = found else { return };
            if !rest.is_empty() {
                remove_leaf(&mut list[index], rest);
            }
            let only_key = list[index]
                .as_object()
                .is_none_or(|item| item.keys().all(|name| key.contains_key(name)) || key.keys().any(|name| !item.contains_key(name)));
            if only_key || rest.is_empty() {
                list.remove(index);
            }
        }
        (Some((_, text)), Value::Array(list)) => list.retain(|item| !is_written(item, text)),
        _ => {}
    }
}

/// Whether this is the set's item that a `v:` step spells.
fn is_written(item: &Value, text: &str) -> bool {
    serde_json::from_str::<Value>(text).is_ok_and(|spelled| spelled == *item)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    #[test]
    fn a_given_up_item_leaves_the_list() {
        let mut object = json!({"spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]}});
        let kind = registry::builtin("", "v1", "pods").expect("pods are built in");
        let leaves = leaves_of(&kind, &json!({"spec": {"containers": [{"name": "b", "image": "y"}]}}));
        leaves.iter().for_each(|leaf| remove_leaf(&mut object, leaf));
        assert_eq!(object, json!({"spec": {"containers": [{"name": "a", "image": "x"}]}}));
    }
}
