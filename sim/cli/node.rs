//! `bellhop-sim node`: kubelet and kube-proxy of one node of real kernels, for the end-to-end suite.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use anyhow::Context;
use bellhop_fabric::stream;
use bellhop_models::{NetnsConfig, NodeConfig, NodeIpv6, Peer, run_netns_node};
use clap::Args;
use ipnet::{Ipv4Net, Ipv6Net};
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio_util::sync::CancellationToken;

/// Which node, and where.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The node's name.
    #[arg(long)]
    name: String,
    /// How to reach the API server.
    #[arg(long)]
    kubeconfig: PathBuf,
    /// The interface to the other nodes.
    #[arg(long, default_value = "eth0")]
    interface: String,
    /// The node's own address.
    #[arg(long)]
    ip: Ipv4Addr,
    /// The subnet of its pods.
    #[arg(long)]
    pod_cidr: Ipv4Net,
    /// The node's own IPv6 address, on a dual-stack cluster.
    #[arg(long, requires = "pod_cidr_v6")]
    ipv6: Option<Ipv6Addr>,
    /// The IPv6 subnet of its pods.
    #[arg(long, requires = "ipv6")]
    pod_cidr_v6: Option<Ipv6Net>,
    /// All pod subnets.
    #[arg(long, default_value = "10.233.0.0/16")]
    cluster_cidr: Ipv4Net,
    /// The same of IPv6.
    #[arg(long, default_value = "fd00:10:233::/48")]
    cluster_cidr_v6: Ipv6Net,
    /// Another node: name=address=pod-subnet.
    #[arg(long = "peer")]
    peers: Vec<Peer>,
    /// Label and taint it as a control plane, as kubeadm does.
    #[arg(long)]
    control_plane: bool,
    /// Labels beyond the well-known ones: key=value.
    #[arg(long = "label")]
    labels: Vec<String>,
}

impl Arguments {
    /// Runs until SIGTERM or SIGINT, and removes what it made.
    pub(super) fn run(self) -> anyhow::Result<u8> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.serve())?;
        Ok(0)
    }

    async fn serve(self) -> anyhow::Result<()> {
        let base = if self.control_plane {
            NodeConfig::control_plane(self.name.as_str(), self.ip, 0)
        } else {
            NodeConfig::worker(self.name.as_str(), self.ip, 0)
        };
        let ipv6 = self.ipv6.zip(self.pod_cidr_v6).map(|(ip, pod_cidr)| NodeIpv6 { ip, pod_cidr });
        let mut config = NodeConfig { pod_cidr: self.pod_cidr, ipv6, ..base };
        for label in &self.labels {
            let (key, value) = label.split_once('=').with_context(|| format!("--label {label}: expected key=value"))?;
            config.labels.insert(key.to_owned(), value.to_owned());
        }
        let network = NetnsConfig {
            interface: self.interface,
            peers: self.peers,
            cluster_cidr: self.cluster_cidr,
            cluster_cidr_v6: self.cluster_cidr_v6,
            executable: std::env::current_exe().context("failed to find this program's own file")?,
        };
        let file = Kubeconfig::read_from(&self.kubeconfig).with_context(|| format!("failed to read {}", self.kubeconfig.display()))?;
        let client = kube::Client::try_from(kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?)?;
        let shutdown = CancellationToken::new();
        let env = super::apiserver::env(client, stream(0, &self.name), shutdown.clone());
        let node = run_netns_node(env, config, network);
        tokio::pin!(node);
        // At a signal the node's own programs end in good order; a second signal ends all at once.
        tokio::select! {
            biased;
            result = &mut node => result,
            Err(error) = bellhop::system::cancel_at_signal(shutdown) => Err(error),
        }
    }
}
