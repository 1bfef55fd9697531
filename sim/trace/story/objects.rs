//! The API's side of a story: the Service that holds the address, its node and endpoints, what nodes report, who leads.
//!
//! Writes come in order; each may change a fact, and is told in words if it did.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bellhop_api::keys;
use bellhop_core::status::event;
use bellhop_core::time::Instant;
use serde_json::Value;

use crate::trace::record::Write;

/// Who holds an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The Service: `default/web`.
    pub service: String,
    /// Since when.
    pub since: Instant,
    /// The Eip that it is out of.
    pub pool: Option<String>,
    /// Why it is not announced, if it is not: a condition's reason and message.
    pub silent: Option<(String, String)>,
}

/// What an Event told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// When.
    pub at: Instant,
    /// Its reason: `NodeChanged`.
    pub reason: String,
    /// Its message.
    pub message: String,
}

/// What the API knows of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Whether it is Ready, and since when.
    pub ready: Option<(bool, Instant)>,
    /// When its kubelet last reported.
    pub heartbeat: Option<Instant>,
    /// Since when nobody schedules on it.
    pub cordoned: Option<Instant>,
}

/// One endpoint of the Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its pod.
    pub pod: String,
    /// The pod's node.
    pub node: String,
    /// Whether it takes traffic.
    pub is_ready: bool,
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// The node on which it runs.
    pub holder: String,
    /// Since when.
    pub since: Instant,
    /// When it last said so.
    pub renewed: Instant,
    /// For how long each time.
    pub duration: Duration,
}

/// A Service that asks for an address and has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Since when it is there, or without an address.
    pub since: Instant,
    /// What Bellhop says of it: a condition's reason and message.
    pub said: Option<(String, String)>,
}

/// Facts under way.
pub(super) struct Objects {
    address: IpAddr,
    pub(super) held: Option<Held>,
    pub(super) held_before: Option<(String, Instant)>,
    pub(super) node: Option<(String, Instant)>,
    pub(super) decision: Option<Told>,
    pub(super) nodes: BTreeMap<String, NodeFacts>,
    /// By EndpointSlice. Those of all Services are kept apart until it is known whose the address is.
    pub(super) endpoints: BTreeMap<String, Vec<Endpoint>>,
    slices: BTreeMap<String, (String, Vec<Endpoint>)>,
    pub(super) leader: Option<Leader>,
    pub(super) waiting: BTreeMap<String, Waiting>,
}

impl Objects {
    /// About this address; nothing is known yet.
    pub(super) fn new(address: IpAddr) -> Self {
        Self {
            address,
            held: None,
            held_before: None,
            node: None,
            decision: None,
            nodes: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            slices: BTreeMap::new(),
            leader: None,
            waiting: BTreeMap::new(),
        }
    }

    /// Takes a write in. What it means for the address is returned in words.
    pub(super) fn add(&mut self, at: Instant, write: &Write) -> Vec<String> {
        let name = format!("{}/{}", write.object.namespace, write.object.name);
        match write.object.resource.as_str() {
            "services" => self.service(at, &name, write),
            "events" | "events.events.k8s.io" => self.event(at, &write.after, write.deleted),
            "nodes" => self.node(at, &write.object.name, write),
            "leases.coordination.k8s.io" if write.object.namespace == "kube-node-lease" => {
                self.nodes.entry(write.object.name.clone()).or_default().heartbeat = Some(at);
                Vec::new()
            }
            "leases.coordination.k8s.io" if write.object.name == keys::LEASE => self.lease(at, write),
            "endpointslices.discovery.k8s.io" => self.slice(&name, write),
            _ => Vec::new(),
        }
    }

