//! After the end of a scenario: faults stop, and every client tries every Service until it answers or the time for it is up.
//!
//! That is promise 3 (see `invariants/convergence.rs`), tried in every run. What a timeline switched off stays off. Nothing of it is in the transcript, in what
//! expectations are judged by, or in the hash: the scenario is over.
//!
//! Not tried is what Bellhop cannot know of today ([`Stage::may_be_reached`]): nodes are not watched on the wire, so a carrying node or a leader whose NIC is
//! down while Kubernetes calls it Ready holds its addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bellhop_core::link::{Interface, InterfaceAddress};
use bellhop_core::pool::AddressPool;
use bellhop_core::time::Instant;
use bellhop_fabric::{CurlId, CurlOptions};
use bellhop_scenario::scenario::Stack;
use serde_json::Value;

use crate::invariants::{Missed, bounds};
use crate::programs::Key;
use crate::stage::Stage;

/// From one try to the next; a try has a little less.
const EVERY: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_millis(900);

/// A Service that should answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    service: String,
    address: IpAddr,
    port: u16,
    node: String,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// What was not reached in time.
    pub(crate) missed: Vec<Missed>,
    /// How many pairs of a client and a Service were tried.
    pub(crate) tried: usize,
    /// How many pairs of a client and a Service of type LoadBalancer there were.
    pub(crate) pairs: usize,
}

impl Stage {
    /// Ends all faults, lets the cluster converge, and says what was not reached in time.
    pub(crate) async fn settle_down(&mut self) -> Result<Settled, String> {
        self.heal()?;
        let began = self.lan.fabric.borrow().now();
        let mut reached: BTreeSet<(String, Target)> = BTreeSet::new();
        let mut last: BTreeMap<(String, Target), String> = BTreeMap::new();
        let mut tried: BTreeSet<(String, String)> = BTreeSet::new();
        let missed = loop {
            let now = self.lan.fabric.borrow().now();
            let tries: Vec<(String, Target, Duration)> =
                self.tries().into_iter().filter(|(client, target, _)| !reached.contains(&(client.clone(), target.clone()))).collect();
            let owed = self.owed();
            // Who cannot be reached at the first moment may be a moment later: somebody else leads, somebody else carries.
            let unsettled = now - began < bounds::HANDOVER && self.targets().iter().any(|target| !self.may_be_reached(target));
            if tries.is_empty() && owed.is_empty() && !unsettled {
                break Vec::new();
            }
            let within = bounds::decided(self.scenario.cluster.node_monitor_grace_period);
            if !owed.is_empty() && now - began > within {
                break owed.into_iter().map(|service| without_address(now, service, within)).collect();
            }
            tried.extend(tries.iter().map(|(client, target, _)| (client.clone(), target.service.clone())));
            let late: Vec<_> = tries.iter().filter(|(.., within)| now - began > *within).collect();
            if !late.is_empty() {
                break late.into_iter().map(|(client, target, within)| missed(now, client, target, *within, &last)).collect();
            }
            let asked: BTreeMap<CurlId, (String, Target)> =
                tries.into_iter().filter_map(|(client, target, _)| Some((self.ask(&client, &target)?, (client, target)))).collect();
            self.run_until(now + EVERY).await?;
            for (curl, report) in self.eye.take_curls(|curl| asked.contains_key(&curl)) {
                let asked = asked[&curl].clone();
                match report.result {
                    Ok(_) => drop(reached.insert(asked)),
                    Err(_) => drop(last.insert(asked, report.to_string().trim().to_owned())),
                }
            }
        };
        let services = self.eye.newest("services").into_iter().filter(|record| record.object["spec"]["type"] == "LoadBalancer").count();
        Ok(Settled { missed, tried: tried.len(), pairs: services * self.scenario.topology.clients.len() })
    }

