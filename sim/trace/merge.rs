//! What changed between two versions of an object: an RFC 7386 merge patch, so that a trace holds each field once and `jq` shows what a write did.
//!
//! A merge patch cannot say that a field is null: where applying it would not give the new version, there is none.

use serde_json::{Map, Value};

/// The patch that makes `after` out of `before`; `None` where a merge patch cannot.
pub(super) fn difference(before: &Value, after: &Value) -> Option<Value> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let mut patch = Map::new();
            for (key, value) in after {
                match before.get(key) {
                    Some(old) if old == value => {}
                    Some(old @ Value::Object(_)) if value.is_object() => drop(patch.insert(key.clone(), difference(old, value)?)),
                    _ if has_null(value) => return None,
                    // A new map is merged into nothing: the same, as long as it holds no null.
                    _ => drop(patch.insert(key.clone(), value.clone())),
                }
            }
            patch.extend(before.keys().filter(|key| !after.contains_key(*key)).map(|key| (key.clone(), Value::Null)));
            Some(Value::Object(patch))
        }
        _ => None,
    }
}

/// Whether a null stands somewhere where a merge patch would take it for "remove"; inside lists it means itself.
fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.values().any(has_null),
        _ => false,
    }
}

/// Makes the new version out of the old one.
pub(super) fn apply(target: &mut Value, patch: &Value) {
    json_patch::merge(target, patch);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Objects with a few keys, some of whose values are null.
    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), (0..3_i32).prop_map(Value::from)];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map("[abc]", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_difference_makes_the_new_version_out_of_the_old(before in value(), after in value()) {
            if let Some(patch) = difference(&before, &after) {
                let mut made = before;
                apply(&mut made, &patch);
                prop_assert_eq!(made, after);
            }
        }
    }

    #[test]
    fn only_what_changed_is_in_it() {
        let before = json!({"metadata": {"name": "web", "labels": {"a": "1"}}, "spec": {"ports": [1]}});
        let after = json!({"metadata": {"name": "web", "labels": {"b": "2"}}, "spec": {"ports": [1]}, "status": {}});
        assert_eq!(difference(&before, &after), Some(json!({"metadata": {"labels": {"a": null, "b": "2"}}, "status": {}})));
    }
}
