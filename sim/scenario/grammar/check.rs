//! From the keys of a file to a [`Scenario`]: machines, cables and cluster. The timeline and the expectations follow in modules of their own.
//!
//! Everything named must exist, and what cannot be (two machines with one address, an address outside its segment) is said at its line.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use bellhop_core::mac::MacAddr;
use ipnet::IpNet;
use serde_saphyr::Spanned;

use super::file::{self, Base, File};
use super::refusal::{Finding, at};
use super::{check_expect, check_timeline};
use crate::scenario::{Client, Cluster, KubeProxy, Nic, Node, Scenario, Switch, Topology};

/// What a laptop can hold as network namespaces, and more than any situation needs.
const MOST_MACHINES: usize = 64;
/// IEEE 802.1Q §8.8.3: the recommended ageing time.
const MAC_AGEING: Duration = Duration::from_secs(300);
/// kube-controller-manager's default from Kubernetes 1.32 on.
const NODE_MONITOR_GRACE_PERIOD: Duration = Duration::from_secs(50);
/// `IFNAMSIZ` less its terminating zero.
const LONGEST_INTERFACE_NAME: usize = 15;

/// Machines and cluster, before anything happens to them.
pub(super) struct Ground {
    topology: Topology,
    cluster: Cluster,
}

impl Default for Ground {
    fn default() -> Self {
        let cluster = Cluster {
            kube_proxy: KubeProxy::default(),
            bellhop: Vec::new(),
            manifests: Vec::new(),
            place: BTreeMap::new(),
            node_monitor_grace_period: NODE_MONITOR_GRACE_PERIOD,
        };
        Self { topology: Topology::default(), cluster }
    }
}

/// The ground that a base file lays.
pub(super) fn base(base: Base) -> Result<Ground, Finding> {
    let mut ground = Ground::default();
    add_topology(&mut ground.topology, base.topology)?;
    if let Some(manifest) = base.cluster.manifests.first() {
        return Err(at(manifest, "a file that others extend has no manifests: expected them in the scenario"));
    }
    add_cluster(&mut ground, base.cluster)?;
    Ok(ground)
}

/// A whole scenario upon a ground.
pub(super) fn scenario(path: &Path, file: File, mut ground: Ground) -> Result<Scenario, Finding> {
    if file.about.value.trim().is_empty() {
        return Err(at(&file.about, "expected a sentence about what happens"));
    }
    if file.stop.value.0.is_zero() {
        return Err(at(&file.stop, "expected a time after the start"));
    }
    let folder = folder(path, file.folder.as_ref())?;
    add_topology(&mut ground.topology, file.topology)?;
    for manifest in &file.cluster.manifests {
        readable(&folder, manifest)?;
    }
    add_cluster(&mut ground, file.cluster)?;
    let mut scenario = Scenario {
        path: path.to_owned(),
        folder,
        name: file.name.value,
        about: file.about.value,
        why: file.why,
        seed: file.seed,
        stop: file.stop.value.0,
        topology: ground.topology,
        cluster: ground.cluster,
        timeline: Vec::new(),
        expect: Vec::new(),
    };
    if scenario.topology.nodes.is_empty() {
        return Err(at(&file.stop, "no machines: expected `topology` with nodes, or `extends` with a file that has them"));
    }
    check_timeline::timeline(&mut scenario, file.timeline)?;
    check_expect::expectations(&mut scenario, file.expect)?;
    check_expect::add_implied_probes(&mut scenario);
    Ok(scenario)
}

/// Where commands are typed.
fn folder(path: &Path, named: Option<&Spanned<String>>) -> Result<PathBuf, Finding> {
    let own = path.parent().unwrap_or_else(|| Path::new("")).to_owned();
    match named {
        None => Ok(own),
        Some(name) if below(&name.value) && own.join(&name.value).is_dir() => Ok(own.join(&name.value)),
        Some(name) => Err(at(name, format!("`{}` is not a folder below this file's", name.value))),
    }
}

