//! A scenario, parsed and checked: topology, cluster, timeline, expectations.
//!
//! Values of these types have been checked against each other by `load`: every machine, NIC, switch and step that is named
//! exists, every manifest is readable, times do not decrease. Worlds build what [`Topology`] and [`Cluster`] say.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bellhop_core::mac::MacAddr;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::action::{Action, Target};
use crate::expectation::Expectation;

/// One situation, from one file.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The file it came from.
    pub path: PathBuf,
    /// Where commands are typed: the file's own folder, or the one below it that it names. Manifests are relative to it.
    pub folder: PathBuf,
    /// Its name, which is the file's name without `.yaml`.
    pub name: String,
    /// One sentence: what happens.
    pub about: String,
    /// One sentence: why that matters.
    pub why: Option<String>,
    /// The seed of all chance.
    pub seed: u64,
    /// When it ends.
    pub stop: Duration,
    /// Machines and cables.
    pub topology: Topology,
    /// Kubernetes.
    pub cluster: Cluster,
    /// What happens, in order of time.
    pub timeline: Vec<Step>,
    /// What must be seen.
    pub expect: Vec<Expectation>,
}

/// A step of the timeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// When.
    pub at: Duration,
    /// Its id, where others refer to it.
    pub id: Option<String>,
    /// What is done: one thing, or one `kubectl apply` for each manifest of `apply: all`.
    pub actions: Vec<Action<Target>>,
}

/// Machines and cables.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Topology {
    /// Ethernet segments by name.
    pub segments: BTreeMap<String, Segment>,
    /// Switches by name.
    pub switches: BTreeMap<String, Switch>,
    /// Cables between switches, as the file names them: see [`Topology::uplinks`].
    pub named_uplinks: Vec<Uplink>,
    /// Machines between segments by name.
    pub routers: BTreeMap<String, Router>,
    /// Nodes of the cluster by name.
    pub nodes: BTreeMap<String, Node>,
    /// Machines outside the cluster by name.
    pub clients: BTreeMap<String, Client>,
}

/// An Ethernet segment: one broadcast domain.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// Its IPv4 prefix.
    pub ipv4: Ipv4Net,
    /// Its IPv6 prefix.
    pub ipv6: Option<Ipv6Net>,
    /// One-way delay of a cable of it, drawn for each frame; `50us` or `50us..200us`.
    pub latency: Latency,
}

/// A range of delays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// Shortest.
    pub min: Duration,
    /// Longest.
    pub max: Duration,
}

impl Default for Latency {
    /// A quiet gigabit LAN: tens of microseconds from NIC to NIC (design §6, `scenario-sample.yaml`).
    fn default() -> Self {
        Self { min: Duration::from_micros(50), max: Duration::from_micros(200) }
    }
}

/// A learning switch.
#[derive(Clone, Debug, PartialEq)]
pub struct Switch {
    /// The segment it makes.
    pub segment: String,
    /// How long it remembers a MAC that it does not hear (IEEE 802.1Q's default is 300 s).
    pub mac_ageing: Duration,
    /// How many MACs it can remember; to others it floods. `None`: as many as come.
    pub table_size: Option<u32>,
    /// Broadcast frames a second that it lets in at a port; `None`: no limit.
    pub storm_limit: Option<u32>,
    /// Dynamic ARP inspection: ARP from a port that binds an address to another MAC or port than the one first seen is dropped.
    pub inspect_arp: bool,
    /// How long its spanning tree takes to find another way when a cable between switches is cut.
    pub converge: Duration,
}

/// A cable between two switches of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// The switches at its ends.
    pub between: [String; 2],
    /// One-way delay; `None`: the segment's.
    pub latency: Option<Latency>,
}

/// A machine with NICs in several segments that forwards between them.
#[derive(Clone, Debug, PartialEq)]
pub struct Router {
    /// Its NICs by name.
    pub nics: BTreeMap<String, Nic>,
    /// How its neighbor tables behave.
    pub stack: Stack,
    /// Where it sends what is on none of its segments.
    pub gateway: Option<IpAddr>,
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// `control-plane`, or nothing for a worker.
    pub roles: Vec<String>,
    /// Its NICs by name; the first in order of name carries the node's InternalIP.
    pub nics: BTreeMap<String, Nic>,
    /// Where it sends what is on none of its segments.
    pub gateway: Option<IpAddr>,
    /// Labels beside those that every node has.
    pub labels: BTreeMap<String, String>,
}

