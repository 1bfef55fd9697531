//! Watches: what happened since a version, then what happens, as one JSON object per line.
//!
//! Follows "Kubernetes API Concepts": a version that is compacted ends the watch with an in-stream 410; an object that leaves the
//! selection is DELETED; bookmarks name the version reached. A watch holds a position in the store's log and is woken by the engine; it
//! buffers nothing, so a slow client grows nothing: it falls out of the log and gets 410. Faults are obeyed here too: a late watch tells each
//! change a drawn time after it was made, never before an earlier one; a silent one tells nothing and breaks when the silence ends.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Sleep;

use crate::ClientName;
use crate::engine::Engine;
use crate::fault::{Fault, Gone};
use crate::registry::Kind;
use crate::request::{Request, ResourcePath};
use crate::selector::Selection;
use crate::server::{ApiServer, ResponseBody};
use crate::status::{ApiError, FieldError};
use crate::store::{Change, Compacted};
use crate::{object, read, table};

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
    let fault = engine.faults.of(&request.client).unwrap_or_default();
    let current = engine.visible_revision(&request.client);
    let asked: u64 = if version.is_empty() {
        0
    } else {
        let why = || format!("resourceVersion: Invalid value: {version:?}: strconv.ParseUint: parsing {version:?}: invalid syntax");
        version.parse().map_err(|_| ApiError::plain(why()))?
    };
    if asked > engine.store.revision() {
        return Err(ApiError::too_large_resource_version(asked, current));
    }
    let resumes = initial == Initial::Nothing && asked < current;
    let too_old = || ApiError::expired(format!("too old resource version: {asked} ({current})"));
    if resumes && fault.gone == Some(Gone::Http) {
        return Err(too_old());
    }
    let state = initial == Initial::State || initial == Initial::StateAndBookmark;
    let objects = if state { state_at(engine, kind, path, current)? } else { Vec::new() };
    let timeout = Duration::from_secs(query.number("timeoutSeconds")?.filter(|seconds| *seconds > 0).unwrap_or(TIMEOUT_DEFAULT_SECONDS));
    let (id, wake) = engine.register_watch(request.client.clone(), kind.storage.clone());
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
        next_due: None,
        last_due: Timestamp::MIN,
        look_again: None,
        client: request.client.clone(),
        opened: engine.now,
        ends_after_first: false,
        ended: false,
        timeout: Box::pin(tokio::time::sleep(timeout)),
        bookmark: bookmarks.then(|| Box::pin(tokio::time::sleep(BOOKMARK_INTERVAL))),
    };
    if state {
        watch.write_state(&objects, initial == Initial::StateAndBookmark);
    }
    if resumes && fault.gone == Some(Gone::Stream) {
        watch.first = line("ERROR", &too_old().to_status());
        watch.ends_after_first = true;
    }
    let stream = futures::stream::unfold(watch, |mut watch| async move {
        let chunk = watch.next().await?;
        Some((chunk.map(Frame::data), watch))
    });
    let response = Response::builder().header("content-type", "application/json").header("cache-control", "no-cache, private");
    response.body(BodyExt::boxed_unsync(StreamBody::new(stream))).map_err(|error| ApiError::plain(error.to_string()))
}

