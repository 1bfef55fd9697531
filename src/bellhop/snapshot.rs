//! The state of the program for metrics and probes, taken when somebody asks.

use std::collections::BTreeSet;

use bellhop_api::parse;
use bellhop_core::arp::DropReason;
use bellhop_core::lease::Role;
use bellhop_core::object::Kind;
use bellhop_core::replica::Replica;

use crate::metrics::{PoolUse, Snapshot};
use crate::ports::Ports;
use crate::watches::Watches;

/// The kinds that have been listed.
pub(crate) type Synced = BTreeSet<Kind>;

/// How the program is at the moment.
pub(crate) fn take(replica: &Replica, ports: &Ports, watches: &Watches, synced: &Synced) -> Snapshot {
    let mut snapshot = Snapshot {
        synced: Kind::ALL.iter().all(|kind| synced.contains(kind)),
        leader: replica.role() == Role::Leader,
        ..Snapshot::default()
    };
    // A pool whose status was never written has no size and no family yet.
    for (name, status) in replica.pools().filter(|(_, status)| status.size > 0) {
        let family = if status.v4 { "ipv4" } else { "ipv6" };
        snapshot.pools.insert(name.to_string(), PoolUse { family, size: status.size, used: status.usage });
    }
    for (service, (address, interface, _)) in replica.announced() {
        let node = watches.service(service).and_then(|object| parse::service(object).status.node);
        let node = node.map(|node| node.to_string()).unwrap_or_default();
        let row = [service.namespace.clone(), service.name.clone(), address.to_string(), node, interface.to_string()];
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
