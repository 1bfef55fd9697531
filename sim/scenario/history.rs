//! Everything that was seen in a run so far, arranged so that "what was so at that moment?" has an answer.
//!
//! Levels (objects, neighbor entries, MACs) are kept as changes in order of time and looked up by moment; probes, frames and outputs are
//! kept as they came. The player asks it for now, the judge for any moment; neither knows how a world sees.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bellhop_core::mac::MacAddr;
use serde_json::Value;

use crate::action::{RunId, Target};
use crate::observation::{ArpFrame, CurlFailure, HttpAnswer, Observation, Seen};
use crate::scenario::Scenario;

/// Where Bellhop writes down the node of a Service (the annotation's name is PorterLB's).
pub(crate) const NODE_ANNOTATION: &str = "layer2.porter.kubesphere.io/v1alpha1";
/// The Lease of the leader: namespace and name.
pub(crate) const LEASE: (&str, &str) = ("bellhop-system", "bellhop");

/// A value that changes: each entry holds until the next.
type Levels<T> = Vec<(Duration, Option<T>)>;

/// An object's place: kind, namespace (empty for none), name.
pub(crate) type ObjectKey = (String, String, String);

/// One request of a ping.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Echo {
    pub(crate) sent: Duration,
    pub(crate) answer: Option<Duration>,
}

/// One request of a curl.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) started: Duration,
    pub(crate) ended: Duration,
    pub(crate) result: Result<HttpAnswer, CurlFailure>,
}

/// What one command printed.
#[derive(Clone, Debug)]
pub(crate) struct Printed {
    pub(crate) at: Duration,
    pub(crate) text: String,
    pub(crate) exit: i32,
}

/// An entry of a neighbor table.
#[derive(Clone, Debug)]
pub(crate) struct NeighborEntry {
    pub(crate) lladdr: Option<MacAddr>,
    pub(crate) state: String,
}

/// Everything seen.
#[derive(Default)]
pub(crate) struct History {
    objects: BTreeMap<ObjectKey, Levels<Value>>,
    neighbors: BTreeMap<(String, IpAddr), Levels<NeighborEntry>>,
    macs: BTreeMap<(String, String), Levels<MacAddr>>,
    pings: BTreeMap<(String, IpAddr), Vec<Echo>>,
    curls: BTreeMap<(String, String), Vec<Request>>,
    frames: Vec<(Duration, ArpFrame)>,
    outputs: BTreeMap<RunId, Printed>,
    /// What `same-as` stands for.
    chosen: BTreeMap<String, String>,
}

impl History {
    /// Takes one observation in; they come in order of time.
    pub(crate) fn add(&mut self, observation: &Observation) {
        let at = observation.at;
        match observation.what.clone() {
            Seen::Object { kind, namespace, name, object, .. } => {
                self.objects.entry((kind, namespace.unwrap_or_default(), name)).or_default().push((at, object));
            }
            Seen::Neighbor { machine, dst, lladdr, state, .. } => {
                let entry = state.map(|state| NeighborEntry { lladdr, state });
                self.neighbors.entry((machine, dst)).or_default().push((at, entry));
            }
            Seen::Nic { machine, nic, mac } => self.macs.entry((machine, nic)).or_default().push((at, Some(mac))),
            Seen::Ping { from, to, sent, answer, .. } => self.pings.entry((from, to)).or_default().push(Echo { sent, answer }),
            Seen::Curl { from, url, started, result, .. } => {
                self.curls.entry((from, url)).or_default().push(Request { started, ended: at, result });
            }
            Seen::Frame(frame) => self.frames.push((at, frame)),
            Seen::Output { run, text, exit, .. } => {
                self.outputs.insert(run, Printed { at, text, exit });
            }
            Seen::Note { .. } | Seen::InvariantBroken { .. } | Seen::NotConverged { .. } | Seen::Crash { .. } => {}
        }
    }

    /// Remembers which machine a step chose.
    pub(crate) fn choose(&mut self, step: &str, machine: &str) {
        self.chosen.insert(step.to_owned(), machine.to_owned());
    }

    /// An object at a moment.
    pub(crate) fn object(&self, kind: &str, namespace: Option<&str>, name: &str, at: Duration) -> Option<&Value> {
        // What is not namespaced is seen without a namespace, what is named without one lives in `default`.
        let key = |namespace: &str| (kind.to_owned(), namespace.to_owned(), name.to_owned());
        let candidates = namespace.map_or_else(|| vec!["default", ""], |namespace| vec![namespace]);
        candidates.into_iter().find_map(|namespace| level(self.objects.get(&key(namespace))?, at))
    }

