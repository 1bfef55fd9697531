//! Bugs of what is written and read: between a replica and the API server.
//!
//! A request is changed, repeated, kept back, or accompanied by another; an answer may be made up. All that is sent goes over the replica's own
//! connection, so it counts as the replica's.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bellhop_api::keys;
use bellhop_apiserver::{ClientService, ResponseBody};
use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use kube::client::Body;
use serde_json::{Value, json};
use tower::Service;

use super::Planted;

/// How often a write is sent by a replica that writes in a loop.
const TIMES: usize = 100;

/// Renewals of the Lease after which a leader that never yields renews no more.
const RENEWALS: u32 = 30;

/// How long a replica that believes its Lease waits for the server. The program itself waits for a second.
const PATIENCE: Duration = Duration::from_millis(500);

/// Renewals of the Lease from one rebalancing to the next.
const REBALANCES_EVERY: u32 = 10;

/// An address that is in no pool of any scenario (RFC 5737, documentation).
const ELSEWHERE: &str = "203.0.113.77";

/// Where a Service has its address.
const ADDRESS: &str = "/status/loadBalancer/ingress/0/ip";

type Answer = io::Result<Response<ResponseBody>>;

/// A client's service with a bug in it.
#[derive(Clone)]
pub(super) struct PlantedService {
    bug: Planted,
    inner: ClientService,
    /// The replica's name on the Lease.
    identity: String,
    memory: Arc<Mutex<Memory>>,
}

/// What one replica remembers of the API.
#[derive(Default)]
struct Memory {
    /// The first address that was written.
    address: Option<Value>,
    /// By the path of its Service, what it meant to write: it reads that back, or it would see that something is wrong.
    meant: BTreeMap<String, Value>,
    /// Writes of the Lease that were granted.
    renewals: u32,
}

