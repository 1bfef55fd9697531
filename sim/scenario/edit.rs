//! `kubectl edit` as a change of one object: for every world the same.
//!
//! A path leads through objects by key, and through a text that is itself YAML into what the text says: Step 1 of the tutorial sets
//! `data.config.conf.ipvs.strictARP` of the kube-proxy ConfigMap, whose key `config.conf` holds a file.

use serde_json::{Map, Value};

use crate::action::Edit;

impl Edit {
    /// Sets every path of the edit in an object. On an error the object may have been changed in part.
    pub fn apply(&self, object: &mut Value) -> Result<(), String> {
        self.set.iter().try_for_each(|(path, value)| set(object, path, value).map_err(|why| format!("{path}: {why}")))
    }
}

/// Follows a path and puts the value at its end.
fn set(object: &mut Value, path: &str, value: &Value) -> Result<(), String> {
    match object {
        Value::Object(fields) => {
            let key = key(fields, path);
            let Some(rest) = path.get(key.len() + 1..) else {
                fields.insert(key, value.clone());
                return Ok(());
            };
            set(fields.entry(key).or_insert_with(|| Value::Object(Map::new())), rest, value)
        }
        Value::String(text) => {
            let mut inside: Value = serde_saphyr::from_str(text).map_err(|_| format!("`{path}` leads into a text that is not YAML"))?;
            if !inside.is_object() {
                return Err(format!("`{path}` leads into a text that has no keys"));
            }
            set(&mut inside, path, value)?;
            *text = serde_saphyr::to_string(&inside).map_err(|error| error.to_string())?;
            Ok(())
        }
        _ => Err(format!("`{path}` leads into a value that has no keys")),
    }
}

/// The longest key of an object that the path begins with; one that is not there ends at the first dot.
fn key(fields: &Map<String, Value>, path: &str) -> String {
    let begins = |key: &&String| path == key.as_str() || path.strip_prefix(key.as_str()).is_some_and(|rest| rest.starts_with('.'));
    let longest = fields.keys().filter(begins).max_by_key(|key| key.len());
    longest.map_or_else(|| path.split('.').next().unwrap_or_default().to_owned(), Clone::clone)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn edit(path: &str, value: Value) -> Edit {
        Edit { kind: "configmap".into(), namespace: None, name: "kube-proxy".into(), set: BTreeMap::from([(path.to_owned(), value)]) }
    }

    #[test]
    fn step_1_of_the_tutorial_changes_a_line_of_a_file_in_a_config_map() {
        let mut object = json!({"data": {"config.conf": "mode: ipvs\nipvs:\n  strictARP: false\n  excludeCIDRs: null\n", "other": "x"}});
        edit("data.config.conf.ipvs.strictARP", json!(true)).apply(&mut object).unwrap();
        let file: Value = serde_saphyr::from_str(object["data"]["config.conf"].as_str().unwrap()).unwrap();
        assert_eq!(file, json!({"mode": "ipvs", "ipvs": {"strictARP": true, "excludeCIDRs": null}}));
        assert_eq!(object["data"]["other"], "x");
    }

    #[test]
    fn a_path_that_is_not_there_is_made() {
        let mut object = json!({"spec": {}});
        edit("spec.selector.app", json!("kubia")).apply(&mut object).unwrap();
        assert_eq!(object, json!({"spec": {"selector": {"app": "kubia"}}}));
    }

    #[test]
    fn a_path_into_a_number_or_a_plain_text_is_refused() {
        assert!(edit("a.b", json!(1)).apply(&mut json!({"a": 5})).is_err());
        assert!(edit("a.b", json!(1)).apply(&mut json!({"a": "plain"})).is_err());
    }
}