    /// Who should reach what by now, and within what time.
    fn tries(&self) -> Vec<(String, Target, Duration)> {
        let grace = self.scenario.cluster.node_monitor_grace_period;
        let targets: Vec<Target> = self.targets().into_iter().filter(|target| self.may_be_reached(target)).collect();
        let able = |name: &str, switch: &str| self.is_on_the_lan(name, None) && !self.is_inspected(switch);
        let clients = self.scenario.topology.clients.iter().filter(|(name, client)| able(name, &client.switch));
        let bounded = clients.filter_map(|(name, client)| Some((name, bounds::convergence(client.stack, grace)?, client.stack)));
        let of = |(name, within, _): (&String, Duration, Stack)| {
            let may_ask = targets.iter().filter(|target| self.has_an_address(name, target.address));
            may_ask.map(move |target| (name.clone(), target.clone(), within)).collect::<Vec<_>>()
        };
        bounded.flat_map(of).collect()
    }

    /// The Services that should have an address and have none: somebody is there to give one, and the only pool there is, which they ask for, plainly has
    /// room. What Bellhop itself says of them does not count.
    fn owed(&self) -> Vec<String> {
        let eips = self.eye.newest("eips.network.kubesphere.io");
        let services = self.eye.newest("services");
        let [eip] = &eips[..] else { return Vec::new() };
        let spec = &eip.object["spec"];
        let plain = spec["disable"] != true && spec["protocol"] == "layer2" && eip.object["metadata"]["deletionTimestamp"].is_null();
        let pool = spec["address"].as_str().and_then(|text| AddressPool::parse(text, false).ok());
        let size = pool.as_ref().map_or(0, AddressPool::size);
        let somebody = self.installed.iter().any(|machine| self.programs.runs(&Key::Bellhop(machine.clone())));
        if !plain || !somebody || size <= (services.len() + self.machines.nodes.len()) as u64 {
            return Vec::new();
        }
        let in_pool = |family: &Value| pool.as_ref().is_some_and(|pool| *family == pool.family().to_string());
        let asks = |object: &Value| {
            let annotation = |key: &str| object["metadata"]["annotations"].get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            annotation(bellhop_api::keys::OPT_IN) == "porter"
                && annotation(bellhop_api::keys::POOL[0]) == eip.name
                && annotation(bellhop_api::keys::ADDRESS[0]).is_empty()
                && object["spec"]["type"] == "LoadBalancer"
                && object["spec"]["loadBalancerIP"].is_null()
                && object["spec"]["ipFamilies"].as_array().into_iter().flatten().all(in_pool)
                && object["metadata"]["deletionTimestamp"].is_null()
        };
        let bare = |object: &Value| object["status"]["loadBalancer"]["ingress"].as_array().is_none_or(Vec::is_empty);
        let owed = services.iter().filter(|record| asks(&record.object) && bare(&record.object));
        owed.map(|record| format!("{}/{}", record.namespace, record.name)).collect()
    }

    /// Every Service of Bellhop's that has a ready endpoint.
    fn targets(&self) -> Vec<Target> {
        let slices = self.eye.newest("endpointslices.discovery.k8s.io");
        let mut targets = Vec::new();
        for record in self.eye.newest("services") {
            let object = &record.object;
            let marked = |field: &str, key: &str| object["metadata"][field].get(key).and_then(Value::as_str);
            let ready = |address: IpAddr| {
                slices.iter().any(|slice| {
                    let same_family = (slice.object["addressType"] == "IPv6") == address.is_ipv6();
                    let of = slice.object["metadata"]["labels"][bellhop_api::keys::SERVICE_NAME_LABEL].as_str();
                    let endpoints = slice.object["endpoints"].as_array();
                    let ready = |endpoint: &Value| endpoint["conditions"]["ready"] == true;
                    same_family
                        && slice.namespace == record.namespace
                        && of == Some(record.name.as_str())
                        && endpoints.into_iter().flatten().any(ready)
                })
            };
            let ours = marked("labels", bellhop_api::keys::POOL_LABEL).is_some() && object["metadata"]["deletionTimestamp"].is_null();
            let node = marked("annotations", bellhop_api::keys::NODE_ANNOTATION).unwrap_or_default();
            let port = object["spec"]["ports"][0]["port"].as_u64().and_then(|port| u16::try_from(port).ok());
            let ingress = object["status"]["loadBalancer"]["ingress"].as_array();
            let addresses = ingress.into_iter().flatten().filter_map(|each| each["ip"].as_str()?.parse().ok());
            if let (true, Some(port)) = (ours, port) {
                let service = format!("{}/{}", record.namespace, record.name);
                let of = |address| Target { service: service.clone(), address, port, node: node.to_owned() };
                targets.extend(addresses.filter(|address| ready(*address)).map(of));
            }
        }
        targets
    }

