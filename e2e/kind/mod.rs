//! The suite on real Kubernetes: a kind cluster, Bellhop installed as a user installs it, and a client on the nodes' own LAN.
//!
//! Start with [`suite`]. An engine of our own or one at hand (`docker`) holds a `cluster`; a `machine` is the client, another one the
//! `registry`; `tests` act and look through a `case`, and scenario files are played in a `world`. Everything is gone when the run is, also
//! after a failure or Ctrl-C.
//! It knows nothing of how a node image is made: see `kind-config/node-image/`.

mod case;
mod cluster;
mod docker;
mod keep;
mod machine;
mod patience;
mod playable;
mod probes;
mod registry;
pub mod suite;
mod tests;
mod world;

use std::fmt;

use clap::ValueEnum;

/// What `e2e/run` calls the image of the version before, so that both can be on a node.
const PREVIOUS: &str = "bellhop:previous";

/// How kube-proxy brings packets to pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "Kubernetes' own names")]
pub enum Proxy {
    Iptables,
    Nftables,
    Ipvs,
}

/// Which addresses nodes, pods and Services have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "kind's own names")]
pub enum Family {
    Ipv4,
    Ipv6,
    Dual,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
            Self::Ipvs => "ipvs",
        })
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Dual => "dual",
        })
    }
}
