//! The state of the program for metrics and probes, taken when somebody asks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bellhop_core::frame::DropReason;
use bellhop_core::lease::Role;
use bellhop_core::object::{Kind, Service, Written};
use bellhop_core::replica::Replica;

use crate::jobs::Finished;
use crate::metrics::{Health, PoolUse, Snapshot};
use crate::ports::Ports;

/// What the loop has seen go by that nobody else remembers.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The kinds that have been listed.
    listed: BTreeSet<Kind>,
    /// Those whose watch is broken.
    away: BTreeSet<Kind>,
    /// Writes that ended.
    writes: BTreeMap<(&'static str, &'static str), u64>,
}

impl Seen {
    /// All objects of a kind have been told.
    pub(crate) fn synced(&mut self, kind: Kind) {
        self.listed.insert(kind);
        self.away.remove(&kind);
    }

    /// The watch of a kind is broken.
    pub(crate) fn away(&mut self, kind: Kind) {
        self.away.insert(kind);
    }

    /// A write ended.
    pub(crate) fn finished(&mut self, finished: &Finished) {
        let (kind, refused) = match finished {
            Finished::Lease(result) => ("Lease", result.as_ref().err().map(|refused| refused.why.written)),
            Finished::Pool(_, result) => ("Eip", result.as_ref().err().map(|refused| refused.written)),
            Finished::Service(_, result) => ("Service", result.as_ref().err().map(|refused| refused.written)),
            Finished::Event(result) => ("Event", result.as_ref().err().map(|refused| refused.written)),
        };
        let end = match refused.unwrap_or(Written::Done) {
            Written::Done => "done",
            Written::Conflict => "conflict",
            Written::Failed => "failed",
        };
        *self.writes.entry((kind, end)).or_default() += 1;
    }

    /// What the probes are to say.
    pub(crate) fn health(&self) -> Health {
        // Namespaces are wanted by few, and nothing else waits for them.
        let needed = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Namespace);
        let unlisted = needed.filter(|kind| !self.listed.contains(kind)).map(plural).collect();
        Health { unlisted, stale: Kind::ALL.into_iter().map(|kind| (plural(kind), self.away.contains(&kind))).collect() }
    }
}

fn plural(kind: Kind) -> &'static str {
    match kind {
        Kind::Pool => "Eips",
        Kind::Service => "Services",
        Kind::EndpointSlice => "EndpointSlices",
        Kind::Node => "Nodes",
        Kind::Namespace => "Namespaces",
    }
}

/// How the program is at the moment.
pub(crate) fn take(replica: &Replica, ports: &Ports, seen: &Seen) -> Snapshot {
    let mut snapshot =
        Snapshot { health: seen.health(), writes: seen.writes.clone(), leader: replica.role() == Role::Leader, ..Snapshot::default() };
    for service in replica.services() {
        add_service(service, &mut snapshot);
    }
    // A pool whose status was never written has no size and no family yet.
    for (name, status) in replica.pools().filter(|(_, status)| status.size > 0) {
        let family = if status.v4 { "ipv4" } else { "ipv6" };
        snapshot.pools.insert(name.to_string(), PoolUse { family, size: status.size, used: status.usage });
    }
    for (service, (address, interface, _)) in replica.announced() {
        let node = replica.service(service).and_then(|service| service.status.node.as_ref()).map(ToString::to_string).unwrap_or_default();
        let row = [service.namespace.to_string(), service.name.to_string(), address.to_string(), node, interface.to_string()];
        snapshot.announced.push(row);
    }
    for (interface, counters) in replica.counters() {
        let traffic = snapshot.interfaces.entry(interface.to_string()).or_default();
        traffic.requests = counters.requests;
        traffic.replies = counters.replies;
        traffic.gratuitous = counters.gratuitous;
        traffic.ignored = std::iter::zip(DropReason::ALL.map(DropReason::label), counters.ignored).collect();
    }
    for (interface, send_errors, ignored) in ports.counts() {
        let traffic = snapshot.interfaces.entry(interface.to_string()).or_default();
        traffic.send_errors = send_errors;
        for (reason, count) in ignored {
            *traffic.ignored.entry(reason).or_default() += count;
        }
    }
    snapshot
}

/// What our condition on the Service says: that it has its address, or why it has none.
fn add_service(service: &Service, snapshot: &mut Snapshot) {
    let Some(condition) = &service.status.assigned else { return };
    if !condition.status {
        *snapshot.waiting.entry(condition.reason.clone()).or_default() += 1;
        return;
    }
    let row = |address: &IpAddr| [service.key.namespace.to_string(), service.key.name.to_string(), address.to_string()];
    snapshot.assigned.extend(service.status.ingress.iter().map(row));
}
