//! The rules of one node, put into its kernel.
//!
//! nft does the sending. In ipvs mode the Services' addresses are on the device `kube-ipvs0` as well, so that the node answers `ping` for them, and ARP
//! too unless strictARP is on. The kernels we meet have neither ip_vs nor `dummy`: the device is one end of a veth that is down, which is as good, for a
//! local address needs no carrier.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

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
    /// The node's address and all pods' subnet, of each family that it has.
    families: Vec<(IpAddr, IpNet)>,
}

impl NodeKernel {
    /// Removes what a dead predecessor left, and lets the node forward.
    pub fn new(node: &NodeConfig, network: &NetnsConfig) -> Result<Self, RunError> {
        clear();
        sysctl("ipv4/ip_forward", "1")?;
        let mut families = vec![(node.ip.into(), network.cluster_cidr.into())];
        if let Some(ipv6) = node.ipv6 {
            sysctl("ipv6/conf/all/forwarding", "1")?;
            families.push((ipv6.ip.into(), network.cluster_cidr_v6.into()));
        }
        Ok(Self { families })
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
        sysctl("ipv4/conf/all/arp_ignore", if strict_arp { "1" } else { "0" })?;
        sysctl("ipv4/conf/all/arp_announce", if strict_arp { "2" } else { "0" })?;
        let scripts: String = self.families.iter().map(|(node, cluster)| nft::script(rules, *node, *cluster)).collect();
        run_with_input("nft", &["-f", "-"], &scripts)?;
        set_addresses(&addresses.into_iter().filter(|ip| self.families.iter().any(|(own, _)| own.is_ipv4() == ip.is_ipv4())).collect())
    }
}

impl Drop for NodeKernel {
    fn drop(&mut self) {
        clear();
    }
}

/// Back to a kernel that knows no Service. What is not there cannot be removed: that is fine.
fn clear() {
    for family in ["ip", "ip6"] {
        let _ = run("nft", &["delete", "table", family, nft::TABLE]);
    }
    let _ = run("ip", &["link", "del", DEVICE]);
    let _ = sysctl("ipv4/conf/all/arp_ignore", "0");
    let _ = sysctl("ipv4/conf/all/arp_announce", "0");
}

/// All addresses of Services.
fn addresses(rules: &ServiceRules) -> BTreeSet<IpAddr> {
    rules.services.iter().flat_map(|service| service.cluster_ips.iter().chain(&service.external_ips)).copied().collect()
}

/// Makes the device hold exactly these addresses.
fn set_addresses(wanted: &BTreeSet<IpAddr>) -> Result<(), RunError> {
    if run("ip", &["link", "show", DEVICE]).is_err() {
        if wanted.is_empty() {
            return Ok(());
        }
        run("ip", &["link", "add", DEVICE, "type", "veth", "peer", "name", DEVICE_PEER])?;
        // As a dummy has it: the device takes no part in ARP, by which others tell that its addresses are not the machine's own.
        run("ip", &["link", "set", DEVICE, "arp", "off"])?;
    }
    let held = held()?;
    for ip in wanted.difference(&held) {
        // On a device that is down nobody can be asked whether another has it.
        let nodad: &[&str] = if ip.is_ipv6() { &["nodad"] } else { &[] };
        run("ip", &[&["addr", "add", &host_net(*ip), "dev", DEVICE], nodad].concat())?;
    }
    for ip in held.difference(wanted) {
        run("ip", &["addr", "del", &host_net(*ip), "dev", DEVICE])?;
    }
    Ok(())
}

/// An address as the only one of its subnet.
fn host_net(ip: IpAddr) -> String {
    IpNet::from(ip).to_string()
}

/// The addresses on the device: fourth word of `ip -o addr` lines.
fn held() -> Result<BTreeSet<IpAddr>, RunError> {
    let listed = run("ip", &["-o", "addr", "show", "dev", DEVICE, "scope", "global"])?;
    let address = |line: &str| line.split_whitespace().nth(3).and_then(|word| word.split('/').next()?.parse().ok());
    Ok(listed.lines().filter_map(address).collect())
}
