//! What runs on every node: kubelet and kube-proxy, as one future.
//!
//! Dropping it is the power failure of these two programs; what they left in the kernel is the world's to clear.

use std::rc::Rc;

use bellhop::env::Env;

use crate::kubelet::{self, NodeConfig, Running};
use crate::part::part;
use crate::proxy;
use crate::runner::{PodRunner, RuleSink};

/// Runs until `env.shutdown`. An API server that is away is waited for.
pub async fn run_node(env: Env, config: NodeConfig, runner: Rc<dyn PodRunner>, sink: Rc<dyn RuleSink>) -> anyhow::Result<()> {
    let (config, running) = (Rc::new(config), Rc::new(Running::default()));
    tokio::try_join!(
        biased;
        kubelet::run(part(&env, "kubelet"), config.clone(), runner, running.clone()),
        proxy::run(part(&env, "kube-proxy"), config, running, sink),
    )?;
    Ok(())
}
