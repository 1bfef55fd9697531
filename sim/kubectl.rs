//! `kubectl`, as far as scenarios use it, over a client of the in-memory API: what it asks and what it prints.
//!
//! The words are kubectl's own. Which lines exist is `bellhop-scenario`'s business, what the API refuses the API server's.

mod apply;
mod drain;
mod resources;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use bellhop_scenario::Edit;
use bellhop_scenario::command::{Kubectl, ObjectRef, PatchType};
use serde_json::{Value, json};

use resources::Resource;

/// Someone at a terminal with a kubeconfig.
pub(crate) struct Operator {
    /// Their way to the API.
    pub(crate) client: kube::Client,
    /// Where they type: files are relative to it.
    pub(crate) folder: PathBuf,
    /// The API server's address as kubectl would name it when it is away.
    pub(crate) server: String,
    /// The moment at which they type, in RFC 3339.
    pub(crate) now: String,
}

/// What a command printed, both streams.
pub(crate) struct Printed {
    pub(crate) text: String,
    pub(crate) exit: i32,
}

/// Why a command failed: the line that it prints.
pub(crate) struct Failure(pub(crate) String);

/// How a finished write is said.
type Said = Result<String, Failure>;

impl Operator {
    /// Runs a command to its end.
    pub(crate) async fn run(&self, command: &Kubectl) -> Printed {
        match self.command(command).await {
            Ok(text) => Printed { text, exit: 0 },
            Err(Failure(text)) => Printed { text, exit: 1 },
        }
    }

    /// What `kubectl edit` does when its editor is closed.
    pub(crate) async fn edit(&self, edit: &Edit) -> Said {
        let reference = ObjectRef { resource: edit.kind.clone(), name: edit.name.clone(), namespace: edit.namespace.clone() };
        let (resource, path) = place(&reference)?;
        let mut object = self.ask("GET", &path, "", Value::Null).await?;
        edit.apply(&mut object).map_err(|why| Failure(format!("error: {why}")))?;
        self.ask("PUT", &path, "application/json", object).await?;
        Ok(format!("{} edited", resource.named(&edit.name)))
    }

    async fn command(&self, command: &Kubectl) -> Said {
        match command {
            Kubectl::Apply { file } => self.apply(file).await,
            Kubectl::Get { resource, name, wide, scope } => self.get(resource, name.as_deref(), *wide, scope).await,
            Kubectl::Annotate { object, set, overwrite } => self.mark(object, "annotations", set, *overwrite).await,
            Kubectl::Label { object, set, overwrite } => self.mark(object, "labels", set, *overwrite).await,
            Kubectl::Delete { object, wait } => self.delete(object, *wait).await,
            Kubectl::DeleteSelected { resource, selector, namespace } => {
                self.delete_selected(resource, selector, namespace.as_deref()).await
            }
            Kubectl::DeleteFile { file } => self.delete_file(file).await,
            Kubectl::Scale { object, replicas } => self.patched(object, MERGE, json!({"spec": {"replicas": replicas}}), "scaled").await,
            Kubectl::RolloutRestart { object } => {
                let annotations = json!({"kubectl.kubernetes.io/restartedAt": self.now});
                let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
                self.patched(object, STRATEGIC, patch, "restarted").await
            }
            Kubectl::Patch { object, patch_type, patch, status } => {
                let content_type = match patch_type {
                    PatchType::Strategic => STRATEGIC,
                    PatchType::Merge => MERGE,
                    PatchType::Json => "application/json-patch+json",
                };
                let subresource = if *status { "/status" } else { "" };
                self.patched_at(object, subresource, content_type, patch.clone(), "patched").await
            }
            Kubectl::SetImage { object, images } => self.set_image(object, images).await,
            Kubectl::Drain { node, ignore_daemonsets, force, .. } => {
                self.drain(drain::Drain { node, ignore_daemonsets: *ignore_daemonsets, force: *force }).await
            }
            Kubectl::Cordon { node } => self.cordon(node, json!(true), "cordoned").await,
            Kubectl::Uncordon { node } => self.cordon(node, Value::Null, "uncordoned").await,
        }
    }

    async fn cordon(&self, node: &str, unschedulable: Value, done: &str) -> Said {
        let object = ObjectRef { resource: "node".to_owned(), name: node.to_owned(), namespace: None };
        self.patched(&object, STRATEGIC, json!({"spec": {"unschedulable": unschedulable}}), done).await
    }

    /// `kubectl set image`: containers that are there get other images.
    async fn set_image(&self, object: &ObjectRef, images: &[(String, String)]) -> Said {
        let (_, path) = place(object)?;
        let before = self.ask("GET", &path, "", Value::Null).await?;
        let there = before["spec"]["template"]["spec"]["containers"].as_array();
        let is_there = |name: &String| there.into_iter().flatten().any(|container| container["name"] == json!(name));
        if let Some((name, _)) = images.iter().find(|(name, _)| !is_there(name)) {
            return Err(Failure(format!("error: unable to find container named \"{name}\"")));
        }
        let containers: Vec<Value> = images.iter().map(|(name, image)| json!({"name": name, "image": image})).collect();
        self.patched(object, STRATEGIC, json!({"spec": {"template": {"spec": {"containers": containers}}}}), "image updated").await
    }