    fn service(&mut self, at: Instant, name: &str, write: &Write) -> Vec<String> {
        let mut told = Vec::new();
        self.wait(at, name, write);
        let holds = !write.deleted && ingress(&write.after).contains(&self.address);
        let held_it = self.held.as_ref().is_some_and(|held| held.service == name);
        if holds && !held_it {
            let pool = mark(&write.after, "labels", keys::POOL_LABEL);
            let from = pool.as_ref().map(|pool| format!(", out of the Eip {pool}")).unwrap_or_default();
            told.push(format!("{name} gets {}{from} (written by {}).", self.address, write.client));
            self.held = Some(Held { service: name.to_owned(), since: at, pool, silent: None });
            self.pick_endpoints();
        } else if !holds && held_it {
            told.push(format!("{name} {} {}.", if write.deleted { "is deleted, and with it goes" } else { "gives back" }, self.address));
            self.held_before = self.held.take().map(|held| (held.service, at));
            self.node = None;
        }
        if !holds {
            return told;
        }
        if let Some(held) = &mut self.held {
            held.pool = mark(&write.after, "labels", keys::POOL_LABEL);
        }
        let node = mark(&write.after, "annotations", keys::NODE_ANNOTATION);
        if node.as_deref() != self.node.as_ref().map(|(node, _)| node.as_str()) {
            let who = node.as_deref().unwrap_or("no node");
            told.push(format!("It is written on {name} that {who} carries {} (by {}).", self.address, write.client));
            self.node = node.map(|node| (node, at));
        }
        if let Some(held) = &mut self.held {
            let silent = announced(&write.after).filter(|(status, ..)| *status != "True");
            held.silent = silent.map(|(_, reason, message)| (reason.to_owned(), message.to_owned()));
        }
        let (before, after) = (write.before.as_deref().and_then(announced), announced(&write.after));
        if let Some((status, reason, message)) = after.filter(|after| Some(*after) != before) {
            told.push(format!("{name} is {}announced: {reason}: {message}", if status == "True" { "" } else { "not " }));
        }
        told
    }

    /// Whether a Service waits for an address.
    fn wait(&mut self, at: Instant, name: &str, write: &Write) {
        let service = &write.after;
        if write.deleted || service["spec"]["type"] != "LoadBalancer" || !ingress(service).is_empty() {
            self.waiting.remove(name);
            return;
        }
        let said = condition(service, keys::CONDITION_ASSIGNED).map(|(_, reason, message)| (reason.to_owned(), message.to_owned()));
        self.waiting.entry(name.to_owned()).or_insert(Waiting { since: at, said: None }).said = said;
    }

    /// Events about the Service, once they are told.
    fn event(&mut self, at: Instant, event: &Value, deleted: bool) -> Vec<String> {
        let about = &event["involvedObject"];
        let name = format!("{}/{}", about["namespace"].as_str().unwrap_or_default(), about["name"].as_str().unwrap_or_default());
        let (reason, message) = (event["reason"].as_str().unwrap_or_default(), event["message"].as_str().unwrap_or_default());
        let is_ours = event["source"]["component"] == keys::MANAGER && about["kind"] == "Service";
        let concerns = message.contains(&self.address.to_string()) || self.held.as_ref().is_some_and(|held| held.service == name);
        if deleted || !is_ours || !concerns {
            return Vec::new();
        }
        if [event::NODE_ASSIGNED, event::NODE_CHANGED, event::NO_ELIGIBLE_NODE].contains(&reason) {
            self.decision = Some(Told { at, reason: reason.to_owned(), message: message.to_owned() });
        }
        vec![format!("Bellhop tells of {name}: {reason}: {message}.")]
    }

    fn node(&mut self, at: Instant, name: &str, write: &Write) -> Vec<String> {
        let facts = self.nodes.entry(name.to_owned()).or_default();
        if write.deleted {
            self.nodes.remove(name);
            return vec![format!("The node {name} is deleted.")];
        }
        let mut told = Vec::new();
        let conditions = write.after["status"]["conditions"].as_array();
        let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
        if let Some(ready) = ready {
            let is_ready = ready["status"] == "True";
            if facts.ready.is_none_or(|(before, _)| before != is_ready) {
                let silent = facts.heartbeat.map(|last| at - last).filter(|_| ready["status"] == "Unknown");
                let why = silent.map(|silent| format!(": its kubelet has not reported for {}", super::super::explain::span(silent)));
                told.push(format!("The node {name} is {}Ready{}.", if is_ready { "" } else { "not " }, why.unwrap_or_default()));
                facts.ready = Some((is_ready, at));
            }
            if write.client.starts_with("node ") {
                facts.heartbeat = Some(at);
            }
        }
        let cordoned = write.after["spec"]["unschedulable"] == true;
        if cordoned != facts.cordoned.is_some() {
            told.push(format!("The node {name} is {}.", if cordoned { "cordoned" } else { "no longer cordoned" }));
            facts.cordoned = cordoned.then_some(at);
        }
        told
    }

