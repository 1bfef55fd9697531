//! A scenario file as it is written, key by key. Nothing is compared here; `check` does that.
//!
//! One field per key and no flattening, so that every value keeps its place in the file and an unknown key is answered with the known ones.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bellhop_core::mac::MacAddr;
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Spanned;

use super::expect::Expect;
use super::values::{Nothing, OneOrMany, TargetText};
use crate::duration::Text as DurationText;
use crate::scenario::{KubeProxy, Segment, Stack};

/// A whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct File {
    /// The grammar's version.
    pub(super) version: Spanned<u64>,
    pub(super) name: Spanned<String>,
    pub(super) about: Spanned<String>,
    pub(super) why: Option<String>,
    pub(super) extends: Option<Spanned<String>>,
    pub(super) folder: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) seed: u64,
    pub(super) stop: Spanned<DurationText>,
    #[serde(default)]
    pub(super) topology: Topology,
    #[serde(default)]
    pub(super) cluster: Cluster,
    pub(super) timeline: Spanned<Vec<Spanned<Step>>>,
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

/// Machines and cables.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Topology {
    #[serde(default)]
    pub(super) segments: BTreeMap<String, Spanned<Segment>>,
    #[serde(default)]
    pub(super) switches: BTreeMap<String, Spanned<Switch>>,
    #[serde(default)]
    pub(super) nodes: BTreeMap<String, Spanned<Node>>,
    #[serde(default)]
    pub(super) clients: BTreeMap<String, Spanned<Client>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Switch {
    pub(super) segment: Spanned<String>,
    pub(super) mac_ageing: Option<DurationText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Node {
    #[serde(default)]
    pub(super) roles: Vec<Spanned<String>>,
    pub(super) nics: Spanned<BTreeMap<String, Spanned<Nic>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nic {
    pub(super) switch: Option<Spanned<String>>,
    pub(super) ip: Spanned<IpNet>,
    pub(super) mac: Option<Spanned<MacAddr>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Client {
    pub(super) switch: Spanned<String>,
    pub(super) ip: Spanned<IpNet>,
    pub(super) mac: Option<Spanned<MacAddr>>,
    #[serde(default)]
    pub(super) stack: Stack,
}

/// Kubernetes.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Cluster {
    pub(super) kube_proxy: Option<KubeProxy>,
    pub(super) bellhop: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    pub(super) manifests: Vec<Spanned<String>>,
    pub(super) place: Option<BTreeMap<String, Vec<Spanned<String>>>>,
    pub(super) node_monitor_grace_period: Option<DurationText>,
}

/// A step: when, and exactly one of the rest.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Step {
    pub(super) at: Spanned<DurationText>,
    pub(super) id: Option<Spanned<String>>,
    /// Where `run` types its command.
    pub(super) machine: Option<Spanned<TargetText>>,
    pub(super) run: Option<Spanned<String>>,
    pub(super) apply: Option<Spanned<OneOrMany<String>>>,
    pub(super) edit: Option<Edit>,
    pub(super) ping: Option<Ping>,
    pub(super) curl: Option<Curl>,
    pub(super) power_off: Option<Spanned<TargetText>>,
    pub(super) power_on: Option<Spanned<TargetText>>,
    pub(super) nic_down: Option<NicOf>,
    pub(super) nic_up: Option<NicOf>,
    pub(super) kill_bellhop: Option<Spanned<TargetText>>,
    pub(super) stop_bellhop: Option<Spanned<TargetText>>,
    pub(super) start_bellhop: Option<Spanned<TargetText>>,
    pub(super) api_down: Option<Nothing>,
    pub(super) api_up: Option<Nothing>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Edit {
    pub(super) kind: String,
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    pub(super) set: Spanned<BTreeMap<String, Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ping {
    pub(super) from: Spanned<String>,
    pub(super) to: IpAddr,
    pub(super) every: Spanned<DurationText>,
    pub(super) until: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Curl {
    pub(super) from: Spanned<String>,
    pub(super) url: Spanned<String>,
    pub(super) every: Spanned<DurationText>,
    pub(super) until: Option<Spanned<String>>,
    pub(super) limit: Option<Spanned<DurationText>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NicOf {
    pub(super) machine: Spanned<TargetText>,
    pub(super) nic: Spanned<String>,
}
