//! Events are stored once, as core/v1, and served in two shapes: core/v1 and events.k8s.io/v1.
//!
//! The renaming is that of kubernetes `pkg/apis/events/v1/conversion.go`. Events are forgotten an hour after their last write, as
//! kube-apiserver's `--event-ttl` has it; time passes only when a request comes in.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::engine::{Actor, Engine};
use crate::registry;
use crate::store::ObjectKey;
use crate::{ClientName, object};

/// kube-apiserver's default `--event-ttl`.
const EVENT_TTL: SignedDuration = SignedDuration::from_hours(1);

/// core/v1 name, events.k8s.io/v1 name.
const RENAMED: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// A stored Event in the shape of events.k8s.io/v1.
pub(crate) fn to_events_v1(event: &Value) -> Value {
    let mut event = rename(event.clone(), "events.k8s.io/v1", RENAMED);
    if let Some(map) = event.as_object_mut() {
        // Here they are left out where they are empty; in core/v1 they are not.
        map.retain(|key, value| !(matches!(key.as_str(), "reportingController" | "reportingInstance") && value == ""));
    }
    event
}

/// An events.k8s.io/v1 Event as it is stored.
pub(crate) fn to_core(event: Value) -> Value {
    rename(event, "v1", RENAMED.map(|(core, events)| (events, core)))
}

fn rename(mut event: Value, api_version: &str, names: [(&str, &str); 7]) -> Value {
    let Some(map) = event.as_object_mut() else { return event };
    for (from, to) in names {
        if let Some(value) = map.remove(from) {
            map.insert(to.to_owned(), value);
        }
    }
    map.insert("apiVersion".to_owned(), api_version.into());
    event
}

/// Notes when a just written Event will be forgotten.
pub(crate) fn schedule_expiry(engine: &mut Engine, key: &ObjectKey, revision: u64) {
    let due = engine.now.saturating_add(EVENT_TTL).unwrap_or(Timestamp::MAX);
    engine.event_expiry.push_back((due, key.clone(), revision));
}

/// Removes the Events whose time is over.
pub(crate) fn expire(engine: &mut Engine) {
    let Some(events) = registry::builtin("", "v1", "events") else { return };
    let actor = Actor { client: ClientName::from("etcd-lease"), verb: "expire", subresource: String::new() };
    while let Some((due, key, revision)) = engine.event_expiry.front().cloned() {
        if due > engine.now {
            return;
        }
        engine.event_expiry.pop_front();
        // A later write has its own, later entry.
        let unchanged =
            engine.store.get(&events.storage, &key).is_some_and(|event| object::resource_version(event) == revision.to_string());
        if unchanged {
            engine.remove(&actor, &events, &key);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_survives_the_way_there_and_back() {
        let event =
            json!({"apiVersion": "events.k8s.io/v1", "note": "moved", "regarding": {"name": "web"}, "reportingController": "bellhop"});
        let stored = to_core(event.clone());
        assert_eq!((&stored["message"], &stored["involvedObject"]["name"]), (&json!("moved"), &json!("web")));
        assert_eq!(to_events_v1(&stored), event);
    }
}
