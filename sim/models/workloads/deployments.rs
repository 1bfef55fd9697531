//! The controllers of Deployments and ReplicaSets as one program.
//!
//! Watches Deployments, ReplicaSets and pods, and after each change does what [`super::rollout`] and [`super::replicas`] decide, in the order of
//! namespace and name. Level-triggered: a write that fails or meets a newer object is decided anew on the next look.

use bellhop::env::Env;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use super::deployment_status;
use super::new_pod::new_pod;
use super::replicas::{self, Change, Counts};
use super::rollout::{self, REVISION, Set, Step, TEMPLATE_HASH};
use crate::cached::{Cached, key};
use crate::part::{part, suffix};
use crate::pods;
use crate::request::{Failure, RETRY, answer, delete_pod, unless_stale};

/// The annotation that tells a reader how many pods the Deployment wanted when the ReplicaSet was last resized.
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";

/// Runs until it is asked to stop.
pub(crate) async fn run(env: Env) -> anyhow::Result<()> {
    let mut model = Deployments {
        deployments: Cached::new(&env, "deployments", Api::all(env.client.clone())),
        sets: Cached::new(&env, "replicasets", Api::all(env.client.clone())),
        pods: Cached::new(&env, "pods", Api::all(env.client.clone())),
        env: part(&env, "names"),
    };
    let mut retry = None;
    loop {
        tokio::select! {
            biased;
            () = env.shutdown.cancelled() => return Ok(()),
            () = model.deployments.changed() => {}
            () = model.sets.changed() => {}
            () = model.pods.changed() => {}
            () = env.clock.sleep_until(retry.unwrap_or(bellhop_core::time::Instant::FAR_FUTURE)), if retry.is_some() => {}
        }
        model.deployments.drain();
        model.sets.drain();
        model.pods.drain();
        if !(model.deployments.synced() && model.sets.synced() && model.pods.synced()) {
            continue;
        }
        retry = match model.pass().await {
            Ok(again) => again.map(|wait| env.clock.now() + wait),
            Err(failure) => {
                tracing::debug!(%failure, "the Deployment controller tries again");
                Some(env.clock.now() + RETRY)
            }
        };
    }
}

struct Deployments {
    env: Env,
    deployments: Cached<Deployment>,
    sets: Cached<ReplicaSet>,
    pods: Cached<Pod>,
}

impl Deployments {
    /// Looks at everything once. Answers after what time to look again without being told anything.
    async fn pass(&mut self) -> Result<Option<std::time::Duration>, Failure> {
        let deployments: Vec<Deployment> =
            self.deployments.iter().filter(|object| object.metadata.deletion_timestamp.is_none()).cloned().collect();
        for deployment in &deployments {
            self.roll(deployment).await?;
        }
        let sets: Vec<ReplicaSet> = self.sets.iter().filter(|object| object.metadata.deletion_timestamp.is_none()).cloned().collect();
        let mut next: Option<jiff::Timestamp> = None;
        for set in &sets {
            self.fill(set).await?;
            let due = self.report_set(set).await?.next;
            next = [next, due].into_iter().flatten().min();
        }
        for deployment in &deployments {
            self.report(deployment).await?;
        }
        let now = self.env.clock.wall();
        Ok(next.map(|due| std::time::Duration::try_from(due.duration_since(now)).unwrap_or_default()))
    }

    /// Creates, resizes and removes the ReplicaSets of one Deployment.
    async fn roll(&mut self, deployment: &Deployment) -> Result<(), Failure> {
        let owned = self.owned_sets(deployment);
        let sets: Vec<Set<'_>> = owned.iter().map(|(set, counts)| Set { set, counts: *counts }).collect();
        for step in rollout::decide(deployment, &sets) {
            self.step(deployment, &step).await?;
        }
        let revision = self.current_revision(deployment);
        if revision.is_some() && deployment.annotations().get(REVISION) != revision.as_ref() {
            let api = self.deployment_api(deployment);
            let patch = Patch::Merge(json!({"metadata": {"annotations": {REVISION: revision}}}));
            let written = answer(&self.env, api.patch(&deployment.name_any(), &PatchParams::default(), &patch)).await;
            self.deployments.wrote(unless_stale(written)?.unwrap_or_else(|| deployment.clone()));
        }
        Ok(())
    }

