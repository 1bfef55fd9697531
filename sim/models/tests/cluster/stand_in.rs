//! As much of an API server as the models need, until `bellhop-apiserver` serves: it takes this one's place then.
//!
//! One map, one log that watches read, merge patches, conflicts by resourceVersion, graceful deletion of pods, bindings. No validation, no defaults, no
//! garbage collection, no history limit.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::Notify;

type ResponseBody = UnsyncBoxBody<Bytes, Infallible>;
type Answer = (u16, Value);
/// Resource, namespace, name.
type Key = (String, String, String);

/// The server. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct StandIn {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<Key, Value>,
    log: Vec<Change>,
    version: u64,
    writes: Vec<String>,
    away: bool,
}

struct Change {
    version: u64,
    kind: &'static str,
    key: Key,
    object: Value,
}

/// A request's path, taken apart, and its body.
struct Asked {
    method: Method,
    resource: String,
    namespace: String,
    name: Option<String>,
    subresource: Option<String>,
    /// `spec.nodeName=…`, the one field selector in use.
    node: Option<String>,
    body: Value,
}

impl StandIn {
    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { server.serve(request).await }
        });
        Client::new(service, "default")
    }

    /// Refuses connections and cuts watches from now on, or no longer.
    pub(crate) fn set_away(&self, away: bool) {
        self.state().away = away;
        self.changed.notify_waiters();
    }

    /// Every write so far, but those of Leases.
    pub(crate) fn writes(&self) -> Vec<String> {
        self.state().writes.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panicked")
    }

    async fn serve(&self, request: Request<Body>) -> std::io::Result<Response<ResponseBody>> {
        if self.state().away {
            return Err(std::io::ErrorKind::ConnectionRefused.into());
        }
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let query = parts.uri.query().unwrap_or_default().replace("%3D", "=");
        let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=').map(str::to_owned));
        let asked = Asked::new(parts.method, parts.uri.path(), value("fieldSelector"), serde_json::from_slice(&body).unwrap_or_default());
        if value("watch").as_deref() == Some("true") {
            let from = value("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
            return Ok(Response::new(self.watch(asked, from)));
        }
        let (code, answer) = self.state().answer(&asked);
        if asked.method != Method::GET {
            if asked.resource != "leases" {
                self.state().writes.push(format!("{} {} {code}", asked.method, parts.uri.path()));
            }
            self.changed.notify_waiters();
        }
        let body = Full::new(Bytes::from(answer.to_string())).boxed_unsync();
        Ok(Response::builder().status(code).body(body).expect("a valid code"))
    }

    fn watch(&self, asked: Asked, from: u64) -> ResponseBody {
        let stream = futures::stream::unfold((self.clone(), asked, from), |(server, asked, from)| async move {
            loop {
                let changed = server.changed.clone().notified_owned();
                let next = {
                    let state = server.state();
                    let next = state.log.iter().find(|change| change.version > from && asked.selects(&change.key, &change.object));
                    if state.away {
                        return None;
                    }
                    next.map(|change| (change.version, json!({"type": change.kind, "object": change.object})))
                };
                if let Some((version, event)) = next {
                    let frame = http_body::Frame::data(Bytes::from(format!("{event}\n")));
                    return Some((Ok::<_, Infallible>(frame), (server, asked, version)));
                }
                changed.await;
            }
        });
        StreamBody::new(Box::pin(stream)).boxed_unsync()
    }
}

impl Asked {
    fn new(method: Method, path: &str, selector: Option<String>, body: Value) -> Self {
        let words: Vec<&str> = path.trim_matches('/').split('/').collect();
        let mut rest = &words[if words[0] == "api" { 2 } else { 3 }..];
        let mut namespace = String::new();
        if rest.len() > 2 && rest[0] == "namespaces" {
            namespace = rest[1].to_owned();
            rest = &rest[2..];
        }
        let word = |index: usize| rest.get(index).map(|word| (*word).to_owned());
        let node = selector.and_then(|selector| selector.strip_prefix("spec.nodeName=").map(str::to_owned));
        Self { method, resource: word(0).unwrap_or_default(), namespace, name: word(1), subresource: word(2), node, body }
    }

