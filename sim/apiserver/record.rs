//! What is told of requests and writes to those who observe the server.
//!
//! A [`WriteRecord`] is a change of an object; a [`RequestRecord`] is one request, also one that was refused, changed nothing or was never
//! answered. Both are told while the request is in hand, in the order in which the server meets them.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::ClientName;
use crate::request::{Request, ResourcePath};

/// One write that took effect. Writes that changed nothing are none, as in a real API server.
#[derive(Debug, Clone)]
pub struct WriteRecord {
    /// Who wrote; `garbage-collector` and `etcd-lease` are the server's own.
    pub client: ClientName,
    /// `create`, `update`, `patch`, `delete`, or `expire` for Events.
    pub verb: &'static str,
    /// Resource with its group: `services`, `deployments.apps`.
    pub resource: String,
    /// `status`, `scale`, …; empty for the object itself.
    pub subresource: String,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The revision of this write.
    pub resource_version: u64,
    /// When, by the server's clock.
    pub time: Timestamp,
    /// The object is gone after this write.
    pub deleted: bool,
    /// The object after the write; the last state of a deleted one.
    pub object: Arc<Value>,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRecord {
    /// Who asked.
    pub client: ClientName,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, as RBAC names them.
    pub verb: &'static str,
    /// Resource with its group, as the path spells it: `services`, `deployments.apps`; the path itself where it names none.
    pub resource: String,
    /// `status`, `scale`, …; empty for the object itself.
    pub subresource: String,
    /// Empty for cluster scope and for all namespaces.
    pub namespace: String,
    /// Empty for a collection, and for a creation that was refused before it had a name.
    pub name: String,
    /// When the server met it, by its clock.
    pub time: Timestamp,
    /// What became of it.
    pub outcome: Outcome,
    /// Whether it changed anything.
    pub changed: bool,
}

/// What became of a request, as the server knows it. An answer may still be lost behind the server, where a connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered with this HTTP status.
    Answered(u16),
    /// It was handled, and the answer of this status was lost.
    AnswerLost(u16),
    /// It did not reach the server.
    Unreachable,
}

impl RequestRecord {
    /// Whether it asked for a change, be that granted or not.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb, "get" | "list" | "watch")
    }
}

/// What a request is about.
pub(crate) struct Subject {
    pub(crate) verb: &'static str,
    pub(crate) resource: String,
    pub(crate) subresource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Subject {
    /// As its path and query say.
    pub(crate) fn of(request: &Request) -> Self {
        let path = ResourcePath::parse(&request.path);
        let one = path.as_ref().is_some_and(|path| !path.name.is_empty());
        let watching = request.query.flag("watch").unwrap_or(false);
        let verb = match (request.method.as_str(), one) {
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", true) => "delete",
            ("DELETE", false) => "deletecollection",
            _ if watching => "watch",
            (_, false) if path.is_some() => "list",
            _ => "get",
        };
        let Some(ResourcePath { group, namespace, plural, name, subresource, .. }) = path else {
            let nothing = String::new;
            return Self { verb, resource: request.path.clone(), subresource: nothing(), namespace: nothing(), name: nothing() };
        };
        let resource = if group.is_empty() { plural } else { format!("{plural}.{group}") };
        Self { verb, resource, subresource, namespace, name }
    }
}
