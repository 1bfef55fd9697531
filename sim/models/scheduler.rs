//! The scheduler: which node a pending pod runs on.
//!
//! A node qualifies when it is Ready, not cordoned, selected by the pod, and its taints are tolerated. Of these the one with the fewest pods is taken, ties
//! are drawn. A [`Places`] hint stands for "You can manually assign Pods to different nodes" of the tutorial: pods of that Deployment go to
//! the listed nodes in turn and, as with a `nodeName`, nowhere else. It knows no resources and no preemption.

use std::collections::BTreeMap;

use bellhop::env::Env;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use crate::cached::{Cached, key};
use crate::part::part;
use crate::request::{Failure, RETRY, answer, unless_stale};
use crate::workloads::rollout::TEMPLATE_HASH;
use crate::{nodes, pods};

/// By a Deployment's name: the nodes that its pods are spread over.
pub type Places = BTreeMap<String, Vec<String>>;

/// Runs until it is asked to stop.
pub(crate) async fn run(env: Env, places: Places) -> anyhow::Result<()> {
    let mut model = Scheduler {
        places,
        pods: Cached::new(&env, "pods", Api::all(env.client.clone())),
        nodes: Cached::new(&env, "nodes", Api::all(env.client.clone())),
        env: part(&env, "ties"),
    };
    let mut retry = None;
    loop {
        tokio::select! {
            biased;
            () = env.shutdown.cancelled() => return Ok(()),
            () = model.pods.changed() => {}
            () = model.nodes.changed() => {}
            () = env.clock.sleep_until(retry.unwrap_or(bellhop_core::time::Instant::FAR_FUTURE)), if retry.is_some() => {}
        }
        model.pods.drain();
        model.nodes.drain();
        if !(model.pods.synced() && model.nodes.synced()) {
            continue;
        }
        retry = model.pass().await.err().map(|failure| {
            tracing::debug!(%failure, "the scheduler tries again");
            env.clock.now() + RETRY
        });
    }
}

struct Scheduler {
    env: Env,
    places: Places,
    pods: Cached<Pod>,
    nodes: Cached<Node>,
}

impl Scheduler {
    async fn pass(&mut self) -> Result<(), Failure> {
        let pending: Vec<Pod> = self.pods.iter().filter(|pod| pods::node(pod).is_none() && pods::is_active(pod)).cloned().collect();
        for pod in &pending {
            let (nodes, all) = (self.nodes.iter().collect::<Vec<_>>(), self.pods.iter().collect::<Vec<_>>());
            let node = place(pod, &nodes, &all, &self.places, &mut self.env.rng);
            match node {
                Some(node) => self.bind(pod, &node).await?,
                None => self.report(pod).await?,
            }
        }
        Ok(())
    }

    async fn bind(&mut self, pod: &Pod, node: &str) -> Result<(), Failure> {
        let api: Api<Pod> = Api::namespaced(self.env.client.clone(), &pod.namespace().unwrap_or_default());
        let name = pod.name_any();
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": name, "namespace": pod.namespace()},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let bound =
            answer(&self.env, api.create_subresource::<_, serde_json::Value>("binding", &name, &PostParams::default(), &binding)).await;
        if unless_stale(bound)?.is_some() {
            // The answer is no pod. Until the watch tells, the load counts with what we know.
            let mut bound = pod.clone();
            bound.spec.get_or_insert_default().node_name = Some(node.to_owned());
            self.pods.wrote(bound);
        }
        Ok(())
    }

    /// Says once, in the pod's conditions, that there is no place for it.
    async fn report(&mut self, pod: &Pod) -> Result<(), Failure> {
        let Some(pod) = self.pods.get(&key(pod)) else { return Ok(()) };
        let known = pods::condition(pod.status.as_ref(), "PodScheduled").is_some_and(|scheduled| scheduled.status == "False");
        if known {
            return Ok(());
        }
        let message = format!("0/{} nodes are available for this pod.", self.nodes.iter().count());
        let condition = json!({
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
            "lastTransitionTime": k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(self.env.clock.wall()),
        });
        let patch = kube::api::Patch::Merge(json!({"status": {"conditions": [condition]}}));
        let api: Api<Pod> = Api::namespaced(self.env.client.clone(), &pod.namespace().unwrap_or_default());
        if let Some(pod) =
            unless_stale(answer(&self.env, api.patch_status(&pod.name_any(), &kube::api::PatchParams::default(), &patch)).await)?
        {
            self.pods.wrote(pod);
        }
        Ok(())
    }
}

