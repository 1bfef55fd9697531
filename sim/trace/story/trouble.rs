//! What is wrong at a moment: faults that are on, and requests to the API that fail.

use std::collections::BTreeMap;

use bellhop_core::time::Instant;

use super::Refused;
use crate::trace::record::{Action, Record, Request, What};

/// Faults that are on.
#[derive(Default)]
pub(super) struct Faults {
    pub(super) on: Vec<(Instant, Action)>,
}

/// What ends what.
const ENDS: [(&str, &[&str]); 4] = [
    ("power-on", &["power-off"]),
    ("nic-up", &["nic-down"]),
    ("start-bellhop", &["kill-bellhop", "stop-bellhop"]),
    ("api-up", &["api-down"]),
];
/// What people type and what is over at once; everything else lasts until something ends it.
const NO_FAULTS: [&str; 7] = ["run", "edit", "ping", "curl", "restart-bellhop", "set-mac", "die-at-write"];

impl Faults {
    pub(super) fn add(&mut self, record: &Record) {
        match &record.what {
            What::Action(action) => match ENDS.iter().find(|(kind, _)| *kind == action.kind) {
                Some((_, ended)) => self.on.retain(|(_, on)| !(ended.contains(&on.kind.as_str()) && on.machine == action.machine)),
                None if NO_FAULTS.contains(&action.kind.as_str()) => {}
                None => self.on.push((record.at, action.clone())),
            },
            What::FaultOver { words } => {
                // The oldest of this name.
                if let Some(index) = self.on.iter().position(|(_, on)| on.words.contains(words.as_str())) {
                    self.on.remove(index);
                }
            }
            _ => {}
        }
    }
}

/// Requests to the API that fail.
#[derive(Default)]
pub(super) struct Requests {
    pub(super) refused: BTreeMap<String, Refused>,
}

impl Requests {
    pub(super) fn add(&mut self, record: &Record) {
        let What::Request(Request { client, outcome, .. }) = &record.what else { return };
        // A conflict or an object that is not there is an answer like any other; these say that the server is not well.
        let is_failure = outcome.parse::<u16>().map_or(true, |status| status == 429 || status >= 500);
        if !is_failure {
            self.refused.remove(client);
            return;
        }
        let refused = self.refused.entry(client.clone()).or_insert(Refused { since: record.at, count: 0, outcome: String::new() });
        refused.count += 1;
        refused.outcome.clone_from(outcome);
    }
}
