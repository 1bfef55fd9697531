//! Leaves as they are written down: the FieldsV1 form of `managedFields`, and the dotted path of a sentence.

use serde_json::{Map, Value, json};

use super::leaves::{Leaf, Leaves};

pub(super) fn to_fields(leaves: &Leaves) -> Value {
    let mut root = json!({});
    for leaf in leaves {
        let mut node = &mut root;
        for step in leaf {
            if step.starts_with("k:") && node.get(step).is_none() {
                node[step] = json!({".": {}});
            }
            node = &mut node[step.as_str()];
            if node.is_null() {
                *node = json!({});
            }
        }
    }
    root
}

pub(super) fn from_fields(fields: &Value) -> Leaves {
    fn walk(node: &Value, leaf: &mut Leaf, leaves: &mut Leaves) {
        let children = node.as_object().into_iter().flatten().filter(|(step, _)| *step != ".");
        let mut any = false;
        for (step, child) in children {
            any = true;
            leaf.push(step.clone());
            walk(child, leaf, leaves);
            leaf.pop();
        }
        if !any && !leaf.is_empty() {
            leaves.insert(leaf.clone());
        }
    }
    let mut leaves = Leaves::new();
    walk(fields, &mut Vec::new(), &mut leaves);
    leaves
}

pub(super) fn dotted(leaf: &[String]) -> String {
    leaf.iter().fold(String::new(), |path, step| match step.split_once(':') {
        Some(("f", name)) => format!("{path}.{name}"),
        Some(("k", key)) => {
            let key: Map<String, Value> = serde_json::from_str(key).unwrap_or_default();
            let parts: Vec<String> = key.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("{path}[{}]", parts.join(","))
        }
        Some((_, item)) => format!("{path}[={item}]"),
        None => path,
    })
}

#[cfg(test)]
mod tests {
    use super::super::leaves::leaves_of;
    use super::*;
    use crate::registry;

    #[test]
    fn leaves_survive_the_way_through_fields_v1() {
        let deployment = json!({"spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "a", "image": "x"}]}}}});
        let kind = registry::builtin("apps", "v1", "deployments").expect("deployments are built in");
        let leaves = leaves_of(&kind, &deployment);
        assert_eq!(leaves.len(), 3);
        assert_eq!(from_fields(&to_fields(&leaves)), leaves);
    }
}
