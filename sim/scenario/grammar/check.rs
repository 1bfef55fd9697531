//! From the keys of a file to a [`Scenario`]: the whole and its cluster. Machines, timeline and expectations follow in modules of their own.
//!
//! Everything named must exist, and what cannot be is said at its line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::check_topology::Places;
use super::file::{self, Base, File};
use super::refusal::{Finding, at};
use super::spanned::Spanned;
use super::{check_expect, check_size, check_timeline, check_topology, place};
use crate::scenario::{Cluster, KubeProxy, Scenario, Topology};

/// kube-controller-manager's default from Kubernetes 1.32 on.
const NODE_MONITOR_GRACE_PERIOD: Duration = Duration::from_secs(50);
/// More than a person applies by hand.
const MOST_MANIFESTS: usize = 32;

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
    check_topology::add(&mut ground.topology, base.topology)?;
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
    let places = Places::of(file.topology.as_ref());
    if let Some(topology) = file.topology {
        check_topology::add(&mut ground.topology, topology.value)?;
    }
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
        return Err(places.at(None, "no nodes: expected `topology` with nodes, or `extends` with a file that has them".to_owned()));
    }
    check_topology::whole(&scenario.topology, &places)?;
    check_timeline::timeline(&mut scenario, file.timeline)?;
    check_expect::expectations(&mut scenario, file.expect)?;
    check_expect::add_implied_probes(&mut scenario);
    check_size::whole_fits(&scenario, &file.stop)?;
    Ok(scenario)
}

/// Where commands are typed.
fn folder(path: &Path, named: Option<&Spanned<String>>) -> Result<PathBuf, Finding> {
    let own = path.parent().unwrap_or_else(|| Path::new("")).to_owned();
    match named {
        None => Ok(own),
        Some(name) => match place::inside(&own, &name.value) {
            Some(folder) if folder.is_dir() => Ok(folder),
            _ => Err(at(name, format!("no folder `{}` in {}", name.value, place::shown(&own)))),
        },
    }
}

/// A manifest that exists.
pub(super) fn readable(folder: &Path, manifest: &Spanned<String>) -> Result<(), Finding> {
    readable_text(folder, &manifest.value).map_err(|message| at(manifest, message))
}

/// The same for a path that is a part of a value.
pub(super) fn readable_text(folder: &Path, manifest: &str) -> Result<(), String> {
    match place::inside(folder, manifest) {
        None => Err(format!("`{manifest}`: expected a path that does not leave {}", place::root(folder))),
        Some(path) if path.is_file() => Ok(()),
        Some(_) => Err(format!("no file `{manifest}` in {}", place::shown(folder))),
    }
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
    if let Some(extra) = from.manifests.get(MOST_MANIFESTS) {
        return Err(at(extra, format!("too many manifests: expected at most {MOST_MANIFESTS}")));
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
