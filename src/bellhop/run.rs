//! placeholder

use bellhop_core::name::NodeName;
use tokio::sync::mpsc;

use crate::env::Env;
use crate::metrics::Observation;

/// What can be set.
pub struct Config {
    /// The node that this replica runs on; its identity as a candidate for the Lease.
    pub node: NodeName,
    /// Where the Lease is.
    pub namespace: String,
    /// Let nodes carry addresses that are labelled as excluded from load balancing.
    pub ignore_exclude_label: bool,
    /// Questions for how the program is: see [`crate::metrics::Observer`].
    pub observations: Option<mpsc::Receiver<Observation>>,
}

impl Config {
    /// The defaults, on this node.
    pub fn new(node: impl Into<NodeName>) -> Self {
        Self { node: node.into(), namespace: bellhop_api::keys::NAMESPACE.to_owned(), ignore_exclude_label: false, observations: None }
    }
}

/// Runs.
pub async fn run(_config: Config, _env: Env) -> anyhow::Result<()> {
    Ok(())
}