    /// `kubectl delete RESOURCE -l SELECTOR`.
    async fn delete_selected(&self, resource: &str, selector: &str, namespace: Option<&str>) -> Said {
        let found = Resource::called(resource)?;
        let path = format!(
            "{}?labelSelector={}",
            found.path(namespace.unwrap_or("default"), None),
            selector.replace('=', "%3D").replace(',', "%2C")
        );
        let list = self.ask("GET", &path, "", Value::Null).await?;
        let mut said = Vec::new();
        for object in list["items"].as_array().into_iter().flatten() {
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            said.push(
                self.delete(&ObjectRef { resource: resource.to_owned(), name, namespace: namespace.map(str::to_owned) }, true).await?,
            );
        }
        if said.is_empty() { Ok("No resources found".to_owned()) } else { Ok(said.join("\n")) }
    }

    /// Sends one patch.
    async fn patched(&self, object: &ObjectRef, content_type: &str, patch: Value, done: &str) -> Said {
        self.patched_at(object, "", content_type, patch, done).await
    }

    /// Sends one patch to an object or to a subresource of it.
    async fn patched_at(&self, object: &ObjectRef, subresource: &str, content_type: &str, patch: Value, done: &str) -> Said {
        let (resource, path) = place(object)?;
        let before = self.ask("GET", &path, "", Value::Null).await?;
        let after = self.ask("PATCH", &format!("{path}{subresource}"), content_type, patch).await?;
        let unchanged = done == "patched" && before["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"];
        Ok(format!("{} {done}{}", resource.named(&object.name), if unchanged { " (no change)" } else { "" }))
    }

    /// `annotate` and `label`.
    async fn mark(&self, object: &ObjectRef, field: &str, set: &[(String, Option<String>)], overwrite: bool) -> Said {
        let (resource, path) = place(object)?;
        let before = self.ask("GET", &path, "", Value::Null).await?;
        let has = |key: &str| before["metadata"][field].get(key).and_then(Value::as_str);
        let refused = set.iter().find_map(|(key, value)| {
            let old = has(key)?;
            (!overwrite && value.as_deref().is_some_and(|value| value != old)).then_some((key, old))
        });
        let (word, done) = if field == "labels" { ("label", "labeled") } else { ("annotation", "annotated") };
        if let Some((key, old)) = refused {
            return Err(Failure(if word == "label" {
                format!("error: '{key}' already has a value ({old}), and --overwrite is false")
            } else {
                format!("error: --overwrite is false but found the following declared annotation(s): '{key}' already has a value ({old})")
            }));
        }
        let changes = set.iter().any(|(key, value)| has(key) != value.as_deref());
        let values: serde_json::Map<String, Value> = set.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        self.ask("PATCH", &path, MERGE, json!({"metadata": {field: values}})).await?;
        let done = if changes { done.to_owned() } else { format!("not {done}") };
        Ok(format!("{} {done}", resource.named(&object.name)))
    }

    /// Deletes and waits until the object is gone, as kubectl does unless told not to.
    async fn delete(&self, object: &ObjectRef, wait: bool) -> Said {
        let (resource, path) = place(object)?;
        self.ask("DELETE", &path, "application/json", json!({"propagationPolicy": "Background"})).await?;
        while wait && self.ask("GET", &path, "", Value::Null).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(format!("{} \"{}\" deleted", resource.long_name(), object.name))
    }

    /// One request.
    async fn ask(&self, method: &str, path: &str, content_type: &str, body: Value) -> Result<Value, Failure> {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.send(method, path, content_type, "application/json", body).await.map_err(|error| self.failure(error))
    }

    async fn send(&self, method: &str, path: &str, content_type: &str, accept: &str, body: Vec<u8>) -> Result<Value, kube::Error> {
        let mut request =
            http::Request::builder().method(method).uri(path).header("Accept", accept).header("User-Agent", "kubectl/v1.33.1");
        if !content_type.is_empty() {
            request = request.header("Content-Type", content_type);
        }
        self.client.request(request.body(body).map_err(kube::Error::HttpError)?).await
    }

    /// In kubectl's words.
    fn failure(&self, error: kube::Error) -> Failure {
        Failure(match error {
            kube::Error::Api(status) if status.reason == "Invalid" => format!("The {}", status.message),
            kube::Error::Api(status) => format!("Error from server ({}): {}", status.reason, status.message),
            _ => format!("The connection to the server {} was refused - did you specify the right host or port?", self.server),
        })
    }
}

/// RFC 7386.
const MERGE: &str = "application/merge-patch+json";
/// Kubernetes' own.
const STRATEGIC: &str = "application/strategic-merge-patch+json";

/// Where an object is.
fn place(object: &ObjectRef) -> Result<(&'static Resource, String), Failure> {
    let resource = Resource::called(&object.resource)?;
    Ok((resource, resource.path(object.namespace.as_deref().unwrap_or("default"), Some(&object.name))))
}