    async fn step(&mut self, deployment: &Deployment, step: &Step) -> Result<(), Failure> {
        let api: Api<ReplicaSet> = Api::namespaced(self.env.client.clone(), &deployment.namespace().unwrap_or_default());
        let written = match step {
            Step::Create { size, revision } => {
                let set = new_set(deployment, *size, *revision);
                answer(&self.env, api.create(&PostParams::default(), &set)).await
            }
            Step::Resize { name, size } => {
                let annotations = json!({DESIRED: rollout::wanted(deployment).to_string()});
                let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}, "spec": {"replicas": size}}));
                answer(&self.env, api.patch(name, &PatchParams::default(), &patch)).await
            }
            Step::Revise { name, revision } => {
                let patch = Patch::Merge(json!({"metadata": {"annotations": {REVISION: revision.to_string()}}}));
                answer(&self.env, api.patch(name, &PatchParams::default(), &patch)).await
            }
            Step::Remove { name } => {
                unless_stale(answer(&self.env, api.delete(name, &DeleteParams::background())).await)?;
                return Ok(());
            }
        };
        if let Some(set) = unless_stale(written)? {
            self.sets.wrote(set);
        }
        Ok(())
    }

    /// Creates or deletes pods until a ReplicaSet has as many as it wants.
    async fn fill(&mut self, set: &ReplicaSet) -> Result<(), Failure> {
        let Some(set) = self.sets.get(&key(set)).cloned() else { return Ok(()) };
        let Some(spec) = &set.spec else { return Ok(()) };
        let owned: Vec<Pod> = self.owned_pods(&set).cloned().collect();
        let api: Api<Pod> = Api::namespaced(self.env.client.clone(), &set.namespace().unwrap_or_default());
        match replicas::decide(spec.replicas.unwrap_or(1), &owned.iter().collect::<Vec<_>>()) {
            Change::Nothing => {}
            Change::Create(missing) => {
                let template = spec.template.clone().unwrap_or_default();
                for _ in 0..missing {
                    let prefix = format!("{}-", set.name_any());
                    let pod = new_pod(&set, &template, format!("{prefix}{}", suffix(&mut self.env.rng)), prefix);
                    if let Some(pod) = unless_stale(answer(&self.env, api.create(&PostParams::default(), &pod)).await)? {
                        self.pods.wrote(pod);
                    }
                }
            }
            Change::Delete(names) => {
                for pod in owned.iter().filter(|pod| names.contains(&pod.name_any())) {
                    delete_pod(&self.env, &mut self.pods, pod, &DeleteParams::default()).await?;
                }
            }
        }
        Ok(())
    }

    async fn report_set(&mut self, set: &ReplicaSet) -> Result<Counts, Failure> {
        let counts = self.count(set);
        let Some(set) = self.sets.get(&key(set)) else { return Ok(counts) };
        let status = replicas::status(set, counts);
        if set.status.as_ref() != Some(&status) {
            let api: Api<ReplicaSet> = Api::namespaced(self.env.client.clone(), &set.namespace().unwrap_or_default());
            let patch = Patch::Merge(json!({"status": status}));
            let written = answer(&self.env, api.patch_status(&set.name_any(), &PatchParams::default(), &patch)).await;
            if let Some(set) = unless_stale(written)? {
                self.sets.wrote(set);
            }
        }
        Ok(counts)
    }

    async fn report(&mut self, deployment: &Deployment) -> Result<(), Failure> {
        let Some(deployment) = self.deployments.get(&key(deployment)).cloned() else { return Ok(()) };
        let owned = self.owned_sets(&deployment);
        let sets: Vec<Set<'_>> = owned.iter().map(|(set, counts)| Set { set, counts: *counts }).collect();
        let status = deployment_status::status(&deployment, &sets, self.env.clock.wall());
        if deployment.status.as_ref() != Some(&status) {
            // A count that fell to zero is left out: only a whole PUT takes it away.
            let replaced = Deployment { status: Some(status), ..deployment.clone() };
            let api = self.deployment_api(&deployment);
            let written = answer(&self.env, api.replace_status(&deployment.name_any(), &PostParams::default(), &replaced)).await;
            if let Some(deployment) = unless_stale(written)? {
                self.deployments.wrote(deployment);
            }
        }
        Ok(())
    }

    fn deployment_api(&self, deployment: &Deployment) -> Api<Deployment> {
        Api::namespaced(self.env.client.clone(), &deployment.namespace().unwrap_or_default())
    }

    fn owned_pods<'a>(&'a self, set: &'a ReplicaSet) -> impl Iterator<Item = &'a Pod> {
        self.pods.iter().filter(|pod| pods::controls(set, &pod.metadata))
    }

    fn owned_sets(&self, deployment: &Deployment) -> Vec<(ReplicaSet, Counts)> {
        let owned = self.sets.iter().filter(|set| pods::controls(deployment, &set.metadata) && set.metadata.deletion_timestamp.is_none());
        owned.map(|set| (set.clone(), self.count(set))).collect()
    }

    fn count(&self, set: &ReplicaSet) -> Counts {
        let min_ready_seconds = set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
        replicas::count(self.owned_pods(set), min_ready_seconds, self.env.clock.wall())
    }

    fn current_revision(&self, deployment: &Deployment) -> Option<String> {
        let hash = rollout::template_hash(&deployment.spec.as_ref()?.template);
        let current =
            self.sets.iter().find(|set| pods::controls(deployment, &set.metadata) && set.labels().get(TEMPLATE_HASH) == Some(&hash))?;
        current.annotations().get(REVISION).cloned()
    }
}

/// The ReplicaSet for the Deployment's template.
fn new_set(deployment: &Deployment, size: i32, revision: i64) -> ReplicaSet {
    let spec = deployment.spec.clone().unwrap_or_default();
    let hash = rollout::template_hash(&spec.template);
    let mut template = spec.template;
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(TEMPLATE_HASH.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector;
    selector.match_labels.get_or_insert_default().insert(TEMPLATE_HASH.to_owned(), hash.clone());
    let annotations = [(REVISION, revision.to_string()), (DESIRED, rollout::wanted(deployment).to_string())];
    let metadata = ObjectMeta {
        name: Some(format!("{}-{hash}", deployment.name_any())),
        namespace: deployment.namespace(),
        labels: Some(labels),
        annotations: Some(annotations.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        owner_references: deployment.controller_owner_ref(&()).map(|reference| vec![reference]),
        ..ObjectMeta::default()
    };
    let spec = ReplicaSetSpec { replicas: Some(size), selector, min_ready_seconds: spec.min_ready_seconds, template: Some(template) };
    ReplicaSet { metadata, spec: Some(spec), status: None }
}
