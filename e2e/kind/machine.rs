//! A machine on the nodes' own LAN that is not a container: a network namespace with a cable to the engine's bridge.

use std::net::IpAddr;
use std::process::Command;

use anyhow::{Context, Result};

use super::cluster::Cluster;
use crate::namespace::{Namespace, run};
use crate::process::mortal;

/// The machine's only NIC.
pub(crate) const NIC: &str = "eth0";

/// A machine with power.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// Its network.
    pub(crate) namespace: Namespace,
}

impl Machine {
    /// Makes one with addresses (`192.168.0.5/24`) and connects it to a bridge. `name` is also the bridge's end of the cable.
    pub(crate) fn connect(name: &str, mac: &str, addresses: &[&str], cluster: &Cluster) -> Result<Self> {
        let namespace = Namespace::new()?;
        namespace.ip("link set lo up")?;
        let switches = &cluster.docker.namespace;
        switches.ip(&format!("link add {name} type veth peer name {NIC} address {mac} netns {}", namespace.path()))?;
        switches.ip(&format!("link set {name} master {} up", cluster.bridge))?;
        namespace.ip(&format!("link set {NIC} up"))?;
        for address in addresses {
            let nodad = if address.contains(':') { " nodad" } else { "" };
            namespace.ip(&format!("address add {address} dev {NIC}{nodad}"))?;
        }
        Ok(Self { namespace })
    }

    /// Runs a program on it to its end, with words divided by blanks: what it printed.
    pub(crate) fn run(&self, line: &str) -> Result<String> {
        let mut words = line.split(' ');
        let mut command: Command = mortal(words.next().unwrap_or_default());
        command.args(words);
        self.namespace.inside(|| run(&mut command))?
    }

    /// Its hardware address.
    pub(crate) fn mac(&self) -> Result<String> {
        let links: serde_json::Value = serde_json::from_str(&self.namespace.ip(&format!("-j link show dev {NIC}"))?)?;
        Ok(links[0]["address"].as_str().context("a NIC without an address")?.to_owned())
    }

    /// The MAC that its neighbor table has for an address.
    pub(crate) fn neighbor(&self, address: IpAddr) -> Result<String> {
        let family = if address.is_ipv6() { "-6" } else { "-4" };
        let text = self.namespace.ip(&format!("{family} -j neigh show to {address} dev {NIC}"))?;
        let table: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        table[0]["lladdr"].as_str().map(str::to_owned).with_context(|| format!("no entry for {address}: {}", text.trim()))
    }

    /// Forgets what it knows of its neighbors.
    pub(crate) fn forget(&self, neighbor: IpAddr) -> Result<()> {
        let family = if neighbor.is_ipv6() { "-6" } else { "-4" };
        self.namespace.ip(&format!("{family} neigh flush to {neighbor} dev {NIC}")).map(drop)
    }
}
