//! Where two answers part, as JSON pointers.

use serde_json::Value;

/// One place in which two answers differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The JSON pointer.
    pub path: String,
    /// What is there on one side, `None` for nothing.
    pub ours: Option<Value>,
    /// And on the other.
    pub real: Option<Value>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |value: &Option<Value>| value.as_ref().map_or_else(|| "nothing".to_owned(), Value::to_string);
        write!(f, "{}\n        ours {}\n        real {}", self.path, shown(&self.ours), shown(&self.real))
    }
}

/// All places in which two answers differ; none for equal ones.
pub fn differences(ours: &Value, real: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    walk(String::new(), Some(ours), Some(real), &mut found);
    found
}

fn walk(path: String, ours: Option<&Value>, real: Option<&Value>, found: &mut Vec<Difference>) {
    match (ours, real) {
        (Some(Value::Object(left)), Some(Value::Object(right))) => {
            let keys: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            for key in keys {
                let step = key.replace('~', "~0").replace('/', "~1");
                walk(format!("{path}/{step}"), left.get(key), right.get(key), found);
            }
        }
        (Some(Value::Array(left)), Some(Value::Array(right))) => {
            for index in 0..left.len().max(right.len()) {
                walk(format!("{path}/{index}"), left.get(index), right.get(index), found);
            }
        }
        (left, right) if left == right => {}
        (left, right) => found.push(Difference { path, ours: left.cloned(), real: right.cloned() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_difference_is_named_by_where_it_is() {
        let found = differences(&json!({"a": [1, 2], "b/c": 1}), &json!({"a": [1], "b/c": 2}));
        let paths: Vec<&str> = found.iter().map(|difference| difference.path.as_str()).collect();
        assert_eq!(paths, ["/a/1", "/b~1c"]);
    }
}
