//! Everything that was seen of Bellhop in a run, and the questions that several promises ask of it.
//!
//! Collected by [`crate::eye`] and [`crate::lan`] as it happens; nothing is judged here. Moments are the world's.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bellhop_apiserver::WriteRecord;
use bellhop_core::mac::MacAddr;
use bellhop_core::time::Instant;
use serde_json::Value;

use super::convergence::Missed;
use crate::clock::WorldClock;

/// A frame of Bellhop's, ARP or neighbor discovery: "this address is at this MAC".
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spoken {
    pub(crate) at: Instant,
    /// The machine of the replica that sent it.
    pub(crate) replica: String,
    /// ARP sender address, or what an advertisement is about.
    pub(crate) address: IpAddr,
    /// ARP sender hardware address, or the target link-layer address.
    pub(crate) mac: MacAddr,
    /// Said to all, mostly unasked: sender and target address are the same; an advertisement answers no one alone.
    pub(crate) gratuitous: bool,
}

/// A time in which somebody could not do as they should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disturbance {
    pub(crate) from: Instant,
    pub(crate) until: Instant,
    /// On which machine; `None`: on all.
    pub(crate) machine: Option<String>,
    /// It was the LAN's: whoever it kept apart still ran and reached the API server.
    pub(crate) of_the_lan: bool,
    /// What was wrong, in the words of the timeline.
    pub(crate) what: String,
}

/// What was done to a world in a run, as far as it excuses anything.
#[derive(Default)]
pub(crate) struct Ordeal {
    /// What went wrong, with its end.
    pub(crate) disturbances: Vec<Disturbance>,
    /// When replicas were killed, by machine: between two writes, perhaps.
    pub(crate) deaths: BTreeMap<String, Vec<Instant>>,
    /// When machines had no power; one that has none now has no end yet.
    pub(crate) off: BTreeMap<String, Vec<(Instant, Instant)>>,
    /// When NICs were down, by machine and NIC; one that is down now has no end yet.
    pub(crate) unplugged: BTreeMap<(String, String), Vec<(Instant, Instant)>>,
}

impl Ordeal {
    /// A NIC is down from now on.
    pub(crate) fn unplug(&mut self, machine: &str, nic: &str, now: Instant) {
        let down = self.unplugged.entry((machine.to_owned(), nic.to_owned())).or_default();
        if down.last().is_none_or(|(_, until)| *until < Instant::FAR_FUTURE) {
            down.push((now, Instant::FAR_FUTURE));
        }
    }

    /// It is up again.
    pub(crate) fn plug(&mut self, machine: &str, nic: &str, now: Instant) {
        let down = self.unplugged.get_mut(&(machine.to_owned(), nic.to_owned()));
        if let Some((_, until)) = down.and_then(|down| down.last_mut()) {
            *until = (*until).min(now);
        }
    }
}

/// Everything that was seen.
#[derive(Default)]
pub(crate) struct Evidence {
    /// The scenario's zero: people hear its time.
    pub(crate) zero: Instant,
    /// Writes that took effect, of the kinds that Bellhop reads, and all of its own; in order.
    pub(crate) writes: Vec<WriteRecord>,
    /// When each replica asked anything of the API, granted or not, in order. By machine.
    pub(crate) requests: BTreeMap<String, Vec<Instant>>,
    /// What Bellhop said on the wire, in order.
    pub(crate) spoken: Vec<Spoken>,
    /// The MACs of each machine, with the moment from which each was one of its.
    pub(crate) macs: BTreeMap<String, Vec<(Instant, MacAddr)>>,
    /// The machines that are nodes of the cluster.
    pub(crate) nodes: BTreeSet<String>,
    /// Addresses that nodes and routers have on their NICs from the start.
    pub(crate) own: BTreeMap<IpAddr, String>,
    /// What Bellhop had to cope with.
    pub(crate) ordeal: Ordeal,
    /// When the run was over.
    pub(crate) ended: Instant,
    /// What was not reached when it should have been, after the end.
    pub(crate) missed: Vec<Missed>,
}

/// A Service at a moment, and until the next.
pub(super) struct Version<'a> {
    pub(super) at: Instant,
    /// Who made it so.
    pub(super) client: &'a str,
    /// Its namespace and name.
    pub(super) key: String,
    /// What Bellhop gave it: it marks its own with the pool's label.
    pub(super) addresses: BTreeSet<IpAddr>,
    /// The node that carries them, as written on it; may be empty.
    pub(super) node: String,
    /// The pool; may be empty.
    pub(super) pool: String,
    pub(super) deleted: bool,
    pub(super) object: &'a Value,
}

/// A stretch of time in which an address was a Service's, carried by a node.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) from: Instant,
    pub(super) until: Instant,
    pub(super) service: String,
    pub(super) node: String,
}

