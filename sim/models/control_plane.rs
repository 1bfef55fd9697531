//! The controllers that a cluster has once: scheduler, workloads, EndpointSlices, node lifecycle, as one future.
//!
//! Each is a program of its own with its own client calls, watches and stream of chance; here they are only joined.

use bellhop::env::Env;

use crate::endpoints;
use crate::lifecycle::{self, LifecycleConfig};
use crate::part::part;
use crate::scheduler::{self, Places};
use crate::workloads::{daemonsets, deployments};

/// What may differ from cluster to cluster.
#[derive(Clone, Debug, Default)]
pub struct ControlPlaneConfig {
    /// Where pods of some Deployments go.
    pub places: Places,
    /// When a silent node counts as lost.
    pub lifecycle: LifecycleConfig,
}

/// Runs until `env.shutdown`. An API server that is away is waited for.
pub async fn run_control_plane(env: Env, config: ControlPlaneConfig) -> anyhow::Result<()> {
    tokio::try_join!(
        biased;
        scheduler::run(part(&env, "scheduler"), config.places),
        deployments::run(part(&env, "deployments")),
        daemonsets::run(part(&env, "daemonsets")),
        endpoints::run(part(&env, "endpoints")),
        lifecycle::run(part(&env, "lifecycle"), config.lifecycle),
    )?;
    Ok(())
}
