//! A scenario file as it is written, key by key. Nothing is compared here; `check` does that.
//!
//! One field per key and no flattening, so that every value keeps its place in the file and an unknown key is answered with the known ones.
//! The comments on the fields are what an editor shows: the schema is made from these types.

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::expect::Expect;
use super::fault;
use super::spanned::Spanned;
use super::topology::Topology;
use super::values::{Nothing, OneOrMany, TargetText};
use crate::duration::Text as DurationText;
use crate::scenario::KubeProxy;

/// A whole file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct File {
    /// The grammar's version: 1.
    pub(super) version: Spanned<u64>,
    /// The file's own name, without .yaml.
    pub(super) name: Spanned<String>,
    /// One sentence: what happens.
    pub(super) about: Spanned<String>,
    /// One sentence: why that matters, and to whom.
    pub(super) why: Option<String>,
    /// A file that says which machines there are: ../base/tutorial.yaml.
    pub(super) extends: Option<Spanned<String>>,
    /// Where commands are typed; this file's own folder unless said.
    pub(super) folder: Option<Spanned<String>>,
    /// The seed of all chance.
    #[serde(default)]
    pub(super) seed: u64,
    /// When it ends.
    pub(super) stop: Spanned<DurationText>,
    /// Machines and cables, beside those of the file that this one extends.
    pub(super) topology: Option<Spanned<Topology>>,
    /// Kubernetes.
    #[serde(default)]
    pub(super) cluster: Cluster,
    /// What happens, in order of time.
    pub(super) timeline: Spanned<Vec<Spanned<Step>>>,
    /// What must be seen.
    #[serde(default)]
    pub(super) expect: Vec<Spanned<Expect>>,
}

/// What other files extend: machines and cluster, nothing that happens.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Base {
    pub(super) version: Spanned<u64>,
    #[serde(rename = "about")]
    pub(super) _about: Option<String>,
    #[serde(default)]
    pub(super) topology: Topology,
    #[serde(default)]
    pub(super) cluster: Cluster,
}

/// Kubernetes.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Cluster {
    /// What the kube-proxy ConfigMap says when the scenario starts.
    pub(super) kube_proxy: Option<KubeProxy>,
    /// The nodes on which a replica of Bellhop runs from the start.
    pub(super) bellhop: Option<Vec<Spanned<String>>>,
    /// Manifests, in the order in which `apply: all` applies them.
    #[serde(default)]
    pub(super) manifests: Vec<Spanned<String>>,
    /// For a Deployment of this name, the nodes of its pods in turn.
    pub(super) place: Option<BTreeMap<String, Vec<Spanned<String>>>>,
    /// How long the node controller waits for a heartbeat; 50s unless said.
    pub(super) node_monitor_grace_period: Option<DurationText>,
}

/// A step: when, and exactly one thing that is done.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Step {
    /// When, since the start. Steps stand in order of time.
    pub(super) at: Spanned<DurationText>,
    /// A name for others to refer to.
    pub(super) id: Option<Spanned<String>>,
    /// Where `run` types its command.
    pub(super) machine: Option<Spanned<TargetText>>,
    /// A command line: kubectl, or on a machine ping, ip neigh, curl.
    pub(super) run: Option<Spanned<String>>,
    /// Manifests to kubectl apply, or all of the cluster's.
    pub(super) apply: Option<Spanned<OneOrMany<String>>>,
    /// What somebody changes in kubectl edit.
    pub(super) edit: Option<Edit>,
    /// One echo request every so often.
    pub(super) ping: Option<Ping>,
    /// One HTTP request every so often.
    pub(super) curl: Option<Curl>,
    /// Cuts the power.
    pub(super) power_off: Option<Spanned<TargetText>>,
    /// Power again.
    pub(super) power_on: Option<Spanned<TargetText>>,
    /// Power off, and on again after a while.
    pub(super) reboot: Option<fault::Reboot>,
    /// Takes a link down.
    pub(super) nic_down: Option<NicOf>,
    /// Takes it up again.
    pub(super) nic_up: Option<NicOf>,
    /// SIGKILL to the replica on this node; it stays away.
    pub(super) kill_bellhop: Option<Spanned<TargetText>>,
    /// SIGTERM to it.
    pub(super) stop_bellhop: Option<Spanned<TargetText>>,
    /// Starts it.
    pub(super) start_bellhop: Option<Spanned<TargetText>>,
    /// SIGKILL to it, and another one at once.
    pub(super) restart_bellhop: Option<Spanned<TargetText>>,
    /// The API server stops answering.
    pub(super) api_down: Option<Nothing>,
    /// It answers again.
    pub(super) api_up: Option<Nothing>,
    /// The whole machine stands still.
    pub(super) freeze: Option<fault::Freeze>,
    /// A machine's clock runs fast or slow.
    pub(super) clock_rate: Option<fault::ClockRate>,
    /// The replica of Bellhop stands still.
    pub(super) freeze_bellhop: Option<fault::Freeze>,
    /// The replica of Bellhop dies between two writes.
    pub(super) die_at_write: Option<fault::DieAtWrite>,
    /// A NIC gets another MAC.
    pub(super) set_mac: Option<fault::SetMac>,
    /// A link goes down and up again and again.
    pub(super) flap: Option<fault::Flap>,
    /// What a NIC's cable does to frames.
    pub(super) cable: Option<Spanned<fault::Cable>>,
    /// What the cable between two switches does to frames.
    pub(super) uplink: Option<Spanned<fault::Uplink>>,
    /// A machine takes an address as its own.
    pub(super) claim_address: Option<fault::ClaimAddress>,
    /// A machine says unasked that an address is its own.
    pub(super) spoof_arp: Option<fault::SpoofArp>,
    /// Broadcast frames as fast as said.
    pub(super) storm: Option<fault::Storm>,
    /// What the API server does to requests.
    pub(super) api: Option<Spanned<fault::Api>>,
    /// Pods stop being ready.
    pub(super) unready: Option<fault::Unready>,
}

/// What somebody changes in kubectl edit.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Edit {
    /// As kubectl takes it.
    pub(super) kind: String,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    /// Dotted paths and their new values.
    pub(super) set: Spanned<BTreeMap<String, Value>>,
}

/// A continuous ping.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Ping {
    pub(super) from: Spanned<String>,
    pub(super) to: IpAddr,
    /// From one request to the next.
    pub(super) every: Spanned<DurationText>,
    /// A time or a step's id; to the end unless said.
    pub(super) until: Option<Spanned<String>>,
}

/// A continuous curl.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Curl {
    pub(super) from: Spanned<String>,
    /// As curl takes it, with an address: `http://192.168.0.91:80/path`; all but the address may be left out.
    pub(super) url: Spanned<String>,
    /// From one request to the next.
    pub(super) every: Spanned<DurationText>,
    /// A time or a step's id; to the end unless said.
    pub(super) until: Option<Spanned<String>>,
    /// How long one request may take; 2s unless said.
    pub(super) limit: Option<Spanned<DurationText>>,
}

/// A NIC of a machine.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NicOf {
    pub(super) machine: Spanned<TargetText>,
    pub(super) nic: Spanned<String>,
}