    fn key(&self, name: &str) -> Key {
        (self.resource.clone(), self.namespace.clone(), name.to_owned())
    }

    fn selects(&self, key: &Key, object: &Value) -> bool {
        let here = key.0 == self.resource && (self.namespace.is_empty() || key.1 == self.namespace);
        here && self.node.as_ref().is_none_or(|node| object["spec"]["nodeName"] == **node)
    }
}

impl State {
    fn answer(&mut self, asked: &Asked) -> Answer {
        let Some(name) = &asked.name else {
            return if asked.method == Method::GET { self.list(asked) } else { self.create(asked) };
        };
        let key = asked.key(name);
        let Some(object) = self.objects.get(&key).cloned() else { return status(404, "NotFound") };
        match asked.method.as_str() {
            "GET" => (200, object),
            "POST" => self.bind(key, object, &asked.body),
            "DELETE" => self.delete(key, object, &asked.body),
            _ => self.update(key, &object, asked),
        }
    }

    fn list(&self, asked: &Asked) -> Answer {
        let items: Vec<&Value> = self.objects.iter().filter(|(key, object)| asked.selects(key, object)).map(|(_, object)| object).collect();
        (200, json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": self.version.to_string()}, "items": items}))
    }

    fn create(&mut self, asked: &Asked) -> Answer {
        let mut object = asked.body.clone();
        let key = asked.key(object["metadata"]["name"].as_str().unwrap_or_default());
        if self.objects.contains_key(&key) {
            return status(409, "AlreadyExists");
        }
        object["metadata"]["uid"] = json!(format!("uid-{}", self.version));
        object["metadata"]["generation"] = json!(1);
        if asked.resource == "pods" {
            object["status"] = json!({"phase": "Pending"});
        }
        if asked.resource == "services" && object["spec"]["clusterIP"].is_null() {
            object["spec"]["clusterIP"] = json!("10.96.0.9");
        }
        (201, self.put(key, object, "ADDED"))
    }

    fn bind(&mut self, key: Key, mut pod: Value, binding: &Value) -> Answer {
        pod["spec"]["nodeName"] = binding["target"]["name"].clone();
        self.put(key, pod, "MODIFIED");
        (201, json!({"kind": "Status", "status": "Success"}))
    }

    fn update(&mut self, key: Key, old: &Value, asked: &Asked) -> Answer {
        let mut new = old.clone();
        let version = &old["metadata"]["resourceVersion"];
        let asked_version = &asked.body["metadata"]["resourceVersion"];
        if !asked_version.is_null() && asked_version != version {
            return status(409, "Conflict");
        }
        if asked.method == Method::PUT {
            new = asked.body.clone();
        } else {
            merge(&mut new, &asked.body);
        }
        if asked.subresource.as_deref() == Some("status") {
            let written = new["status"].take();
            new = old.clone();
            new["status"] = written;
        } else {
            new["status"] = old["status"].clone();
            let changed = i64::from(new["spec"] != old["spec"]);
            new["metadata"]["generation"] = json!(old["metadata"]["generation"].as_i64().unwrap_or(0) + changed);
        }
        new["metadata"]["resourceVersion"] = version.clone();
        if new == *old { (200, new) } else { (200, self.put(key, new, "MODIFIED")) }
    }

    fn delete(&mut self, key: Key, mut object: Value, options: &Value) -> Answer {
        let grace = options["gracePeriodSeconds"].as_i64().unwrap_or(30);
        if key.0 == "pods" && grace > 0 && !object["spec"]["nodeName"].is_null() {
            object["metadata"]["deletionTimestamp"] = json!("2026-11-23T10:00:00Z");
            object["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
            return (200, self.put(key, object, "MODIFIED"));
        }
        self.put(key.clone(), object.clone(), "DELETED");
        self.objects.remove(&key);
        (200, object)
    }

    fn put(&mut self, key: Key, mut object: Value, kind: &'static str) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(key.clone(), object.clone());
        self.log.push(Change { version: self.version, kind, key, object: object.clone() });
        object
    }
}

fn status(code: u16, reason: &str) -> Answer {
    (code, json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": reason, "reason": reason}))
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        if value.is_null() {
            target.as_object_mut().map(|target| target.remove(name));
        } else {
            merge(&mut target[name], value);
        }
    }
}
