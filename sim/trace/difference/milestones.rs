//! What matters of a run, as far as another run can be held against it: who has which address, who carries and who leads, what broke.
//!
//! Two seeds part at once, by a latency or a uid. Whether anybody would notice is told by these, without their times.

use std::time::Duration;

use bellhop_api::keys;
use bellhop_core::time::Instant;
use serde_json::Value;

use crate::trace::header::Header;
use crate::trace::record::{Record, What, Write};
use crate::trace::words::{moment, words};

/// Milestones of one run that are remembered: far more than any scenario has.
const REMEMBERED: usize = 100_000;

/// The milestones of one run, in order.
#[derive(Clone, Default)]
pub(super) struct Milestones(Vec<(Instant, String)>);

impl Milestones {
    /// Takes a record in, if it is one.
    pub(super) fn add(&mut self, header: &Header, record: &Record) {
        let told = match &record.what {
            What::Write(write) => written(write),
            What::Program { program, .. } if !program.starts_with("bellhop ") => None,
            What::Link { .. }
            | What::Power { .. }
            | What::Frozen { .. }
            | What::Mac { .. }
            | What::Claim { .. }
            | What::Tree { .. }
            | What::Action(_)
            | What::FaultOver { .. }
            | What::Program { .. }
            | What::Broken { .. } => Some(words(header, record)),
            _ => None,
        };
        if self.0.len() < REMEMBERED {
            self.0.extend(told.map(|told| (record.at, told)));
        }
    }

    /// What of this run is otherwise in another, in a few lines.
    pub(super) fn against(&self, other: &Self, zero: Instant) -> Vec<String> {
        let shown = |(at, told): &(Instant, String)| format!("{} {told}", moment(zero, *at));
        let (one, two) = (&self.0, &other.0);
        let same = one.iter().zip(two).take_while(|((_, one), (_, two))| one == two).count();
        if same == one.len() && same == two.len() {
            let apart = one.iter().zip(two).map(|((one, _), (two, _))| Duration::from_nanos(one.as_nanos().abs_diff(two.as_nanos())));
            let most = bellhop_scenario::duration::words(apart.max().unwrap_or_default());
            return vec![format!("all {same} are the same in both, at most {most} apart")];
        }
        let side = |mark: &str, of: &[(Instant, String)]| {
            let next = of.get(same).map_or_else(|| "nothing more".to_owned(), shown);
            format!("{mark} {next}")
        };
        let mut lines = vec![format!("{same} are the same in both; then")];
        lines.push(side("<", one));
        lines.push(side(">", two));
        lines
    }
}

/// What a write changes of what matters.
fn written(write: &Write) -> Option<String> {
    let before = write.before.as_deref().unwrap_or(&Value::Null);
    let after = if write.deleted { &Value::Null } else { write.after.as_ref() };
    let (name, was, is) = match write.object.resource.as_str() {
        "services" => (format!("{}/{}", write.object.namespace, write.object.name), service(before), service(after)),
        "nodes" => (format!("node {}", write.object.name), ready(before), ready(after)),
        "leases.coordination.k8s.io" if write.object.name == keys::LEASE => ("the Lease".to_owned(), holder(before), holder(after)),
        _ => return None,
    };
    (was != is).then(|| format!("{name}: {is}"))
}

fn service(service: &Value) -> String {
    let addresses: Vec<String> = crate::trace::story::ingress(service).iter().map(ToString::to_string).collect();
    if addresses.is_empty() {
        return "no address".to_owned();
    }
    let node = service["metadata"]["annotations"].get(keys::NODE_ANNOTATION).and_then(Value::as_str).unwrap_or("no node");
    format!("{}, carried by {node}", addresses.join(", "))
}

fn ready(node: &Value) -> String {
    let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
    let ready = conditions.find(|condition| condition["type"] == "Ready");
    ready.map_or("not there", |ready| if ready["status"] == "True" { "Ready" } else { "not Ready" }).to_owned()
}

fn holder(lease: &Value) -> String {
    lease["spec"]["holderIdentity"]
        .as_str()
        .filter(|holder| !holder.is_empty())
        .map_or_else(|| "nobody's".to_owned(), |who| format!("{who}'s"))
}