/// A NIC of a node or router.
#[derive(Clone, Debug, PartialEq)]
pub struct Nic {
    /// The switch its cable goes to; `None`: up, on a segment of its own where nobody else is.
    pub switch: Option<String>,
    /// Address and prefix length.
    pub ip: IpNet,
    /// A second address, of IPv6 beside one of IPv4.
    pub ipv6: Option<Ipv6Net>,
    /// Hardware address; `None`: the world chooses and reports it.
    pub mac: Option<MacAddr>,
}

/// A machine outside the cluster, with one NIC, `eth0`.
#[derive(Clone, Debug, PartialEq)]
pub struct Client {
    /// The switch its cable goes to.
    pub switch: String,
    /// Address and prefix length.
    pub ip: IpNet,
    /// A second address, of IPv6 beside one of IPv4.
    pub ipv6: Option<Ipv6Net>,
    /// Hardware address; `None`: the world chooses and reports it.
    pub mac: Option<MacAddr>,
    /// How its neighbor table behaves.
    pub stack: Stack,
    /// Where it sends what is not on its segment.
    pub gateway: Option<IpAddr>,
}

/// How the neighbor table of a client or router behaves (design §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stack {
    /// As Linux does.
    #[default]
    Linux,
    /// As Windows does.
    Windows,
    /// A router's: an entry lives four hours, and only what is heard about it changes it.
    SlowCache,
    /// Takes no gratuitous ARP.
    IgnoresGratuitous,
    /// Defends its own address as RFC 5227 §2.4 says.
    Defender,
}

/// Kubernetes, around Bellhop.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// What the kube-proxy ConfigMap says when the scenario starts.
    pub kube_proxy: KubeProxy,
    /// The nodes on which a replica of Bellhop runs from the start.
    pub bellhop: Vec<String>,
    /// The scenario's manifests, in the order in which `apply: all` applies them; relative to the scenario's folder.
    pub manifests: Vec<PathBuf>,
    /// For a Deployment of this name, the nodes of its pods in turn; without an entry the scheduler spreads them.
    pub place: BTreeMap<String, Vec<String>>,
    /// How long the node controller waits for a heartbeat before it calls a node NotReady.
    pub node_monitor_grace_period: Duration,
}

/// kube-proxy's configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KubeProxy {
    /// `mode` of its `config.conf`.
    #[serde(default)]
    pub mode: ProxyMode,
    /// `ipvs.strictARP` of its `config.conf`.
    #[serde(default, rename = "strictARP")]
    pub strict_arp: bool,
}

/// kube-proxy's modes that a world may know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProxyMode {
    /// Addresses on a local device: ping is answered; without strictARP every node answers ARP for them.
    #[default]
    Ipvs,
    /// No device: ping stays unanswered.
    Iptables,
}

impl Scenario {
    /// A manifest's place in the file system.
    pub fn file(&self, manifest: &Path) -> PathBuf {
        self.folder.join(manifest)
    }

    /// The folder that its file is in.
    pub fn theme(&self) -> String {
        let folder = self.path.parent().and_then(Path::file_name);
        folder.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Whether a machine of this name exists.
    pub fn has_machine(&self, name: &str) -> bool {
        self.topology.machines().any(|machine| machine == name)
    }
}

impl Topology {
    /// The names of all machines: nodes, clients, routers.
    pub fn machines(&self) -> impl Iterator<Item = &String> {
        self.nodes.keys().chain(self.clients.keys()).chain(self.routers.keys())
    }

    /// The NICs of a node or router.
    pub fn nics(&self, machine: &str) -> Option<&BTreeMap<String, Nic>> {
        self.nodes.get(machine).map(|node| &node.nics).or_else(|| self.routers.get(machine).map(|router| &router.nics))
    }

    /// The cables between switches: those that the file names; in a segment where it names none, the switches stand in a row in order of name.
    pub fn uplinks(&self) -> Vec<Uplink> {
        let segment = |switch: &String| self.switches.get(switch).map(|switch| switch.segment.as_str());
        let named: BTreeSet<&str> = self.named_uplinks.iter().filter_map(|uplink| segment(&uplink.between[0])).collect();
        let mut uplinks = self.named_uplinks.clone();
        let mut last: BTreeMap<&str, &String> = BTreeMap::new();
        for (name, switch) in self.switches.iter().filter(|(_, switch)| !named.contains(switch.segment.as_str())) {
            if let Some(before) = last.insert(&switch.segment, name) {
                uplinks.push(Uplink { between: [before.clone(), name.clone()], latency: None });
            }
        }
        uplinks
    }
}
