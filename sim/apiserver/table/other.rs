//! Cells of Events, EndpointSlices, Leases and role bindings.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{age, created, name, shortened};
use crate::object::{at, list, number, text};

/// `printEvent`, for both shapes of Events.
pub(super) fn event(object: &Value, now: Timestamp) -> Vec<Value> {
    let is_core = text(object, &["apiVersion"]) == "v1";
    let converted;
    let event = if is_core {
        object
    } else {
        converted = crate::events::to_core(object.clone());
        &converted
    };
    let ago = |path: &[&str]| Some(text(event, path)).filter(|time| !time.is_empty()).map(|time| age::since(time, now));
    let unknown = || "<unknown>".to_owned();
    let first = ago(&["firstTimestamp"]).or_else(|| ago(&["eventTime"])).unwrap_or_else(unknown);
    let mut last = ago(&["lastTimestamp"]).unwrap_or_else(|| first.clone());
    let mut count = number(event, &["count"]).filter(|count| *count > 0).unwrap_or(1);
    if at(event, &["series"]).is_some() {
        last = ago(&["series", "lastObservedTime"]).unwrap_or_else(unknown);
        count = number(event, &["series", "count"]).unwrap_or(0);
    }
    let kind = text(event, &["involvedObject", "kind"]).to_lowercase();
    let target = match text(event, &["involvedObject", "name"]) {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    vec![
        json!(last),
        json!(text(event, &["type"])),
        json!(text(event, &["reason"])),
        json!(target),
        json!(text(event, &["involvedObject", "fieldPath"])),
        json!(source(event)),
        json!(text(event, &["message"]).trim()),
        json!(first),
        json!(count),
        name(event),
    ]
}

fn source(event: &Value) -> String {
    let (component, host) = (text(event, &["source", "component"]), text(event, &["source", "host"]));
    let (component, host) =
        if component.is_empty() { (text(event, &["reportingComponent"]), text(event, &["reportingInstance"])) } else { (component, host) };
    if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") }
}

/// `printEndpointSlice`.
pub(super) fn endpoint_slice(object: &Value, now: Timestamp) -> Vec<Value> {
    let port = |port: &Value| number(port, &["port"]).map_or_else(|| "*".to_owned(), |port| port.to_string());
    let ports: Vec<String> = list(object, &["ports"]).iter().map(port).collect();
    let addresses = list(object, &["endpoints"]).iter().flat_map(|endpoint| list(endpoint, &["addresses"]));
    let addresses: Vec<String> = addresses.filter_map(Value::as_str).map(str::to_owned).collect();
    let shown = |items: &[String]| if items.is_empty() { json!("<unset>") } else { json!(shortened(items, ",")) };
    vec![name(object), json!(text(object, &["addressType"])), shown(&ports), shown(&addresses), created(object, now)]
}

/// `printLease`.
pub(super) fn lease(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), json!(text(object, &["spec", "holderIdentity"])), created(object, now)]
}

/// `printRoleBinding` and `printClusterRoleBinding`.
pub(super) fn role_binding(object: &Value, now: Timestamp) -> Vec<Value> {
    let role = format!("{}/{}", text(object, &["roleRef", "kind"]), text(object, &["roleRef", "name"]));
    let subjects = |kind: &str| {
        let named = |subject: &Value| match text(subject, &["namespace"]) {
            "" => text(subject, &["name"]).to_owned(),
            namespace => format!("{namespace}/{}", text(subject, &["name"])),
        };
        json!(list(object, &["subjects"]).iter().filter(|subject| subject["kind"] == kind).map(named).collect::<Vec<_>>().join(", "))
    };
    vec![name(object), json!(role), created(object, now), subjects("User"), subjects("Group"), subjects("ServiceAccount")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_shows_when_it_was_last_seen_and_what_it_is_about() {
        let now = "2026-01-01T00:01:00Z".parse().expect("a time");
        let event = json!({
            "apiVersion": "v1", "metadata": {"name": "e"}, "involvedObject": {"kind": "Service", "name": "web"}, "reason": "Assigned", "type": "Normal",
            "message": "got an address\n", "eventTime": "2026-01-01T00:00:00Z", "series": {"count": 3, "lastObservedTime": "2026-01-01T00:00:50Z"},
        });
        let cells = super::event(&event, now);
        assert_eq!(cells[..4], [json!("10s"), json!("Normal"), json!("Assigned"), json!("service/web")]);
        assert_eq!((&cells[6], &cells[8]), (&json!("got an address"), &json!(3)));
    }
}