    /// All objects of a kind with their changes.
    pub(crate) fn objects<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a ObjectKey, &'a [(Duration, Option<Value>)])> {
        self.objects.iter().filter(move |(key, _)| key.0 == kind).map(|(key, levels)| (key, levels.as_slice()))
    }

    /// An entry of a machine's neighbor table at a moment.
    pub(crate) fn neighbor(&self, machine: &str, dst: IpAddr, at: Duration) -> Option<&NeighborEntry> {
        level(self.neighbors.get(&(machine.to_owned(), dst))?, at)
    }

    /// The requests of a ping, in order of their end.
    pub(crate) fn pings(&self, from: &str, to: IpAddr) -> &[Echo] {
        self.pings.get(&(from.to_owned(), to)).map_or(&[], Vec::as_slice)
    }

    /// All pings.
    pub(crate) fn all_pings(&self) -> impl Iterator<Item = (&(String, IpAddr), &Vec<Echo>)> {
        self.pings.iter()
    }

    /// The requests of a curl, in order of their end.
    pub(crate) fn curls(&self, from: &str, url: &str) -> &[Request] {
        self.curls.get(&(from.to_owned(), url.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// The frames seen, in order.
    pub(crate) fn frames(&self) -> &[(Duration, ArpFrame)] {
        &self.frames
    }

    /// What a command printed.
    pub(crate) fn output(&self, run: RunId) -> Option<&Printed> {
        self.outputs.get(&run)
    }

    /// Every moment within a window at which a level changed, once, and the window's first.
    pub(crate) fn moments(&self, from: Duration, until: Duration) -> Vec<Duration> {
        let objects = self.objects.values().flat_map(|levels| levels.iter().map(|(at, _)| *at));
        let neighbors = self.neighbors.values().flat_map(|levels| levels.iter().map(|(at, _)| *at));
        let macs = self.macs.values().flat_map(|levels| levels.iter().map(|(at, _)| *at));
        let mut moments: Vec<_> = objects.chain(neighbors).chain(macs).filter(|at| *at > from && *at <= until).collect();
        moments.push(from);
        moments.sort_unstable();
        moments.dedup();
        moments
    }

    /// The machine that a target stands for at a moment, or why there is none.
    pub(crate) fn machine(&self, target: &Target, at: Duration) -> Result<String, String> {
        match target {
            Target::Machine(name) => Ok(name.clone()),
            Target::SameAs(step) => self.chosen.get(step).cloned().ok_or_else(|| format!("step {step} chose no machine")),
            Target::Leader => {
                let lease = self.object("Lease", Some(LEASE.0), LEASE.1, at);
                let holder = lease.and_then(|lease| lease.pointer("/spec/holderIdentity")?.as_str()).filter(|holder| !holder.is_empty());
                holder.map(str::to_owned).ok_or_else(|| "nobody leads".to_owned())
            }
            Target::NodeOf(service) => self.node_of(service, at),
        }
    }

    /// The node of a Service, which is named by `[namespace/]name` or by its address.
    fn node_of(&self, service: &str, at: Duration) -> Result<String, String> {
        let found = if service.parse::<IpAddr>().is_ok() {
            self.objects("Service").filter_map(|(_, levels)| level(levels, at)).find(|object| addresses(object).any(|ip| ip == service))
        } else {
            let (namespace, name) = service.split_once('/').unwrap_or(("default", service));
            self.object("Service", Some(namespace), name, at)
        };
        let service_object = found.ok_or_else(|| format!("there is no Service {service}"))?;
        let annotations = service_object.pointer("/metadata/annotations");
        let node = annotations.and_then(|annotations| annotations.get(NODE_ANNOTATION)?.as_str()).filter(|node| !node.is_empty());
        node.map(str::to_owned).ok_or_else(|| format!("Service {service} has no node"))
    }

    /// The MAC of a machine's NIC on a segment.
    pub(crate) fn mac(&self, scenario: &Scenario, machine: &str, segment: Option<&str>, at: Duration) -> Result<MacAddr, String> {
        let (nic, written) = nic_on(scenario, machine, segment).ok_or_else(|| format!("{machine} has no NIC there"))?;
        let reported = self.macs.get(&(machine.to_owned(), nic)).and_then(|levels| level(levels, at)).copied();
        reported.or(written).ok_or_else(|| format!("the MAC of {machine} is not known"))
    }

    /// The node that a pod runs on or ran on.
    pub(crate) fn node_of_pod(&self, pod: &str) -> Option<&str> {
        let pods = self.objects("Pod").filter(|(key, _)| key.2 == pod);
        pods.flat_map(|(_, levels)| levels.iter().rev()).find_map(|(_, object)| object.as_ref()?.pointer("/spec/nodeName")?.as_str())
    }
}

/// The addresses in a Service's status.
fn addresses(service: &Value) -> impl Iterator<Item = &str> {
    let ingress = service.pointer("/status/loadBalancer/ingress").and_then(Value::as_array);
    ingress.into_iter().flatten().filter_map(|ingress| ingress.get("ip")?.as_str())
}

/// What holds at a moment.
fn level<T>(levels: &[(Duration, Option<T>)], at: Duration) -> Option<&T> {
    let after = levels.partition_point(|(since, _)| *since <= at);
    levels.get(after.checked_sub(1)?)?.1.as_ref()
}

/// The NIC of a machine on a segment (its first one when the segment is not said), and its MAC as the scenario has it.
fn nic_on(scenario: &Scenario, machine: &str, segment: Option<&str>) -> Option<(String, Option<MacAddr>)> {
    let topology = &scenario.topology;
    if let Some(client) = topology.clients.get(machine) {
        return Some(("eth0".to_owned(), client.mac));
    }
    let on_segment = |switch: &Option<String>| match (segment, switch) {
        (None, _) => true,
        (Some(segment), Some(switch)) => topology.switches.get(switch).is_some_and(|switch| switch.segment == segment),
        (Some(_), None) => false,
    };
    let (name, nic) = topology.nics(machine)?.iter().find(|(_, nic)| on_segment(&nic.switch))?;
    Some((name.clone(), nic.mac))
}

/// The segment of a machine's NIC, for a client.
pub(crate) fn segment_of<'a>(scenario: &'a Scenario, machine: &str) -> Option<&'a str> {
    let topology = &scenario.topology;
    let client = topology.clients.get(machine).map(|client| &client.switch);
    let switch = client.or_else(|| topology.nics(machine)?.values().find_map(|nic| nic.switch.as_ref()))?;
    Some(&topology.switches.get(switch)?.segment)
}