    fn lease(&mut self, at: Instant, write: &Write) -> Vec<String> {
        let holder = write.after["spec"]["holderIdentity"].as_str().filter(|holder| !holder.is_empty() && !write.deleted);
        let before = self.leader.take();
        let duration = Duration::from_secs(write.after["spec"]["leaseDurationSeconds"].as_u64().unwrap_or_default());
        match (holder, before) {
            (Some(holder), Some(leader)) if leader.holder == holder => {
                self.leader = Some(Leader { renewed: at, duration, ..leader });
                Vec::new()
            }
            (Some(holder), _) => {
                self.leader = Some(Leader { holder: holder.to_owned(), since: at, renewed: at, duration });
                vec![format!("Bellhop on {holder} takes the Lease: it leads.")]
            }
            (None, Some(leader)) => vec![format!("Bellhop on {} gives the Lease back: nobody leads.", leader.holder)],
            (None, None) => Vec::new(),
        }
    }

    fn slice(&mut self, name: &str, write: &Write) -> Vec<String> {
        let own = mark(&write.after, "labels", keys::SERVICE_NAME_LABEL).unwrap_or_default();
        let service = format!("{}/{own}", write.object.namespace);
        let was = self.endpoints.get(name).map(|endpoints| ready(endpoints));
        if write.deleted {
            self.slices.remove(name);
        } else {
            let list = write.after["endpoints"].as_array();
            self.slices.insert(name.to_owned(), (service.clone(), list.into_iter().flatten().map(endpoint).collect()));
        }
        self.pick_endpoints();
        let is = self.endpoints.get(name).map(|endpoints| ready(endpoints));
        if was == is || self.held.as_ref().is_none_or(|held| held.service != service) {
            return Vec::new();
        }
        vec![format!("Ready endpoints of {service}: {}.", is.filter(|is| !is.is_empty()).unwrap_or_else(|| "none".to_owned()))]
    }

    /// The endpoints of the Service that holds the address.
    fn pick_endpoints(&mut self) {
        let Some(held) = &self.held else { return };
        let own = self.slices.iter().filter(|(_, (service, _))| *service == held.service);
        self.endpoints = own.map(|(name, (_, endpoints))| (name.clone(), endpoints.clone())).collect();
    }
}

/// The pods that take traffic, with their nodes.
fn ready(endpoints: &[Endpoint]) -> String {
    let ready = endpoints.iter().filter(|endpoint| endpoint.is_ready);
    ready.map(|endpoint| format!("{} on {}", endpoint.pod, endpoint.node)).collect::<Vec<_>>().join(", ")
}

fn endpoint(value: &Value) -> Endpoint {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    // Absent means ready (discovery.k8s.io/v1, EndpointConditions).
    let is_ready = value["conditions"]["ready"].as_bool().unwrap_or(true);
    Endpoint { pod: text(&value["targetRef"]["name"]), node: text(&value["nodeName"]), is_ready }
}

/// The addresses in a Service's status.
pub(in crate::trace) fn ingress(service: &Value) -> Vec<IpAddr> {
    let ingress = service["status"]["loadBalancer"]["ingress"].as_array();
    ingress.into_iter().flatten().filter_map(|each| each["ip"].as_str()?.parse().ok()).collect()
}

/// Status, reason and message of the condition that says whether it is announced.
fn announced(service: &Value) -> Option<(&str, &str, &str)> {
    condition(service, keys::CONDITION_ANNOUNCED)
}

fn condition<'a>(service: &'a Value, kind: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let conditions = service["status"]["conditions"].as_array()?;
    let condition = conditions.iter().find(|condition| condition["type"] == kind)?;
    Some((condition["status"].as_str()?, condition["reason"].as_str()?, condition["message"].as_str().unwrap_or_default()))
}

/// A label or an annotation.
fn mark(object: &Value, field: &str, key: &str) -> Option<String> {
    object["metadata"][field].get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}
