//! Watches one kind of object at the API server itself, past the relays: the judge goes on seeing when an API server "is away".
//!
//! Lists, then watches from there; when that ends, again. What vanished in between is told by comparing with what was known.

use std::collections::BTreeSet;
use std::io::{self, BufRead, Read};
use std::net::SocketAddr;
use std::time::Duration;

use bellhop_scenario::Seen;
use serde_json::Value;

use crate::clock::Reporter;
use crate::http;

/// Before the next try when a list fails, as it does for a kind whose CRD is not there yet.
const PAUSE: Duration = Duration::from_millis(200);

/// One kind's watch.
struct Watch {
    server: SocketAddr,
    api_version: String,
    kind: String,
    report: Reporter,
    /// Namespace and name of what is there.
    known: BTreeSet<(Option<String>, String)>,
}

/// Watches in a thread of its own, to the end of the process.
pub(crate) fn watch(server: SocketAddr, api_version: &str, kind: &str, report: Reporter) {
    let mut watch = Watch { server, api_version: api_version.to_owned(), kind: kind.to_owned(), report, known: BTreeSet::new() };
    watch.report.looks.opens(&watch.kind);
    std::thread::spawn(move || {
        loop {
            // The end of a watch is nothing special: the next list says what was missed. A list that fails is.
            match watch.list() {
                Ok(version) => {
                    watch.report.looks.sees(&watch.kind);
                    let _ = watch.follow(&version);
                }
                Err(error) => watch.report.looks.fails(&watch.kind, error),
            }
            std::thread::sleep(PAUSE);
        }
    });
}

/// One object, or a list, as of now.
pub(crate) fn read(server: SocketAddr, path: &str) -> io::Result<Value> {
    let (status, mut body) = http::get(server, path, Some(Duration::from_secs(5)))?;
    let mut text = String::new();
    body.read_to_string(&mut text)?;
    if status == 200 { Ok(serde_json::from_str(&text)?) } else { Err(io::Error::other(format!("{path}: status {status}"))) }
}

/// Where a kind's objects are, in all namespaces.
pub(crate) fn path(api_version: &str, kind: &str) -> String {
    let kind = kind.to_ascii_lowercase();
    // "Endpoints" is its own plural; no kind of a scenario ends in y or x.
    let plural = if kind.ends_with('s') { kind } else { format!("{kind}s") };
    let root = if api_version == "v1" { "/api" } else { "/apis" };
    format!("{root}/{api_version}/{plural}")
}

impl Watch {
    /// Everything that is there, and the version to go on from.
    fn list(&mut self) -> io::Result<String> {
        let list = read(self.server, &path(&self.api_version, &self.kind))?;
        let before = std::mem::take(&mut self.known);
        for object in list["items"].as_array().into_iter().flatten() {
            self.seen(object, true);
        }
        for gone in before.difference(&self.known.clone()) {
            self.report.now(self.level(gone.clone(), None));
        }
        Ok(list["metadata"]["resourceVersion"].as_str().unwrap_or("0").to_owned())
    }

    /// What changes from there on, until the watch ends.
    fn follow(&mut self, version: &str) -> io::Result<()> {
        let path = path(&self.api_version, &self.kind);
        let (_, body) = http::get(self.server, &format!("{path}?watch=1&resourceVersion={version}"), None)?;
        for line in body.lines() {
            let event: Value = serde_json::from_str(&line?)?;
            match event["type"].as_str() {
                Some("ADDED" | "MODIFIED") => self.seen(&event["object"], true),
                Some("DELETED") => self.seen(&event["object"], false),
                Some("BOOKMARK") => {}
                _ => break,
            }
        }
        Ok(())
    }

    fn seen(&mut self, object: &Value, is_there: bool) {
        let text = |key: &str| object["metadata"][key].as_str().map(str::to_owned);
        let key = (text("namespace"), text("name").unwrap_or_default());
        let object = is_there.then(|| object.clone());
        if is_there {
            self.known.insert(key.clone());
        } else {
            self.known.remove(&key);
        }
        self.report.now(self.level(key, object));
    }

    fn level(&self, (namespace, name): (Option<String>, String), object: Option<Value>) -> Seen {
        Seen::Object { api_version: self.api_version.clone(), kind: self.kind.clone(), namespace, name, object }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_where_the_api_has_them() {
        assert_eq!(path("v1", "Endpoints"), "/api/v1/endpoints");
        assert_eq!(path("v1", "Service"), "/api/v1/services");
        assert_eq!(path("discovery.k8s.io/v1", "EndpointSlice"), "/apis/discovery.k8s.io/v1/endpointslices");
    }
}
