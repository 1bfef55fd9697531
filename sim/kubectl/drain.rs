//! `kubectl drain`: cordons a node and evicts its pods, in the words of kubectl 1.33 (`pkg/drain`).
//!
//! What a DaemonSet manages stays; what nobody manages goes only by force, because nobody would make it again.

use std::time::Duration;

use bellhop_scenario::command::ObjectRef;
use serde_json::{Value, json};

use super::{Failure, Operator, Said};

/// From look to look while pods go away (kubectl's own pace is a second).
const PACE: Duration = Duration::from_secs(1);

/// The options of a drain.
#[derive(Clone, Copy)]
pub(super) struct Drain<'a> {
    pub(super) node: &'a str,
    pub(super) ignore_daemonsets: bool,
    pub(super) force: bool,
}

impl Operator {
    /// Cordons, evicts, and waits until the pods are gone.
    pub(super) async fn drain(&self, drain: Drain<'_>) -> Said {
        let node = ObjectRef { resource: "node".to_owned(), name: drain.node.to_owned(), namespace: None };
        let (_, path) = super::place(&node)?;
        let before = self.ask("GET", &path, "", Value::Null).await?;
        let mut said = vec![if before["spec"]["unschedulable"] == json!(true) {
            format!("node/{} already cordoned", drain.node)
        } else {
            self.cordon(drain.node, json!(true), "cordoned").await?
        }];
        let pods = self.ask("GET", &format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{}", drain.node), "", Value::Null).await?;
        let pods: Vec<&Value> = pods["items"].as_array().into_iter().flatten().collect();
        let (stay, go): (Vec<&Value>, Vec<&Value>) = pods.iter().partition(|pod| owner(pod) == Some("DaemonSet"));
        let refused = [
            (
                !drain.ignore_daemonsets && !stay.is_empty(),
                "cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore)",
                stay.as_slice(),
            ),
            (
                !drain.force && go.iter().any(|pod| owner(pod).is_none()),
                "cannot delete Pods that declare no controller (use --force to override)",
                &go.iter().copied().filter(|pod| owner(pod).is_none()).collect::<Vec<_>>(),
            ),
        ];
        if let Some((_, why, pods)) = refused.iter().find(|(refused, ..)| *refused) {
            said.push(format!(
                "error: unable to drain node \"{}\" due to error: {why}: {}, continuing command...",
                drain.node,
                names(pods)
            ));
            said.push(format!("There are pending nodes to be drained:\n {}\n{why}: {}", drain.node, names(pods)));
            return Err(Failure(said.join("\n")));
        }
        if !stay.is_empty() {
            said.push(format!("Warning: ignoring DaemonSet-managed Pods: {}", names(&stay)));
        }
        for pod in &go {
            said.push(format!("evicting pod {}", name(pod)));
            self.evict(pod).await?;
        }
        for pod in &go {
            self.gone(pod).await;
            said.push(format!("pod/{} evicted", pod["metadata"]["name"].as_str().unwrap_or_default()));
        }
        said.push(format!("node/{} drained", drain.node));
        Ok(said.join("\n"))
    }

    /// Asks for one eviction.
    async fn evict(&self, pod: &Value) -> Result<(), Failure> {
        let metadata = json!({"name": pod["metadata"]["name"], "namespace": pod["metadata"]["namespace"]});
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata});
        self.ask("POST", &format!("{}/eviction", path(pod)), "application/json", eviction).await.map(drop)
    }

    /// Waits until a pod is gone, or another one has its name.
    async fn gone(&self, pod: &Value) {
        while let Ok(there) = self.ask("GET", &path(pod), "", Value::Null).await {
            if there["metadata"]["uid"] != pod["metadata"]["uid"] {
                return;
            }
            tokio::time::sleep(PACE).await;
        }
    }
}

/// The kind of a pod's controller.
fn owner(pod: &Value) -> Option<&str> {
    let owners = pod["metadata"]["ownerReferences"].as_array();
    owners.into_iter().flatten().find(|owner| owner["controller"] == json!(true))?["kind"].as_str()
}

/// `default/porter-layer2-x`.
fn name(pod: &Value) -> String {
    let text = |key: &str| pod["metadata"][key].as_str().unwrap_or_default();
    format!("{}/{}", text("namespace"), text("name"))
}

fn names(pods: &[&Value]) -> String {
    pods.iter().map(|pod| name(pod)).collect::<Vec<_>>().join(", ")
}

fn path(pod: &Value) -> String {
    let text = |key: &str| pod["metadata"][key].as_str().unwrap_or_default();
    format!("/api/v1/namespaces/{}/pods/{}", text("namespace"), text("name"))
}