impl PlantedService {
    pub(super) fn new(bug: Planted, inner: ClientService, identity: &str) -> Self {
        Self { bug, inner, identity: identity.to_owned(), memory: Arc::default() }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(mut self, request: Request<Body>) -> Answer {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.map_err(io::Error::other)?;
        let path = parts.uri.path().to_owned();
        let writes = parts.method != Method::GET;
        let renews = parts.method == Method::PUT && is_lease(&path);
        let service = parts.method == Method::PATCH && path.contains("/services/");
        match self.bug {
            Planted::OneAddressForAll | Planted::AddressFromElsewhere if service && path.ends_with("/status") => {
                let body = self.with_another_address(path.trim_end_matches("/status"), &body);
                let answer = self.send(&parts, body).await?;
                Ok(answer.map(|body| self.with_what_it_meant(body)))
            }
            Planted::OneAddressForAll | Planted::AddressFromElsewhere if path.contains("/services") => {
                let answer = self.send(&parts, body).await?;
                Ok(answer.map(|body| self.with_what_it_meant(body)))
            }
            Planted::RecordsInItsMind if writes && path.contains("/eips/") && path.ends_with("/status") => granted(body),
            Planted::WritesInALoop if writes => {
                let first = self.send(&parts, body.clone()).await;
                for _ in 1..TIMES {
                    // What came of the others nobody asks.
                    _ = self.send(&parts, body.clone()).await;
                }
                first
            }
            Planted::TidiesUp if service && !path.ends_with("/status") => {
                let body = self.without_what_users_annotated(&path, body).await?;
                self.send(&parts, body).await
            }
            Planted::BelievesItsLease if renews => match tokio::time::timeout(PATIENCE, self.send(&parts, body.clone())).await {
                Ok(Ok(answer)) => Ok(answer),
                // It failed, or nothing came back.
                Ok(Err(_)) | Err(_) => granted(body),
            },
            Planted::NeverYields if renews && self.memory().renewals >= RENEWALS => granted(body),
            Planted::NeverYields if !writes && is_lease(&path) => {
                let answer = self.send(&parts, body).await?;
                Ok(answer.map(|body| self.with_its_own_name(body)))
            }
            Planted::NeverYields | Planted::Rebalances if renews => {
                let answer = self.send(&parts, body).await?;
                let renewals = {
                    let mut memory = self.memory();
                    memory.renewals += u32::from(answer.status().is_success());
                    memory.renewals
                };
                if self.bug == Planted::Rebalances && renewals.is_multiple_of(REBALANCES_EVERY) {
                    self.rebalance().await?;
                }
                Ok(answer)
            }
            _ => self.send(&parts, body).await,
        }
    }

    /// Sends a request on, or again.
    async fn send(&mut self, parts: &Parts, body: Bytes) -> Answer {
        self.inner.call(Request::from_parts(parts.clone(), Body::from(body.to_vec()))).await
    }

    /// Sends a request of its own, and reads the answer; null where there is none.
    async fn ask(&mut self, method: Method, path: &str, body: &Value) -> io::Result<Value> {
        let request = Request::builder().method(method).uri(path).header(http::header::CONTENT_TYPE, "application/merge-patch+json");
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let answer = self.inner.call(request.body(Body::from(body)).map_err(io::Error::other)?).await?;
        let bytes = answer.into_body().collect().await?.to_bytes();
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// A patch of a Service's status, with an address that is not what was decided.
    fn with_another_address(&self, path: &str, body: &Bytes) -> Bytes {
        let mut patch: Value = serde_json::from_slice(body).unwrap_or_default();
        if let Some(address) = patch.pointer_mut(ADDRESS) {
            let mut memory = self.memory();
            memory.meant.insert(path.to_owned(), address.clone());
            *address = match self.bug {
                Planted::OneAddressForAll => memory.address.get_or_insert_with(|| address.clone()).clone(),
                _ => json!(ELSEWHERE),
            };
        }
        patch.to_string().into()
    }

    /// The Services in an answer as it meant them to be: one, all of a list, or one in each line of a watch.
    fn with_what_it_meant(&self, body: ResponseBody) -> ResponseBody {
        let service = self.clone();
        let corrected = move |bytes: Bytes| {
            let mut text = String::new();
            for value in serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>() {
                let Ok(mut value) = value else { return bytes };
                service.correct(&mut value);
                value.get_mut("object").into_iter().for_each(|object| service.correct(object));
                value.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten().for_each(|item| service.correct(item));
                text.push_str(&value.to_string());
                text.push('\n');
            }
            text.into()
        };
        body.map_frame(move |frame| frame.map_data(&corrected)).boxed_unsync()
    }

    fn correct(&self, object: &mut Value) {
        let name = |key: &str| object["metadata"][key].as_str().unwrap_or_default();
        let path = format!("/api/v1/namespaces/{}/services/{}", name("namespace"), name("name"));
        if let (Some(meant), Some(address)) = (self.memory().meant.get(&path), object.pointer_mut(ADDRESS)) {
            *address = meant.clone();
        }
    }

    /// A patch of a Service that takes off every annotation that is no load balancer's.
    async fn without_what_users_annotated(&mut self, path: &str, body: Bytes) -> io::Result<Bytes> {
        let object = self.ask(Method::GET, path, &Value::Null).await?;
        let mut patch: Value = serde_json::from_slice(&body).unwrap_or_default();
        let present = object["metadata"]["annotations"].as_object();
        for key in present.into_iter().flat_map(|annotations| annotations.keys()).filter(|key| !key.contains("kubesphere.io")) {
            patch["metadata"]["annotations"][key] = Value::Null;
        }
        Ok(patch.to_string().into())
    }

    /// Gives the first Service that a node carries to the node after it.
    async fn rebalance(&mut self) -> io::Result<()> {
        let nodes = self.ask(Method::GET, "/api/v1/nodes", &Value::Null).await?;
        let services = self.ask(Method::GET, "/api/v1/services", &Value::Null).await?;
        let carrier = |service: &Value| service["metadata"]["annotations"][keys::NODE_ANNOTATION].as_str().map(str::to_owned);
        let Some((service, node)) =
            services["items"].as_array().into_iter().flatten().find_map(|service| Some((service, carrier(service)?)))
        else {
            return Ok(());
        };
        let names: Vec<&str> =
            nodes["items"].as_array().into_iter().flatten().filter_map(|node| node["metadata"]["name"].as_str()).collect();
        let Some(at) = names.iter().position(|name| *name == node) else { return Ok(()) };
        let next = names[(at + 1) % names.len()];
        let name = |key: &str| service["metadata"][key].as_str().unwrap_or_default().to_owned();
        let path = format!("/api/v1/namespaces/{}/services/{}", name("namespace"), name("name"));
        self.ask(Method::PATCH, &path, &json!({"metadata": {"annotations": {(keys::NODE_ANNOTATION): next}}})).await.map(drop)
    }

    /// Every Lease in an answer has its own name on it, once it has begun to renew in its mind alone.
    fn with_its_own_name(&self, body: ResponseBody) -> ResponseBody {
        let service = self.clone();
        let rewritten = move |bytes: Bytes| {
            if service.memory().renewals < RENEWALS {
                return bytes;
            }
            let text = String::from_utf8_lossy(&bytes);
            let key = "\"holderIdentity\":\"";
            let Some((before, after)) = text.split_once(key) else { return bytes };
            let after = after.split_once('"').map_or("", |(_, after)| after);
            format!("{before}{key}{}\"{after}", service.identity).into()
        };
        body.map_frame(move |frame| frame.map_data(&rewritten)).boxed_unsync()
    }
}

impl Service<Request<Body>> for PlantedService {
    type Response = Response<ResponseBody>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().answer(request))
    }
}

/// Whether a path is the Lease's, or that of all Leases beside it.
fn is_lease(path: &str) -> bool {
    path.contains("/leases")
}

/// What the server would have answered.
fn granted(body: Bytes) -> Answer {
    let body = Full::new(body).map_err(|never| match never {}).boxed_unsync();
    Response::builder().header(http::header::CONTENT_TYPE, "application/json").body(body).map_err(io::Error::other)
}
