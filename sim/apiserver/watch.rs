//! Watches: what happened since a version, then what happens, as one JSON object per line.
//!
//! Follows "Kubernetes API Concepts": a version that is compacted ends the watch with an in-stream 410; an object that leaves the
//! selection is DELETED; bookmarks name the version reached. A watch holds a position in the store's log and is woken by the engine; it
//! buffers nothing, so a slow client grows nothing: it falls out of the log and gets 410.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Sleep;

use crate::engine::Engine;
use crate::registry::Kind;
use crate::request::{Request, ResourcePath};
use crate::selector::Selection;
use crate::server::{ApiServer, ResponseBody};
use crate::status::{ApiError, FieldError};
use crate::store::{Change, Compacted};
use crate::{read, table};

/// The watch cache's bookmark frequency.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// kube-apiserver's `--min-request-timeout`; a real one adds a random part to spread its clients.
const TIMEOUT_DEFAULT_SECONDS: u64 = 1800;

/// Starts a watch: checks what can be refused at once, everything else is said in the stream.
pub(crate) fn start(
    server: &ApiServer,
    engine: &mut Engine,
    kind: &Arc<Kind>,
    path: &ResourcePath,
    request: &Request,
) -> Result<Response<ResponseBody>, ApiError> {
    let query = &request.query;
    let mut fields = query.get("fieldSelector").to_owned();
    if !path.name.is_empty() {
        // The old way of watching one object.
        fields = format!("metadata.name={}", path.name);
    }
    let selection = Selection::parse(kind, query.get("labelSelector"), &fields)?;
    let bookmarks = query.flag("allowWatchBookmarks").unwrap_or(false);
    let version = query.get("resourceVersion");
    let initial = initial_events(query.flag("sendInitialEvents"), query.get("resourceVersionMatch"), bookmarks, version)?;
    let current = engine.store.revision();
    let asked: u64 = if version.is_empty() {
        0
    } else {
        version.parse().map_err(|_| ApiError::bad_request(format!("Invalid value: {version:?}: invalid resource version")))?
    };
    if asked > current {
        return Err(ApiError::too_large_resource_version(asked, current));
    }
    let timeout = Duration::from_secs(query.number("timeoutSeconds")?.filter(|seconds| *seconds > 0).unwrap_or(TIMEOUT_DEFAULT_SECONDS));
    let (id, wake) = engine.register_watch(request.client.clone(), kind.storage.clone());
    let state = initial == Initial::State || initial == Initial::StateAndBookmark;
    let mut watch = Watch {
        server: server.clone(),
        id,
        wake,
        kind: Arc::clone(kind),
        namespace: path.namespace.clone(),
        selection,
        form: Form {
            table: request.wants_table(),
            partial: request.wants_partial_metadata(),
            include: query.get("includeObject").to_owned(),
            columns_sent: false,
        },
        position: if state { current } else { asked },
        first: Vec::new(),
        ended: false,
        timeout: Box::pin(tokio::time::sleep(timeout)),
        bookmark: bookmarks.then(|| Box::pin(tokio::time::sleep(BOOKMARK_INTERVAL))),
    };
    if state {
        watch.write_state(engine, initial == Initial::StateAndBookmark);
    }
    let stream = futures::stream::unfold(watch, |mut watch| async move {
        let chunk = watch.next().await?;
        Some((chunk.map(Frame::data), watch))
    });
    let response = Response::builder().header("content-type", "application/json").header("cache-control", "no-cache, private");
    response.body(BodyExt::boxed_unsync(StreamBody::new(stream))).map_err(|error| ApiError::plain(error.to_string()))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Initial {
    /// Nothing: changes after the version.
    Nothing,
    /// The state as ADDED events ("get state and start at any").
    State,
    /// The state, then the bookmark that ends it.
    StateAndBookmark,
}

fn initial_events(send: Option<bool>, rule: &str, bookmarks: bool, version: &str) -> Result<Initial, ApiError> {
    let forbid = |field: &str, detail: &str| {
        let error = FieldError::forbidden(field, detail);
        let mut invalid = ApiError::bad_request(format!("ListOptions.meta.k8s.io \"\" is invalid: {}", error.sentence()));
        (invalid.code, invalid.reason) = (422, "Invalid");
        Err(invalid)
    };
    let from_any = version.is_empty() || version == "0";
    match (send, rule) {
        (None, "") => Ok(if from_any { Initial::State } else { Initial::Nothing }),
        (None, _) => forbid("resourceVersionMatch", "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"),
        (Some(_), "NotOlderThan") if bookmarks || send == Some(false) => {
            Ok(if send == Some(true) { Initial::StateAndBookmark } else { Initial::Nothing })
        }
        (Some(_), "NotOlderThan") => forbid("allowWatchBookmarks", "sendInitialEvents requires setting allowWatchBookmarks to true"),
        (Some(_), _) => forbid("resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
    }
}

/// How events are written for this client.
struct Form {
    table: bool,
    partial: bool,
    include: String,
    /// Only the first table of a watch carries its columns.
    columns_sent: bool,
}

struct Watch {
    server: ApiServer,
    id: u64,
    wake: Arc<Notify>,
    kind: Arc<Kind>,
    namespace: String,
    selection: Selection,
    form: Form,
    /// Everything up to this revision is sent.
    position: u64,
    /// The initial state, not yet sent.
    first: Vec<u8>,
    ended: bool,
    timeout: Pin<Box<Sleep>>,
    bookmark: Option<Pin<Box<Sleep>>>,
}

impl Watch {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            if self.ended {
                return None;
            }
            match self.pending() {
                Ok(lines) if lines.is_empty() => {}
                Ok(lines) => return Some(Ok(lines.into())),
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
            let bookmark = async {
                match &mut self.bookmark {
                    Some(sleep) => sleep.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.wake.notified() => {}
                () = &mut self.timeout => return None,
                () = bookmark => {
                    self.bookmark = Some(Box::pin(tokio::time::sleep(BOOKMARK_INTERVAL)));
                    return Some(Ok(self.bookmark_line(self.position, false).into()));
                }
            }
        }
    }

    /// What happened since the last look; an error when this client was cut off.
    fn pending(&mut self) -> io::Result<Vec<u8>> {
        let server = self.server.clone();
        let engine = server.lock();
        if engine.is_cut(self.id) {
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, "connection reset by peer"));
        }
        let mut lines = std::mem::take(&mut self.first);
        let changes: Vec<Arc<Change>> = match engine.store.changes_after(self.position) {
            Ok(changes) => changes.filter(|change| change.resource == self.kind.storage).cloned().collect(),
            Err(Compacted { oldest }) => {
                self.ended = true;
                let error = ApiError::expired(format!("too old resource version: {} ({oldest})", self.position));
                lines.extend(line("ERROR", &error.to_status()));
                return Ok(lines);
            }
        };
        self.position = engine.store.revision();
        drop(engine);
        let namespace = self.namespace.clone();
        for change in changes.iter().filter(|change| namespace.is_empty() || change.key.namespace == namespace) {
            if let Some((event, object)) = self.event(change) {
                lines.extend(self.event_line(event, &object));
            }
        }
        Ok(lines)
    }

    /// What a change is to this selection.
    fn event(&self, change: &Change) -> Option<(&'static str, Arc<Value>)> {
        let before = change.before.as_ref().is_some_and(|object| self.selection.matches(object));
        let after = !change.deleted && self.selection.matches(&change.object);
        match (before, after) {
            (false, true) => Some(("ADDED", Arc::clone(&change.object))),
            (true, true) => Some(("MODIFIED", Arc::clone(&change.object))),
            (false, false) => None,
            (true, false) if change.deleted => Some(("DELETED", Arc::clone(&change.object))),
            (true, false) => {
                // It left the selection: the last state that was in it, at this revision.
                let mut last = Value::clone(change.before.as_ref()?);
                last["metadata"]["resourceVersion"] = json!(change.revision.to_string());
                Some(("DELETED", Arc::new(last)))
            }
        }
    }

    fn write_state(&mut self, engine: &Engine, with_bookmark: bool) {
        let kind = Arc::clone(&self.kind);
        let namespace = self.namespace.clone();
        let namespace = (!namespace.is_empty()).then_some(namespace.as_str());
        let objects: Vec<_> = engine.store.scan(&kind.storage, namespace).map(|(_, object)| Arc::clone(object)).collect();
        for object in objects.iter().filter(|object| self.selection.matches(object)).cloned().collect::<Vec<_>>() {
            let line = self.event_line("ADDED", &object);
            self.first.extend(line);
        }
        if with_bookmark {
            let line = self.bookmark_line(self.position, true);
            self.first.extend(line);
        }
    }

    fn event_line(&mut self, event: &str, object: &Arc<Value>) -> Vec<u8> {
        let object = read::viewed(&self.kind, Arc::clone(object));
        if self.form.table {
            let mut table = table::of_object(&self.kind, &object, self.server.now(), &self.form.include);
            if std::mem::replace(&mut self.form.columns_sent, true)
                && let Some(map) = table.as_object_mut()
            {
                map.insert("columnDefinitions".to_owned(), Value::Null);
            }
            return line(event, &table);
        }
        if self.form.partial {
            return line(event, &table::partial_metadata(&object));
        }
        line(event, &object)
    }

    fn bookmark_line(&self, revision: u64, ends_initial: bool) -> Vec<u8> {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if ends_initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let bookmark = json!({"kind": self.kind.kind, "apiVersion": self.kind.api_version(), "metadata": metadata});
        if self.form.table {
            let row = json!({"cells": [], "object": bookmark});
            return line(
                "BOOKMARK",
                &json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": revision.to_string()}, "columnDefinitions": null, "rows": [row]}),
            );
        }
        if self.form.partial {
            return line("BOOKMARK", &json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}));
        }
        line("BOOKMARK", &bookmark)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.server.lock().unregister_watch(self.id);
    }
}

fn line(event: &str, object: &Value) -> Vec<u8> {
    let mut line = format!("{{\"type\":\"{event}\",\"object\":").into_bytes();
    line.extend_from_slice(object.to_string().as_bytes());
    line.extend_from_slice(b"}\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streaming_lists_need_bookmarks_and_a_match_rule() {
        assert_eq!(initial_events(Some(true), "NotOlderThan", true, ""), Ok(Initial::StateAndBookmark));
        assert_eq!(initial_events(Some(true), "", true, "").expect_err("no rule").code, 422);
        assert_eq!(initial_events(None, "", false, "0"), Ok(Initial::State));
        assert_eq!(initial_events(None, "", false, "7"), Ok(Initial::Nothing));
    }

    #[test]
    fn an_event_line_is_one_json_object() {
        let text = String::from_utf8(line("ADDED", &json!({"a": ""}))).expect("JSON is text");
        assert_eq!(text, "{\"type\":\"ADDED\",\"object\":{\"a\":\"\"}}\n");
    }
}
