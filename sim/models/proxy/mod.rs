//! The kube-proxy of one node: it tells the kernel what the Services are.
//!
//! It runs while the node's pod of the DaemonSet runs and reads its ConfigMap **when that pod starts**, so an edit does nothing before a restart, as in
//! the tutorial's Step 1. When it ends, the rules stay in the kernel. [`config`] reads the configuration, [`rules`] makes rules; both are pure.

mod config;
mod rules;

use std::rc::Rc;

use bellhop::env::Env;
use bellhop_core::time::Instant;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;

use crate::cached::Cached;
use crate::kubelet::{NodeConfig, Running};
use crate::request::{Failure, RETRY, answer};
use crate::runner::{ProxyMode, RuleSink, ServiceRules};

pub(crate) use config::{CONFIG_MAP, NAMESPACE, config_conf};

/// Runs until it is asked to stop.
pub(crate) async fn run(env: Env, node: Rc<NodeConfig>, running: Rc<Running>, sink: Rc<dyn RuleSink>) -> anyhow::Result<()> {
    loop {
        let Some(instance) = running.kube_proxy() else {
            tokio::select! {
                biased;
                () = env.shutdown.cancelled() => return Ok(()),
                () = running.changed() => continue,
            }
        };
        tokio::select! {
            biased;
            () = env.shutdown.cancelled() => return Ok(()),
            () = replaced(&running, &instance) => {}
            result = serve(&env, &node, sink.as_ref()) => result?,
        }
    }
}

/// Ends when another instance runs, or none.
async fn replaced(running: &Running, instance: &str) {
    while running.kube_proxy().as_deref() == Some(instance) {
        running.changed().await;
    }
}

/// One life of the program.
async fn serve(env: &Env, node: &NodeConfig, sink: &dyn RuleSink) -> anyhow::Result<()> {
    let mode = mode(env).await;
    tracing::info!(%node.name, ?mode, "kube-proxy started");
    let mut services: Cached<Service> = Cached::new(env, "proxy services", Api::all(env.client.clone()));
    let mut slices: Cached<EndpointSlice> = Cached::new(env, "proxy endpointslices", Api::all(env.client.clone()));
    let mut applied: Option<ServiceRules> = None;
    let mut retry: Option<Instant> = None;
    loop {
        tokio::select! {
            biased;
            () = services.changed() => {}
            () = slices.changed() => {}
            () = env.clock.sleep_until(retry.unwrap_or(Instant::FAR_FUTURE)), if retry.is_some() => {}
        }
        services.drain();
        slices.drain();
        if !(services.synced() && slices.synced()) {
            continue;
        }
        let rules = rules::rules(mode, &node.name, services.iter(), slices.iter());
        if applied.as_ref() == Some(&rules) {
            continue;
        }
        retry = match sink.apply(&rules) {
            Ok(()) => {
                applied = Some(rules);
                None
            }
            Err(error) => {
                tracing::warn!(%node.name, %error, "kube-proxy could not write its rules");
                Some(env.clock.now() + RETRY)
            }
        };
    }
}

/// What the ConfigMap says. Without an answer there is no start, as without the file that the real one mounts.
async fn mode(env: &Env) -> ProxyMode {
    let api: Api<ConfigMap> = Api::namespaced(env.client.clone(), NAMESPACE);
    loop {
        let read: Result<Option<ConfigMap>, Failure> = answer(env, api.get_opt(CONFIG_MAP)).await;
        match read {
            Ok(Some(map)) => return config::mode(&map),
            Ok(None) => tracing::debug!("kube-proxy waits for its ConfigMap"),
            Err(failure) => tracing::debug!(%failure, "kube-proxy waits for its ConfigMap"),
        }
        env.clock.sleep_until(env.clock.now() + RETRY).await;
    }
}
