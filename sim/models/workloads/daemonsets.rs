//! The DaemonSet controller: one pod for every node, and the old ones replaced on `rollout restart`.
//!
//! Its pods are bound to their node when they are made: the real one asks the scheduler for that node and no other.

use bellhop::env::Env;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};

use super::daemons;
use super::new_pod::new_pod;
use super::rollout::template_hash;
use crate::cached::{Cached, key};
use crate::part::{part, suffix};
use crate::pods;
use crate::request::{Failure, RETRY, answer, delete_pod, unless_stale};

/// Runs until it is asked to stop.
pub(crate) async fn run(env: Env) -> anyhow::Result<()> {
    let mut model = DaemonSets {
        sets: Cached::new(&env, "daemonsets", Api::all(env.client.clone())),
        pods: Cached::new(&env, "pods", Api::all(env.client.clone())),
        nodes: Cached::new(&env, "nodes", Api::all(env.client.clone())),
        env: part(&env, "names"),
    };
    let mut retry = None;
    loop {
        tokio::select! {
            biased;
            () = env.shutdown.cancelled() => return Ok(()),
            () = model.sets.changed() => {}
            () = model.pods.changed() => {}
            () = model.nodes.changed() => {}
            () = env.clock.sleep_until(retry.unwrap_or(bellhop_core::time::Instant::FAR_FUTURE)), if retry.is_some() => {}
        }
        model.sets.drain();
        model.pods.drain();
        model.nodes.drain();
        if !(model.sets.synced() && model.pods.synced() && model.nodes.synced()) {
            continue;
        }
        retry = model.pass().await.err().map(|failure| {
            tracing::debug!(%failure, "the DaemonSet controller tries again");
            env.clock.now() + RETRY
        });
    }
}

struct DaemonSets {
    env: Env,
    sets: Cached<DaemonSet>,
    pods: Cached<Pod>,
    nodes: Cached<Node>,
}

impl DaemonSets {
    async fn pass(&mut self) -> Result<(), Failure> {
        let sets: Vec<DaemonSet> = self.sets.iter().filter(|set| set.metadata.deletion_timestamp.is_none()).cloned().collect();
        for set in &sets {
            self.place(set).await?;
            self.report(set).await?;
        }
        Ok(())
    }

    async fn place(&mut self, set: &DaemonSet) -> Result<(), Failure> {
        let owned: Vec<Pod> = self.owned_pods(set).cloned().collect();
        let nodes: Vec<Node> = self.nodes.iter().cloned().collect();
        let changes = daemons::decide(set, &owned.iter().collect::<Vec<_>>(), &nodes.iter().collect::<Vec<_>>());
        let api: Api<Pod> = Api::namespaced(self.env.client.clone(), &set.namespace().unwrap_or_default());
        for pod in owned.iter().filter(|pod| changes.delete.contains(&pod.name_any())) {
            delete_pod(&self.env, &mut self.pods, pod, &DeleteParams::default()).await?;
        }
        for node in changes.create {
            let pod = daemon(set, &node, suffix(&mut self.env.rng));
            if let Some(pod) = unless_stale(answer(&self.env, api.create(&PostParams::default(), &pod)).await)? {
                self.pods.wrote(pod);
            }
        }
        Ok(())
    }

    async fn report(&mut self, set: &DaemonSet) -> Result<(), Failure> {
        let Some(set) = self.sets.get(&key(set)) else { return Ok(()) };
        let nodes: Vec<&Node> = self.nodes.iter().collect();
        let status = status(set, &self.owned_pods(set).collect::<Vec<_>>(), daemons::wanted(set, &nodes).len());
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let api: Api<DaemonSet> = Api::namespaced(self.env.client.clone(), &set.namespace().unwrap_or_default());
        let replaced = DaemonSet { status: Some(status), ..set.clone() };
        let written = answer(&self.env, api.replace_status(&set.name_any(), &PostParams::default(), &replaced)).await;
        if let Some(set) = unless_stale(written)? {
            self.sets.wrote(set);
        }
        Ok(())
    }

    fn owned_pods<'a>(&'a self, set: &'a DaemonSet) -> impl Iterator<Item = &'a Pod> {
        self.pods.iter().filter(|pod| pods::controls(set, &pod.metadata))
    }
}

/// The pod of a DaemonSet for one node.
fn daemon(set: &DaemonSet, node: &str, suffix: String) -> Pod {
    let template = set.spec.clone().unwrap_or_default().template;
    let prefix = format!("{}-", set.name_any());
    let mut pod = new_pod(set, &template, format!("{prefix}{suffix}"), prefix);
    pod.labels_mut().insert(daemons::TEMPLATE_GENERATION.to_owned(), template_hash(&template));
    let spec = pod.spec.get_or_insert_default();
    spec.node_name = Some(node.to_owned());
    daemons::tolerate(spec);
    pod
}

fn status(set: &DaemonSet, pods: &[&Pod], wanted: usize) -> DaemonSetStatus {
    let count = |test: &dyn Fn(&Pod) -> bool| {
        let matching = pods.iter().filter(|pod| pods::is_active(pod) && test(pod)).count();
        i32::try_from(matching).unwrap_or(i32::MAX)
    };
    let wanted = i32::try_from(wanted).unwrap_or(i32::MAX);
    let ready = count(&pods::is_ready);
    let unavailable = wanted - ready;
    DaemonSetStatus {
        observed_generation: set.metadata.generation,
        desired_number_scheduled: wanted,
        current_number_scheduled: count(&|_| true),
        updated_number_scheduled: Some(count(&|pod| daemons::is_current(set, pod))).filter(|updated| *updated != 0),
        number_ready: ready,
        number_available: (ready != 0).then_some(ready),
        number_unavailable: (unavailable > 0).then_some(unavailable),
        ..set.status.clone().unwrap_or_default()
    }
}