    /// Whether somebody is there to answer for it whom Bellhop can know of: see the module.
    fn may_be_reached(&self, target: &Target) -> bool {
        let holder = self
            .eye
            .newest("leases.coordination.k8s.io")
            .first()
            .and_then(|lease| lease.object["spec"]["holderIdentity"].as_str().filter(|holder| !holder.is_empty()).map(str::to_owned));
        let replicas = self.installed.iter().filter(|machine| self.programs.runs(&Key::Bellhop((*machine).clone())));
        let hears = |machine: &str| !self.is_powered(machine).unwrap_or(false) || self.is_plugged(machine, Some(target.address));
        let anybody = replicas.filter(|machine| self.is_on_the_lan(machine, Some(target.address))).count() > 0;
        let leader_hears = holder.is_none_or(|leader| hears(&leader));
        let carrier_hears = target.node.is_empty() || hears(&target.node);
        anybody && leader_hears && carrier_hears
    }

    /// Whether a machine runs and is plugged in.
    fn is_on_the_lan(&self, machine: &str, address: Option<IpAddr>) -> bool {
        self.is_powered(machine).unwrap_or(false) && self.is_plugged(machine, address)
    }

    /// Whether the NICs of a machine are up on whose LAN an address is; all of them, where there is none.
    fn is_plugged(&self, machine: &str, address: Option<IpAddr>) -> bool {
        let Ok(id) = self.machine(machine) else { return false };
        let interfaces = self.lan.fabric.borrow().interfaces(id);
        let near = |interface: &&Interface| {
            let holds = |own: &InterfaceAddress| address.is_some_and(|address| own.contains(address));
            interface.addresses.iter().any(holds)
        };
        let near: Vec<&Interface> = interfaces.iter().filter(near).collect();
        if near.is_empty() { interfaces.iter().all(|interface| interface.up) } else { near.iter().all(|interface| interface.up) }
    }

    /// Whether a machine can ask for such an address at all: a client may have one family only, and a defender may have lost its address to another
    /// machine (RFC 5227).
    fn has_an_address(&self, machine: &str, towards: IpAddr) -> bool {
        let Ok(id) = self.machine(machine) else { return false };
        let interfaces = self.lan.fabric.borrow().interfaces(id);
        // A link-local address leads nowhere beyond the link; all others are taken to.
        let leads = |own: &InterfaceAddress| match own.address {
            IpAddr::V4(_) => towards.is_ipv4(),
            IpAddr::V6(address) => towards.is_ipv6() && !address.is_unicast_link_local(),
        };
        interfaces.iter().any(|interface| interface.addresses.iter().any(leads))
    }

    /// Whether a switch inspects ARP: announcing for others cannot work behind it, and a scenario that has one says so.
    fn is_inspected(&self, switch: &str) -> bool {
        let switches = &self.scenario.topology.switches;
        let Some(segment) = switches.get(switch).map(|switch| &switch.segment) else { return false };
        switches.values().any(|other| other.segment == *segment && other.inspect_arp)
    }

    fn ask(&mut self, client: &str, target: &Target) -> Option<CurlId> {
        let machine = self.machine(client).ok()?;
        let to = SocketAddr::new(target.address, target.port);
        let options = CurlOptions { to, path: "/".to_owned(), connect_timeout: None, max_time: Some(PATIENCE) };
        Some(self.lan.fabric.borrow_mut().curl(machine, options))
    }
}

fn without_address(at: Instant, service: String, within: Duration) -> Missed {
    Missed {
        at,
        client: "every client".to_owned(),
        service,
        address: "no address".to_owned(),
        within,
        last: "it was given none".to_owned(),
    }
}

fn missed(at: Instant, client: &str, target: &Target, within: Duration, last: &BTreeMap<(String, Target), String>) -> Missed {
    let said = last.get(&(client.to_owned(), target.clone())).cloned().unwrap_or_else(|| "no answer".to_owned());
    let (service, address) = (target.service.clone(), target.address.to_string());
    Missed { at, client: client.to_owned(), service, address, within, last: said }
}
