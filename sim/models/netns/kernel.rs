//! The rules of one node, put into its kernel.
//!
//! nft does the sending. In ipvs mode the Services' addresses are on the device `kube-ipvs0` as well, so that the node answers `ping` for them, and ARP
//! too unless strictARP is on. The kernels we meet have neither ip_vs nor `dummy`: the device is one end of a veth that is down, which is as good, for a
//! local address needs no carrier.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;

use super::command::{run, run_with_input, sysctl};
use super::{NetnsConfig, nft};
use crate::kubelet::NodeConfig;
use crate::runner::{ProxyMode, RuleSink, RunError, ServiceRules};

/// The device that kube-proxy uses for the same end.
const DEVICE: &str = "kube-ipvs0";
/// Its other end, which nobody uses.
const DEVICE_PEER: &str = "kube-ipvs0-peer";

/// A node's kernel. Dropping it takes the rules away.
pub struct NodeKernel {
    node: Ipv4Addr,
    cluster_cidr: Ipv4Net,
}

impl NodeKernel {
    /// Removes what a dead predecessor left, and lets the node forward.
    pub fn new(node: &NodeConfig, network: &NetnsConfig) -> Result<Self, RunError> {
        clear();
        sysctl("ip_forward", "1")?;
        Ok(Self { node: node.ip, cluster_cidr: network.cluster_cidr })
    }
}

impl RuleSink for NodeKernel {
    fn apply(&self, rules: &ServiceRules) -> Result<(), RunError> {
        let (strict_arp, addresses) = match rules.mode {
            ProxyMode::Ipvs { strict_arp } => (strict_arp, addresses(rules)),
            ProxyMode::Iptables => (false, BTreeSet::new()),
        };
        // Before the addresses, so that none is answered for in between. (The real program never sets them back; a restart without
        // strictARP is meant to show what that is like.)
        sysctl("conf/all/arp_ignore", if strict_arp { "1" } else { "0" })?;
        sysctl("conf/all/arp_announce", if strict_arp { "2" } else { "0" })?;
        run_with_input("nft", &["-f", "-"], &nft::script(rules, self.node, self.cluster_cidr))?;
        set_addresses(&addresses)
    }
}

impl Drop for NodeKernel {
    fn drop(&mut self) {
        clear();
    }
}

/// Back to a kernel that knows no Service. What is not there cannot be removed: that is fine.
fn clear() {
    let _ = run("nft", &["delete", "table", "ip", "bellhop_proxy"]);
    let _ = run("ip", &["link", "del", DEVICE]);
    let _ = sysctl("conf/all/arp_ignore", "0");
    let _ = sysctl("conf/all/arp_announce", "0");
}

/// All addresses of Services.
fn addresses(rules: &ServiceRules) -> BTreeSet<Ipv4Addr> {
    let all = rules.services.iter().flat_map(|service| service.cluster_ip.iter().chain(&service.external_ips));
    all.filter_map(|ip| if let IpAddr::V4(ip) = ip { Some(*ip) } else { None }).collect()
}

/// Makes the device hold exactly these addresses.
fn set_addresses(wanted: &BTreeSet<Ipv4Addr>) -> Result<(), RunError> {
    if run("ip", &["link", "show", DEVICE]).is_err() {
        if wanted.is_empty() {
            return Ok(());
        }
        run("ip", &["link", "add", DEVICE, "type", "veth", "peer", "name", DEVICE_PEER])?;
    }
    let held = held()?;
    for ip in wanted.difference(&held) {
        run("ip", &["addr", "add", &format!("{ip}/32"), "dev", DEVICE])?;
    }
    for ip in held.difference(wanted) {
        run("ip", &["addr", "del", &format!("{ip}/32"), "dev", DEVICE])?;
    }
    Ok(())
}

/// The addresses on the device: fourth word of `ip -o -4 addr` lines.
fn held() -> Result<BTreeSet<Ipv4Addr>, RunError> {
    let listed = run("ip", &["-o", "-4", "addr", "show", "dev", DEVICE])?;
    let address = |line: &str| line.split_whitespace().nth(3).and_then(|word| word.split('/').next()?.parse().ok());
    Ok(listed.lines().filter_map(address).collect())
}