impl Evidence {
    /// All versions of all Services, in order.
    pub(super) fn services(&self) -> impl Iterator<Item = Version<'_>> {
        self.writes.iter().filter(|record| record.resource == "services").map(|record| {
            // What OpenELB wrote stays in its spelling.
            let pools = bellhop_api::keys::POOL.map(|key| mark(&record.object, "labels", key));
            let pool = pools.into_iter().find(|pool| !pool.is_empty()).unwrap_or_default();
            Version {
                at: moment(record),
                client: record.client.as_str(),
                key: format!("{}/{}", record.namespace, record.name),
                addresses: if record.deleted || pool.is_empty() { BTreeSet::new() } else { ingress(&record.object) },
                node: mark(&record.object, "annotations", bellhop_api::keys::NODE_ANNOTATION).to_owned(),
                pool: pool.to_owned(),
                deleted: record.deleted,
                object: &record.object,
            }
        })
    }

    /// Who held each address, carried by which node, from when to when.
    pub(super) fn held(&self) -> BTreeMap<IpAddr, Vec<Held>> {
        let mut held: BTreeMap<IpAddr, Vec<Held>> = BTreeMap::new();
        for version in self.services() {
            for stretches in held.values_mut() {
                if let Some(last) = stretches.iter_mut().rev().find(|last| last.service == version.key) {
                    last.until = last.until.min(version.at);
                }
            }
            for address in &version.addresses {
                let (service, node) = (version.key.clone(), version.node.clone());
                held.entry(*address).or_default().push(Held { from: version.at, until: Instant::FAR_FUTURE, service, node });
            }
        }
        held
    }

    /// The holders of Bellhop's Lease, each with the moment from which it held it; empty when it was given back.
    pub(super) fn holders(&self) -> Vec<(Instant, String)> {
        let mut holders: Vec<(Instant, String)> = Vec::new();
        for record in self.writes.iter().filter(|record| is_lease(record)) {
            let holder = if record.deleted { "" } else { record.object["spec"]["holderIdentity"].as_str().unwrap_or_default() };
            if holders.last().is_none_or(|(_, last)| last != holder) {
                holders.push((moment(record), holder.to_owned()));
            }
        }
        holders
    }

    /// The moments at which a replica wrote itself on the Lease.
    pub(super) fn renewals(&self, replica: &str) -> Vec<Instant> {
        let own = |record: &&WriteRecord| is_lease(record) && record.object["spec"]["holderIdentity"] == replica;
        self.writes.iter().filter(own).map(moment).collect()
    }

    /// When the replica that spoke at a moment ended or lost the Lease, if it did: what it had announced by then and not written, nobody writes.
    pub(super) fn end_of_term(&self, replica: &str, at: Instant) -> Option<Instant> {
        let died = self.ordeal.deaths.get(replica).into_iter().flatten().copied();
        let lost = self.holders().into_iter().filter(|(_, holder)| holder != replica).map(|(since, _)| since);
        died.chain(lost).filter(|end| *end >= at).min()
    }

    /// A moment for people: in the scenario's time, as transcripts have it.
    fn told(&self, at: Instant) -> String {
        let since = at.as_nanos().abs_diff(self.zero.as_nanos());
        format!("t{}{}", if at < self.zero { '-' } else { '+' }, Instant::from_nanos(since))
    }

    /// What happened before a moment to those whom it is about, the last few things first said last: for people.
    pub(crate) fn led_to(&self, at: Instant, about: &[String]) -> Vec<String> {
        const LINES: usize = 8;
        let mut lines: Vec<(Instant, String)> = Vec::new();
        let concerns = |text: &str| about.iter().any(|each| each == text);
        for version in self.services().filter(|version| version.at <= at) {
            if concerns(&version.key) || version.addresses.iter().any(|address| concerns(&address.to_string())) {
                let addresses: Vec<String> = version.addresses.iter().map(ToString::to_string).collect();
                let state = if version.deleted {
                    "deleted".to_owned()
                } else {
                    format!("address [{}], node {:?}", addresses.join(", "), version.node)
                };
                lines.push((version.at, format!("{} wrote Service {}: {state}", version.client, version.key)));
            }
        }
        lines.extend(self.holders().into_iter().map(|(at, holder)| (at, format!("the Lease is held by {holder:?}"))));
        let mut before: BTreeMap<(&str, IpAddr), MacAddr> = BTreeMap::new();
        for spoken in self.spoken.iter().filter(|spoken| spoken.at <= at && concerns(&spoken.address.to_string())) {
            if before.insert((&spoken.replica, spoken.address), spoken.mac) != Some(spoken.mac) {
                lines.push((spoken.at, format!("Bellhop on {} said {} is-at {}", spoken.replica, spoken.address, spoken.mac)));
            }
        }
        for disturbance in &self.ordeal.disturbances {
            lines.push((disturbance.from, format!("⚡ {}", disturbance.what)));
            lines.push((disturbance.until, format!("over: {}", disturbance.what)));
        }
        lines.retain(|(moment, _)| *moment <= at);
        lines.sort_by_key(|(moment, _)| *moment);
        lines.dedup();
        let first = lines.len().saturating_sub(LINES);
        lines.split_off(first).into_iter().map(|(moment, line)| format!("{}  {line}", self.told(moment))).collect()
    }
}