/// A manifest that exists, in the scenario's folder or below it.
pub(super) fn readable<T>(folder: &Path, manifest: &Spanned<T>) -> Result<(), Finding>
where
    T: AsRef<str>,
{
    readable_text(folder, manifest.value.as_ref()).map_err(|message| at(manifest, message))
}

/// The same for a path that is a part of a value.
pub(super) fn readable_text(folder: &Path, manifest: &str) -> Result<(), String> {
    if !below(manifest) {
        return Err(format!("`{manifest}`: expected a path in {} or below it", shown(folder)));
    }
    if !folder.join(manifest).is_file() {
        return Err(format!("no file `{manifest}` in {}", shown(folder)));
    }
    Ok(())
}

/// Whether a path stays below where it starts.
fn below(path: &str) -> bool {
    !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// A folder for people.
fn shown(folder: &Path) -> String {
    if folder.as_os_str().is_empty() { "this folder".to_owned() } else { format!("{}/", folder.display()) }
}

/// Adds machines and cables to those that are there.
fn add_topology(into: &mut Topology, from: file::Topology) -> Result<(), Finding> {
    for (name, segment) in from.segments {
        machine_name(&name, &segment)?;
        into.segments.insert(name, segment.value);
    }
    for (name, switch) in from.switches {
        machine_name(&name, &switch)?;
        known(&into.segments, &switch.value.segment, "segment")?;
        let mac_ageing = switch.value.mac_ageing.map_or(MAC_AGEING, |text| text.0);
        into.switches.insert(name, Switch { segment: switch.value.segment.value, mac_ageing });
    }
    for (name, node) in from.nodes {
        machine_name(&name, &node)?;
        free(into, &name, &node)?;
        let node = checked_node(into, node.value)?;
        into.nodes.insert(name, node);
    }
    for (name, client) in from.clients {
        machine_name(&name, &client)?;
        free(into, &name, &client)?;
        let client = client.value;
        known(&into.switches, &client.switch, "switch")?;
        let taken = stations(into);
        station(into, &taken, Some(&client.switch.value), &client.ip, client.mac.as_ref())?;
        let mac = client.mac.map(|mac| mac.value);
        into.clients.insert(name, Client { switch: client.switch.value, ip: client.ip.value, mac, stack: client.stack });
    }
    Ok(())
}

/// A node whose NICs are all right, beside those that are there.
fn checked_node(topology: &Topology, node: file::Node) -> Result<Node, Finding> {
    if node.nics.value.is_empty() {
        return Err(at(&node.nics, "expected at least one NIC"));
    }
    if let Some(role) = node.roles.iter().find(|role| role.value != "control-plane") {
        return Err(at(role, format!("unknown role `{}`: expected control-plane, or no role for a worker", role.value)));
    }
    let mut taken = stations(topology);
    let mut nics = BTreeMap::new();
    for (name, nic) in node.nics.value {
        let fits = name.len() <= LONGEST_INTERFACE_NAME && !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric());
        if !fits {
            return Err(at(&nic, format!("`{}` is not an interface's name: expected 1 to 15 letters and digits", name.escape_debug())));
        }
        let nic = nic.value;
        if let Some(switch) = &nic.switch {
            known(&topology.switches, switch, "switch")?;
        }
        station(topology, &taken, nic.switch.as_ref().map(|switch| &switch.value), &nic.ip, nic.mac.as_ref())?;
        let checked = Nic { switch: nic.switch.map(|switch| switch.value), ip: nic.ip.value, mac: nic.mac.map(|mac| mac.value) };
        taken.push((checked.ip, checked.mac));
        nics.insert(name, checked);
    }
    Ok(Node { roles: node.roles.into_iter().map(|role| role.value).collect(), nics })
}

/// The addresses that are taken.
fn stations(topology: &Topology) -> Vec<(IpNet, Option<MacAddr>)> {
    let nics = topology.nodes.values().flat_map(|node| node.nics.values()).map(|nic| (nic.ip, nic.mac));
    nics.chain(topology.clients.values().map(|client| (client.ip, client.mac))).collect()
}

