//! Machines and cables as they are written.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bellhop_core::mac::MacAddr;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use schemars::JsonSchema;
use serde::Deserialize;

use super::schema;
use super::spanned::Spanned;
use super::values::OneOrMany;
use crate::duration::Text as DurationText;
use crate::scenario::{Latency, Stack};

/// Machines and cables.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Topology {
    /// Ethernet segments by name: one broadcast domain each.
    #[serde(default)]
    pub(super) segments: BTreeMap<String, Spanned<Segment>>,
    /// Switches by name.
    #[serde(default)]
    pub(super) switches: BTreeMap<String, Spanned<Switch>>,
    /// Cables between switches of one segment; without any they stand in a row, in order of name.
    #[serde(default)]
    pub(super) uplinks: Vec<Spanned<Uplink>>,
    /// Machines between segments.
    #[serde(default)]
    pub(super) routers: BTreeMap<String, Spanned<Router>>,
    /// Nodes of the cluster.
    #[serde(default)]
    pub(super) nodes: BTreeMap<String, Spanned<Node>>,
    /// Machines outside the cluster.
    #[serde(default)]
    pub(super) clients: BTreeMap<String, Spanned<Client>>,
}

/// An Ethernet segment.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Segment {
    /// Its IPv4 prefix.
    #[schemars(with = "schema::Prefix4")]
    pub(super) ipv4: Ipv4Net,
    /// Its IPv6 prefix.
    #[schemars(with = "Option<schema::Prefix6>")]
    pub(super) ipv6: Option<Ipv6Net>,
    /// One-way delay of a cable of it, drawn for each frame.
    #[serde(default)]
    pub(super) latency: Latency,
}

/// A learning switch.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Switch {
    pub(super) segment: Spanned<String>,
    /// How long it remembers a MAC that it does not hear; 300s unless said.
    pub(super) mac_ageing: Option<DurationText>,
    /// How many MACs it can remember; as many as come unless said.
    pub(super) table_size: Option<Spanned<u32>>,
    /// Broadcast frames a second that it lets in at a port; no limit unless said.
    pub(super) storm_limit: Option<Spanned<u32>>,
    /// Whether it drops ARP from a port that binds an address to another MAC than the one first seen there.
    #[serde(default)]
    pub(super) inspect_arp: bool,
    /// How long its spanning tree takes to find another way; 2s unless said.
    pub(super) converge: Option<Spanned<DurationText>>,
}

/// A cable between two switches.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Uplink {
    /// The two switches.
    pub(super) between: Spanned<Vec<Spanned<String>>>,
    /// One-way delay; the segment's unless said.
    pub(super) latency: Option<Latency>,
}

/// A machine with a NIC in each of several segments that forwards between them.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Router {
    pub(super) nics: Spanned<BTreeMap<String, Spanned<Nic>>>,
    /// How its neighbor tables behave; linux unless said.
    #[serde(default)]
    pub(super) stack: Stack,
    /// Where it sends what is on none of its segments.
    pub(super) gateway: Option<Spanned<IpAddr>>,
}

/// A node of the cluster.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Node {
    /// control-plane, or nothing for a worker.
    #[serde(default)]
    pub(super) roles: Vec<Spanned<String>>,
    /// Its NICs; the first in order of name carries its InternalIP.
    pub(super) nics: Spanned<BTreeMap<String, Spanned<Nic>>>,
    /// Where it sends what is on none of its segments.
    pub(super) gateway: Option<Spanned<IpAddr>>,
    /// Labels beside those that every node has.
    #[serde(default)]
    pub(super) labels: BTreeMap<String, Spanned<String>>,
}

/// A NIC.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nic {
    /// The switch its cable goes to; without it the NIC is alone on a segment of its own.
    pub(super) switch: Option<Spanned<String>>,
    /// Its address, or [IPv4, IPv6].
    #[schemars(with = "OneOrMany<schema::AddressWithLength>")]
    pub(super) ip: Spanned<OneOrMany<IpNet>>,
    /// The world chooses one unless said.
    #[schemars(with = "Option<schema::Mac>")]
    pub(super) mac: Option<Spanned<MacAddr>>,
}

/// A machine outside the cluster, with one NIC, eth0.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Client {
    /// The switch its cable goes to.
    pub(super) switch: Spanned<String>,
    /// Its address, or [IPv4, IPv6].
    #[schemars(with = "OneOrMany<schema::AddressWithLength>")]
    pub(super) ip: Spanned<OneOrMany<IpNet>>,
    /// The world chooses one unless said.
    #[schemars(with = "Option<schema::Mac>")]
    pub(super) mac: Option<Spanned<MacAddr>>,
    /// How its neighbor table behaves; linux unless said.
    #[serde(default)]
    pub(super) stack: Stack,
    /// Where it sends what is not on its segment.
    pub(super) gateway: Option<Spanned<IpAddr>>,
}