/// The machine of the replica that a client of the API is; `None` for anybody else.
pub(crate) fn replica(client: &str) -> Option<&str> {
    client.strip_prefix("bellhop ")
}

/// When a write took effect.
pub(super) fn moment(record: &WriteRecord) -> Instant {
    WorldClock::moment_of(record.time)
}

/// A label or an annotation; empty where there is none.
pub(super) fn mark<'a>(object: &'a Value, field: &str, key: &str) -> &'a str {
    object["metadata"][field].get(key).and_then(Value::as_str).unwrap_or_default()
}

fn is_lease(record: &WriteRecord) -> bool {
    record.resource == "leases.coordination.k8s.io"
        && record.namespace == bellhop_api::keys::NAMESPACE
        && record.name == bellhop_api::keys::LEASE
}

/// The addresses in a Service's status.
fn ingress(service: &Value) -> BTreeSet<IpAddr> {
    let ingress = service["status"]["loadBalancer"]["ingress"].as_array();
    ingress.into_iter().flatten().filter_map(|each| each["ip"].as_str()?.parse().ok()).collect()
}

/// Evidence in the words of tests.
#[cfg(test)]
pub(super) mod testing {
    use std::sync::Arc;
    use std::time::Duration;

    use bellhop_apiserver::ClientName;
    use serde_json::json;

    use super::*;

    pub(crate) const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 0, 91));

    pub(crate) fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    pub(crate) fn mac(last: u8) -> MacAddr {
        MacAddr([0x52, 0x54, 0x22, 0, 0, last])
    }

    pub(crate) fn write(client: &str, resource: &str, name: &str, seconds: u64, object: Value) -> WriteRecord {
        let namespaced = !resource.starts_with("eips") && resource != "nodes";
        let namespace = if resource.starts_with("leases") { bellhop_api::keys::NAMESPACE } else { "default" };
        WriteRecord {
            client: ClientName::from(client),
            verb: "patch",
            resource: resource.to_owned(),
            subresource: String::new(),
            namespace: if namespaced { namespace.to_owned() } else { String::new() },
            name: name.to_owned(),
            resource_version: seconds,
            time: WorldClock::wall_at(at(seconds)),
            deleted: false,
            object: Arc::new(object),
        }
    }

    /// A Service of Bellhop's with [`ADDRESS`], carried by a node.
    pub(crate) fn service(name: &str, seconds: u64, node: &str) -> WriteRecord {
        let keys = (bellhop_api::keys::POOL_LABEL, bellhop_api::keys::NODE_ANNOTATION);
        let metadata = json!({"name": name, "namespace": "default", "labels": {keys.0: "lan"}, "annotations": {keys.1: node}});
        let object = json!({"metadata": metadata, "spec": {}, "status": {"loadBalancer": {"ingress": [{"ip": ADDRESS}]}}});
        write("bellhop a", "services", name, seconds, object)
    }

    /// The Lease, taken or renewed.
    pub(crate) fn lease(holder: &str, seconds: u64) -> WriteRecord {
        let client = format!("bellhop {holder}");
        write(&client, "leases.coordination.k8s.io", bellhop_api::keys::LEASE, seconds, json!({"spec": {"holderIdentity": holder}}))
    }

    pub(crate) fn said(replica: &str, seconds: u64, last: u8, gratuitous: bool) -> Spoken {
        Spoken { at: at(seconds), replica: replica.to_owned(), address: ADDRESS, mac: mac(last), gratuitous }
    }

    /// Nodes `a` and `b`, whose MACs end in 1 and 2.
    pub(crate) fn evidence(writes: Vec<WriteRecord>, spoken: Vec<Spoken>) -> Evidence {
        let macs = [("a".to_owned(), vec![(Instant::ZERO, mac(1))]), ("b".to_owned(), vec![(Instant::ZERO, mac(2))])];
        let nodes = ["a", "b"].map(str::to_owned).into();
        Evidence { writes, spoken, macs: macs.into_iter().collect(), nodes, ended: Instant::FAR_FUTURE, ..Evidence::default() }
    }

    /// The promises that a checker finds broken.
    pub(crate) fn broken(found: Vec<super::super::Broken>) -> Vec<&'static str> {
        found.into_iter().map(|broken| broken.invariant).collect()
    }
}