/// A station that may be on its segment, and has nobody's addresses.
fn station(
    topology: &Topology,
    taken: &[(IpNet, Option<MacAddr>)],
    switch: Option<&String>,
    ip: &Spanned<IpNet>,
    mac: Option<&Spanned<MacAddr>>,
) -> Result<(), Finding> {
    let prefix = switch.and_then(|switch| topology.switches.get(switch)).and_then(|switch| topology.segments.get(&switch.segment));
    if let (Some(segment), IpNet::V4(address)) = (prefix, ip.value)
        && (!segment.ipv4.contains(&address.addr()) || segment.ipv4.prefix_len() != address.prefix_len())
    {
        return Err(at(ip, format!("{address} is not on its segment: expected an address of {}", segment.ipv4)));
    }
    if taken.iter().any(|(other, _)| other.addr() == ip.value.addr()) {
        return Err(at(ip, format!("{} is another machine's already", ip.value.addr())));
    }
    let Some(mac) = mac else { return Ok(()) };
    if !mac.value.is_unicast() {
        return Err(at(mac, format!("{} is a group address: no machine can have it", mac.value)));
    }
    if taken.iter().any(|(_, other)| *other == Some(mac.value)) {
        return Err(at(mac, format!("{} is another machine's already", mac.value)));
    }
    Ok(())
}

/// A name that Kubernetes and a network namespace both take (RFC 1123's label).
fn machine_name<T>(name: &str, place: &Spanned<T>) -> Result<(), Finding> {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let fits = (1..=63).contains(&name.len()) && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-');
    if !fits {
        return Err(at(
            place,
            format!("`{}` cannot be a name here: expected small letters, digits and -, at most 63", name.escape_debug()),
        ));
    }
    if name == "leader" {
        return Err(at(place, "no machine can be called `leader`: that is whoever leads"));
    }
    Ok(())
}

/// A name that no other machine has, and room for one more.
fn free<T>(topology: &Topology, name: &str, place: &Spanned<T>) -> Result<(), Finding> {
    if topology.nodes.contains_key(name) || topology.clients.contains_key(name) {
        return Err(at(place, format!("a machine called `{name}` exists already")));
    }
    if topology.nodes.len() + topology.clients.len() >= MOST_MACHINES {
        return Err(at(place, format!("too many machines: expected at most {MOST_MACHINES}")));
    }
    Ok(())
}

/// A name that exists.
pub(super) fn known<T>(map: &BTreeMap<String, T>, name: &Spanned<String>, what: &str) -> Result<(), Finding> {
    if map.contains_key(&name.value) {
        return Ok(());
    }
    let names = map.keys().cloned().collect::<Vec<_>>().join(", ");
    let expected = if names.is_empty() { "there is none".to_owned() } else { format!("expected one of {names}") };
    Err(at(name, format!("no {what} `{}`: {expected}", name.value)))
}

/// Overrides what a file says of the cluster.
fn add_cluster(ground: &mut Ground, from: file::Cluster) -> Result<(), Finding> {
    let (topology, into) = (&ground.topology, &mut ground.cluster);
    if let Some(kube_proxy) = from.kube_proxy {
        into.kube_proxy = kube_proxy;
    }
    if let Some(period) = from.node_monitor_grace_period {
        into.node_monitor_grace_period = period.0;
    }
    if let Some(replicas) = from.bellhop {
        for (index, node) in replicas.iter().enumerate() {
            known(&topology.nodes, node, "node")?;
            if replicas.iter().take(index).any(|other| other.value == node.value) {
                return Err(at(
                    node,
                    format!("two replicas on `{}`: expected one a node, because their probes' port is the host's", node.value),
                ));
            }
        }
        into.bellhop = replicas.into_iter().map(|node| node.value).collect();
    }
    into.manifests.extend(from.manifests.into_iter().map(|manifest| PathBuf::from(manifest.value)));
    for (deployment, nodes) in from.place.into_iter().flatten() {
        for node in &nodes {
            known(&topology.nodes, node, "node")?;
        }
        into.place.insert(deployment, nodes.into_iter().map(|node| node.value).collect());
    }
    Ok(())
}
