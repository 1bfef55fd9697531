//! JSON merge patch (RFC 7396): maps merge, null removes, everything else replaces.

use serde_json::{Map, Value};

/// Merges `patch` into `target`. Its depth is bounded by that of the JSON reader.
pub(crate) fn apply(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(target) = target.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            apply(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn null_removes_maps_merge_and_the_rest_replaces() {
        let mut object = json!({"a": {"b": 1, "c": 2}, "list": [1, 2], "gone": true});
        apply(&mut object, &json!({"a": {"b": 3}, "list": [9], "gone": null, "new": {"x": null, "y": 1}}));
        assert_eq!(object, json!({"a": {"b": 3, "c": 2}, "list": [9], "new": {"y": 1}}));
    }
}