/// The node for a pod, or `None` while there is none.
fn place(pod: &Pod, nodes: &[&Node], all: &[&Pod], places: &Places, rng: &mut ChaCha8Rng) -> Option<String> {
    let spec = pods::spec(pod)?;
    let qualifies = |node: &&&Node| {
        nodes::is_ready(node)
            && !nodes::is_cordoned(node)
            && node.metadata.deletion_timestamp.is_none()
            && nodes::selects(spec.node_selector.as_ref(), node)
            && nodes::tolerates(spec.tolerations.as_deref(), node)
    };
    let mut candidates: Vec<String> = nodes.iter().filter(qualifies).map(|node| node.name_any()).collect();
    if let Some(listed) = deployment_name(pod).and_then(|deployment| places.get(&deployment)) {
        let siblings = |node: &&String| count(all, node, |other| pods::controller(&other.metadata) == pods::controller(&pod.metadata));
        return listed.iter().filter(|node| candidates.contains(node)).min_by_key(siblings).cloned();
    }
    let load: BTreeMap<String, usize> = candidates.iter().map(|node| (node.clone(), count(all, node, |_| true))).collect();
    let least = load.values().min().copied()?;
    candidates.retain(|node| load.get(node) == Some(&least));
    let drawn = rng.random_range(0..candidates.len());
    candidates.get(drawn).cloned()
}

fn count(all: &[&Pod], node: &str, which: impl Fn(&Pod) -> bool) -> usize {
    all.iter().filter(|pod| pods::node(pod) == Some(node) && pods::is_active(pod) && which(pod)).count()
}

/// The Deployment whose ReplicaSet owns the pod: the ReplicaSet's name without the hash of the template.
fn deployment_name(pod: &Pod) -> Option<String> {
    let owner = pods::controller(&pod.metadata)?;
    let hash = pod.labels().get(TEMPLATE_HASH)?;
    Some(owner.name.strip_suffix(hash)?.strip_suffix('-')?.to_owned())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Taint;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
    use rand::SeedableRng;

    use super::*;
    use crate::testing::{node, pod};

    fn placed(pod: &Pod, nodes: &[Node], all: &[Pod], places: &Places) -> Option<String> {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        place(pod, &nodes.iter().collect::<Vec<_>>(), &all.iter().collect::<Vec<_>>(), places, &mut rng)
    }

    #[test]
    fn the_node_with_the_fewest_pods_gets_the_next_one() {
        let running = [pod("p1").on("a").build()];
        assert_eq!(placed(&pod("p2").build(), &[node("a"), node("b")], &running, &Places::new()), Some("b".into()));
    }

    #[test]
    fn a_control_plane_a_cordoned_and_an_unready_node_get_none() {
        let (mut control_plane, mut cordoned, mut unready) = (node("a"), node("b"), node("c"));
        let taint = Taint { key: "node-role.kubernetes.io/control-plane".into(), effect: "NoSchedule".into(), ..Taint::default() };
        control_plane.spec.get_or_insert_default().taints = Some(vec![taint]);
        cordoned.spec.get_or_insert_default().unschedulable = Some(true);
        unready.status = None;
        assert_eq!(placed(&pod("p").build(), &[control_plane, cordoned, unready], &[], &Places::new()), None);
    }

    #[test]
    fn placed_pods_take_turns_and_go_nowhere_else() {
        let owned = |name: &str| {
            let mut pod = pod(name).label(TEMPLATE_HASH, "h5").build();
            let owner = OwnerReference { name: "web-h5".into(), controller: Some(true), ..OwnerReference::default() };
            pod.metadata.owner_references = Some(vec![owner]);
            pod
        };
        let places = Places::from([("web".into(), vec!["b".into(), "a".into()])]);
        let mut first = owned("p1");
        assert_eq!(placed(&first, &[node("a"), node("b"), node("c")], &[], &places), Some("b".into()));
        first.spec.get_or_insert_default().node_name = Some("b".into());
        assert_eq!(placed(&owned("p2"), &[node("a"), node("b"), node("c")], &[first], &places), Some("a".into()));
        assert_eq!(placed(&owned("p3"), &[node("c")], &[], &places), None);
    }
}
