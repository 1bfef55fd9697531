//! The kubelet's reading and writing about pods.
//!
//! Watches the pods bound to its node, does what [`super::runs`] decides, and writes the status when it differs from what the API has.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bellhop::env::Env;
use bellhop_core::time::Instant;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::sync::Notify;

use super::NodeConfig;
use super::runs::{Action, Runs};
use super::status::{Fate, restarts, status};
use crate::cached::Cached;
use crate::pods;
use crate::request::{Failure, RETRY, answer, delete_pod, unless_stale};
use crate::runner::PodRunner;

/// The label by which kubeadm's kube-proxy pods are known.
const KUBE_PROXY: (&str, &str) = ("k8s-app", "kube-proxy");

/// What the kubelet tells others on its node: the uid of the kube-proxy pod that runs.
#[derive(Default)]
pub(crate) struct Running {
    kube_proxy: RefCell<Option<String>>,
    changed: Notify,
}

impl Running {
    /// The uid of the kube-proxy pod that runs.
    pub(crate) fn kube_proxy(&self) -> Option<String> {
        self.kube_proxy.borrow().clone()
    }

    /// Ends when it may be another. For one listener.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn set_kube_proxy(&self, uid: Option<String>) {
        if self.kube_proxy.replace(uid.clone()) != uid {
            self.changed.notify_one();
        }
    }
}

/// Runs until it is asked to stop.
pub(super) async fn run(env: Env, config: Rc<NodeConfig>, runner: Rc<dyn PodRunner>, running: Rc<Running>) -> anyhow::Result<()> {
    let bound = watcher::Config::default().fields(&format!("spec.nodeName={}", config.name));
    let mut kubelet = PodLoop {
        pods: Cached::selected(&env, "bound", Api::all(env.client.clone()), bound),
        runs: Runs::new(config.clone()),
        failed: BTreeMap::new(),
        config,
        runner,
        running,
        env,
    };
    let mut due = None;
    loop {
        let runner = Rc::clone(&kubelet.runner);
        tokio::select! {
            biased;
            () = kubelet.env.shutdown.cancelled() => return Ok(()),
            () = kubelet.pods.changed() => {}
            () = runner.readiness_changed() => {}
            () = kubelet.env.clock.sleep_until(due.unwrap_or(Instant::FAR_FUTURE)), if due.is_some() => {}
        }
        kubelet.pods.drain();
        if !kubelet.pods.synced() {
            continue;
        }
        let outcome = kubelet.pass().await;
        let now = kubelet.env.clock.now();
        due = kubelet.runs.next(now);
        if let Err(failure) = &outcome {
            tracing::debug!(node.name = %kubelet.config.name, %failure, "the kubelet tries again");
        }
        if outcome.is_err() || !kubelet.failed.is_empty() {
            due = Some(due.map_or(now + RETRY, |due| due.min(now + RETRY)));
        }
    }
}

struct PodLoop {
    env: Env,
    config: Rc<NodeConfig>,
    runner: Rc<dyn PodRunner>,
    running: Rc<Running>,
    pods: Cached<Pod>,
    runs: Runs,
    /// By uid: why a pod could not be started at the last try.
    failed: BTreeMap<String, String>,
}

impl PodLoop {
    async fn pass(&mut self) -> Result<(), Failure> {
        let bound: Vec<Pod> = self.pods.iter().cloned().collect();
        let actions = self.runs.handle_pods(self.env.clock.now(), &bound.iter().collect::<Vec<_>>());
        self.failed.clear();
        let mut finished = Vec::new();
        for action in actions {
            match action {
                Action::Stop(pod) => self.runner.stop(&pod),
                Action::Finish { uid, .. } => finished.extend(bound.iter().find(|pod| pod.uid().as_deref() == Some(&uid))),
                Action::Start(pod) => match self.runner.start(&pod) {
                    Ok(()) => {
                        let before = bound.iter().find(|other| other.uid().as_deref() == Some(&pod.uid)).map_or(0, restarts);
                        self.runs.handle_started(self.env.clock.now(), self.env.clock.wall(), pod, before);
                    }
                    Err(error) => {
                        self.failed.insert(pod.uid, error.0);
                    }
                },
            }
        }
        self.tell_kube_proxy(&bound);
        for pod in finished {
            self.finish(pod).await?;
        }
        self.report().await
    }

    fn tell_kube_proxy(&self, bound: &[Pod]) {
        let runs = |pod: &&Pod| pod.uid().is_some_and(|uid| self.runs.get(&uid).is_some_and(|run| run.ends_at.is_none()));
        let proxy = bound.iter().find(|pod| pod.labels().get(KUBE_PROXY.0).is_some_and(|app| app == KUBE_PROXY.1) && runs(pod));
        self.running.set_kube_proxy(proxy.and_then(ResourceExt::uid));
    }

    /// Nothing of the pod is left: its object goes.
    async fn finish(&mut self, pod: &Pod) -> Result<(), Failure> {
        let this_one = Preconditions { uid: pod.uid(), resource_version: None };
        delete_pod(&self.env, &mut self.pods, pod, &DeleteParams::default().grace_period(0).preconditions(this_one)).await
    }

    async fn report(&mut self) -> Result<(), Failure> {
        let now = self.env.clock.now();
        let pods: Vec<Pod> = self.pods.iter().filter(|pod| !pods::is_finished(pod)).cloned().collect();
        for pod in pods {
            let uid = pod.uid().unwrap_or_default();
            let fate = match (self.runs.get(&uid), self.failed.get(&uid)) {
                (Some(run), _) => Fate::Running(run, now >= run.ready_at && self.runner.is_ready(&run.pod)),
                (None, Some(why)) => Fate::Waiting(why),
                (None, None) => continue,
            };
            let status = status(&self.config, &pod, &fate, self.env.clock.wall());
            if pod.status.as_ref() == Some(&status) {
                continue;
            }
            let api: Api<Pod> = Api::namespaced(self.env.client.clone(), &pod.namespace().unwrap_or_default());
            let patch = Patch::Merge(json!({"metadata": {"uid": uid}, "status": status}));
            let written = answer(&self.env, api.patch_status(&pod.name_any(), &PatchParams::default(), &patch)).await;
            if let Some(pod) = unless_stale(written)? {
                self.pods.wrote(pod);
            }
        }
        Ok(())
    }
}