/// The objects that a watch begins with.
fn state_at(engine: &Engine, kind: &Kind, path: &ResourcePath, revision: u64) -> Result<Vec<Arc<Value>>, ApiError> {
    let namespace = (!path.namespace.is_empty()).then_some(path.namespace.as_str());
    if revision == engine.store.revision() {
        return Ok(engine.store.scan(&kind.storage, namespace).map(|(_, object)| Arc::clone(object)).collect());
    }
    let too_old = |Compacted { oldest }| ApiError::expired(format!("too old resource version: {revision} ({oldest})"));
    Ok(engine.store.at(&kind.storage, namespace, revision).map_err(too_old)?.into_values().collect())
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
    let forbid = |field: &str, detail: &str| Err(ApiError::invalid_options("ListOptions", &FieldError::forbidden(field, detail)));
    let from_any = version.is_empty() || version == "0";
    match (send, rule) {
        (None, "") => Ok(if from_any { Initial::State } else { Initial::Nothing }),
        (None, _) => forbid("resourceVersionMatch", "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"),
        (Some(true), "NotOlderThan") => Ok(if bookmarks { Initial::StateAndBookmark } else { Initial::State }),
        (Some(false), "NotOlderThan") => Ok(Initial::Nothing),
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

/// What a look at the log found.
enum Pending {
    /// To be sent.
    Lines(Vec<u8>),
    /// Nothing yet.
    Nothing,
    /// Nothing, until a silence ends.
    Hung,
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
    /// Nothing comes after it.
    ends_after_first: bool,
    /// The next change to tell by its revision, and when, while the watch is late.
    next_due: Option<(u64, Timestamp)>,
    /// When the last late change was told: none overtakes it.
    last_due: Timestamp,
    /// When to look again if nothing happens before.
    look_again: Option<Timestamp>,
    client: ClientName,
    opened: Timestamp,
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
            let hung = match self.pending() {
                Ok(Pending::Lines(lines)) => return Some(Ok(lines.into())),
                Ok(Pending::Nothing) => false,
                Ok(Pending::Hung) => true,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            };
            if hung {
                self.wake.notified().await;
                continue;
            }
            let bookmark = async {
                match &mut self.bookmark {
                    Some(sleep) => sleep.await,
                    None => std::future::pending().await,
                }
            };
            let (look_again, now) = (self.look_again, self.server.now());
            let look_again = async {
                match look_again {
                    Some(at) => tokio::time::sleep(Duration::try_from(at.duration_since(now)).unwrap_or_default()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.wake.notified() => {}
                () = look_again => {}
                () = &mut self.timeout => return None,
                () = bookmark => {
                    self.bookmark = Some(Box::pin(tokio::time::sleep(BOOKMARK_INTERVAL)));
                    return Some(Ok(self.bookmark_line(self.position, false).into()));
                }
            }
        }
    }

    /// What is to be told now of what happened since the last look; an error when the connection broke.
    fn pending(&mut self) -> io::Result<Pending> {
        let server = self.server.clone();
        let mut engine = server.lock();
        if engine.is_cut(self.id) {
            return Err(io::Error::new(io::ErrorKind::ConnectionReset, "connection reset by peer"));
        }
        if engine.is_hung(self.id) {
            return Ok(Pending::Hung);
        }
        let fault = engine.faults.of(&self.client);
        self.look_again = None;
        if let Some(after) = fault.as_ref().and_then(|fault| fault.cut_watches) {
            let cut_at = self.opened.saturating_add(after).unwrap_or(Timestamp::MAX);
            if server.now() >= cut_at {
                return Err(io::Error::new(io::ErrorKind::ConnectionReset, "connection reset by peer"));
            }
            self.look_again = Some(cut_at);
        }
        let mut lines = std::mem::take(&mut self.first);
        if self.ends_after_first {
            self.ended = true;
            return Ok(Pending::Lines(lines));
        }
        let changes: Vec<Arc<Change>> = match engine.store.changes_after(self.position) {
            Ok(changes) => changes.filter(|change| change.resource == self.kind.storage).cloned().collect(),
            Err(Compacted { oldest }) => {
                self.ended = true;
                let error = ApiError::expired(format!("too old resource version: {} ({oldest})", self.position));
                lines.extend(line("ERROR", &error.to_status()));
                return Ok(Pending::Lines(lines));
            }
        };
        let mut told = changes.len();
        self.position = engine.store.revision();
        if let Some(fault) = fault.filter(|fault| fault.latency.is_some() || fault.stale.is_some()) {
            told = self.due(&mut engine, &fault, &changes);
            if let Some(waiting) = changes.get(told) {
                self.position = waiting.revision - 1;
            }
        }
        drop(engine);
        let namespace = self.namespace.clone();
        for change in changes.iter().take(told).filter(|change| namespace.is_empty() || change.key.namespace == namespace) {
            if let Some((event, object)) = self.event(change) {
                lines.extend(self.event_line(event, &object));
            }
        }
        Ok(if lines.is_empty() { Pending::Nothing } else { Pending::Lines(lines) })
    }

    /// How many of these changes a late watch has told by now. Each has its own draw.
    fn due(&mut self, engine: &mut Engine, fault: &Fault, changes: &[Arc<Change>]) -> usize {
        let now = self.server.now();
        for (index, change) in changes.iter().enumerate() {
            let due = match self.next_due {
                Some((revision, due)) if revision == change.revision => due,
                _ => {
                    let drawn = fault.latency.map(|latency| engine.faults.draw_lateness(&self.client, latency)).unwrap_or_default();
                    let late = drawn + fault.stale.unwrap_or_default();
                    change.at.saturating_add(late).unwrap_or(Timestamp::MAX).max(self.last_due)
                }
            };
            if due > now {
                self.next_due = Some((change.revision, due));
                self.look_again = Some(self.look_again.map_or(due, |at| at.min(due)));
                return index;
            }
            self.last_due = due;
            self.next_due = None;
        }
        changes.len()
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

    fn write_state(&mut self, objects: &[Arc<Value>], with_bookmark: bool) {
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
    object::write_json(&mut line, object);
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
