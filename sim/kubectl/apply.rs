//! `kubectl apply -f` and `delete -f`: manifests from a file, one object after the other.
//!
//! Client-side apply as a merge patch: what the last applied manifest had and the new one has not is taken out. Lists are replaced
//! whole, which is the same for every list in a scenario.

use std::path::Path;

use bellhop_scenario::command::ObjectRef;
use serde_json::{Map, Value, json};

use super::resources::Resource;
use super::{Failure, MERGE, Operator, Said};

/// kubectl's memory of what was applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

impl Operator {
    /// `kubectl apply -f FILE`.
    pub(super) async fn apply(&self, file: &Path) -> Said {
        let mut said = Vec::new();
        for manifest in self.manifests(file)? {
            match self.apply_one(manifest).await {
                Ok(line) => said.push(line),
                Err(Failure(why)) => {
                    said.push(why);
                    return Err(Failure(said.join("\n")));
                }
            }
        }
        Ok(said.join("\n"))
    }

    /// `kubectl delete -f FILE`.
    pub(super) async fn delete_file(&self, file: &Path) -> Said {
        let mut said = Vec::new();
        for manifest in self.manifests(file)? {
            let (resource, _) = kind_of(&manifest, file)?;
            let text = |key: &str| manifest["metadata"][key].as_str().map(str::to_owned);
            let name = text("name").unwrap_or_default();
            said.push(self.delete(&ObjectRef { resource: resource.singular.to_owned(), name, namespace: text("namespace") }, true).await?);
        }
        Ok(said.join("\n"))
    }

    async fn apply_one(&self, mut manifest: Value) -> Said {
        let (resource, version) = kind_of(&manifest, Path::new(""))?;
        let name = manifest["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let namespace = manifest["metadata"]["namespace"].as_str().unwrap_or("default").to_owned();
        if resource.namespaced {
            manifest["metadata"]["namespace"] = json!(namespace);
        }
        let applied = format!("{manifest}\n");
        let metadata = manifest["metadata"].as_object_mut().ok_or_else(|| Failure("error: metadata is not an object".to_owned()))?;
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        annotations[LAST_APPLIED] = json!(applied);
        let path = resource.path_in(&version, &namespace, Some(&name));
        let there = match self.send("GET", &path, "", "application/json", Vec::new()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                let collection = resource.path_in(&version, &namespace, None);
                self.ask("POST", &collection, "application/json", manifest).await?;
                return Ok(format!("{} created", resource.named(&name)));
            }
            there => there.map_err(|error| self.failure(error))?,
        };
        let last = there["metadata"]["annotations"][LAST_APPLIED].as_str().and_then(|text| serde_json::from_str(text).ok());
        let mut patch = manifest;
        take_out(&mut patch, &last.unwrap_or(Value::Null));
        let after = self.ask("PATCH", &path, MERGE, patch).await?;
        let unchanged = there["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"];
        Ok(format!("{} {}", resource.named(&name), if unchanged { "unchanged" } else { "configured" }))
    }

    /// The documents of a file.
    fn manifests(&self, file: &Path) -> Result<Vec<Value>, Failure> {
        let path = self.folder.join(file);
        let text = std::fs::read_to_string(&path).map_err(|_| Failure(format!("error: the path \"{}\" does not exist", file.display())))?;
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(&text).map_err(|error| Failure(format!("error: error parsing {}: {error}", file.display())))?;
        Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
    }
}

fn kind_of(manifest: &Value, file: &Path) -> Result<(&'static Resource, String), Failure> {
    let text = |key: &str| manifest[key].as_str().unwrap_or_default();
    Resource::of_kind(text("apiVersion"), text("kind")).ok_or_else(|| {
        let (version, kind) = (text("apiVersion"), text("kind"));
        Failure(format!(
            "error: resource mapping not found for \"{}\": no matches for kind \"{kind}\" in version \"{version}\"",
            file.display()
        ))
    })
}

/// Sets to null what was applied before and is not in the patch.
fn take_out(patch: &mut Value, last: &Value) {
    let (Some(patch), Some(last)) = (patch.as_object_mut(), last.as_object()) else { return };
    for (key, old) in last {
        match patch.get_mut(key) {
            Some(new) => take_out(new, old),
            None => drop(insert_null(patch, key)),
        }
    }
}

fn insert_null(fields: &mut Map<String, Value>, key: &str) -> Option<Value> {
    fields.insert(key.to_owned(), Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_applied_before_and_is_gone_becomes_null() {
        let mut patch = json!({"spec": {"a": 1}});
        take_out(&mut patch, &json!({"spec": {"a": 2, "b": 3}, "c": 4}));
        assert_eq!(patch, json!({"spec": {"a": 1, "b": null}, "c": null}));
    }
}
