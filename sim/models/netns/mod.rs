//! A node of real kernels: the same kubelet and kube-proxy, with namespaces for pods and nft for rules.
//!
//! [`run_netns_node`] runs as a process **already inside the node's network namespace** and configures that namespace only; it makes one more per pod,
//! held by the pod's process, so that a killed pod leaves nothing. [`nft`] words the rules and is pure, [`kernel`] applies them, [`pods`] runs pods,
//! [`responder`] is what runs in them. A pod whose process dies is not noticed: nothing here kills one behind our back.

mod command;
mod kernel;
mod nft;
mod pods;
pub(crate) mod responder;

use std::net::IpAddr;
use std::path::PathBuf;
use std::rc::Rc;

use bellhop::env::Env;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::kubelet::NodeConfig;
use crate::node::run_node;
use command::run;
pub use kernel::NodeKernel;
pub use pods::PodNamespaces;

/// Where the node is on the LAN, and who else is.
#[derive(Clone, Debug)]
pub struct NetnsConfig {
    /// The interface to the other nodes.
    pub interface: String,
    /// The other nodes.
    pub peers: Vec<Peer>,
    /// All pod subnets: clients within are not outside.
    pub cluster_cidr: Ipv4Net,
    /// The same of IPv6.
    pub cluster_cidr_v6: Ipv6Net,
    /// The program that answers in a pod, called as `<program> pod --name <pod> --listen 0.0.0.0:<port>`.
    pub executable: PathBuf,
}

/// Another node, and the way to its pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Its address on the LAN.
    pub ip: IpAddr,
    /// Its pods' subnet, of the same family.
    pub pod_cidr: IpNet,
}

/// What is wrong with a text that should be a peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a peer: expected name=address=pod-subnet, as in worker-p002=192.168.0.4=10.233.2.0/24")]
pub struct InvalidPeer(String);

impl std::str::FromStr for Peer {
    type Err = InvalidPeer;

    /// Reads `name=address=pod-subnet`.
    fn from_str(text: &str) -> Result<Self, InvalidPeer> {
        let parts: Vec<&str> = text.split('=').collect();
        let invalid = || InvalidPeer(text.to_owned());
        let [name, ip, pod_cidr] = parts[..] else { return Err(invalid()) };
        let (ip, pod_cidr): (IpAddr, IpNet) = (ip.parse().map_err(|_| invalid())?, pod_cidr.parse().map_err(|_| invalid())?);
        if name.is_empty() || ip.is_ipv4() != pod_cidr.addr().is_ipv4() {
            Err(invalid())
        } else {
            Ok(Self { name: name.to_owned(), ip, pod_cidr })
        }
    }
}

/// Runs kubelet and kube-proxy until `env.shutdown`, then takes away all that it made: pods, bridge, routes, rules, addresses.
/// Dropping the future takes it away as well. Blocks for the moments that `ip` and `nft` take. Fails if the namespace cannot be set up.
pub async fn run_netns_node(env: Env, node: NodeConfig, network: NetnsConfig) -> anyhow::Result<()> {
    let network = Rc::new(network);
    let pods = Rc::new(PodNamespaces::new(&node, network.clone())?);
    let kernel = Rc::new(NodeKernel::new(&node, &network)?);
    let _routes = Routes::new(&network)?;
    run_node(env, node, pods, kernel).await
}

/// The ways to the other nodes' pods (host-gw), for as long as this value lives.
struct Routes(Vec<String>);

impl Routes {
    fn new(network: &NetnsConfig) -> anyhow::Result<Self> {
        let mut routes = Self(Vec::new());
        for peer in &network.peers {
            let (to, via) = (peer.pod_cidr.to_string(), peer.ip.to_string());
            run("ip", &["route", "replace", &to, "via", &via, "dev", &network.interface])?;
            routes.0.push(to);
        }
        Ok(routes)
    }
}

impl Drop for Routes {
    fn drop(&mut self) {
        for route in &self.0 {
            // Already gone when the interface is down.
            let _ = run("ip", &["route", "del", route]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_read_from_the_command_line() {
        let peer: Peer = "worker-p002=192.168.0.4=10.233.2.0/24".parse().expect("well formed");
        assert_eq!((peer.name.as_str(), peer.ip), ("worker-p002", [192, 168, 0, 4].into()));
        assert!("worker-p002=2001:db8::4=fd00:10:233:2::/64".parse::<Peer>().is_ok());
        for text in
            ["", "a", "a=b=c", "=192.168.0.4=10.233.2.0/24", "a=192.168.0.4=10.233.2.0", "a=1.2.3.4=10.0.0.0/8=x", "a=1.2.3.4=fd00::/64"]
        {
            assert!(text.parse::<Peer>().is_err(), "{text}");
        }
    }
}
